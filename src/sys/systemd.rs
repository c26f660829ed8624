//! systemd of the running node, through `systemctl`, `busctl` and `getent`; every call has a time limit.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::CommandRunExt;

/// systemd answers in milliseconds. A recovery must not fail of a node that is busy: it has been seen to take half a minute.
const LIMIT: Duration = Duration::from_secs(60);
/// Stopping a service waits for it; etcd gets its own stop timeout (90 s by default).
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// What a service's unit says about how its process starts, as systemd has it loaded (drop-ins included).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceUnit {
    /// `Environment=`, as `NAME=value`, specifiers resolved.
    pub environment: Vec<String>,
    /// `EnvironmentFile=`: the path, and whether it may be missing.
    pub environment_files: Vec<(PathBuf, bool)>,
    /// `ExecStart=`: program and arguments, variables not yet expanded; empty if there is none.
    pub command: Vec<String>,
    /// `User=`, empty for root.
    pub user: String,
}

/// The version of the node's systemd: 252.
///
/// # Errors
/// `systemctl` is not there, did not answer in time, or says something else.
pub fn version() -> Result<u32> {
    let text = Command::new("systemctl").arg("--version").run_ok(LIMIT)?.text();
    parse_version(&text).with_context(|| format!("unexpected answer of systemctl --version: {}", text.trim()))
}

/// Makes systemd read the units again.
///
/// # Errors
/// systemd cannot be reached or did not answer in time.
pub fn daemon_reload() -> Result<()> {
    systemctl(&["daemon-reload"], LIMIT)
}

/// Whether a unit has, or is about to get, or is about to lose, a process.
///
/// # Errors
/// systemd cannot be reached or did not answer in time.
pub fn is_active(unit: &str) -> Result<bool> {
    let mut command = Command::new("systemctl");
    let output = command.args(["show", "--property=ActiveState", unit]).run_ok(LIMIT)?;
    parse_active(&output.text()).with_context(|| format!("asking systemd for the state of {unit}"))
}

/// When a service that is active was started, in microseconds after the boot; `None` if it is not active, or about to be.
///
/// # Errors
/// systemd cannot be reached or did not answer in time.
pub fn active_since(unit: &str) -> Result<Option<u64>> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--property=ActiveState,ExecMainStartTimestampMonotonic", unit]);
    let text = command.run_ok(LIMIT)?.text();
    parse_active_since(&text).with_context(|| format!("asking systemd for the state of {unit}"))
}

/// Whether a unit is started at every boot.
///
/// # Errors
/// systemd cannot be reached or did not answer in time.
pub fn is_enabled(unit: &str) -> Result<bool> {
    let output = Command::new("systemctl").args(["is-enabled", unit]).run_limited(&[], LIMIT)?;
    Ok(output.text().trim() == "enabled")
}

/// Queues the start of a unit and does not wait for it: we may be ordered before it, and it may wait for us.
///
/// # Errors
/// systemd cannot be reached or refused.
pub fn start_no_block(unit: &str) -> Result<()> {
    // A unit that failed too often before is not started again until told so. One that did not fail is no error.
    let _ = systemctl(&["reset-failed", unit], LIMIT);
    systemctl(&["start", "--no-block", unit], LIMIT)
}

/// Starts a service and waits until it has done what it does, or for so long.
///
/// # Errors
/// It failed, or goes on for longer.
pub fn start(unit: &str, limit: Duration) -> Result<()> {
    let _ = systemctl(&["reset-failed", unit], LIMIT);
    systemctl(&["start", unit], limit)
}

/// Has a unit started at every boot, and now.
///
/// # Errors
/// systemd cannot be reached or refused.
pub fn enable_now(unit: &str) -> Result<()> {
    systemctl(&["enable", "--now", unit], LIMIT)
}

/// Stops a unit and waits until it is stopped.
///
/// # Errors
/// systemd cannot be reached, or the unit did not stop in time.
pub fn stop(unit: &str) -> Result<()> {
    systemctl(&["stop", unit], STOP_LIMIT)
}

/// How a service's process starts.
///
/// # Errors
/// systemd cannot be reached, or does not know the unit as a service.
pub fn service_unit(unit: &str) -> Result<ServiceUnit> {
    parse_service_unit(|name| property(unit, "Service", name)).with_context(|| format!("asking about {unit}"))
}

/// A property of a unit, in the words of `busctl`: its signature, then its values. `of` is its interface, such as `Timer`.
///
/// # Errors
/// systemd cannot be reached, or the unit has no such property.
pub fn property(unit: &str, of: &str, name: &str) -> Result<String> {
    let mut command = Command::new("busctl");
    command.args(["get-property", "org.freedesktop.systemd1", &object_path(unit)]);
    Ok(command.args([&format!("org.freedesktop.systemd1.{of}"), name]).run_ok(LIMIT)?.text())
}

