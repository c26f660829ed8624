//! A log's segment as a script: records by their fields, each framed with a right CRC, then perhaps some damage.

use etcd2_backup::etcd::frame::{FrameReader, Kind};
use etcd2_backup::etcd::proto::{Entry, EntryKind, HardState, LogPosition, Metadata};
use etcd2_backup::etcd::wire::Encoder;

use crate::input::{Input, put_number, put_sized};

const METADATA: u8 = 1;
const ENTRY: u8 = 2;
const HARD_STATE: u8 = 3;
const CRC: u8 = 4;
const SNAPSHOT: u8 = 5;
/// A payload of any kind, with a right CRC.
const ANY: u8 = 6;
/// Bytes as they are.
const RAW: u8 = 7;
const ZEROS: u8 = 8;
const CUT: u8 = 9;
const FLIP: u8 = 10;
/// Added to a record's step: 3.x's padding.
const PADDED: u8 = 0x80;

/// Writes the segment that a script describes; `crc` is the rolling CRC before and behind it.
pub fn write(mut script: Input<'_>, crc: &mut u32) -> Vec<u8> {
    let mut out = Vec::new();
    while !script.0.is_empty() {
        let step = script.byte();
        let padded = step & PADDED != 0;
        let mut record = |kind: u8, data: &[u8]| frame(&mut out, crc, kind, Some(data), padded);
        match step & !PADDED {
            METADATA => {
                let (member_id, cluster_id) = (script.number(8), script.number(8));
                record(METADATA, &Metadata { member_id, cluster_id }.encode());
            }
            ENTRY => {
                let kind = match script.byte() {
                    0 => EntryKind::Normal,
                    1 => EntryKind::ConfChange,
                    other => EntryKind::Other(other.into()),
                };
                let (term, index, data) = (script.number(2), script.number(8), script.sized(2));
                record(ENTRY, &Entry { kind, term, index, data }.encode());
            }
            HARD_STATE => {
                let (term, vote, commit) = (script.number(2), script.number(8), script.number(8));
                record(HARD_STATE, &HardState { term, vote, commit }.encode());
            }
            CRC => frame(&mut out, crc, CRC, None, padded),
            SNAPSHOT => {
                let (index, term) = (script.number(8), script.number(2));
                record(SNAPSHOT, &LogPosition { index, term }.encode());
            }
            ANY => {
                let kind = script.byte();
                record(kind, script.sized(2));
            }
            RAW => out.extend_from_slice(script.sized(2)),
            ZEROS => out.resize(out.len() + script.number(2) as usize, 0),
            CUT => out.truncate(out.len().saturating_sub(script.number(2) as usize)),
            FLIP => {
                let at = out.len().checked_sub(1 + script.number(2) as usize);
                let mask = script.byte();
                if let Some(byte) = at.and_then(|at| out.get_mut(at)) {
                    *byte ^= mask;
                }
            }
            _ => break,
        }
    }
    out
}

/// One frame, as etcd writes it.
pub fn frame(out: &mut Vec<u8>, crc: &mut u32, kind: u8, data: Option<&[u8]>, padded: bool) {
    if let Some(data) = data {
        *crc = crc32c::crc32c_append(*crc, data);
    }
    let mut message = Encoder::default().number(1, kind.into()).number(2, (*crc).into());
    if let Some(data) = data {
        message = message.bytes(3, data);
    }
    let message = message.done();
    let padding = if padded { (8 - message.len() % 8) % 8 } else { 0 };
    let top = if padding > 0 { (0x80 | padding as u64) << 56 } else { 0 };
    put_number(out, message.len() as u64 | top, 8);
    out.extend_from_slice(&message);
    out.resize(out.len() + padding, 0);
}

/// The script of a real segment, up to where reading stops.
pub fn describe(segment: &[u8]) -> Vec<u8> {
    let mut script = Vec::new();
    let mut reader = FrameReader::new(segment, 0, 0);
    while let Ok(Ok(record)) = reader.next_record() {
        let padded = if record.padded { PADDED } else { 0 };
        match record.kind {
            Kind::Crc => script.push(CRC | padded),
            Kind::Metadata => {
                let metadata = Metadata::decode(record.data).expect("a real segment");
                script.push(METADATA | padded);
                put_number(&mut script, metadata.member_id, 8);
                put_number(&mut script, metadata.cluster_id, 8);
            }
            Kind::HardState => {
                let state = HardState::decode(record.data).expect("a real segment");
                script.push(HARD_STATE | padded);
                put_number(&mut script, state.term, 2);
                put_number(&mut script, state.vote, 8);
                put_number(&mut script, state.commit, 8);
            }
            Kind::Snapshot => {
                let position = LogPosition::decode(record.data).expect("a real segment");
                script.push(SNAPSHOT | padded);
                put_number(&mut script, position.index, 8);
                put_number(&mut script, position.term, 2);
            }
            Kind::Entry => {
                let entry = Entry::decode(record.data).expect("a real segment");
                script.push(ENTRY | padded);
                script.push(u8::from(entry.kind == EntryKind::ConfChange));
                put_number(&mut script, entry.term, 2);
                put_number(&mut script, entry.index, 8);
                put_sized(&mut script, entry.data, 2);
            }
        }
    }
    let behind = (segment.len() as u64 - reader.offset()).min(u64::from(u16::MAX));
    if behind > 0 {
        script.push(ZEROS);
        put_number(&mut script, behind, 2);
    }
    script
}
