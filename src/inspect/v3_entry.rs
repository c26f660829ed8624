//! What an entry of the log asks of the v3 store, for people and as JSON. Values are secrets more often than not: only if
//! asked for.

use std::fmt::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

use super::v3_keys::{Named, Valued, lease};
use crate::etcd::v3::alarms::{Action, AlarmRequest};
use crate::etcd::v3::requests::{Auth, Compare, Keys, Put, Request, Txn, user};
use crate::sys::terminal::table::count;
use crate::sys::terminal::text;

/// Transactions in transactions that are told.
const MAX_DEPTH: usize = 4;
/// Comparisons and operations of each that are told; etcd takes 128 of them, unless told otherwise.
const MAX_PARTS: usize = 1000;

/// A request. What it does not have is left out.
#[derive(Debug, Default, Serialize)]
pub struct V3Entry<'a> {
    #[serde(flatten)]
    key: Option<Named<'a>>,
    /// The one behind the last key, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    range_end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<usize>,
    #[serde(flatten)]
    value: Option<Valued<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm_member_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Who asked, if authentication was on; or whom a change of users is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// What a transaction compares, and does then or else.
    #[serde(skip_serializing_if = "Option::is_none")]
    compare: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Vec<String>>,
    /// The same for people.
    #[serde(skip)]
    told: String,
}

impl<'a> V3Entry<'a> {
    /// What an entry's data asks for.
    ///
    /// # Errors
    /// It is no request of 3.x.
    pub fn of(data: &'a [u8], values: bool) -> Result<Self> {
        let request = Request::of(data)?;
        let by = user(data)?;
        let mut this = Self::of_request(&request, values)?;
        this.told = told(&request, values, 0)?;
        if !by.is_empty() {
            this.by = Some(lossy(by));
            write!(this.told, " by {}", text::name(by))?;
        }
        Ok(this)
    }

    fn of_request(request: &Request<'a>, values: bool) -> Result<Self> {
        let none = Self::default();
        Ok(match *request {
            Request::Put(put) => Self {
                key: Some(Named::of(put.key)),
                value_bytes: (!put.ignore_value).then_some(put.value.len()),
                value: Some(Valued::of(put.value, values && !put.ignore_value)),
                lease: some_lease(put.lease),
                ..none
            },
            Request::Range(keys) | Request::DeleteRange(keys) => Self { ..Self::of_keys(keys) },
            Request::Txn(txn) => {
                let lines = |all: &mut dyn Iterator<Item = Result<Request<'a>>>| -> Result<Vec<String>> {
                    all.take(MAX_PARTS).map(|r| r.and_then(|r| operation(&r, values, 0))).collect()
                };
                Self {
                    compare: Some(
                        txn.compares()
                            .take(MAX_PARTS)
                            .map(|c| c.map(|c| compare(&c, values)))
                            .collect::<Result<_>>()?,
                    ),
                    success: Some(lines(&mut txn.success())?),
                    failure: Some(lines(&mut txn.failure())?),
                    ..none
                }
            }
            Request::Compaction { revision } => Self { revision: Some(revision), ..none },
            Request::LeaseGrant { id, ttl } => Self { lease: some_lease(id), ttl: Some(ttl), ..none },
            Request::LeaseRevoke { id } => Self { lease: some_lease(id), ..none },
            Request::Alarm(alarm) => Self {
                alarm: Some(alarm_told(alarm)),
                alarm_member_id: Some(format!("{:x}", alarm.member_id)),
                ..none
            },
            Request::Auth(auth) => Self {
                user: some(auth.user),
                role: some(auth.role),
                ..if auth.keys == Keys::default() { none } else { Self::of_keys(auth.keys) }
            },
            Request::ClusterVersion { version } => Self { version: some(version), ..none },
            Request::MemberAttributes { .. } | Request::LeaseCheckpoint | Request::Other(_) => none,
        })
    }

    fn of_keys(keys: Keys<'a>) -> Self {
        Self { key: Some(Named::of(keys.key)), range_end: some(keys.range_end), ..Self::default() }
    }
}

impl fmt::Display for V3Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn some(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| lossy(bytes))
}

fn some_lease(id: i64) -> Option<String> {
    (id != 0).then(|| lease(id))
}

fn alarm_told(alarm: AlarmRequest) -> String {
    let action = match alarm.action {
        Action::Get => "get".to_owned(),
        Action::Activate => "activate".to_owned(),
        Action::Deactivate => "deactivate".to_owned(),
        Action::Other(number) => number.to_string(),
    };
    format!("{action} {}", alarm.kind)
}

