//! What an ordinary entry carries: an operation on the v2 store, or a request of 3.x.
//!
//! etcdserverpb.Request is proposed bare in every version; etcdserverpb.InternalRaftRequest, of 3.x, is the union of
//! all others. A bare one has its method's name in field 2, where a union has a nested message, or nothing.

use anyhow::{Context, Result};

use super::v3::alarms::{Action, AlarmKind, AlarmRequest};
use super::wire::{Fields, Value};

/// The methods of a v2 request.
const METHODS: [&str; 7] = ["PUT", "POST", "DELETE", "QGET", "SYNC", "GET", "HEAD"];
const ID: u64 = 1;
const METHOD_OR_V2: u64 = 2;
const HEADER: u64 = 100;
const ALARM: u64 = 10;

/// A kind of request in the union.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    field: u64,
    name: &'static str,
    /// Whether it brings something into the v3 store. Compactions do not: etcd may be set to make them by itself, and an
    /// empty store is compacted too.
    writes: bool,
}

const fn kind(field: u64, name: &'static str, writes: bool) -> Kind {
    Kind { field, name, writes }
}

/// 3.0 to 3.7. Those from 1300 on are 3.5's way to keep the member list and the cluster's version.
static KINDS: &[Kind] = &[
    kind(3, "range", false),
    kind(4, "put", true),
    kind(5, "delete_range", true),
    kind(6, "txn", true),
    kind(7, "compaction", false),
    kind(8, "lease_grant", true),
    kind(9, "lease_revoke", false),
    kind(10, "alarm", false),
    kind(11, "lease_checkpoint", false),
    kind(1000, "auth_enable", true),
    kind(1011, "auth_disable", false),
    kind(1012, "authenticate", false),
    kind(1013, "auth_status", false),
    kind(1100, "auth_user_add", true),
    kind(1101, "auth_user_delete", true),
    kind(1102, "auth_user_get", false),
    kind(1103, "auth_user_change_password", true),
    kind(1104, "auth_user_grant_role", true),
    kind(1105, "auth_user_revoke_role", true),
    kind(1106, "auth_user_list", false),
    kind(1107, "auth_role_list", false),
    kind(1200, "auth_role_add", true),
    kind(1201, "auth_role_delete", true),
    kind(1202, "auth_role_get", false),
    kind(1203, "auth_role_grant_permission", true),
    kind(1204, "auth_role_revoke_permission", true),
    kind(1300, "cluster_version_set", false),
    kind(1301, "cluster_member_attr_set", false),
    kind(1302, "downgrade_info_set", false),
    kind(9900, "downgrade_version_test", false),
];

/// What an ordinary entry carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Nothing: a new leader's entry.
    NoOp,
    /// An operation on the v2 store.
    V2(Request<'a>),
    /// A request of 3.x by its name; empty for one that only has a header.
    V3(&'static str),
    /// No request that etcd up to 3.7 knows.
    Unknown,
}

/// etcdserverpb.Request. Its texts may be any bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// PUT, POST, DELETE, QGET, SYNC, GET or HEAD.
    pub method: &'static str,
    /// With the store's prefix: `/1` for the users' keys, `/0` for the cluster's own.
    pub path: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// A directory is meant.
    pub dir: bool,
    /// Only if this is the value; empty for no such condition.
    pub prev_value: &'a [u8],
    /// Only if this is the modifiedIndex; 0 for no such condition.
    pub prev_index: u64,
    /// Only if the key is there, or is not.
    pub prev_exist: Option<bool>,
    /// When the key expires, in nanoseconds since 1970; 0 for never.
    pub expiration: i64,
    /// With all that lies below.
    pub recursive: bool,
    /// A SYNC's clock, in nanoseconds since 1970: what expires before it goes.
    pub time: i64,
    /// Keeps the value and sets the expiration (2.3 and later).
    pub refresh: bool,
}

