//! What the bytes of a log and of a snapshot say, read a second time: neither code nor care is shared with the node
//! program. Whole records only; whatever else is found is an error.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One raft entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its index.
    pub index: u64,
    /// The term it was appended in.
    pub term: u64,
    /// CRC-32C of its payload: two entries with equal index and term must have equal ones.
    pub check: u32,
    /// The v2 request in it, if it sets a key.
    pub put: Option<Put>,
}

/// A v2 request that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The key as clients name it.
    pub key: String,
    /// The value.
    pub value: String,
}

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Index of the last entry in it.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The keys of clients and their values.
    pub keys: BTreeMap<String, String>,
}

/// The entries in bytes of a log, which must be whole records from the first byte to the last. `crc` is the rolling
/// CRC before them, and behind them afterwards.
///
/// # Errors
/// A record is cut off, or its CRC is wrong.
pub fn entries(mut bytes: &[u8], crc: &mut u32) -> Result<Vec<Entry>> {
    let mut all = Vec::new();
    let length = bytes.len();
    while !bytes.is_empty() {
        let at = length - bytes.len();
        let entry = record(&mut bytes, crc).with_context(|| format!("at byte {at} of {length}"))?;
        all.extend(entry);
    }
    Ok(all)
}

/// Reads one record off the front.
fn record(bytes: &mut &[u8], crc: &mut u32) -> Result<Option<Entry>> {
    let (head, rest) = bytes.split_first_chunk::<8>().context("a length is cut off")?;
    let field = u64::from_le_bytes(*head);
    ensure!(field != 0, "zeros where a record should be");
    // The top byte is 0x80 and the number of padding bytes, or nothing.
    let padding = if field >> 63 == 1 { (field >> 56 & 7) as usize } else { 0 };
    let size = (field & 0x00ff_ffff_ffff_ffff) as usize;
    let total = size.checked_add(padding).context("a length beyond all bounds")?;
    ensure!(total <= rest.len(), "{} of {total} bytes of a record are there", rest.len());
    let message = fields(&rest[..size])?;
    *bytes = &rest[total..];

    let kind = number(&message, 1);
    let expected = number(&message, 2);
    let data = content(&message, 3);
    *crc = if kind == 4 { expected as u32 } else { crc32c::crc32c_append(*crc, data) };
    ensure!(u64::from(*crc) == expected, "the CRC is {crc:08x}, not {expected:08x}");
    match kind {
        2 => entry(data).map(Some),
        1 | 3 | 4 | 5 => Ok(None),
        _ => bail!("a record of type {kind}"),
    }
}

fn entry(message: &[u8]) -> Result<Entry> {
    let message = fields(message)?;
    let data = content(&message, 4);
    let put = if number(&message, 1) == 0 { put(data)? } else { None };
    Ok(Entry { index: number(&message, 3), term: number(&message, 2), check: crc32c::crc32c(data), put })
}

/// The key that a v2 request sets; `None` for other requests, and for those that only might set it.
fn put(data: &[u8]) -> Result<Option<Put>> {
    let Ok(request) = fields(data) else { return Ok(None) };
    let path = text(content(&request, 3))?;
    let conditional = request.iter().any(|(n, f)| [6, 7, 8].contains(n) && !f.is_default());
    match path.strip_prefix("/1") {
        Some(key) if content(&request, 2) == b"PUT" && !conditional => {
            Ok(Some(Put { key: key.to_owned(), value: text(content(&request, 4))? }))
        }
        _ => Ok(None),
    }
}

/// Reads a snapshot file.
///
/// # Errors
/// It is not whole.
pub fn snapshot(file: &[u8]) -> Result<Snapshot> {
    let outer = fields(file)?;
    let data = content(&outer, 2);
    ensure!(u64::from(crc32c::crc32c(data)) == number(&outer, 1), "the snapshot's CRC is wrong");
    let inner = fields(data)?;
    let metadata = fields(content(&inner, 2))?;
    let store: Value = serde_json::from_slice(content(&inner, 1)).context("reading the store")?;
    let mut keys = BTreeMap::new();
    collect(&store["Root"]["Children"]["1"], &mut keys);
    Ok(Snapshot { index: number(&metadata, 2), term: number(&metadata, 3), keys })
}