/// What follows a request's name, each part with a space before it.
fn told(request: &Request<'_>, values: bool, depth: usize) -> Result<String> {
    let name =
        |bytes: &[u8]| if bytes.is_empty() { String::new() } else { format!(" {}", text::name(bytes)) };
    Ok(match *request {
        Request::Put(put) => put_told(put, values),
        Request::Range(keys) | Request::DeleteRange(keys) => keys_told(keys),
        Request::Txn(txn) => txn_told(txn, values, depth)?,
        Request::Compaction { revision } => format!(" to {revision}"),
        Request::LeaseGrant { id, ttl } => format!(" {} for {ttl} s", lease(id)),
        Request::LeaseRevoke { id } => format!(" {}", lease(id)),
        Request::Alarm(alarm) => format!(" {} of {:x}", alarm_told(alarm), alarm.member_id),
        Request::Auth(Auth { user, role, keys, permission, .. }) => {
            let keys = if keys == Keys::default() { String::new() } else { keys_told(keys) };
            format!("{}{}{}{keys}", name(user), name(role), name(permission.as_bytes()))
        }
        Request::ClusterVersion { version } => name(version),
        Request::MemberAttributes { member_id, name: of } => format!(" {member_id:x}{}", name(of)),
        Request::LeaseCheckpoint | Request::Other(_) => String::new(),
    })
}

fn put_told(put: Put<'_>, values: bool) -> String {
    let mut out = format!(" {}", text::name(put.key));
    let _ = match (put.ignore_value, values) {
        (true, _) => write!(out, " keeps its value"),
        (false, true) => write!(out, " {}", text::value(put.value)),
        (false, false) => write!(out, " ({})", count(put.value.len(), "byte", "bytes")),
    };
    if put.ignore_lease {
        out.push_str(" keeps its lease");
    } else if let Some(lease) = some_lease(put.lease) {
        let _ = write!(out, " lease {lease}");
    }
    out
}

/// One key, or a range of them: `a..b`, `a..` to the end.
fn keys_told(keys: Keys<'_>) -> String {
    let first = text::name(keys.key);
    match keys.range_end {
        [] => format!(" {first}"),
        [0] => format!(" {first}.."),
        end => format!(" {first}..{}", text::name(end)),
    }
}

fn compare(compare: &Compare<'_>, values: bool) -> String {
    let of = keys_told(compare.keys);
    let with = match (compare.target, values) {
        ("value", true) => text::value(compare.value),
        ("value", false) => format!("({})", count(compare.value.len(), "byte", "bytes")),
        _ => compare.number.to_string(),
    };
    format!("{}({}) {} {with}", compare.target, of.trim_start(), compare.result)
}

fn operation(request: &Request<'_>, values: bool, depth: usize) -> Result<String> {
    Ok(format!("{}{}", request.name(), told(request, values, depth + 1)?))
}

