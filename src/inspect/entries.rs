//! The log's entries, one a line.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::str::FromStr;

use anyhow::Result;
use serde::Serialize;

use super::subject::Subject;
use super::v3_entry::V3Entry;
use crate::etcd::frame::{Kind, Record};
use crate::etcd::members::{Change, MemberJson};
use crate::etcd::proto::{ConfChangeKind, Entry, EntryKind};
use crate::etcd::replay::Sink;
use crate::etcd::request::{Payload, Request};
use crate::etcd::snap::SnapshotName;
use crate::etcd::wal::SegmentName;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::text;

/// Indexes from the first to the last, both included; written `7`, `5..9`, `5..` or `..9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRange {
    /// The first of them.
    pub first: u64,
    /// The last of them.
    pub last: u64,
}

impl FromStr for IndexRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = || {
            let (first, last) = match text.split_once("..") {
                None => (text, text),
                Some(("", "")) => return None,
                Some(("", last)) => ("0", last),
                Some((first, "")) => return first.parse().ok().map(|first| (first, u64::MAX)),
                Some(ends) => ends,
            };
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        range()
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| Self { first, last })
            .ok_or("a range of indexes like 5..9, 5.. or ..9")
    }
}

/// Lists the entries of a range, in the order of the log: one that overwrites others comes behind them.
///
/// # Errors
/// The log cannot be read on, or the output is closed.
pub fn list(subject: &Subject, range: IndexRange, values: bool, out: &mut Output) -> Result<()> {
    if !out.json {
        out.text("   index  term  entry\n")?;
    }
    subject.records(&mut Lister { range, values, out })
}

struct Lister<'a> {
    range: IndexRange,
    /// Those of the v3 store too.
    values: bool,
    out: &'a mut Output,
}

impl Sink for Lister<'_> {
    fn snapshot(&mut self, _: Option<SnapshotName>, _: u64, _: &mut dyn Read) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _: SegmentName, record: &Record<'_>) -> Result<()> {
        if record.kind != Kind::Entry {
            return Ok(());
        }
        let entry = Entry::decode(record.data)?;
        if !(self.range.first..=self.range.last).contains(&entry.index) {
            return Ok(());
        }
        let line = Line::of(&entry, self.values);
        if self.out.json { self.out.json(&line) } else { self.out.text(&format!("{line}\n")) }
    }
}

/// One entry. What it does not have is left out of its JSON.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    index: u64,
    term: u64,
    /// `v2`, `v3`, `membership`, `no-op` or `unknown`.
    kind: &'static str,
    /// The v2 method, the name of a v3 request, or what happens to a member.
    #[serde(skip_serializing_if = "str::is_empty")]
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dir: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    recursive: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refresh: bool,
    #[serde(rename = "prevValue", skip_serializing_if = "Option::is_none")]
    prev_value: Option<Cow<'a, str>>,
    #[serde(rename = "prevIndex", skip_serializing_if = "Option::is_none")]
    prev_index: Option<u64>,
    #[serde(rename = "prevExist", skip_serializing_if = "Option::is_none")]
    prev_exist: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    /// A SYNC's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peer_urls: Vec<String>,
    /// What it asks of the v3 store.
    #[serde(flatten)]
    v3: Option<V3Entry<'a>>,
}

impl<'a> Line<'a> {
    /// What an entry says.
    pub fn of(entry: &Entry<'a>, values: bool) -> Self {
        let line = match entry.kind {
            EntryKind::Normal => match Payload::of(entry.data) {
                Payload::NoOp => Self { kind: "no-op", ..Self::default() },
                Payload::V2(request) => Self::v2(&request),
                Payload::V3(what) => {
                    Self { kind: "v3", what, v3: V3Entry::of(entry.data, values).ok(), ..Self::default() }
                }
                Payload::Unknown => Self { kind: "unknown", ..Self::default() },
            },
            EntryKind::ConfChange => Self::membership(entry),
            EntryKind::Other(_) => Self { kind: "unknown", ..Self::default() },
        };
        Self { index: entry.index, term: entry.term, ..line }
    }

    fn v2(request: &Request<'a>) -> Self {
        let sets = matches!(request.method, "PUT" | "POST") && !request.dir;
        let text = String::from_utf8_lossy;
        Self {
            kind: "v2",
            what: request.method,
            path: (!request.path.is_empty()).then(|| text(request.path)),
            value: (sets && !request.refresh).then(|| text(request.value)),
            dir: request.dir,
            recursive: request.recursive,
            refresh: request.refresh,
            prev_value: (!request.prev_value.is_empty()).then(|| text(request.prev_value)),
            prev_index: (request.prev_index > 0).then_some(request.prev_index),
            prev_exist: request.prev_exist,
            expiration: text::time(request.expiration),
            time: text::time(request.time).filter(|_| request.method == "SYNC"),
            ..Self::default()
        }
    }