fn collect(node: &Value, keys: &mut BTreeMap<String, String>) {
    if let Some(children) = node["Children"].as_object() {
        children.values().for_each(|child| collect(child, keys));
    } else if let (Some(path), Some(value)) = (node["Path"].as_str(), node["Value"].as_str()) {
        keys.insert(path.trim_start_matches("/1").to_owned(), value.to_owned());
    }
}

enum Field<'a> {
    Number(u64),
    Content(&'a [u8]),
}

impl Field<'_> {
    fn is_default(&self) -> bool {
        matches!(self, Self::Number(0) | Self::Content([]))
    }
}

fn fields(mut message: &[u8]) -> Result<Vec<(u64, Field<'_>)>> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)?),
            2 => {
                let length = varint(&mut message)? as usize;
                ensure!(length <= message.len(), "a field is cut off");
                let (content, rest) = message.split_at(length);
                message = rest;
                Field::Content(content)
            }
            other => bail!("wire type {other}"),
        };
        all.push((tag >> 3, field));
    }
    Ok(all)
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Ok(value);
        }
    }
    bail!("a number is cut off")
}

fn number(message: &[(u64, Field<'_>)], field: u64) -> u64 {
    let found = message.iter().rev().find(|(n, _)| *n == field);
    if let Some((_, Field::Number(n))) = found { *n } else { 0 }
}

fn content<'a>(message: &[(u64, Field<'a>)], field: u64) -> &'a [u8] {
    let found = message.iter().rev().find(|(n, _)| *n == field);
    if let Some((_, Field::Content(bytes))) = found { bytes } else { &[] }
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(String::from_utf8(bytes.to_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::Fixture;
    use std::fs;
    use std::path::Path;

    fn only_file(dir: &Path, end: &str) -> Vec<u8> {
        let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        all.retain(|p| p.to_string_lossy().ends_with(end));
        all.sort();
        fs::read(all.pop().unwrap()).unwrap()
    }

    #[test]
    fn the_last_put_of_a_fixtures_log_is_what_etcd_listed() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Fixture::unpack("v238-single-nosnap", dir.path()).unwrap();
        let log = only_file(&fixture.data_dir.join("member/wal"), ".wal");
        let all = entries(&log, &mut 0).unwrap();
        let indexes: Vec<u64> = all.iter().map(|e| e.index).collect();
        assert_eq!(indexes, (1..=all.len() as u64).collect::<Vec<_>>());
        let puts: BTreeMap<_, _> = all.into_iter().filter_map(|e| e.put).map(|p| (p.key, p.value)).collect();
        let mut compared = 0;
        for (key, node) in &fixture.keys {
            if let (Some(set), Some(listed)) = (puts.get(key), &node.value) {
                // What a compare-and-swap made of it is not looked at.
                compared += usize::from(set == listed);
            }
        }
        assert!(compared > 20, "{compared}");

        let cut = entries(&log[..log.len() - 1], &mut 0).unwrap_err();
        assert!(format!("{cut:#}").contains("bytes of a record are there"), "{cut:#}");
        let mut flipped = log;
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        assert!(format!("{:#}", entries(&flipped, &mut 0).unwrap_err()).contains("CRC"));
    }

    #[test]
    fn the_keys_of_a_fixtures_snapshot_are_there_and_damage_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Fixture::unpack("v3423-single-snap-trimmed", dir.path()).unwrap();
        let mut file = only_file(&fixture.data_dir.join("member/snap"), ".snap");
        let read = snapshot(&file).unwrap();
        assert!(read.index > 0 && read.term > 0);
        let equal = read
            .keys
            .iter()
            .filter(|(k, v)| fixture.keys.get(*k).is_some_and(|n| n.value.as_ref() == Some(*v)));
        assert!(equal.count() > 20, "{read:?}");
        let middle = file.len() / 2;
        file[middle] ^= 1;
        assert!(snapshot(&file).is_err());
    }
}
