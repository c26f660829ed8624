use super::*;
use crate::etcd::proto::{ConfChange, ConfChangeKind};
use crate::etcd::wire::Encoder;

fn add(log: &mut Log, kind: Kind, data: &[u8]) -> Result<()> {
    add_at(log, 80, kind, data)
}

fn add_at(log: &mut Log, start: u64, kind: Kind, data: &[u8]) -> Result<()> {
    log.add(&Record { kind, data, start, end: start + 8, crc_before: 0, crc: 0, padded: false })
}

fn entries(indexes: &[u64]) -> Log {
    let mut log = Log::default();
    for &index in indexes {
        let entry = Entry { kind: EntryKind::Normal, term: 1, index, data: &[] };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
    }
    log
}

#[test]
fn runs_overwrites_and_jumps() {
    let table: [(&[u64], u64, Option<u64>, bool); 5] = [
        (&[], 7, None, true),
        (&[1, 2, 3], 0, Some(1), true),
        (&[1, 2, 3, 3, 4], 0, Some(1), true),
        (&[60, 61, 7036, 7037], 61, Some(7036), false),
        (&[60, 61, 7036, 7037], 7035, Some(7036), true),
    ];
    for (indexes, base, first, continues) in table {
        let log = entries(indexes);
        assert_eq!((log.run_first, log.continues(base)), (first, continues), "{indexes:?} behind {base}");
        assert_eq!(log.last.index, indexes.last().copied().unwrap_or(0));
    }
}

#[test]
fn a_snapshot_ahead_of_all_entries_was_received_and_nothing_older_reaches_it() {
    let mut log = entries(&[60, 61]);
    let snapshot = |log: &mut Log, index| {
        add(log, Kind::Snapshot, &LogPosition { index, term: 1 }.encode()).unwrap();
        (log.received(), log.continues(61), log.continues(7035))
    };
    assert_eq!(snapshot(&mut log, 61), (None, true, true));
    assert_eq!(snapshot(&mut log, 7035), (Some(7035), false, true));
    assert_eq!(snapshot(&mut log, 7100), (Some(7100), false, false));
    let entry = Entry { kind: EntryKind::Normal, term: 1, index: 7101, data: &[] };
    add(&mut log, Kind::Entry, &entry.encode()).unwrap();
    assert_eq!((log.received(), log.continues(7035), log.continues(7100)), (None, false, true));
}

#[test]
fn an_overwritten_membership_entry_is_forgotten() {
    let mut log = entries(&[1, 2]);
    let change = ConfChange { kind: ConfChangeKind::Remove, member_id: 9, context: &[] }.encode(1);
    let entry = Entry { kind: EntryKind::ConfChange, term: 1, index: 3, data: &change };
    add(&mut log, Kind::Entry, &entry.encode()).unwrap();
    assert_eq!(log.changes.len(), 1);
    let entry = Entry { kind: EntryKind::Normal, term: 2, index: 3, data: &[] };
    add(&mut log, Kind::Entry, &entry.encode()).unwrap();
    assert_eq!((log.changes.len(), log.last), (0, LogPosition { index: 3, term: 2 }));
}

#[test]
fn the_first_valid_write_to_the_v3_store_is_remembered() {
    let put = Encoder::default().number(1, 9).bytes(4, b"").done();
    let v2 = Encoder::default().number(1, 9).bytes(2, b"PUT").done();
    let mut log = Log::default();
    let mut write = |index, data: &[u8]| {
        let entry = Entry { kind: EntryKind::Normal, term: 1, index, data };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        log.v3_write.map(|w| (w.index, w.request))
    };
    for (index, data, first) in [
        (1, &v2, None),
        (2, &put, Some((2, "put"))),
        (3, &put, Some((2, "put"))),
        (2, &v2, None),
        (3, &put, Some((3, "put"))),
    ] {
        assert_eq!(write(index, data), first, "behind {index}");
    }
}

