//! The URLs of members: a scheme, a host and a port, nothing else.

use anyhow::Result;

use crate::exit::{Exit, fault};

/// Takes a comma-separated list of URLs; `name` is the setting it came from. Empty text is an empty list.
///
/// # Errors
/// One of them is not `http://host:port`.
pub fn parse_list(name: &str, text: &str) -> Result<Vec<String>> {
    let items = text.split(',').map(str::trim).filter(|u| !u.is_empty());
    items.map(|url| parse(name, url)).collect()
}

/// Those of a list that lead anywhere. etcd starts with others too (`http://:2379`, port 0), and what asks no URL, above all a
/// backup, must not stop at them.
pub fn usable_of(name: &str, text: Option<&str>) -> Vec<String> {
    let items = text.unwrap_or_default().split(',').map(str::trim).filter(|url| !url.is_empty());
    let usable =
        |url: &str| parse(name, url).inspect_err(|e| log::warn!("not asking etcd there: {e:#}")).ok();
    items.filter_map(usable).collect()
}

fn parse(name: &str, url: &str) -> Result<String> {
    let url = url.strip_suffix('/').unwrap_or(url);
    let hint = format!("write {name}=http://HOST:PORT");
    if url.starts_with("unix") {
        return Err(fault(Exit::Settings, format!("{name}: {url:?} is a socket, not a member's URL"), hint));
    }
    match (url.starts_with("http://") || url.starts_with("https://"), host_port(url)) {
        (true, Some(_)) => Ok(url.to_owned()),
        (false, _) => Err(fault(Exit::Settings, format!("{name}: {url:?} is not a URL"), hint)),
        (true, None) => Err(fault(Exit::Settings, format!("{name}: {url:?} has no host and port"), hint)),
    }
}

/// Why this is not an advertised peer URL as etcd takes it, `http(s)://host:port`; nothing if it is one.
pub fn peer_url_problem(url: &str) -> Option<String> {
    let no = |why: &str| Some(why.to_owned());
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return no("it does not begin with http:// or https://");
    };
    if rest.contains(',') {
        return no("it holds several URLs with commas between them: in a list, put each in its own quotes");
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return no("it names a user");
    }
    let Some((host, port)) = authority.rsplit_once(':').filter(|(h, _)| !h.is_empty()) else {
        return no("it has no host and port");
    };
    let host_is_good = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    if !host_is_good {
        return Some(format!("{host:?} is not a host"));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|p| p > 0) {
        return Some(format!("{port:?} is not a port"));
    }
    match path {
        "" => None,
        "/" => no("it ends with a slash: leave that out"),
        path => Some(format!("etcd takes no path, and {path:?} is one")),
    }
}

/// What a founding member's URL is hardly meant to be, though etcd would take it: why, and what to write instead.
pub fn founder_doubt(url: &str) -> Option<(String, &'static str)> {
    let (host, port) = host_port(url)?;
    let any = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_unspecified());
    if any {
        let what = format!("{url} is a listening address: on every node it means the node itself");
        return Some((
            what,
            "write the address that the founding member advertises to its peers (initial-advertise-peer-urls)",
        ));
    }
    if is_loopback(url) {
        let what = format!(
            "{url} means the node itself on every node: each would be the founding member and restore a \
             cluster of its own"
        );
        return Some((
            what,
            "write an address at which the other nodes reach it; this one is right only on a single machine",
        ));
    }
    [2379, 4001].contains(&port).then(|| {
        let what = format!("{url} has the port that etcd usually has for clients");
        (what, "write the one for peers, usually 2380 (or 7001): `etcdctl member list` shows it as peerURLs")
    })
}

/// A URL with the host of another one.
pub fn with_host_of(url: &str, other: &str) -> Option<String> {
    let ((scheme, _), (_, port), (host, _)) = (url.split_once("://")?, host_port(url)?, host_port(other)?);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(format!("{scheme}://{host}:{port}"))
}

/// Host and port of a member's URL; an IPv6 address comes without its brackets.
pub fn host_port(url: &str) -> Option<(&str, u16)> {
    let (_, authority) = url.split_once("://")?;
    let (host, port) = authority.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let clean = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if host.is_empty() || !host.chars().all(clean) || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((host, port.parse().ok().filter(|p| *p != 0)?))
}

