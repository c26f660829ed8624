//! Every kind of request, and transactions part by part.

use super::*;
use crate::etcd::v3::alarms::{Action, AlarmKind};
use crate::etcd::wire::Encoder;

fn message() -> Encoder {
    Encoder::default()
}

fn entry(field: u64, body: &[u8]) -> Vec<u8> {
    let header = message().number(1, 5).bytes(2, b"alice").number(3, 9).done();
    message().number(1, 3).bytes(field, body).bytes(HEADER, &header).done()
}

fn keys<'a>(key: &'a [u8], range_end: &'a [u8]) -> Keys<'a> {
    Keys { key, range_end }
}

#[test]
fn every_kind_is_read() {
    let auth = |what| Auth { what, user: b"", role: b"", keys: Keys::default(), permission: "" };
    let two = message().bytes(1, b"a").bytes(2, b"b").done();
    let permission = message().number(1, 2).bytes(2, b"k").bytes(3, b"l").done();
    let alarm = AlarmRequest { action: Action::Activate, member_id: 7, kind: AlarmKind::NoSpace };
    let put = message().bytes(1, b"k").bytes(2, b"v").number(3, u64::MAX).number(4, 1).number(5, 1);
    let table: Vec<(u64, Vec<u8>, Request<'_>, u64)> = vec![
        (3, two.clone(), Request::Range(keys(b"a", b"b")), 0),
        (
            4,
            put.done(),
            Request::Put(Put { key: b"k", value: b"v", lease: -1, ignore_value: true, ignore_lease: false }),
            1,
        ),
        (5, two.clone(), Request::DeleteRange(keys(b"a", b"b")), 1),
        (6, vec![], Request::Txn(Txn(b"")), 0),
        (7, message().number(1, 70).number(2, 1).done(), Request::Compaction { revision: 70 }, 0),
        (8, message().number(1, 60).number(2, 8).done(), Request::LeaseGrant { id: 8, ttl: 60 }, 0),
        (9, message().number(1, 8).done(), Request::LeaseRevoke { id: 8 }, 1),
        (10, message().number(1, 1).number(2, 7).number(3, 1).done(), Request::Alarm(alarm), 0),
        (11, vec![0x0a, 0], Request::LeaseCheckpoint, 0),
        (1000, vec![], Request::Auth(auth("auth_enable")), 0),
        // The second field is a password.
        (1012, two.clone(), Request::Auth(Auth { user: b"a", ..auth("authenticate") }), 0),
        (1100, two.clone(), Request::Auth(Auth { user: b"a", ..auth("auth_user_add") }), 0),
        (
            1104,
            two.clone(),
            Request::Auth(Auth { user: b"a", role: b"b", ..auth("auth_user_grant_role") }),
            0,
        ),
        (1107, vec![], Request::Auth(auth("auth_role_list")), 0),
        (1200, two.clone(), Request::Auth(Auth { role: b"a", ..auth("auth_role_add") }), 0),
        (
            1203,
            message().bytes(1, b"a").bytes(2, &permission).done(),
            Request::Auth(Auth {
                role: b"a",
                keys: keys(b"k", b"l"),
                permission: "readwrite",
                ..auth("auth_role_grant_permission")
            }),
            0,
        ),
        (
            1204,
            message().bytes(1, b"a").bytes(2, b"k").done(),
            Request::Auth(Auth { role: b"a", keys: keys(b"k", b""), ..auth("auth_role_revoke_permission") }),
            0,
        ),
        (1300, two.clone(), Request::ClusterVersion { version: b"a" }, 0),
        (
            1301,
            message().number(1, 7).bytes(2, &two).done(),
            Request::MemberAttributes { member_id: 7, name: b"a" },
            0,
        ),
        (1302, vec![], Request::Other("downgrade_info_set"), 0),
        (9900, vec![], Request::Other("downgrade_version_test"), 0),
    ];
    for (field, body, expected, moves) in table {
        let data = entry(field, &body);
        let request = Request::of(&data).unwrap();
        assert_eq!((&request, request.may_move_revision()), (&expected, moves), "{field}");
        assert_eq!(name_of(field), Some(request.name()));
        assert_eq!(request.alarm().is_some(), field == 10);
        assert_eq!(user(&data).unwrap(), b"alice");
    }
    assert_eq!(Request::of(&message().number(1, 3).done()).unwrap(), Request::Other(""));
    assert_eq!(Request::of(&entry(55, b"")).unwrap_err().to_string(), "field 55 is no request of 3.x");
    assert!(Request::of(&entry(4, &[0x0a, 9])).is_err());
}

