//! The messages of etcd's WAL and snapshots (walpb, raftpb, proto2), decoded from and encoded to bytes.
//!
//! etcd always emits its non-nullable scalars, even 0, in field order, and so does the encoder here: what it writes is
//! byte for byte what etcd would write. And a decoder takes nothing else: a record's type is not covered by its CRC, and
//! with another type its payload would be read as a message that it is not.

use std::cmp::Ordering;

use anyhow::{Result, bail, ensure};

use super::wire::{Encoder, Fields, Head, Message, shortest};

/// etcdserverpb.Metadata: in the second record of every segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The member whose log this is.
    pub member_id: u64,
    /// Its cluster.
    pub cluster_id: u64,
}

impl Metadata {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &[u8]) -> Result<Self> {
        let mut message = Message::new(message);
        let this = Self { member_id: message.number(1)?, cluster_id: message.number(2)? };
        message.end()?;
        Ok(this)
    }

    /// Encodes it.
    pub fn encode(self) -> Vec<u8> {
        Encoder::default().number(1, self.member_id).number(2, self.cluster_id).done()
    }
}

/// raftpb.HardState: the last one of a log is valid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HardState {
    /// Raft's term.
    pub term: u64,
    /// Whom the member voted for in it, 0 for nobody.
    pub vote: u64,
    /// The last index known to be committed when this was written; acknowledged entries may lie behind it.
    pub commit: u64,
}

impl HardState {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &[u8]) -> Result<Self> {
        let mut message = Message::new(message);
        let this = Self { term: message.number(1)?, vote: message.number(2)?, commit: message.number(3)? };
        message.end()?;
        Ok(this)
    }

    /// Encodes it.
    pub fn encode(self) -> Vec<u8> {
        Encoder::default().number(1, self.term).number(2, self.vote).number(3, self.commit).done()
    }
}

/// An index of the log and the term it was written in: walpb.Snapshot, and the position of a `.snap` file. Of two logs of a
/// cluster the one that ends in the later term is newer, whatever its index: that is raft's order, and this type's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LogPosition {
    /// Raft index.
    pub index: u64,
    /// Raft term.
    pub term: u64,
}

impl Ord for LogPosition {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.term, self.index).cmp(&(other.term, other.index))
    }
}

impl PartialOrd for LogPosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl LogPosition {
    /// Decodes a walpb.Snapshot (3.5 adds a third field, which says nothing new).
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &[u8]) -> Result<Self> {
        let mut message = Message::new(message);
        let this = Self { index: message.number(1)?, term: message.number(2)? };
        conf_state(message.optional_bytes(3)?)?;
        message.end()?;
        Ok(this)
    }

    /// Encodes it as a walpb.Snapshot.
    pub fn encode(self) -> Vec<u8> {
        Encoder::default().number(1, self.index).number(2, self.term).done()
    }

    /// The same with a ConfState, as etcd 3.5 writes it.
    pub fn encode_with(self, conf_state: &[u8]) -> Vec<u8> {
        Encoder::default().number(1, self.index).number(2, self.term).bytes(3, conf_state).done()
    }
}

/// What an entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An operation on the store.
    Normal,
    /// A change of membership.
    ConfChange,
    /// raftpb.EntryConfChangeV2 or newer; no etcd up to 3.5 writes it.
    Other(u64),
}