#[test]
fn a_key_of_kubernetes_is_remembered() {
    let mut log = Log::default();
    for (index, key, seen) in [(1, "/other", false), (2, "/registry/pods/a", true), (3, "/other", true)] {
        let put = Encoder::default().bytes(1, key.as_bytes()).bytes(2, b"/registry/").done();
        let data = &Encoder::default().number(1, 9).bytes(4, &put).done();
        let entry = Entry { kind: EntryKind::Normal, term: 1, index, data };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        assert_eq!(log.kubernetes, seen, "{key}");
    }
}

#[test]
fn writes_are_told_from_what_a_quiet_cluster_logs() {
    let sync = Encoder::default().number(1, 9).bytes(2, b"SYNC").number(15, 77).done();
    let read = Encoder::default().number(1, 9).bytes(2, b"QGET").done();
    let put = Encoder::default().number(1, 9).bytes(2, b"PUT").done();
    let member = ConfChange { kind: ConfChangeKind::Remove, member_id: 9, context: &[] }.encode(1);
    let (normal, change) = (EntryKind::Normal, EntryKind::ConfChange);
    let table: [(u64, u64, EntryKind, &[u8], u64); 7] = [
        (1, 1, normal, &[], 0),
        (2, 1, normal, &sync, 0),
        (3, 1, normal, &read, 0),
        (4, 1, normal, &put, 1),
        (5, 1, change, &member, 2),
        // It takes a write back, which the archive may have.
        (4, 2, normal, &[], 3),
        (5, 2, normal, &sync, 3),
    ];
    let mut log = Log::default();
    for (index, term, kind, data, writes) in table {
        add(&mut log, Kind::Entry, &Entry { kind, term, index, data }.encode()).unwrap();
        assert_eq!(log.writes, writes, "behind {index} of term {term}");
    }
    assert_eq!((log.entries, log.sync_time), (7, Some(77)));
}

#[test]
fn an_entry_of_an_unknown_kind_is_refused() {
    let entry = Entry { kind: EntryKind::Other(2), term: 1, index: 1, data: &[] };
    let error = add(&mut Log::default(), Kind::Entry, &entry.encode()).unwrap_err();
    assert_eq!(crate::exit::exit_of(&error), Exit::Refused);
    let entry = Entry { kind: EntryKind::Other(3), ..entry };
    let error = add(&mut Log::default(), Kind::Entry, &entry.encode()).unwrap_err();
    assert_eq!(crate::exit::exit_of(&error), Exit::Failed);
}

#[test]
fn segments_of_two_members_are_refused() {
    let mut log = Log::default();
    let mut segment = |cluster_id| {
        add_at(&mut log, 0, Kind::Crc, b"")?;
        add_at(&mut log, 14, Kind::Metadata, &Metadata { member_id: 1, cluster_id }.encode())?;
        add(&mut log, Kind::Snapshot, &LogPosition::default().encode())
    };
    segment(2).unwrap();
    segment(2).unwrap();
    assert_eq!(segment(3).unwrap_err().to_string(), "the log's segments belong to different members");
}

#[test]
fn a_segment_begins_with_crc_and_ids_and_has_neither_further_on() {
    use Kind::{Crc, Entry, Metadata};
    let table: [(&[(u64, Kind)], bool); 7] = [
        (&[(0, Crc), (14, Metadata), (40, Entry), (0, Crc), (14, Metadata)], true),
        (&[(0, Entry)], false),
        (&[(0, Metadata)], false),
        (&[(0, Crc), (14, Entry)], false),
        (&[(0, Crc), (0, Crc)], false),
        (&[(0, Crc), (14, Metadata), (40, Metadata)], false),
        (&[(0, Crc), (14, Metadata), (40, Crc)], false),
    ];
    for (records, legal) in table {
        let mut log = Log::default();
        let added = records.iter().try_for_each(|&(start, kind)| match kind {
            Metadata => {
                add_at(&mut log, start, kind, &super::Metadata { member_id: 1, cluster_id: 2 }.encode())
            }
            Entry => add_at(&mut log, start, kind, &[8, 0, 0x10, 1, 0x18, 1]),
            _ => add_at(&mut log, start, kind, b""),
        });
        assert_eq!(added.is_ok(), legal, "{records:?}");
    }
}

