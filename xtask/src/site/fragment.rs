//! `etcd2-backup.toml` as it was written: every key optional, none of them unknown ([`check_keys`]), each value on one line.

use super::nearest::nearest;
use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::validate::{self, refuse};
use super::vars::Vars;

/// What the file said.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Fragment {
    pub(crate) version: Option<i64>,
    pub(crate) founder: Option<OneOrMany>,
    pub(crate) endpoint: Option<String>,
    pub(crate) interval: Option<String>,
    pub(crate) calendar: Option<String>,
    pub(crate) boot_delay: Option<String>,
    pub(crate) jitter: Option<String>,
    pub(crate) quiet_interval: Option<String>,
    pub(crate) nice: Option<i64>,
    pub(crate) io_class: Option<String>,
    pub(crate) data_dir: Option<String>,
    pub(crate) backup_dir: Option<String>,
    pub(crate) restore_dir: Option<String>,
    pub(crate) etcd_unit: Option<String>,
    pub(crate) v2_only: Option<bool>,
    pub(crate) source: Option<String>,
    pub(crate) on_failure: Option<String>,
    #[serde(default)]
    pub(crate) rclone: RcloneFragment,
    #[serde(default)]
    pub(crate) metrics: MetricsFragment,
    #[serde(default)]
    pub(crate) retention: RetentionFragment,
    #[serde(default)]
    pub(crate) verify: VerifyFragment,
    #[serde(default)]
    pub(crate) rehearse: RehearseFragment,
    #[serde(default)]
    pub(crate) vars: Vars,
}

/// What the file said under `[rclone]`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct RcloneFragment {
    pub(crate) runner: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) bundle: Option<String>,
    pub(crate) timeout: Option<String>,
    pub(crate) password_file: Option<String>,
    pub(crate) bwlimit: Option<String>,
    pub(crate) flags: Option<Vec<String>>,
}

/// What the file said under `[metrics]`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct MetricsFragment {
    pub(crate) textfile: Option<String>,
}

/// What the file said under `[retention]`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct RetentionFragment {
    pub(crate) prune: Option<bool>,
    pub(crate) keep_last: Option<i64>,
    pub(crate) keep_within: Option<String>,
    pub(crate) keep_daily: Option<i64>,
    pub(crate) keep_weekly: Option<i64>,
    pub(crate) keep_other_clusters: Option<String>,
}

/// What the file said under `[verify]`.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct VerifyFragment {
    pub(crate) share: Option<String>,
    pub(crate) schedule: Option<String>,
}

/// What the file said under `[rehearse]`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RehearseFragment {
    pub(crate) schedule: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged, expecting = "founder must be a URL, or a list of the URLs of one member")]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// The text of `etcd2-backup.toml` as a fragment.
pub(crate) fn parse_fragment(text: &str) -> Result<Fragment> {
    let mut faults = Faults::default();
    let read = parse_known(text, &mut faults)?;
    faults.or(read.map(|(fragment, _)| fragment).unwrap_or_default())
}

