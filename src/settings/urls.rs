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
    (!path.is_empty()).then(|| format!("etcd takes no path, and {path:?} is one"))
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