#[test]
fn a_transaction_is_read_part_by_part() {
    let compare = |result, target| message().number(1, result).number(2, target).bytes(3, b"k");
    let operation = |field, body: &[u8]| message().bytes(field, body).done();
    let (put, range) = (message().bytes(1, b"k").bytes(2, b"v").done(), message().bytes(1, b"k").done());
    let txn = message()
        .bytes(1, &compare(0, 2).number(6, 12).done())
        .bytes(1, &compare(1, 0).number(4, 3).done())
        .bytes(1, &compare(2, 1).number(5, 4).done())
        .bytes(1, &compare(3, 3).bytes(7, b"v").bytes(64, b"l").done())
        .bytes(1, &compare(0, 4).number(8, u64::MAX).done())
        .bytes(2, &operation(2, &put))
        .bytes(2, &operation(3, &range))
        .bytes(3, &operation(1, &range))
        .bytes(3, &operation(4, b""))
        .done();
    let data = entry(6, &txn);
    let Request::Txn(txn) = Request::of(&data).unwrap() else { panic!("no txn") };
    let compares: Vec<_> = txn
        .compares()
        .map(|c| c.map(|c| format!("{} {} {} {:?}", c.target, c.result, c.number, c.value)).unwrap())
        .collect();
    assert_eq!(
        compares,
        ["mod = 12 []", "version > 3 []", "create < 4 []", "value != 0 [118]", "lease = -1 []"]
    );
    let names =
        |all: Vec<Result<Request<'_>>>| -> Vec<&str> { all.into_iter().map(|r| r.unwrap().name()).collect() };
    assert_eq!(names(txn.success().collect()), ["put", "delete_range"]);
    assert_eq!(names(txn.failure().collect()), ["range", "txn"]);
}

#[test]
fn a_transaction_moves_the_revision_if_any_part_writes() {
    let operation = |field, body: &[u8]| message().bytes(field, body).done();
    let (put, range) = (operation(2, b""), operation(1, b""));
    let mut deep = message().bytes(2, &range).done();
    for _ in 0..40 {
        deep = message().bytes(2, &operation(4, &deep)).done();
    }
    let inner = operation(4, &message().bytes(3, &put).done());
    for (txn, moves) in [
        (message().done(), 0),
        (message().bytes(2, &range).bytes(3, &range).done(), 0),
        (message().bytes(2, &put).done(), 1),
        (message().bytes(2, &range).bytes(3, &put).done(), 1),
        (message().bytes(3, &operation(3, b"")).done(), 1),
        (message().bytes(3, &inner).done(), 1),
        (message().bytes(3, &operation(4, &message().bytes(3, &range).done())).done(), 0),
        // Too deep to be looked through, and damaged: it may.
        (deep, 1),
        (message().bytes(2, &[0x0a, 9]).done(), 1),
    ] {
        let data = entry(6, &txn);
        assert_eq!(Request::of(&data).unwrap().may_move_revision(), moves, "{txn:02x?}");
    }
}

#[test]
fn the_keys_that_may_be_set_are_found_in_transactions_too() {
    let put = |key: &[u8]| message().bytes(1, key).bytes(2, b"/a/value").done();
    let operation = |field, body: &[u8]| message().bytes(field, body).done();
    let txn = |list, operation: &[u8]| message().bytes(list, operation).done();
    let (ours, other) = (operation(2, &put(b"/a/k")), operation(2, &put(b"/b/a/k")));
    let compare = message().number(1, 0).number(2, 2).bytes(3, b"/a/k").number(6, 12).done();
    for (field, body, may) in [
        (4, put(b"/a/k"), true),
        (4, put(b"/b/a/k"), false),
        (3, put(b"/a/k"), false),
        (5, put(b"/a/k"), false),
        (6, txn(1, &compare), false),
        (6, txn(2, &ours), true),
        (6, txn(3, &ours), true),
        (6, txn(2, &other), false),
        (6, txn(2, &operation(3, &put(b"/a/k"))), false),
        (6, txn(2, &operation(4, &txn(3, &ours))), true),
        (6, txn(2, &operation(4, &txn(3, &other))), false),
        (8, vec![], false),
    ] {
        let data = entry(field, &body);
        assert_eq!(Request::of(&data).unwrap().may_put_below(b"/a/"), may, "{field} {body:02x?}");
    }
}

#[test]
fn no_bytes_panic() {
    let compare = message().number(1, 0).number(2, 2).bytes(3, b"k").number(6, 12).done();
    let put = message().bytes(2, &message().bytes(1, b"k").bytes(2, b"v").done()).done();
    let whole = entry(6, &message().bytes(1, &compare).bytes(2, &put).bytes(3, &put).done());
    for at in 0..whole.len() {
        for flip in 1..=255 {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            if let Ok(Request::Txn(txn)) = Request::of(&bytes) {
                let _ = (txn.compares().count(), txn.success().count(), txn.failure().count());
                let _ = (Request::Txn(txn).may_move_revision(), Request::Txn(txn).may_put_below(b"k"));
            }
        }
        let _ = (Request::of(&whole[..at]), user(&whole[..at]));
    }
}