/// Whether two URLs lead to the same place, host names compared as they are written.
pub fn same_place(a: &str, b: &str) -> bool {
    match (host_port(a), host_port(b)) {
        (Some((ha, pa)), Some((hb, pb))) => pa == pb && ha.eq_ignore_ascii_case(hb),
        _ => false,
    }
}

/// Whether some URL of the one list leads to the same place as some URL of the other.
pub fn share_a_place(some: &[String], others: &[String]) -> bool {
    some.iter().any(|a| others.iter().any(|b| same_place(a, b)))
}

/// Whether a URL leads to the machine it is used on.
pub fn is_loopback(url: &str) -> bool {
    host_port(url).is_some_and(|(host, _)| match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    })
}

/// A listening URL as one that can be connected to on this machine: `0.0.0.0` and `[::]` become loopback.
pub fn connectable(url: &str) -> String {
    url.replacen("://0.0.0.0:", "://127.0.0.1:", 1).replacen("://[::]:", "://[::1]:", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let cases = [
            ("http://10.0.0.1:2380", Some(("10.0.0.1", 2380))),
            ("https://e1.example:7001", Some(("e1.example", 7001))),
            ("http://[fd00::1]:2380", Some(("fd00::1", 2380))),
            ("http://fd00::1:2380", None),
            ("http://e1", None),
            ("http://:2380", None),
            ("http://e1:0", None),
            ("http://e1:+1", None),
            ("http://e1:99999", None),
            ("http://u@e1:1", None),
            ("http://e1:2380/x", None),
            ("e1:2380", None),
        ];
        for (url, expected) in cases {
            assert_eq!(host_port(url), expected, "{url}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(parse_list("X", " http://a:1/ ,https://b:2,").unwrap(), ["http://a:1", "https://b:2"]);
        assert!(parse_list("X", "").unwrap().is_empty());
        let some = "http://:2379,http://127.0.0.111:0,https://u:p@10.9.0.1:2379,http://a:1";
        assert_eq!(usable_of("X", Some(some)), ["http://a:1"]);
        for (bad, reason) in [
            ("a:1", "is not a URL"),
            ("http://a", "has no host and port"),
            ("unix://a:1", "is a socket"),
            ("http://a:1\"\nExecStart=x", "has no host and port"),
        ] {
            let error = parse_list("X", bad).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
            assert_eq!(crate::exit::exit_of(&error), Exit::Settings);
        }
    }

    #[test]
    fn what_a_founder_s_url_is_hardly_meant_to_be_is_told() {
        for (url, words) in [
            ("http://10.0.0.1:2380", None),
            ("http://10.0.0.1:7001", None),
            ("http://10.0.0.1:2379", Some("for clients")),
            ("http://10.0.0.1:4001", Some("for clients")),
            ("http://127.0.0.1:2380", Some("means the node itself on every node")),
            ("http://localhost:2380", Some("means the node itself on every node")),
            ("http://0.0.0.0:2380", Some("is a listening address")),
            ("http://[::]:2380", Some("is a listening address")),
        ] {
            let doubt = founder_doubt(url).map(|(what, _)| what);
            assert_eq!(doubt.is_some(), words.is_some(), "{url}");
            assert!(doubt.is_none_or(|what| what.contains(words.unwrap())), "{url}");
        }
        for (url, why) in
            [("http://a:2380,http://a:7001", "several"), ("http://a:2380/", "ends with a slash")]
        {
            assert!(peer_url_problem(url).unwrap().contains(why), "{url}");
        }
        assert_eq!(
            with_host_of("http://0.0.0.0:2379", "http://10.0.0.1:2380").unwrap(),
            "http://10.0.0.1:2379"
        );
        assert_eq!(with_host_of("https://localhost:1", "http://[fd00::1]:2").unwrap(), "https://[fd00::1]:1");
    }

    #[test]
    fn places() {
        assert!(same_place("http://A:1", "https://a:1"));
        assert!(!same_place("http://a:1", "http://a:2"));
        for (url, expected) in [
            ("http://127.0.0.9:1", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1:1", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
        assert_eq!(connectable("http://0.0.0.0:2379"), "http://127.0.0.1:2379");
        assert_eq!(connectable("http://[::]:2379"), "http://[::1]:2379");
        assert_eq!(connectable("http://10.0.0.0:2379"), "http://10.0.0.0:2379");
    }
}