impl<'a> Request<'a> {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message, or not a method of the v2 store.
    pub fn decode(message: &'a [u8]) -> Result<Self> {
        let mut this = Self::default();
        for field in Fields::new(message) {
            match field? {
                (2, v) => this.method = method(v.bytes()?).context("no method of the v2 store")?,
                (3, v) => this.path = v.bytes()?,
                (4, v) => this.value = v.bytes()?,
                (5, v) => this.dir = v.number()? != 0,
                (6, v) => this.prev_value = v.bytes()?,
                (7, v) => this.prev_index = v.number()?,
                (8, v) => this.prev_exist = Some(v.number()? != 0),
                (9, v) => this.expiration = v.number()?.cast_signed(),
                (12, v) => this.recursive = v.number()? != 0,
                (15, v) => this.time = v.number()?.cast_signed(),
                (17, v) => this.refresh = v.number()? != 0,
                _ => {}
            }
        }
        anyhow::ensure!(!this.method.is_empty(), "no method");
        Ok(this)
    }
}

impl<'a> Payload<'a> {
    /// Says what an ordinary entry's data is.
    pub fn of(data: &'a [u8]) -> Self {
        if data.is_empty() {
            return Self::NoOp;
        }
        if let Ok(request) = Request::decode(data) {
            return Self::V2(request);
        }
        match union(data) {
            Some(Union::V2(wrapped)) => Request::decode(wrapped).map_or(Self::Unknown, Self::V2),
            Some(Union::Kind(kind)) => Self::V3(kind.name),
            Some(Union::HeaderOnly) => Self::V3(""),
            None => Self::Unknown,
        }
    }
}

/// What an ordinary entry does, as far as a backup wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// No store is another one behind it: a new leader's entry, or a read.
    Nothing,
    /// Keys expire, if it is time: the leader's clock, in nanoseconds since 1970.
    Sync(i64),
    /// It may write, but not to the v3 store.
    Write,
    /// It brings something into the v3 store: its kind.
    V3Write(&'static str),
    /// A member raises an alarm of the v3 store (AlarmRequest with ACTIVATE).
    Alarm {
        /// Which member.
        member_id: u64,
        /// Which alarm.
        kind: AlarmKind,
    },
}

impl Effect {
    /// Says what an ordinary entry's data does. Of most requests two fields are read, no more.
    pub fn of(data: &[u8]) -> Self {
        match usual_v2(data) {
            Some(Usual::Write) => Self::Write,
            Some(Usual::Read) => Self::Nothing,
            Some(Usual::Sync) | None => Self::of_unusual(data),
        }
    }

    #[inline(never)]
    fn of_unusual(data: &[u8]) -> Self {
        if let Some(kind) = v3_write(data) {
            return Self::V3Write(kind);
        }
        if let Some((member_id, kind)) = alarm(data) {
            return Self::Alarm { member_id, kind };
        }
        match Payload::of(data) {
            Payload::NoOp => Self::Nothing,
            Payload::V2(Request { method: "SYNC", time, .. }) => Self::Sync(time),
            Payload::V2(Request { method: "QGET" | "GET" | "HEAD", .. }) => Self::Nothing,
            Payload::V2(_) | Payload::V3(_) | Payload::Unknown => Self::Write,
        }
    }
}

/// What the operations in the usual form do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Usual {
    Write,
    Read,
    Sync,
}

/// An operation on the v2 store in the form that etcd gives to all of them. It is asked for each entry of a log, so it has
/// neither a loop nor a call.
#[inline(always)]
fn usual_v2(data: &[u8]) -> Option<Usual> {
    let head = data.first_chunk::<16>().filter(|head| head[0] == 0x08)?;
    // Behind the first byte without the mark that says: the ID goes on. It has ten bytes at most.
    let ends = !u128::from_le_bytes(*head) & (0x8080_8080_8080_8080_8080 << 8);
    let behind = ends.trailing_zeros() as usize / 8 + 1;
    match data.get(behind..)? {
        [0x12, 3, b'P', b'U', b'T', ..] | [0x12, 4, b'P', b'O', b'S', b'T', ..] => Some(Usual::Write),
        [0x12, 4, b'Q', b'G', b'E', b'T', ..] => Some(Usual::Read),
        [0x12, 4, b'S', b'Y', b'N', b'C', ..] => Some(Usual::Sync),
        _ => None,
    }
}