    fn membership(entry: &Entry<'_>) -> Self {
        let Ok(change) = Change::decode(entry.index, entry.data) else {
            return Self { kind: "unknown", ..Self::default() };
        };
        let member: MemberJson = serde_json::from_slice(&change.context).unwrap_or_default();
        Self {
            kind: "membership",
            what: match change.kind {
                ConfChangeKind::Add => "add",
                ConfChangeKind::Remove => "remove",
                ConfChangeKind::Update => "update",
                ConfChangeKind::AddLearner => "add-learner",
            },
            member_id: Some(format!("{:x}", change.member_id)),
            name: Some(member.name).filter(|n| !n.is_empty()),
            peer_urls: member.peer_urls,
            ..Self::default()
        }
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} {:>5}  ", self.index, self.term)?;
        f.write_str(match (self.kind, self.what) {
            ("v3", "") => "v3 header",
            ("v2", what) => what,
            (kind, _) => kind,
        })?;
        if !self.what.is_empty() && self.kind != "v2" {
            write!(f, " {}", self.what)?;
        }
        let shown = |text: &str| text::name(text.as_bytes());
        for text in [&self.member_id, &self.name].into_iter().flatten() {
            write!(f, " {}", shown(text))?;
        }
        if !self.peer_urls.is_empty() {
            write!(f, " {}", shown(&self.peer_urls.join(",")))?;
        }
        self.path.iter().try_for_each(|path| write!(f, " {}", shown(path)))?;
        self.value.iter().try_for_each(|value| write!(f, " {}", text::value(value.as_bytes())))?;
        for (set, word) in [(self.dir, "dir"), (self.recursive, "recursive"), (self.refresh, "refresh")] {
            if set {
                write!(f, " {word}")?;
            }
        }
        self.prev_value.iter().try_for_each(|v| write!(f, " prevValue={}", text::value(v.as_bytes())))?;
        self.prev_index.iter().try_for_each(|v| write!(f, " prevIndex={v}"))?;
        self.prev_exist.iter().try_for_each(|v| write!(f, " prevExist={v}"))?;
        self.expiration.iter().try_for_each(|v| write!(f, " expires {v}"))?;
        self.time.iter().try_for_each(|v| write!(f, " {v}"))?;
        self.v3.iter().try_for_each(|v3| write!(f, "{v3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::proto::ConfChange;
    use crate::etcd::wire::Encoder;

    fn request(method: &str) -> Encoder {
        Encoder::default().number(1, 7).bytes(2, method.as_bytes())
    }

    #[test]
    fn entries_are_told_on_one_line_and_as_json() {
        let context = br#"{"id":171,"peerURLs":["http://a:1","http://b:2"],"name":"e1"}"#;
        let add = ConfChange { kind: ConfChangeKind::Add, member_id: 0xab, context }.encode(1);
        let remove = ConfChange { kind: ConfChangeKind::Remove, member_id: 0xab, context: b"" }.encode(1);
        let put = request("PUT").bytes(3, b"/1/k").bytes(4, b"v\n").number(7, 5).number(8, 0);
        let ttl = request("PUT").bytes(3, b"/1/d").number(5, 1).number(9, 1_769_903_999_000_000_000);
        let delete = request("DELETE").bytes(3, b"/1/d").bytes(6, b"old").number(12, 1);
        let sync = request("SYNC").number(15, 1_769_903_999_500_000_000);
        let normal = EntryKind::Normal;
        let table = [
            (normal, vec![], "no-op", r#""no-op""#),
            (
                normal,
                put.done(),
                r#"PUT /1/k "v\n" prevIndex=5 prevExist=false"#,
                r#""v2","what":"PUT","path":"/1/k","value":"v\n","prevIndex":5,"prevExist":false"#,
            ),
            (
                normal,
                ttl.done(),
                "PUT /1/d dir expires 2026-01-31T23:59:59Z",
                r#""v2","what":"PUT","path":"/1/d","dir":true,"expiration":"2026-01-31T23:59:59Z""#,
            ),
            (
                normal,
                request("PUT").bytes(3, b"/1/k").number(17, 1).done(),
                "PUT /1/k refresh",
                r#""v2","what":"PUT","path":"/1/k","refresh":true"#,
            ),
            (
                normal,
                delete.done(),
                r#"DELETE /1/d recursive prevValue="old""#,
                r#""v2","what":"DELETE","path":"/1/d","recursive":true,"prevValue":"old""#,
            ),
            (
                normal,
                request("POST").bytes(3, b"/1/\xffq").done(),
                "POST /1/\u{fffd}q \"\"",
                "\"v2\",\"what\":\"POST\",\"path\":\"/1/\u{fffd}q\",\"value\":\"\"",
            ),
            (normal, request("QGET").done(), "QGET", r#""v2","what":"QGET""#),
            (
                normal,
                sync.done(),
                "SYNC 2026-01-31T23:59:59.5Z",
                r#""v2","what":"SYNC","time":"2026-01-31T23:59:59.5Z""#,
            ),
            (
                normal,
                Encoder::default().number(1, 1).bytes(4, b"\x0a\x01k\x12\x01v").done(),
                r#"v3 put k "v""#,
                r#""v3","what":"put","key":"k","value_bytes":1,"value":"v""#,
            ),
            // What cannot be read is told by its name.
            (normal, Encoder::default().bytes(4, b"\x0a\x09").done(), "v3 put", r#""v3","what":"put""#),
            (normal, Encoder::default().number(1, 1).done(), "v3 header", r#""v3""#),
            (normal, b"junk".to_vec(), "unknown", r#""unknown""#),
            (
                EntryKind::ConfChange,
                add,
                "membership add ab e1 http://a:1,http://b:2",
                r#""membership","what":"add","member_id":"ab","name":"e1","peer_urls":["http://a:1","http://b:2"]"#,
            ),
            (
                EntryKind::ConfChange,
                remove,
                "membership remove ab",
                r#""membership","what":"remove","member_id":"ab""#,
            ),
            (EntryKind::ConfChange, b"junk".to_vec(), "unknown", r#""unknown""#),
        ];
        for (kind, data, text, json) in table {
            let line = Line::of(&Entry { kind, term: 2, index: 17, data: &data }, true);
            assert_eq!(line.to_string(), format!("      17     2  {text}"));
            let expected = format!(r#"{{"index":17,"term":2,"kind":{json}}}"#);
            assert_eq!(serde_json::to_string(&line).unwrap(), expected);
        }
    }
}