/// raftpb.Entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What `data` is.
    pub kind: EntryKind,
    /// Term it was appended in.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// Empty for the no-op entry of a new leader.
    pub data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &'a [u8]) -> Result<Self> {
        if let Some(usual) = Self::usual(message) {
            return Ok(usual);
        }
        let mut message = Message::new(message);
        let kind = match message.number(1)? {
            0 => EntryKind::Normal,
            1 => EntryKind::ConfChange,
            other => EntryKind::Other(other),
        };
        let (term, index) = (message.number(2)?, message.number(3)?);
        let this = Self { kind, term, index, data: message.optional_bytes(4)? };
        message.end()?;
        Ok(this)
    }

    /// The form that etcd gives to nearly all entries, when all that is in front of the data fits in 16 bytes.
    #[inline(always)]
    pub(super) fn usual(message: &'a [u8]) -> Option<Self> {
        let mut head = Head::new(*message.first_chunk()?);
        let kind = match head.three() {
            0x10_0008 => EntryKind::Normal,
            0x10_0108 => EntryKind::ConfChange,
            _ => return None,
        };
        let term = shortest(head.number())?;
        let index_follows = head.byte() == 0x18;
        let index = shortest(head.number())?;
        let data_follows = head.byte() == 0x22;
        let size = shortest(head.number())?;
        if !index_follows || !data_follows || head.taken > 16 {
            return None;
        }
        let data = message.get(head.taken..)?;
        (data.len() as u64 == size).then_some(Self { kind, term, index, data })
    }

    /// Encodes it.
    pub fn encode(self) -> Vec<u8> {
        let kind = match self.kind {
            EntryKind::Normal => 0,
            EntryKind::ConfChange => 1,
            EntryKind::Other(other) => other,
        };
        let message = Encoder::default().number(1, kind).number(2, self.term).number(3, self.index);
        if self.data.is_empty() { message.done() } else { message.bytes(4, self.data).done() }
    }
}

/// What a raftpb.ConfChange does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfChangeKind {
    /// A new voter.
    Add,
    /// A voter leaves for good.
    Remove,
    /// A voter's peer URLs change.
    Update,
    /// A learner (3.4 and later).
    AddLearner,
}

/// raftpb.ConfChange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfChange<'a> {
    /// What happens.
    pub kind: ConfChangeKind,
    /// To whom.
    pub member_id: u64,
    /// JSON of the member for Add and Update, empty for Remove.
    pub context: &'a [u8],
}

impl<'a> ConfChange<'a> {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message, or a kind that etcd 3.5 does not know.
    pub fn decode(message: &'a [u8]) -> Result<Self> {
        let mut message = Message::new(message);
        message.number(1)?;
        let kind = match message.number(2)? {
            0 => ConfChangeKind::Add,
            1 => ConfChangeKind::Remove,
            2 => ConfChangeKind::Update,
            3 => ConfChangeKind::AddLearner,
            other => bail!("membership change of kind {other} does not exist"),
        };
        let this = Self { kind, member_id: message.number(3)?, context: message.optional_bytes(4)? };
        message.end()?;
        Ok(this)
    }

    /// Encodes it, with `request` as its request ID.
    pub fn encode(self, request: u64) -> Vec<u8> {
        let message =
            Encoder::default().number(1, request).number(2, self.kind as u64).number(3, self.member_id);
        if self.context.is_empty() { message.done() } else { message.bytes(4, self.context).done() }
    }
}

/// The metadata of a raftpb.Snapshot: where it is in the log, and the voters at that point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotMetadata {
    /// The last entry that the snapshot contains.
    pub position: LogPosition,
    /// Voters and learners (field 1 of the ConfState has the same meaning in all versions).
    pub members: Vec<u64>,
    /// The ConfState that says so, as it is.
    pub conf_state: Vec<u8>,
}

impl SnapshotMetadata {
    /// Decodes a raftpb.SnapshotMetadata.
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &[u8]) -> Result<Self> {
        let mut message = Message::new(message);
        let (members, conf_state) = match message.optional(1)? {
            Some(conf) => (conf_state(conf.bytes()?)?, conf.bytes()?.to_vec()),
            None => bail!("no voters"),
        };
        let position = LogPosition { index: message.number(2)?, term: message.number(3)? };
        message.end()?;
        Ok(Self { position, members, conf_state })
    }
}

/// Voters and learners of a raftpb.ConfState: 1 voters, 2 learners, each ID a field of its own; since 3.4 also 3 to 5 of
/// joint consensus, which etcd does not use: 3 and 4 would repeat IDs of fields 1 and 2.
fn conf_state(message: &[u8]) -> Result<Vec<u64>> {
    let (mut members, mut before) = (Vec::new(), 1);
    for field in Fields::new(message) {
        let (field, value) = field?;
        ensure!((before..=5).contains(&field), "field {field} is not expected among the voters");
        let id = value.number()?;
        if field <= 2 {
            members.push(id);
        }
        before = field;
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
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
}
