//! A bolt file as a script: pages by their rows, laid out as bolt does, with right meta pages, then perhaps some damage.

use crate::input::{Input, put_number, put_sized};

const PAGE: usize = 4096;
const HEADER: usize = 16;
const BRANCH: u8 = 1;
const LEAF: u8 = 2;
/// A page is as it stands in the script.
const RAW: u8 = 3;
/// No more pages; what follows is damage.
const END: u8 = 0;
/// More say nothing new.
const MAX_PAGES: usize = 40;

/// Writes the file that a script describes. The root is page 3.
pub fn write(mut script: Input<'_>) -> Vec<u8> {
    let mut file = vec![0; 3 * PAGE];
    while file.len() < MAX_PAGES * PAGE {
        let number = (file.len() / PAGE) as u64;
        match script.byte() {
            kind @ (BRANCH | LEAF) => file.extend(page(number, kind, &mut script)),
            RAW => {
                let mut bytes = script.sized(2).to_vec();
                bytes.resize(bytes.len().div_ceil(PAGE).max(1) * PAGE, 0);
                file.extend(bytes);
            }
            _ => break,
        }
    }
    let pages = (file.len() / PAGE) as u64;
    for number in 0..2 {
        let meta = meta(number, pages);
        file[number as usize * PAGE..][..meta.len()].copy_from_slice(&meta);
    }
    while !script.0.is_empty() {
        let (at, mask) = (script.number(3) as usize, script.byte());
        if let Some(byte) = file.get_mut(at) {
            *byte ^= mask;
        }
    }
    file
}

/// Elements and data as bolt writes them, in as many pages as they need.
fn page(number: u64, kind: u8, script: &mut Input<'_>) -> Vec<u8> {
    let count = script.byte() as usize;
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for i in 0..count {
        let position = ((count - i) * 16 + data.len()) as u64;
        let child = if kind == BRANCH { script.byte() } else { 0 };
        let flags = if kind == LEAF { script.byte() } else { 0 };
        let key = script.sized(1);
        let value = if kind == LEAF { script.sized(2) } else { &[] };
        if kind == BRANCH {
            put_number(&mut elements, position, 4);
            put_number(&mut elements, key.len() as u64, 4);
            put_number(&mut elements, child.into(), 8);
        } else {
            put_number(&mut elements, flags.into(), 4);
            put_number(&mut elements, position, 4);
            put_number(&mut elements, key.len() as u64, 4);
            put_number(&mut elements, value.len() as u64, 4);
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    let bytes = HEADER + elements.len() + data.len();
    let run = bytes.div_ceil(PAGE);
    let mut out = Vec::with_capacity(run * PAGE);
    put_number(&mut out, number, 8);
    put_number(&mut out, kind.into(), 2);
    put_number(&mut out, count as u64, 2);
    put_number(&mut out, run as u64 - 1, 4);
    out.extend(elements);
    out.extend(data);
    out.resize(run * PAGE, 0);
    out
}

fn meta(number: u64, pages: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, number, 8);
    put_number(&mut out, 4, 8);
    let body = out.len();
    for word in [0xED0C_DAED, 2, PAGE as u64, 0] {
        put_number(&mut out, word, 4);
    }
    for word in [3, 0, u64::MAX, pages, 7 - number] {
        put_number(&mut out, word, 8);
    }
    let sum = out[body..]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    put_number(&mut out, sum, 8);
    out
}

/// Key and value.
type Row = (Vec<u8>, Vec<u8>);

/// The script of a real file: its buckets, each in a leaf of its own or in its parent, with at most `rows` rows.
pub fn describe(file: &[u8], rows: usize) -> Vec<u8> {
    let mut buckets: Vec<(Vec<u8>, Vec<Row>)> = Vec::new();
    let mut db = etcd2_backup::etcd::bolt::Db::open(std::io::Cursor::new(file)).expect("a fixture's db");
    db.check(&mut |bucket, key, value| {
        if buckets.last().is_none_or(|b| b.0 != bucket) {
            buckets.push((bucket.to_vec(), Vec::new()));
        }
        let last = buckets.last_mut().expect("it was put there");
        if last.1.len() < rows {
            last.1.push((key.to_vec(), value.to_vec()));
        }
        Ok(())
    })
    .expect("a fixture's db is sane");
    let mut out = vec![LEAF, buckets.len() as u8];
    for (i, (name, _)) in buckets.iter().enumerate() {
        let mut header = Vec::new();
        put_number(&mut header, 4 + i as u64, 8);
        put_number(&mut header, 0, 8);
        out.push(1);
        put_sized(&mut out, name, 1);
        put_sized(&mut out, &header, 2);
    }
    for (_, rows) in &buckets {
        out.extend([LEAF, rows.len() as u8]);
        for (key, value) in rows {
            out.push(0);
            put_sized(&mut out, &key[..key.len().min(255)], 1);
            put_sized(&mut out, &value[..value.len().min(3000)], 2);
        }
    }
    out.push(END);
    out
}
