use super::*;

#[test]
fn a_later_term_is_newer_than_a_longer_log() {
    let at = |term, index| LogPosition { index, term };
    let newer_than = [(at(2, 70), at(3, 56)), (at(2, 70), at(2, 71)), (at(0, 0), at(1, 0))];
    assert!(newer_than.iter().all(|(older, newer)| older < newer));
}

#[test]
fn messages_survive_encoding_and_decoding() {
    let metadata = Metadata { member_id: u64::MAX, cluster_id: 7 };
    assert_eq!(Metadata::decode(&metadata.encode()).unwrap(), metadata);
    let state = HardState { term: 3, vote: 0, commit: 300 };
    assert_eq!(HardState::decode(&state.encode()).unwrap(), state);
    let position = LogPosition { index: 1 << 40, term: 2 };
    assert_eq!(LogPosition::decode(&position.encode()).unwrap(), position);
    let change = ConfChange { kind: ConfChangeKind::Remove, member_id: 9, context: b"" };
    let encoded = change.encode(1);
    assert_eq!(ConfChange::decode(&encoded).unwrap(), change);
    let entry = Entry { kind: EntryKind::ConfChange, term: 2, index: 5, data: &encoded };
    assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
}

#[test]
fn entries_with_numbers_of_every_length_survive() {
    for index in (0..64).map(|bits| u64::MAX >> bits) {
        for (term, data) in [(2, &[7; 100][..]), (index, &[7; 300]), (index, b"")] {
            let entry = Entry { kind: EntryKind::ConfChange, term, index, data };
            assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
        }
    }
}

/// The way that nearly all entries take is as strict as the other.
#[test]
fn an_entry_has_no_number_longer_than_it_needs() {
    let long = |n: u8| [n | 0x80, 0];
    let data = [7; 100];
    let whole = [&[8, 0, 0x10, 2, 0x18, 3, 0x22, 100][..], &data].concat();
    assert_eq!(Entry::decode(&whole).unwrap().index, 3);
    for at in [1, 3, 5, 7] {
        let longer = [&whole[..at], &long(whole[at]), &whole[at + 1..]].concat();
        let error = Entry::decode(&longer).unwrap_err();
        assert_eq!(error.to_string(), "a number has more bytes than it needs", "{at}");
    }
}

#[test]
fn zero_scalars_are_written_as_etcd_writes_them() {
    assert_eq!(LogPosition::default().encode(), [0x08, 0, 0x10, 0]);
    assert_eq!(HardState::default().encode(), [0x08, 0, 0x10, 0, 0x18, 0]);
}

#[test]
fn damaged_messages_are_refused() {
    let table: [(&[u8], &str); 9] = [
        (&[0x08], "a number is cut off"),
        (&[0x08, 0x80], "a number is cut off"),
        (&[0x0b, 0], "wire type 3 does not exist"),
        (&[0x00, 0], "field number 0 does not exist"),
        (&[8, 0, 0x10, 1, 0x18, 1, 0x22, 5, 1], "a field of 5 bytes is cut off after 1"),
        (&[0x0a, 0], "expected a number, found another wire type"),
        (&[8, 0, 0x10, 1, 0x18, 1, 0x18, 1], "field 3 is not expected here"),
        (&[8, 0, 0x10, 1, 0x22, 0], "the number of field 3 is missing"),
        (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "a number has more than 64 bits"),
    ];
    for (bytes, message) in table {
        let error = Entry::decode(bytes).unwrap_err();
        assert_eq!(error.to_string(), message, "{bytes:02x?}");
    }
}

/// With a flipped type a record's payload is offered to another decoder; its CRC is right.
#[test]
fn no_message_is_taken_for_another() {
    let entry = |data| Entry { kind: EntryKind::Normal, term: 2, index: 9, data }.encode();
    let all: [(&str, Vec<u8>); 5] = [
        ("Metadata LogPosition", Metadata { member_id: 3, cluster_id: 4 }.encode()),
        ("HardState Entry", HardState { term: 1, vote: 3, commit: 8 }.encode()),
        ("Metadata LogPosition", LogPosition { index: 8, term: 2 }.encode()),
        ("Entry", entry(b"x")),
        // Three numbers, as a hard state has: the log tells them apart, by the term that went back to 0.
        ("HardState Entry", entry(b"")),
    ];
    for (takers, message) in all {
        let taken = [
            ("Metadata", Metadata::decode(&message).is_ok()),
            ("HardState", HardState::decode(&message).is_ok()),
            ("LogPosition", LogPosition::decode(&message).is_ok()),
            ("Entry", Entry::decode(&message).is_ok()),
            ("SnapshotMetadata", SnapshotMetadata::decode(&message).is_ok()),
        ];
        for (name, taken) in taken {
            assert_eq!(taken, takers.split(' ').any(|t| t == name), "{name} of {message:02x?}");
        }
    }
}

#[test]
fn what_some_versions_write_and_others_do_not_is_taken() {
    // 2.0 writes empty data and contexts, later versions leave them out; 3.5 adds voters to a snapshot record.
    assert_eq!(Entry::decode(&[8, 0, 0x10, 2, 0x18, 3, 0x22, 0]).unwrap().data, b"");
    let change = [8, 1, 0x10, 1, 0x18, 9];
    let with_context = [&change[..], &[0x22, 0]].concat();
    assert_eq!(ConfChange::decode(&change).unwrap(), ConfChange::decode(&with_context).unwrap());
    let plain = LogPosition { index: 100, term: 2 };
    let conf = Encoder::default().number(1, 7).number(5, 0).done();
    let newer = Encoder::default().number(1, 100).number(2, 2).bytes(3, &conf).done();
    assert_eq!(LogPosition::decode(&newer).unwrap(), plain);
}

#[test]
fn snapshot_metadata_lists_the_members() {
    let conf = Encoder::default().number(1, 11).number(1, 12).done();
    let message = Encoder::default().bytes(1, &conf).number(2, 100).number(3, 4).done();
    let metadata = SnapshotMetadata::decode(&message).unwrap();
    assert_eq!(metadata.position, LogPosition { index: 100, term: 4 });
    assert_eq!(metadata.members, [11, 12]);
    assert_eq!(metadata.conf_state, conf);
    let record = metadata.position.encode_with(&metadata.conf_state);
    assert_eq!(record, [&metadata.position.encode()[..], &[0x1a, 4, 8, 11, 8, 12]].concat());
    assert_eq!(LogPosition::decode(&record).unwrap(), metadata.position);
}