/// What can be read of the text, and the keys whose values cannot be; `None` where nothing but what is wrong can be told.
/// That is added to `faults`.
///
/// # Errors
/// It is no TOML, or of another version.
pub(super) fn parse_known(text: &str, faults: &mut Faults) -> Result<Option<(Fragment, Vec<String>)>> {
    let syntax = |e: &toml::de::Error| {
        let line = e.span().map_or(0, |s| text[..s.start.min(text.len())].matches('\n').count());
        let message = e.message().lines().collect::<Vec<_>>().join(" ");
        // The types' names are ours, not the reader's.
        let message = message
            .replace("i64", "a whole number")
            .replace("struct RcloneFragment", "a table")
            .replace("struct MetricsFragment", "a table")
            .replace("struct RetentionFragment", "a table")
            .replace("struct VerifyFragment", "a table")
            .replace("struct RehearseFragment", "a table");
        let key = text.lines().nth(line).and_then(|l| l.split_once('=')).map(|(key, _)| key.trim());
        let key = key.filter(|_| message.starts_with("invalid type")).map(|key| format!("{key}: "));
        let what = format!("line {}: {}{message}", line + 1, key.unwrap_or_default());
        refuse(what, "see the starter: cargo xtask init DIR")
    };
    let table: toml::Table = toml::from_str(text).map_err(|e| syntax(&e))?;
    // The version comes first: a newer file may have keys that this program does not know.
    match table.get("version") {
        None => return Err(refuse("there is no version", "write version = 1 as the first line")),
        Some(toml::Value::Integer(1)) => {}
        Some(other) => {
            let hint = "this program knows version = 1; a newer file needs a newer etcd2-backup";
            return Err(refuse(format!("version {other} is not known"), hint));
        }
    }
    let mut on_lines = Faults::default();
    check_keys("", &table, faults, &mut on_lines);
    if !on_lines.is_empty() {
        faults.take(on_lines.or(()));
        return Ok(None);
    }
    let (mut text, mut left_out) = (text.to_owned(), Vec::new());
    loop {
        let error = match toml::from_str(&text) {
            Ok(fragment) => return Ok(Some((fragment, left_out))),
            Err(e) => e,
        };
        let span = error.span().unwrap_or_default();
        let from = text[..span.start.min(text.len())].rfind('\n').map_or(0, |at| at + 1);
        faults.extend([syntax(&error)]);
        let Some((key, _)) = text.get(from..span.end).and_then(|line| line.split_once('=')) else {
            return Ok(None);
        };
        left_out.extend(key.trim().rsplit('.').next().map(str::to_owned));
        // The others are read without it; lines stay where they are.
        let blank: String = text[from..span.end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        text.replace_range(from..span.end, &blank);
        if toml::from_str::<toml::Table>(&text).is_err() {
            return Ok(None);
        }
    }
}

/// The tables whose keys are ours.
const TABLES: [&str; 5] = ["rclone", "metrics", "retention", "verify", "rehearse"];

/// Every key is known, and every string is one plain line; what is not is in `unknown_ones` and `on_lines`.
fn check_keys(prefix: &str, table: &toml::Table, unknown_ones: &mut Faults, on_lines: &mut Faults) {
    let known = known_keys();
    for (key, value) in table {
        let full = format!("{prefix}{key}");
        // The names below [vars] are the operator's.
        if full == "vars" {
            continue;
        }
        if !known.contains(&full) && !TABLES.contains(&full.as_str()) {
            unknown_ones.extend([unknown(&full, &known)]);
            continue;
        }
        match value {
            toml::Value::Table(inner) => check_keys(&format!("{full}."), inner, unknown_ones, on_lines),
            toml::Value::String(text) => on_lines.take(validate::check_one_line(&full, text)),
            toml::Value::Array(items) => {
                for item in items.iter().filter_map(toml::Value::as_str) {
                    on_lines.take(validate::check_one_line(&full, item));
                }
            }
            _ => {}
        }
    }
}

/// The names of all keys, as `key` or `table.key`; the types above are their only source.
fn known_keys() -> Vec<String> {
    let names = |prefix: &str, value: &serde_json::Value| -> Vec<String> {
        let fields = value.as_object().into_iter().flatten();
        fields.filter(|(_, v)| !v.is_object()).map(|(k, _)| format!("{prefix}{k}")).collect()
    };
    let all = serde_json::json!(Fragment::default());
    let tables = TABLES.map(|t| names(&format!("{t}."), &all[t]));
    [names("", &all), tables.concat()].concat()
}

/// The error about an unknown key, with the nearest known one; a key in the wrong table is the likeliest slip.
fn unknown(key: &str, known: &[String]) -> anyhow::Error {
    let last = |k: &str| k.rsplit('.').next().unwrap_or_default().to_owned();
    let lasts: Vec<String> = known.iter().map(|k| last(k)).collect();
    let near = nearest(&last(key), lasts.iter().map(String::as_str));
    let found = near.and_then(|near| known.iter().find(|k| last(k) == near));
    let hint = match found.map(|k| (k.split_once('.'), k)) {
        Some((Some((table, name)), _)) => format!("did you mean {name}, below [{table}]?"),
        Some((None, name)) if key.contains('.') => format!("did you mean {name}, above all [tables]?"),
        Some((None, name)) => format!("did you mean {name}?"),
        None => format!("the known keys are: {}", known.join(", ")),
    };
    refuse(format!("the key {} is not known", key.escape_debug()), hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::hint_of;
    use etcd2_backup::settings::table::{Kind, SETTINGS, row};

    fn said(text: &str) -> String {
        let error = parse_fragment(text).unwrap_err();
        format!("{error} | {}", hint_of(&error).unwrap())
    }

    #[test]
    fn every_known_key_is_taken() {
        let known = known_keys();
        let sorted = |keys: Vec<String>| keys.into_iter().collect::<std::collections::BTreeSet<_>>();
        let rows = SETTINGS.iter().map(|row| row.key.to_owned()).filter(|key| key != "vars");
        assert_eq!(sorted(known.clone()), sorted(rows.collect()));
        let value = |key: &str| match row(key).kind {
            Kind::Number => "1",
            Kind::Switch => "true",
            Kind::List(_) => "[\"x\"]",
            Kind::Text => "\"x\"",
        };
        let text: String = known.iter().map(|k| format!("{k} = {}\n", value(k))).collect();
        parse_fragment(&format!("{text}[vars]\nany = true\n")).unwrap();
    }

    #[test]
    fn an_unknown_key_gets_the_nearest_known_one() {
        for (text, want) in [
            ("fuonder = \"x\"", "the key fuonder is not known | did you mean founder?"),
            ("data-dir = \"x\"", "the key data-dir is not known | did you mean data_dir?"),
            ("Endpoint = \"x\"", "the key Endpoint is not known | did you mean endpoint?"),
            ("runer = \"x\"", "the key runer is not known | did you mean runner, below [rclone]?"),
            (
                "[rclone]\nimgae = \"x\"",
                "the key rclone.imgae is not known | did you mean image, below [rclone]?",
            ),
            (
                "[rclone]\ninterval = \"x\"",
                "the key rclone.interval is not known | did you mean interval, above all [tables]?",
            ),
            ("colour = \"x\"", "the key colour is not known | the known keys are: backup_dir, boot_delay, "),
        ] {
            let said = said(&format!("version = 1\n{text}"));
            assert!(said == want || (want.ends_with(", ") && said.starts_with(want)), "{said}");
        }
    }

    #[test]
    fn the_version_is_checked_before_the_keys() {
        let hint = "this program knows version = 1; a newer file needs a newer etcd2-backup";
        for (text, want) in [
            ("fuonder = \"x\"", "there is no version | write version = 1 as the first line".to_owned()),
            ("version = 2\nnew = 1", format!("version 2 is not known | {hint}")),
            ("version = \"1\"", format!("version \"1\" is not known | {hint}")),
        ] {
            assert_eq!(said(text), want);
        }
    }

    #[test]
    fn no_value_has_a_control_character() {
        for (text, key) in [
            ("endpoint = \"a\\nb\"", "endpoint"),
            ("founder = [\"a\", \"b\\nc\"]", "founder"),
            ("rclone.image = \"a\\nb\"", "rclone.image"),
            ("etcd_unit = \"\"\"a\nb\"\"\"", "etcd_unit"),
        ] {
            let want =
                format!("{key} contains a line break | write the value on one line, in plain characters");
            assert_eq!(said(&format!("version = 1\n{text}")), want);
        }
    }

    #[test]
    fn what_is_no_toml_names_its_line() {
        for (text, line) in [
            ("version = 1\nfounder = http://e1\n", "line 2: "),
            (
                "version = 1\n\ninterval = 30\n",
                "line 3: interval: invalid type: integer `30`, expected a string",
            ),
            ("version = 1\nrclone = 3\n", "line 2: rclone: invalid type: integer `3`, expected a table"),
            (
                "version = 1\nretention = 3\n",
                "line 2: retention: invalid type: integer `3`, expected a table",
            ),
            (
                "version = 1\nv2_only = \"true\"\n",
                "line 2: v2_only: invalid type: string \"true\", expected a boolean",
            ),
        ] {
            assert!(said(text).starts_with(line), "{}", said(text));
        }
    }
}
