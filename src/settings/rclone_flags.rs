//! Which flags a site may add to every call of rclone.
//!
//! A list of what is allowed: rclone has hundreds of flags, and new ones with each release. What is a backend's, secrets
//! above all, has its place in rclone.conf, where no list of processes shows it.

/// They change how fast and over which connections rclone works, never what it copies, lists or reports.
pub const ALLOWED: [&str; 30] = [
    "bind",
    "buffer-size",
    "bwlimit-file",
    "ca-cert",
    "check-first",
    "checkers",
    "client-cert",
    "contimeout",
    "disable-http-keep-alives",
    "disable-http2",
    "dscp",
    "expect-continue-timeout",
    "fast-list",
    "low-level-retries",
    "max-backlog",
    "max-buffer-memory",
    "max-connections",
    "multi-thread-chunk-size",
    "multi-thread-cutoff",
    "multi-thread-streams",
    "no-check-certificate",
    "no-gzip-encoding",
    "retries",
    "retries-sleep",
    "timeout",
    "tpslimit",
    "tpslimit-burst",
    "transfers",
    "use-mmap",
    "user-agent",
];

/// What is wrong with a flag, and what to do instead; `None` if it may be added.
pub fn objection(flag: &str) -> Option<(&'static str, &'static str)> {
    let word = flag.strip_prefix("--").unwrap_or_default();
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    if word.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some(("contains a space", "write it as --name=value, one flag in each pair of quotes"));
    }
    match name {
        "" => Some(("is not a long flag of rclone", "write it as --name or --name=value")),
        "bwlimit" => {
            Some(("has a key of its own", "write bwlimit below [rclone]: it never slows a recovery"))
        }
        // Whatever it belongs to: `https://user:password@proxy`.
        _ if value.contains('@') => {
            Some(("may hold a password", "every process can read a command line: put it into rclone.conf"))
        }
        "retries" if !is_positive(value) => Some((
            "makes some versions of rclone do nothing and report success",
            "write 1 or more, or leave it out: a failed call is retried anyway",
        )),
        _ if ALLOWED.contains(&name) => None,
        _ => Some((
            "is not a flag that may be added",
            "options of the backend, and all secrets, go into rclone.conf, without the backend's prefix; \
             docs/configuration.md lists the flags that may be added: only these are sure to change \
             nothing but speed and connections",
        )),
    }
}

/// Tried so often: with 0, or less, rclone 1.60 does not begin, and no error is told. rclone reads `0x0`, too.
fn is_positive(number: &str) -> bool {
    number.starts_with(|c: char| ('1'..='9').contains(&c)) && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_that_change_nothing_but_speed_and_connections_may_be_added() {
        for flag in
            ["--transfers=2", "--fast-list", "--timeout=5m", "--user-agent=x/1", "--ca-cert=/etc/ca.pem"]
        {
            assert_eq!(objection(flag), None, "{flag}");
        }
        for name in ALLOWED {
            assert_eq!(objection(&format!("--{name}=1")), None, "{name}");
        }
        assert!(ALLOWED.is_sorted());
        for (flag, problem) in [
            ("", "not a long flag"),
            ("-v", "not a long flag"),
            ("--", "not a long flag"),
            ("--=x", "not a long flag"),
            ("transfers=2", "not a long flag"),
            ("--transfers 2", "a space"),
            ("--user-agent=a\nb", "a space"),
            ("--bwlimit=1M", "key of its own"),
            ("--user-agent=me:secret@x", "a password"),
            ("--s3-secret-access-key=x", "not a flag that may be added"),
            ("--header=Authorization:x", "not a flag that may be added"),
            ("--config=/x", "not a flag that may be added"),
            ("--dry-run", "not a flag that may be added"),
            ("--files-from=/x", "not a flag that may be added"),
            ("--include=*", "not a flag that may be added"),
            ("--exclude=*", "not a flag that may be added"),
            ("--max-age=1d", "not a flag that may be added"),
            ("--backup-dir=r:x", "not a flag that may be added"),
            ("--immutable", "not a flag that may be added"),
            ("--ignore-size", "not a flag that may be added"),
            ("--rc", "not a flag that may be added"),
            ("--log-file=/x", "not a flag that may be added"),
            ("--password-command=x", "not a flag that may be added"),
            ("--Transfers=2", "not a flag that may be added"),
            ("--retries=0", "do nothing"),
            ("--retries=-1", "do nothing"),
            ("--retries=00", "do nothing"),
            ("--retries=0x0", "do nothing"),
            ("--retries=", "do nothing"),
            ("--retries", "do nothing"),
        ] {
            let said = objection(flag).map(|(problem, _)| problem).unwrap_or_default();
            assert!(said.contains(problem), "{flag:?}: {said}");
        }
    }
}
