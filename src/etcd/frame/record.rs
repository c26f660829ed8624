//! The bytes of one record: what its frame's length may be, what its head says, and whether the two agree.

use super::super::wire::{Head, shortest};
use super::{Kind, Stop};

/// No version of etcd writes a larger record. A v2 request comes in one form of at most 10 MiB (Go's limit) and a URL of
/// at most 1 MiB (Go's limit for a header), the rest are numbers. 3.2.32, 3.3 and later refuse from 10 MiB on what they
/// themselves may have written.
pub(super) const MAX_RECORD_BYTES: u64 = (11 << 20) + (64 << 10);
/// Type, CRC and size of the largest record take no more.
const HEAD_BYTES: usize = 16;
/// A frame's length, and all that may tell that it is a wrong one.
pub(in crate::etcd) const FIRST_BYTES: usize = 8 + HEAD_BYTES;

/// Length of a record and of its padding. Padding is always to a multiple of 8, and never said to be none.
#[inline(always)]
pub(super) fn lengths(field: u64) -> Option<(usize, usize)> {
    let (length, top) = (field & !(0xff << 56), field >> 56);
    let padding = length.wrapping_neg() & 7;
    let right = top == 0 || (padding > 0 && top == 0x80 | padding);
    let padding = if top == 0 { 0 } else { padding };
    (right && length <= MAX_RECORD_BYTES).then_some((length as usize, padding as usize))
}

#[cold]
pub(super) fn wrong_length(field: u64) -> Stop {
    Stop::Corrupt(format!("length {} with the top byte {:#04x}", field & !(0xff << 56), field >> 56))
}

/// The length that a record says it has, where that is another one than its frame has. `body` is what follows the frame's
/// length, as far as it is there. Who writes forward never leaves that: a head whose end is not written yet says nothing.
pub(super) fn contradiction(length: usize, body: &[u8]) -> Option<usize> {
    announced(&body[..body.len().min(HEAD_BYTES)]).filter(|&other| other != length)
}

/// How many bytes a frame has without its padding, by its first ones, as many as are there: `None` if no frame of etcd
/// begins like this, however much of it is still to be written. Zeros may be there already where they are not written.
pub(in crate::etcd) fn promised(first: &[u8]) -> Option<u64> {
    let (field, body) = first.split_first_chunk()?;
    let field = u64::from_le_bytes(*field);
    let (length, _) = lengths(field)?;
    contradiction(length, body).is_none().then_some(8 + length as u64)
}

/// The length that the head of a record announces, if the head is there and one that etcd writes. Zeros at its end are not
/// counted as there, and no payload of etcd is empty: both may be what was there before.
fn announced(head: &[u8]) -> Option<usize> {
    let written = head.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    let mut head = head_of(&head[..written]);
    let kind = kind_of(head.three())?;
    shortest(head.number())?;
    if kind == Kind::Crc {
        return (head.taken <= written).then_some(head.taken);
    }
    let data_follows = head.byte() == 0x1a;
    let size = shortest(head.number())?;
    (data_follows && size > 0 && head.taken <= written).then_some(head.taken + size as usize)
}

/// A record's message, taken apart.
pub(super) struct Parsed {
    /// What it is.
    pub(super) kind: Kind,
    /// The rolling CRC behind it.
    pub(super) crc: u32,
    /// Where in the message the payload begins; it goes to the end.
    pub(super) data: usize,
}

/// Type, CRC and payload, in this order and nothing else, each number in as few bytes as it needs: no version of etcd
/// writes a record in another way, so what is different is damaged.
#[inline(always)]
pub(super) fn parse(message: &[u8]) -> Option<Parsed> {
    let mut head = head_of(message);
    let kind = kind_of(head.three())?;
    let crc = u32::try_from(shortest(head.number())?).ok()?;
    if head.taken == message.len() {
        return Some(Parsed { kind, crc, data: head.taken });
    }
    let data_follows = head.byte() == 0x1a && kind != Kind::Crc;
    let size = shortest(head.number())?;
    let whole = head.taken as u64 + size == message.len() as u64;
    (data_follows && whole).then_some(Parsed { kind, crc, data: head.taken })
}

/// What is in front of the payload.
#[inline(always)]
fn head_of(message: &[u8]) -> Head {
    Head::new(match message.first_chunk() {
        Some(head) => *head,
        None => short_head(message),
    })
}

/// The kind of a record that begins with these three bytes, lowest first: field 1, its value, field 2.
#[inline(always)]
fn kind_of(three: u32) -> Option<Kind> {
    Some(match three {
        0x10_0108 => Kind::Metadata,
        0x10_0208 => Kind::Entry,
        0x10_0308 => Kind::HardState,
        0x10_0408 => Kind::Crc,
        0x10_0508 => Kind::Snapshot,
        _ => return None,
    })
}

/// A message that is shorter than the longest head, with bytes behind it that end no number.
#[cold]
fn short_head(message: &[u8]) -> [u8; 16] {
    let mut head = [0xff; 16];
    head[..message.len()].copy_from_slice(message);
    head
}
