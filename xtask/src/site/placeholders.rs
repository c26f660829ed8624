//! Values that were to be replaced and were not: what the starter and the manuals write where a key or a host belongs.
//! Each would only fail on a node, and there for a reason that names neither file nor line.

use std::path::Path;

use super::fragment::{Fragment, OneOrMany};
use super::validate::refuse;

/// Those of the settings, each with its key, and its line in the message.
pub(super) fn in_settings(said: &Fragment, text: &str) -> Vec<(&'static str, anyhow::Error)> {
    let founders: &[String] = match &said.founder {
        Some(OneOrMany::One(url)) => std::slice::from_ref(url),
        Some(OneOrMany::Many(urls)) => urls,
        None => &[],
    };
    let founders = founders.iter().filter(|url| is_placeholder(url) || is_example_host(url));
    let endpoint = said.endpoint.iter().filter(|endpoint| is_placeholder(endpoint));
    let all = founders.map(|url| ("founder", url)).chain(endpoint.map(|endpoint| ("endpoint", endpoint)));
    let refused = all.map(|(key, value)| {
        // A list may go over several lines; what is written with escapes stands nowhere as it is.
        let is_there = |line: &str| line.contains(value.as_str()) && !line.trim_start().starts_with('#');
        let is_key = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
        let line = text.lines().position(is_there).or_else(|| text.lines().position(is_key));
        let line = line.unwrap_or_default() + 1;
        let what = format!("line {line}: {key} {value:?} still is a placeholder");
        let hint = format!(
            "write your own {key} on line {line}; the starter's comments say which: cargo xtask init DIR"
        );
        (key, refuse(what, hint))
    });
    refused.collect()
}

/// Those of rclone.conf, which lies there. Of an encrypted one nothing can be told.
pub(super) fn in_conf(conf: &[u8], path: &Path) -> Vec<anyhow::Error> {
    let path = path.display();
    let text = String::from_utf8_lossy(conf);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with(['#', ';']));
    let options = lines.filter_map(|(number, line)| {
        let (key, value) = line.split_once('=')?;
        Some((number + 1, key.trim(), value.trim()))
    });
    let found = options
        .filter(|(_, key, value)| is_placeholder(value) || HOSTS.contains(key) && is_example_host(value));
    let refused = found.map(|(line, key, value)| {
        let what = format!("{path}: line {line}: {key} {value:?} still is a placeholder");
        refuse(
            what,
            format!("write your own {key} there, or make the file with: rclone config --config {path}"),
        )
    });
    refused.collect()
}

/// Options of rclone's backends that name a host.
const HOSTS: [&str; 5] = ["endpoint", "host", "url", "auth", "auth_url"];

/// Whether somebody meant this to be replaced: `XXXXXXXX`, `<bucket>`, `CHANGE-ME`, `ACCESS_KEY`, `your-key`, AWS's examples.
fn is_placeholder(value: &str) -> bool {
    let plain = value.trim_matches('"').to_ascii_lowercase().replace(['_', ' '], "-");
    let words = [
        "changeme",
        "change-me",
        "replaceme",
        "replace-me",
        "fill-me-in",
        "fixme",
        "todo",
        "tbd",
        "placeholder",
        "access-key",
        "access-key-id",
        "accesskey",
        "secret-key",
        "secret-access-key",
        "secretkey",
    ];
    let in_brackets = |text: &str| {
        let inside =
            text.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(inside, _)| inside);
        inside.is_some_and(|i| i.starts_with(|c: char| c.is_alphabetic()) && !i.contains(['"', '=']))
    };
    let crosses = plain.len() >= 4 && plain.bytes().all(|b| b == b'x');
    crosses
        || words.contains(&plain.as_str())
        || ["your-", "my-access", "my-secret"].iter().any(|start| plain.starts_with(start))
        || value.ends_with("EXAMPLE")
        || value.ends_with("EXAMPLEKEY")
        || in_brackets(value)
}

/// Whether a URL or a host is one that exists for examples only (RFC 2606).
fn is_example_host(value: &str) -> bool {
    let behind = value.split_once("://").map_or(value, |(_, rest)| rest);
    let authority = behind.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let of = |domain: &&str| host == **domain || host.ends_with(&format!(".{domain}"));
    ["example", "example.com", "example.org", "example.net"].iter().any(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::tests::{CONF, MINIMAL, load_of};

    #[test]
    fn what_was_to_be_replaced_is_told_from_what_was_meant() {
        for value in [
            "XXXXXXXX",
            "xxxxxx",
            "<key>",
            "<remote>:<bucket/path>",
            "http://<host>:<port>",
            "CHANGE-ME",
            "changeme",
            "ACCESS_KEY",
            "secret access key",
            "YOUR_KEY",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ] {
            assert!(is_placeholder(value), "{value}");
        }
        for value in [
            "",
            "x",
            "xxx",
            "s3",
            "a<b",
            "<1>",
            "{\"a\":\"<x=\"}",
            "secret",
            "key",
            "exchange-me",
            "example",
            "yours",
        ] {
            assert!(!is_placeholder(value), "{value}");
        }
        for (value, expected) in [
            ("https://s3.example.com", true),
            ("http://user@e1.Example.org:2380/", true),
            ("dav.example", true),
            ("example.net.", true),
            ("https://my-example.com", false),
            ("example.com.internal", false),
            ("http://unconfigured.invalid:2380", false),
            ("", false),
        ] {
            assert_eq!(is_example_host(value), expected, "{value}");
        }
    }

    #[test]
    fn each_is_refused_by_its_line() {
        let conf = |line: &str| format!("{CONF}{line}\n");
        let cases = [
            (
                MINIMAL.replace("http://e1:2380", "http://e1.example.com:2380"),
                CONF.to_owned(),
                "line 2: founder \"http://e1.example.com:2380\" still is a placeholder | write your own founder on line 2",
            ),
            (
                MINIMAL.replace("\"http://e1:2380\"", "[\n\"http://e1:2380\",\n\"http://<host>:1\"]"),
                CONF.to_owned(),
                "line 4: founder \"http://<host>:1\" still is a placeholder",
            ),
            (
                MINIMAL.replace("s3:bucket/path", "s3:<bucket/path>"),
                CONF.to_owned(),
                "line 3: endpoint \"s3:<bucket/path>\" still is a placeholder",
            ),
            (
                MINIMAL.to_owned(),
                conf("access_key_id=XXXXXXXX"),
                "DIR/rclone.conf: line 4: access_key_id \"XXXXXXXX\" still is a placeholder | write your own access_key_id there",
            ),
            (
                MINIMAL.to_owned(),
                conf("endpoint = https://s3.example.com/x"),
                "DIR/rclone.conf: line 4: endpoint \"https://s3.example.com/x\" still is",
            ),
        ];
        for (settings, conf, want) in cases {
            let said = load_of(&settings, &conf).unwrap_err().to_string();
            assert!(said.contains(want), "{said}");
        }
        for fine in ["# access_key_id = XXXXXXXX", "; key = CHANGE-ME", "description = see example.com"] {
            load_of(MINIMAL, &conf(fine)).unwrap();
        }
    }
}