fn txn_told(txn: Txn<'_>, values: bool, depth: usize) -> Result<String> {
    if depth >= MAX_DEPTH {
        return Ok(" …".to_owned());
    }
    let list = |all: &mut dyn Iterator<Item = Result<Request<'_>>>| -> Result<String> {
        let all: Vec<String> = all
            .take(MAX_PARTS)
            .map(|r| r.and_then(|r| operation(&r, values, depth)))
            .collect::<Result<_>>()?;
        Ok(if all.is_empty() { "nothing".to_owned() } else { all.join("; ") })
    };
    let compares: Vec<String> =
        txn.compares().take(MAX_PARTS).map(|c| c.map(|c| compare(&c, values))).collect::<Result<_>>()?;
    let condition = if compares.is_empty() { "always".to_owned() } else { compares.join(", ") };
    let (success, failure) = (list(&mut txn.success())?, list(&mut txn.failure())?);
    Ok(format!(" if {condition} then [{success}] else [{failure}]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::wire::Encoder;

    fn message() -> Encoder {
        Encoder::default()
    }

    #[test]
    fn requests_are_told_on_one_line_and_as_json() {
        let put = message().bytes(1, b"/k\n").bytes(2, b"secret").number(3, 0x1f).done();
        let range = message().bytes(1, b"a").bytes(2, b"b").done();
        let all = message().bytes(1, &[0]).bytes(2, &[0]).done();
        let operation = |field, body: &[u8]| message().bytes(field, body).done();
        let compare = message().number(2, 2).bytes(3, b"/k").number(6, 12).done();
        let secret = message().number(1, 3).number(2, 3).bytes(3, b"/k").bytes(7, b"secret").done();
        let txn = message()
            .bytes(1, &compare)
            .bytes(1, &secret)
            .bytes(2, &operation(2, &put))
            .bytes(2, &operation(3, &range))
            .bytes(3, &operation(1, &all))
            .done();
        let inner = operation(4, &message().bytes(2, &operation(3, &range)).done());
        let permission = message().number(1, 1).bytes(2, b"a").bytes(3, &[0]).done();
        let table = [
            (
                4,
                put.clone(),
                false,
                r" /k\n (6 bytes) lease 000000000000001f",
                r#""key":"/k\n","value_bytes":6,"lease":"000000000000001f""#,
            ),
            (
                4,
                put,
                true,
                r#" /k\n "secret" lease 000000000000001f"#,
                r#""key":"/k\n","value_bytes":6,"value":"secret","lease":"000000000000001f""#,
            ),
            (
                4,
                message().bytes(1, b"k").number(5, 1).number(6, 1).done(),
                true,
                " k keeps its value keeps its lease",
                r#""key":"k""#,
            ),
            (5, range.clone(), false, " a..b", r#""key":"a","range_end":"b""#),
            (5, all, false, " \\0..", "\"key\":\"\\u0000\",\"range_end\":\"\\u0000\""),
            (
                6,
                txn.clone(),
                false,
                r" if mod(/k) = 12, value(/k) != (6 bytes) then [put /k\n (6 bytes) lease 000000000000001f; delete_range a..b] else [range \0..]",
                r#""compare":["mod(/k) = 12","value(/k) != (6 bytes)"],"success":["put /k\\n (6 bytes) lease 000000000000001f","delete_range a..b"],"failure":["range \\0.."]"#,
            ),
            (
                6,
                message().bytes(3, &inner).done(),
                false,
                " if always then [nothing] else [txn if always then [delete_range a..b] else [nothing]]",
                r#""compare":[],"success":[],"failure":["txn if always then [delete_range a..b] else [nothing]"]"#,
            ),
            (7, message().number(1, 70).done(), false, " to 70", r#""revision":70"#),
            (
                8,
                message().number(1, 60).number(2, 31).done(),
                false,
                " 000000000000001f for 60 s",
                r#""lease":"000000000000001f","ttl":60"#,
            ),
            (9, message().number(1, 31).done(), false, " 000000000000001f", r#""lease":"000000000000001f""#),
            (
                10,
                message().number(1, 2).number(2, 171).number(3, 1).done(),
                false,
                " deactivate NOSPACE of ab",
                r#""alarm":"deactivate NOSPACE","alarm_member_id":"ab""#,
            ),
            (1100, message().bytes(1, b"u").bytes(2, b"secret").done(), true, " u", r#""user":"u""#),
            (1104, message().bytes(1, b"u").bytes(2, b"r").done(), true, " u r", r#""role":"r","user":"u""#),
            (
                1203,
                message().bytes(1, b"r").bytes(2, &permission).done(),
                true,
                " r write a..",
                "\"key\":\"a\",\"range_end\":\"\\u0000\",\"role\":\"r\"",
            ),
            (1300, message().bytes(1, b"3.5.0").done(), false, " 3.5.0", r#""version":"3.5.0""#),
        ];
        for (field, body, values, line, json) in table {
            let header = message().number(1, 5).bytes(2, b"alice").done();
            let data = message().number(1, 3).bytes(field, &body).bytes(100, &header).done();
            let told = V3Entry::of(&data, values).unwrap();
            assert_eq!(told.to_string(), format!("{line} by alice"), "{field}");
            let written = serde_json::to_value(&told).unwrap();
            let expected: serde_json::Value =
                serde_json::from_str(&format!(r#"{{{json},"by":"alice"}}"#)).unwrap();
            assert_eq!(written, expected, "{field}");
            assert!(values || !format!("{line}{written}").contains("secret"), "{field}");
        }
        let mut deep = txn;
        for _ in 0..40 {
            deep = message().bytes(2, &operation(4, &deep)).done();
        }
        let data = message().bytes(6, &deep).done();
        let told = V3Entry::of(&data, false).unwrap().to_string();
        assert!(told.contains("[txn …]") && told.matches("txn").count() == 4, "{told}");
        assert!(V3Entry::of(&message().bytes(6, &[0x0a, 9]).done(), false).is_err());
    }
}