/// The same from the answers of `busctl get-property`, by the property's name.
///
/// # Errors
/// There is none, or it is no such answer.
pub fn parse_service_unit(answer: impl Fn(&str) -> Result<String>) -> Result<ServiceUnit> {
    let property = |name: &str| -> Result<Vec<Value>> {
        answer(name).and_then(|text| parse_property(&text)).with_context(|| format!("reading {name}"))
    };
    let environment = strings(&property("Environment")?);
    let environment_files = pairs(&property("EnvironmentFiles")?);
    let command = first_command(&property("ExecStart")?);
    let user = strings(&property("User")?).into_iter().next().unwrap_or_default();
    Ok(ServiceUnit { environment, environment_files, command, user })
}

/// User and primary group ID of a user name, from the node's own `getent`.
///
/// # Errors
/// There is no such user, or `getent` did not answer.
pub fn user_ids(name: &str) -> Result<(u32, u32)> {
    let text = Command::new("getent").args(["passwd", name]).run_ok(LIMIT)?.text();
    parse_passwd(&text).with_context(|| format!("looking up the user {name}"))
}

fn systemctl(arguments: &[&str], limit: Duration) -> Result<()> {
    Command::new("systemctl").args(arguments).run_ok(limit).map(|_| ())
}

/// `systemd 252 (252.39-1~deb12u1)` and more lines.
fn parse_version(text: &str) -> Option<u32> {
    let number = text.lines().next()?.strip_prefix("systemd ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn parse_active(text: &str) -> Result<bool> {
    match text.trim().strip_prefix("ActiveState=") {
        Some("inactive" | "failed") => Ok(false),
        Some("active" | "activating" | "reloading" | "deactivating" | "maintenance" | "refreshing") => {
            Ok(true)
        }
        _ => bail!("unexpected answer of systemctl: {}", text.trim()),
    }
}

fn parse_active_since(text: &str) -> Result<Option<u64>> {
    let property = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.with_context(|| format!("unexpected answer of systemctl: {}", text.trim()))
    };
    let started = property("ExecMainStartTimestampMonotonic")?.trim();
    match property("ActiveState")?.trim() {
        "active" => Ok(Some(started.parse().with_context(|| format!("{started:?} is no time"))?)),
        _ => Ok(None),
    }
}

fn parse_passwd(text: &str) -> Result<(u32, u32)> {
    let mut fields = text.lines().next().unwrap_or_default().split(':').skip(2);
    let mut number = || fields.next().and_then(|f| f.parse().ok()).context("unexpected answer of getent");
    Ok((number()?, number()?))
}

/// The object path of a unit: all but ASCII letters and digits as `_` and two hex digits, a leading digit too.
fn object_path(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (i, b) in unit.bytes().enumerate() {
        if b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit()) {
            path.push(char::from(b));
        } else {
            path.push_str(&format!("_{b:02x}"));
        }
    }
    path
}

/// One item of busctl's answer; the signature in front of it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// A number, or `true`, or `false`.
    Word(String),
}

/// The items behind the signature of `busctl get-property`: quoted strings with C escapes, and bare words.
fn parse_property(text: &str) -> Result<Vec<Value>> {
    let (_signature, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(values);
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (value, after) = unquote(quoted)?;
            values.push(Value::Text(value));
            rest = after;
        } else {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            values.push(Value::Word(word.to_owned()));
            rest = after;
        }
    }
}

/// The string up to its closing quote, and what is behind it.
fn unquote(text: &str) -> Result<(String, &str)> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        i += 1;
        match b {
            b'"' => return Ok((String::from_utf8_lossy(&out).into_owned(), &text[i..])),
            b'\\' => {
                let (byte, used) = escape(&bytes[i..]).context("unknown escape in an answer of busctl")?;
                out.push(byte);
                i += used;
            }
            _ => out.push(b),
        }
    }
    bail!("unterminated string in an answer of busctl")
}

/// The byte of an escape sequence (behind the backslash) and how many bytes it took.
fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    let simple = match rest.first()? {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b's' => b' ',
        c @ (b'\\' | b'"' | b'\'') => *c,
        b'x' => return Some((number(rest.get(1..3)?, 16)?, 3)),
        _ => return Some((number(rest.get(..3)?, 8)?, 3)),
    };
    Some((simple, 1))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn strings(values: &[Value]) -> Vec<String> {
    let text = |v: &Value| match v {
        Value::Text(t) => Some(t.clone()),
        Value::Word(_) => None,
    };
    values.iter().filter_map(text).collect()
}