/// The kind of a request that brings something into the v3 store. Of a v2 request two fields are read, no more.
fn v3_write(data: &[u8]) -> Option<&'static str> {
    for field in Fields::new(data) {
        match field.ok()? {
            (METHOD_OR_V2, Value::Bytes(text)) if method(text).is_some() => return None,
            (ID, _) => {}
            _ => break,
        }
    }
    match union(data) {
        Some(Union::Kind(kind)) => kind.writes.then_some(kind.name),
        _ => None,
    }
}

/// The name of a field of the union, if it is a request of 3.x.
pub(super) fn name_of(field: u64) -> Option<&'static str> {
    KINDS.iter().find(|k| k.field == field).map(|k| k.name)
}

/// An alarm that is raised.
fn alarm(data: &[u8]) -> Option<(u64, AlarmKind)> {
    let request = Fields::new(data).find_map(|field| match field {
        Ok((ALARM, Value::Bytes(request))) => AlarmRequest::decode(request).ok(),
        _ => None,
    })?;
    (request.action == Action::Activate).then_some((request.member_id, request.kind))
}

fn method(text: &[u8]) -> Option<&'static str> {
    METHODS.into_iter().find(|m| m.as_bytes() == text)
}

enum Union<'a> {
    V2(&'a [u8]),
    Kind(&'static Kind),
    HeaderOnly,
}

fn union(data: &[u8]) -> Option<Union<'_>> {
    let mut found = Union::HeaderOnly;
    for field in Fields::new(data) {
        match field.ok()? {
            (ID, Value::Varint(_)) | (HEADER, Value::Bytes(_)) => {}
            (METHOD_OR_V2, Value::Bytes(wrapped)) => found = Union::V2(wrapped),
            (number, Value::Bytes(_)) => found = Union::Kind(KINDS.iter().find(|k| k.field == number)?),
            _ => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::wire::Encoder;

    /// A bare request as etcd writes it: every field that is not optional, in order.
    fn put(path: &[u8], value: &[u8]) -> Vec<u8> {
        let e = Encoder::default().number(1, 77).bytes(2, b"PUT").bytes(3, path).bytes(4, value).number(5, 0);
        let e = e.bytes(6, b"old").number(7, 12).number(8, 0).number(9, 5_000_000_000).number(10, 0);
        e.number(11, 0)
            .number(12, 1)
            .number(13, 0)
            .number(14, 0)
            .number(15, 9)
            .number(16, 0)
            .number(17, 1)
            .done()
    }

    fn header() -> Vec<u8> {
        Encoder::default().number(1, 5).done()
    }

    #[test]
    fn a_bare_request_is_read_whole() {
        let message = put(b"/1/\xffk", b"v");
        let expected = Request {
            method: "PUT",
            path: b"/1/\xffk",
            value: b"v",
            dir: false,
            prev_value: b"old",
            prev_index: 12,
            prev_exist: Some(false),
            expiration: 5_000_000_000,
            recursive: true,
            time: 9,
            refresh: true,
        };
        assert_eq!(Payload::of(&message), Payload::V2(expected.clone()));
        let wrapped = Encoder::default().number(1, 3).bytes(2, &message).done();
        assert_eq!(Payload::of(&wrapped), Payload::V2(expected));
        let negative = Encoder::default().bytes(2, b"SYNC").number(15, u64::MAX).done();
        assert!(matches!(Payload::of(&negative), Payload::V2(Request { time: -1, .. })));
    }

    #[test]
    fn what_an_entry_carries_and_what_it_does() {
        let of = |field, body: &[u8]| {
            Encoder::default().number(1, 3).bytes(field, body).bytes(100, &header()).done()
        };
        let put_request = Encoder::default().bytes(1, b"k").bytes(2, b"v").done();
        use Effect::{Nothing, V3Write, Write};
        let table: &[(Vec<u8>, Payload<'_>, Effect)] = &[
            (vec![], Payload::NoOp, Nothing),
            (of(3, &header()), Payload::V3("range"), Write),
            (of(4, &put_request), Payload::V3("put"), V3Write("put")),
            (of(5, b""), Payload::V3("delete_range"), V3Write("delete_range")),
            (of(6, b""), Payload::V3("txn"), V3Write("txn")),
            (of(7, b""), Payload::V3("compaction"), Write),
            (of(8, b""), Payload::V3("lease_grant"), V3Write("lease_grant")),
            (of(1000, b""), Payload::V3("auth_enable"), V3Write("auth_enable")),
            (of(1012, b""), Payload::V3("authenticate"), Write),
            (of(1200, b""), Payload::V3("auth_role_add"), V3Write("auth_role_add")),
            (of(1300, b""), Payload::V3("cluster_version_set"), Write),
            (of(1301, b""), Payload::V3("cluster_member_attr_set"), Write),
            (of(1302, b""), Payload::V3("downgrade_info_set"), Write),
            (Encoder::default().number(1, 3).bytes(100, &header()).done(), Payload::V3(""), Write),
            (of(55, b""), Payload::Unknown, Write),
            (of(2, b"PATCH"), Payload::Unknown, Write),
            (b"\x0a".to_vec(), Payload::Unknown, Write),
            (b"text".to_vec(), Payload::Unknown, Write),
        ];
        for (data, payload, effect) in table {
            assert_eq!((&Payload::of(data), Effect::of(data)), (payload, *effect), "{data:02x?}");
        }
        for method in METHODS {
            // A value that looks like a v3 put does not make a v2 request one.
            let bare =
                Encoder::default().number(1, 3).bytes(2, method.as_bytes()).bytes(4, &put_request).done();
            assert!(matches!(Payload::of(&bare), Payload::V2(r) if r.method == method), "{method}");
            let effect = match method {
                "SYNC" => Effect::Sync(0),
                "QGET" | "GET" | "HEAD" => Nothing,
                _ => Write,
            };
            assert_eq!(Effect::of(&bare), effect, "{method}");
        }
    }

    #[test]
    fn the_usual_form_is_seen_behind_ids_of_every_length() {
        for id in (0..64).map(|bits| u64::MAX >> bits) {
            let request = |field, text: &[u8]| {
                Encoder::default().number(1, id).bytes(field, text).bytes(3, b"/1/some/key").done()
            };
            for (field, text, usual) in [
                (2, "PUT", Some(Usual::Write)),
                (2, "POST", Some(Usual::Write)),
                (2, "QGET", Some(Usual::Read)),
                (2, "SYNC", Some(Usual::Sync)),
                (2, "PUTS", None),
                (2, "PU", None),
                (4, "PUT", None),
                (2, "", None),
            ] {
                assert_eq!(usual_v2(&request(field, text.as_bytes())), usual, "{id:x} {field} {text}");
            }
            let sync = Encoder::default().number(1, id).bytes(2, b"SYNC").number(15, id).done();
            assert_eq!(Effect::of(&sync), Effect::Sync(id.cast_signed()));
        }
    }

    #[test]
    fn no_bytes_panic() {
        let whole = put(b"/1/a", b"v");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let (_, _) = (Payload::of(&bytes), Effect::of(&bytes));
            let (_, _) = (Payload::of(&whole[..at]), Effect::of(&whole[..at]));
        }
    }
}