#[test]
fn terms_and_commits_do_not_go_back() {
    let state = |log: &mut Log, term, commit| {
        add(log, Kind::HardState, &HardState { term, vote: 0, commit }.encode()).is_ok()
    };
    let entry = |log: &mut Log, term, index| {
        let entry = Entry { kind: EntryKind::Normal, term, index, data: &[] };
        add(log, Kind::Entry, &entry.encode()).is_ok()
    };
    let mut log = Log::default();
    assert!(state(&mut log, 2, 5) && state(&mut log, 2, 5) && state(&mut log, 3, 6));
    assert!(!state(&mut log, 2, 7) && !state(&mut log, 3, 5));

    assert!(entry(&mut log, 4, 8) && !entry(&mut log, 3, 9) && entry(&mut log, 4, 9));
    // A new leader's log may hold older terms than what it replaces, not than what stays.
    assert!(entry(&mut log, 6, 10) && entry(&mut log, 5, 10) && !entry(&mut log, 3, 9));
}

#[test]
fn a_snapshot_with_another_term_than_the_entry_replaces_all_before_it() {
    let log = |position: LogPosition| {
        let mut log = entries(&[1, 2, 3, 4]);
        let entry = Entry { kind: EntryKind::Normal, term: 9, index: 5, data: &[] };
        add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        add(&mut log, Kind::Snapshot, &position.encode()).unwrap();
        assert_eq!(log.replaced, !log.continues(0));
        (log.run_first, log.last.index, log.continues(0), log.continues(position.index))
    };
    for (index, term, expected) in [
        (3, 1, (Some(1), 5, true, true)),
        (5, 9, (Some(1), 5, true, true)),
        (0, 0, (Some(1), 5, true, true)),
        (5, 2, (Some(6), 5, false, true)),
        (3, 2, (Some(4), 3, false, true)),
    ] {
        assert_eq!(log(LogPosition { index, term }), expected, "{index} in {term}");
    }
    // What was before is not known when reading goes on, but that it was of no later term.
    let mut log = Log::behind(LogPosition { index: 70, term: 2 }, HardState::default());
    for (term, replaced) in [(2, false), (3, true)] {
        add(&mut log, Kind::Snapshot, &LogPosition { index: 65, term }.encode()).unwrap();
        assert_eq!(log.replaced, replaced, "{term}");
    }
    // Where not even its term is known, only what comes behind can speak against a snapshot.
    for (index, term, entry_term, replaced) in [
        (70, 2, None, false),
        (65, 9, None, false),
        (65, 3, Some(3), false),
        (70, 3, Some(3), false),
        (65, 4, Some(3), true),
    ] {
        let mut log = Log::behind_index(70, HardState::default());
        if let Some(term) = entry_term {
            let entry = Entry { kind: EntryKind::Normal, term, index: 71, data: &[] };
            add(&mut log, Kind::Entry, &entry.encode()).unwrap();
        }
        add(&mut log, Kind::Snapshot, &LogPosition { index, term }.encode()).unwrap();
        assert_eq!((log.replaced, log.run_first), (replaced, Some(if replaced { 66 } else { 71 })));
    }
}

#[test]
fn indexes_at_the_end_of_all_numbers_are_read() {
    for (index, legal) in
        [(0, false), (1, true), (MAX_INDEX, true), (MAX_INDEX + 1, false), (u64::MAX, false)]
    {
        let entry = Entry { kind: EntryKind::Normal, term: 1, index, data: &[] };
        assert_eq!(add(&mut Log::default(), Kind::Entry, &entry.encode()).is_ok(), legal, "{index}");
        let snapshot = LogPosition { index, term: 1 }.encode();
        assert_eq!(add(&mut Log::default(), Kind::Snapshot, &snapshot).is_ok(), legal || index == 0);
    }
    assert!(entries(&[MAX_INDEX]).continues(MAX_INDEX));
}
