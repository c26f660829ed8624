//! Every decoder of `src/etcd/proto.rs` over the same message: what one takes, it writes again as it was.
#![no_main]

use etcd2_backup::etcd::members::{self, Change};
use etcd2_backup::etcd::proto::{ConfChange, Entry, HardState, LogPosition, Metadata, SnapshotMetadata};
use etcd2_backup::etcd::request::{self, Payload};
use etcd2_backup::etcd::v3::alarms::Alarms;
use etcd2_backup::etcd::v3::mvcc::KeyValue;
use etcd2_backup::etcd::v3::requests::Request;
use etcd2_backup::etcd::wire::{Encoder, Fields, Message, Value};
use etcd2_backup::inspect::v3_entry::V3Entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = Metadata::decode(data) {
        assert_eq!(message.encode(), data);
    }
    if let Ok(message) = HardState::decode(data) {
        assert_eq!(message.encode(), data);
    }
    if let Ok(message) = LogPosition::decode(data) {
        // 3.5's voters are left out.
        let again = message.encode();
        assert!(data.starts_with(&again) && LogPosition::decode(&again).ok() == Some(message));
    }
    if let Ok(message) = Entry::decode(data) {
        let again = message.encode();
        // 2.0 writes empty data, others none.
        assert!(again == data || message.data.is_empty() && [&again[..], &[0x22, 0]].concat() == data);
        let _ = Change::decode(message.index, message.data);
    }
    if let Ok(message) = ConfChange::decode(data) {
        let request = Message::new(data).number(1).expect("it was decoded");
        let again = message.encode(request);
        assert!(again == data || message.context.is_empty() && [&again[..], &[0x22, 0]].concat() == data);
        let change = Change::decode(1, data).expect("it was decoded");
        if let Ok(all) = members::follow(&[7], Default::default(), std::slice::from_ref(&change)) {
            assert!(all.len() <= 2);
            assert_eq!(members::follow(&[], all.clone(), &[]).ok(), Some(all));
        }
    }
    if let Ok(message) = SnapshotMetadata::decode(data) {
        assert!(message.members.len() <= data.len() / 2);
    }
    let (payload, _) = (Payload::of(data), request::Effect::of(data));
    assert_eq!(payload == Payload::NoOp, data.is_empty());
    if let Ok(request) = Request::of(data) {
        assert!(request.may_move_revision() <= 1);
        let mut alarms = Alarms::default();
        request.alarm().into_iter().for_each(|alarm| alarms.apply(alarm));
        assert!(alarms.0.len() <= 1);
    }
    for values in [false, true] {
        if let Ok(told) = V3Entry::of(data, values) {
            assert!(!told.to_string().contains('\n'), "an entry is one line");
            serde_json::to_string(&told).expect("any entry is JSON");
        }
    }
    let _ = KeyValue::decode(data);
    if let Ok(fields) = Fields::new(data).collect::<Result<Vec<_>, _>>()
        && fields.iter().all(|f| f.1 != Value::Fixed)
    {
        let again = fields.iter().fold(Encoder::default(), |e, (field, value)| match value {
            Value::Varint(n) => e.number(*field, *n),
            Value::Bytes(b) => e.bytes(*field, b),
            Value::Fixed => e,
        });
        assert_eq!(again.done(), data, "there is one way to write a message");
    }
});
