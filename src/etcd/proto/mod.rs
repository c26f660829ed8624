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
mod tests;