/// `a(sb)`: pairs of a path and a truth value.
fn pairs(values: &[Value]) -> Vec<(PathBuf, bool)> {
    let pair = |w: &[Value]| match w {
        [Value::Text(path), Value::Word(flag)] => Some((PathBuf::from(path), flag == "true")),
        _ => None,
    };
    values.windows(2).filter_map(pair).collect()
}

/// `a(sasbttttuii)`: the program and the arguments behind `argv[0]` of the first command.
fn first_command(values: &[Value]) -> Vec<String> {
    let [Value::Word(_), Value::Text(program), Value::Word(count), rest @ ..] = values else {
        return Vec::new();
    };
    let count = count.parse().unwrap_or(0).min(rest.len());
    let arguments = strings(&rest[..count]).into_iter().skip(1);
    [program.clone()].into_iter().chain(arguments).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_escaped() {
        assert_eq!(object_path("etcd2.service"), "/org/freedesktop/systemd1/unit/etcd2_2eservice");
        assert_eq!(object_path("3-a@b"), "/org/freedesktop/systemd1/unit/_33_2da_40b");
    }

    #[test]
    fn every_state_with_a_process_is_active() {
        let cases = [
            ("ActiveState=active\n", true),
            ("ActiveState=activating\n", true),
            ("ActiveState=deactivating\n", true),
            ("ActiveState=reloading\n", true),
            ("ActiveState=inactive\n", false),
            ("ActiveState=failed\n", false),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_active(text).unwrap(), expected, "{text}");
        }
        assert!(parse_active("").is_err());
    }

    #[test]
    fn versions_of_systemd() {
        for (text, expected) in [
            ("systemd 231\n+PAM +AUDIT -IDN\n", Some(231)),
            ("systemd 252 (252.39-1~deb12u1)\n+PAM", Some(252)),
            ("systemd 257~rc1\n", Some(257)),
            ("systemd v1\n", None),
            ("busybox 1.36\n", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }

    #[test]
    fn only_what_is_active_has_a_start() {
        for (text, expected) in [
            ("ExecMainStartTimestampMonotonic=1200\nActiveState=active\n", Some(1200)),
            ("ActiveState=active\nExecMainStartTimestampMonotonic=0\n", Some(0)),
            ("ActiveState=activating\nExecMainStartTimestampMonotonic=1200\n", None),
            ("ActiveState=inactive\nExecMainStartTimestampMonotonic=0\n", None),
        ] {
            assert_eq!(parse_active_since(text).unwrap(), expected, "{text}");
        }
        for text in ["", "ActiveState=active\n", "ActiveState=active\nExecMainStartTimestampMonotonic=\n"] {
            assert!(parse_active_since(text).is_err(), "{text}");
        }
    }

    #[test]
    fn environment_with_escapes() {
        let text = r#"as 3 "ETCD_NAME=e1" "A=say \"x\" \\ \303\274\n" "EMPTY=""#;
        let got = strings(&parse_property(text).unwrap());
        assert_eq!(got, ["ETCD_NAME=e1", "A=say \"x\" \\ ü\n", "EMPTY="]);
        assert_eq!(strings(&parse_property("as 0").unwrap()), [""; 0]);
    }

    #[test]
    fn environment_files_and_user() {
        let got = pairs(&parse_property(r#"a(sb) 2 "/etc/a b" true "/run/c" false"#).unwrap());
        assert_eq!(got, [(PathBuf::from("/etc/a b"), true), (PathBuf::from("/run/c"), false)]);
        assert_eq!(strings(&parse_property("s \"etcd\"\n").unwrap()), ["etcd"]);
        assert_eq!(strings(&parse_property("s \"\"\n").unwrap()), [""]);
    }

    #[test]
    fn the_command_without_its_argv0() {
        let text = r#"a(sasbttttuii) 1 "/usr/bin/etcd2" 3 "/usr/bin/etcd2" "--name=a b" "$OPTS" false 0 0 0 0 0 0 0"#;
        assert_eq!(first_command(&parse_property(text).unwrap()), ["/usr/bin/etcd2", "--name=a b", "$OPTS"]);
        assert_eq!(first_command(&parse_property("a(sasbttttuii) 0").unwrap()), [""; 0]);
    }

    #[test]
    fn broken_answers_are_refused() {
        for text in [r#"s "no end"#, r#"s "\q""#, r#"s "\x4"#] {
            assert!(parse_property(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwd_lines() {
        assert_eq!(parse_passwd("etcd:x:232:233:etcd user:/dev/null:/sbin/nologin\n").unwrap(), (232, 233));
        for text in ["", "etcd:x", "etcd:x:a:1"] {
            assert!(parse_passwd(text).is_err(), "{text}");
        }
    }
}
