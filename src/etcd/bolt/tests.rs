//! Pages made by hand: what the walk takes and what it refuses, with the page and the reason.

use std::io::Cursor;

use anyhow::Result;

use super::filled::first_filled;
use super::layout::*;
use super::*;

const PAGE: usize = 4096;

type Rows = Vec<(String, String, String)>;

fn page(number: u64, flags: u16, elements: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    out.extend(flags.to_le_bytes());
    out.extend((elements.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(elements.concat());
    out.extend(data);
    out
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A leaf as bolt writes it, not filled up to a page.
fn leaf(number: u64, flags: u32, rows: &[(&[u8], &[u8])]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (i, (key, value)) in rows.iter().enumerate() {
        let position = (rows.len() - i) * ELEMENT + data.len();
        elements.push(words(&[flags, position as u32, key.len() as u32, value.len() as u32]));
        data.extend([*key, *value].concat());
    }
    page(number, FLAG_LEAF, &elements, &data)
}

fn branch(number: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
    let (mut elements, mut data) = (Vec::new(), Vec::new());
    for (i, (key, child)) in children.iter().enumerate() {
        let position = (children.len() - i) * ELEMENT + data.len();
        elements.push([words(&[position as u32, key.len() as u32]), child.to_le_bytes().to_vec()].concat());
        data.extend(*key);
    }
    page(number, FLAG_BRANCH, &elements, &data)
}

fn full(mut page: Vec<u8>) -> Vec<u8> {
    let pages = page.len().div_ceil(PAGE).max(1);
    page[12..16].copy_from_slice(&(pages as u32 - 1).to_le_bytes());
    page.resize(pages * PAGE, 0);
    page
}

fn bucket_at(root: u64) -> Vec<u8> {
    [root.to_le_bytes(), [0; 8]].concat()
}

fn inline(rows: &[(&[u8], &[u8])]) -> Vec<u8> {
    [vec![0; BUCKET_HEADER], leaf(0, 0, rows)].concat()
}

fn meta(number: u64, root: u64, freelist: u64, pages: u64, txid: u64) -> Vec<u8> {
    let mut body = words(&[MAGIC, VERSION, PAGE as u32, 0]);
    for word in [root, 0, freelist, pages, txid] {
        body.extend(word.to_le_bytes());
    }
    body.extend(fnv1a(&body).to_le_bytes());
    full(page(number, FLAG_META, &[], &body))
}

/// The two metas with the root at page 3, a freelist, then these pages.
fn file(pages: &[Vec<u8>]) -> Vec<u8> {
    let pages: Vec<u8> = pages.iter().cloned().flat_map(full).collect();
    let count = 3 + (pages.len() / PAGE) as u64;
    let head = [meta(0, 3, 2, count, 6), meta(1, 3, 2, count, 5), full(page(2, FLAG_FREELIST, &[], &[]))];
    [head.concat(), pages].concat()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn rows(file: &[u8]) -> Result<(Rows, Reached)> {
    let mut rows = Rows::new();
    let mut db = Db::open(Cursor::new(file))?;
    let reached = db.check(&mut |bucket, key, value| {
        rows.push((text(bucket), text(key), text(value)));
        Ok(())
    })?;
    Ok((rows, reached))
}

/// A file with a tree of three levels, an inline bucket, one of a page and a value of two pages.
fn rich() -> Vec<u8> {
    let large = vec![b'L'; 5000];
    let keys = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5"), ("f", "6")];
    let of = |range: std::ops::Range<usize>| -> Vec<(&[u8], &[u8])> {
        keys[range].iter().map(|(k, v)| (k.as_bytes(), v.as_bytes())).collect()
    };
    let leaf_of_f = [(&b"f"[..], &large[..])];
    file(&[
        leaf(3, 1, &[(b"inline", &inline(&[(b"x", b"y"), (b"z", b"")])), (b"tree", &bucket_at(4))]),
        branch(4, &[(b"a", 5), (b"d", 6)]),
        branch(5, &[(b"a", 7), (b"b", 8)]),
        branch(6, &[(b"d", 9), (b"f", 10)]),
        leaf(7, 0, &of(0..1)),
        leaf(8, 0, &of(1..3)),
        leaf(9, 0, &of(3..5)),
        leaf(10, 0, &leaf_of_f),
    ])
}

#[test]
fn every_row_is_visited_in_order_and_found_by_its_key() {
    let file = rich();
    let (rows, reached) = rows(&file).unwrap();
    let shown: Vec<String> =
        rows.iter().map(|(b, k, v)| format!("{b}/{k}={}", &v[..v.len().min(3)])).collect();
    assert_eq!(
        shown,
        ["inline/x=y", "inline/z=", "tree/a=1", "tree/b=2", "tree/c=3", "tree/d=4", "tree/e=5", "tree/f=LLL"]
    );
    // The freelist, the root, and the eight pages of the tree.
    assert_eq!((reached.rows, reached.pages.len()), (8, 10));
    assert!(reached.pages.contains(11) && !reached.pages.contains(12) && !reached.pages.contains(1));

    let mut db = Db::open(Cursor::new(&file)).unwrap();
    assert_eq!((db.txid(), db.page_size(), db.page_count(), db.valid_metas()), (6, 4096, 12, 2));
    for (bucket, key, value) in &rows {
        let mut bucket = db.bucket(bucket).unwrap().unwrap();
        assert_eq!(bucket.get(key.as_bytes()).unwrap().map(|v| text(&v)).as_ref(), Some(value), "{key}");
        assert_eq!(bucket.get(format!("{key}!").as_bytes()).unwrap(), None);
    }
    assert!(db.bucket("absent").unwrap().is_none());
    for name in ["inline", "tree"] {
        let mut backward = Vec::new();
        let mut bucket = db.bucket(name).unwrap().unwrap();
        let mut note = |key: &[u8], _: &[u8]| {
            backward.push(text(key));
            Ok(())
        };
        bucket.walk(Order::Backward, &mut note).unwrap();
        let forward = rows.iter().filter(|r| r.0 == name).map(|r| r.1.clone()).rev();
        assert_eq!(backward, forward.collect::<Vec<_>>());
        // A visitor that has enough stops it.
        let stopped = bucket.walk(Order::Forward, &mut |_, _| anyhow::bail!("enough"));
        assert!(format!("{:#}", stopped.unwrap_err()).contains("enough"));
    }
}

#[test]
fn the_sum_of_a_snapshot_at_its_end_is_passed_over() {
    let mut file = rich();
    let (without, _) = rows(&file).unwrap();
    file.extend([7; 32]);
    assert_eq!(rows(&file).unwrap().0, without);
}

#[test]
fn what_is_not_sane_is_refused_with_page_and_reason() {
    let names = |root| leaf(3, 1, &[(b"key", &bucket_at(root))]);
    let row = leaf(4, 0, &[(b"k", b"v")]);
    let mut gap = row.clone();
    gap[20] += 1;
    let mut long = row.clone();
    long[28..32].copy_from_slice(&5000_u32.to_le_bytes());
    let mut many = row.clone();
    many[10..12].copy_from_slice(&900_u16.to_le_bytes());
    let overflowing = |mut page: Vec<u8>| {
        page = full(page);
        page[12] = 9;
        page
    };
    let mut tail = inline(&[(b"k", b"v")]);
    tail.push(0);
    let table: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("leads to itself", vec![names(4), branch(4, &[(b"k", 4)])], "page 4 is in the tree twice"),
        ("nowhere", vec![names(4), branch(4, &[(b"k", u64::MAX / 2)])], "is outside of the db's 5"),
        ("a meta page", vec![names(1)], "page 1 is outside of the db's 4"),
        ("another page", vec![names(4), leaf(9, 0, &[])], "page 4: it calls itself page 9"),
        (
            "no kind",
            vec![names(4), page(4, 0x20, &[], &[])],
            "page 4: it is neither branch nor leaf, but 0x20",
        ),
        ("a gap", vec![names(4), gap], "page 4: element 0 is not where the one before it ends"),
        ("too long", vec![names(4), long], "page 4: element 0 goes on behind the page's end"),
        ("too many", vec![names(4), many], "page 4: 900 elements have no place in it"),
        ("beyond the file", vec![names(4)], "page 4 is outside of the db's 4"),
        ("no key", vec![names(4), leaf(4, 0, &[(b"", b"v")])], "page 4: element 0 has no key"),
        ("a kind of row", vec![names(4), leaf(4, 8, &[(b"k", b"v")])], "page 4: element 0 is of kind 0x8"),
        (
            "not in order",
            vec![names(4), leaf(4, 0, &[(b"k", b""), (b"k", b"")])],
            "not in order at element 1",
        ),
        (
            "branch not in order",
            vec![names(4), branch(4, &[(b"b", 5), (b"a", 6)])],
            "page 4: the keys are not in order at element 1",
        ),
        ("an empty branch", vec![names(4), branch(4, &[])], "page 4: a branch without a page below"),
        (
            "an empty leaf below",
            vec![names(4), branch(4, &[(b"k", 5)]), leaf(5, 0, &[])],
            "page 5 is empty, but not its tree",
        ),
        (
            "lower than said",
            vec![names(4), branch(4, &[(b"k", 5)]), leaf(5, 0, &[(b"j", b"")])],
            "page 5: element 0: its key is lower than the branch above says",
        ),
        (
            "of the next page",
            vec![names(4), branch(4, &[(b"k", 5), (b"m", 6)]), leaf(5, 0, &[(b"m", b"")])],
            "page 5: element 0: its key belongs to the next page",
        ),
        (
            "a bucket in a bucket",
            vec![names(4), leaf(4, 1, &[(b"k", &bucket_at(5))])],
            "a bucket in a bucket",
        ),
        ("a row among buckets", vec![leaf(3, 0, &[(b"key", b"v")])], "a row that is no bucket"),
        ("a bucket without a header", vec![leaf(3, 1, &[(b"key", b"v")])], "a bucket without a header"),
        ("an inline bucket without a page", vec![leaf(3, 1, &[(b"key", &[0; 16])])], "without a page"),
        ("an inline bucket that goes on", vec![leaf(3, 1, &[(b"key", &tail)])], "goes on behind its rows"),
    ];
    for (what, pages, says) in table {
        let error = format!("{:#}", rows(&file(&pages)).unwrap_err());
        assert!(error.contains(says), "{what}: {error}");
    }
    let mut over = file(&[names(4), row.clone()]);
    over.truncate(4 * PAGE);
    over.extend(overflowing(row));
    assert!(format!("{:#}", rows(&over).unwrap_err()).contains("it has 10 pages, more than there are"));
    let whole = rich();
    for pages in 0..whole.len() / PAGE {
        let error = rows(&whole[..pages * PAGE + 511]).unwrap_err();
        assert!(format!("{error:#}").contains("the db is cut off"), "{pages}: {error:#}");
    }
}

#[test]
fn a_tree_as_deep_as_the_file_ends_with_an_error() {
    let mut pages = vec![leaf(3, 1, &[(b"key", &bucket_at(4))])];
    pages.extend((4..60).map(|n| branch(n, &[(b"k", n + 1)])));
    let file = file(&pages);
    assert!(format!("{:#}", rows(&file).unwrap_err()).contains("is below 24 others"));
    let mut db = Db::open(Cursor::new(&file)).unwrap();
    assert!(db.bucket("key").unwrap().unwrap().get(b"k").unwrap_err().to_string().contains("below 24"));
}

#[test]
fn a_freelist_that_bolt_would_not_read_is_refused() {
    let with = |freelist: Vec<u8>| {
        let mut file = file(&[leaf(3, 1, &[])]);
        file[2 * PAGE..2 * PAGE + freelist.len()].copy_from_slice(&freelist);
        rows(&file).map(|(_, reached)| reached.pages.len())
    };
    let mut free = page(2, FLAG_FREELIST, &[], &[]);
    assert_eq!(with(free.clone()).unwrap(), 2);
    free[10..12].copy_from_slice(&600_u16.to_le_bytes());
    assert!(with(free.clone()).unwrap_err().to_string().contains("no place for 600 free pages"));
    free[10..12].copy_from_slice(&[0xff; 2]);
    free.extend([0xff; 8]);
    assert!(with(free).unwrap_err().to_string().contains("no place for"));
    assert!(with(leaf(2, 0, &[])).unwrap_err().to_string().contains("page 2 is no freelist"));
    let mut none = file(&[leaf(3, 1, &[])]);
    none.splice(..PAGE, meta(0, 3, NO_FREELIST, 4, 6));
    assert_eq!(rows(&none).unwrap().1.pages.len(), 1);
}

#[test]
fn whether_a_bucket_is_filled() {
    let key = |value: &[u8]| vec![leaf(3, 1, &[(b"key", value)])];
    let row = leaf(4, 0, &[(b"k", b"v")]);
    let table = [
        ("the stub has no such bucket", stub(7), None),
        ("inline, empty", file(&key(&inline(&[]))), None),
        ("inline, one key", file(&key(&inline(&[(b"k", b"v")]))), Some("key")),
        ("a leaf, empty", file(&[key(&bucket_at(4)), vec![leaf(4, 0, &[])]].concat()), None),
        ("a leaf", file(&[key(&bucket_at(4)), vec![row.clone()]].concat()), Some("key")),
        (
            "below a branch",
            file(&[branch(3, &[(b"key", 5)]), row, leaf(5, 1, &[(b"key", &bucket_at(4))])]),
            Some("key"),
        ),
    ];
    for (what, file, expected) in table {
        let found = first_filled(&mut Cursor::new(file), &["absent", "key"]);
        assert_eq!(found.unwrap(), expected, "{what}");
    }
    assert_eq!(first_filled(&mut Cursor::new(stub(7)), &["meta"]).unwrap(), Some("meta"));
    assert!(first_filled(&mut Cursor::new(b"no bolt"), &["meta"]).is_err());
}

/// Each byte of each page: an error, other rows, or the same where nothing leads to the byte. Never a panic, nor more
/// visits than there can be rows.
#[test]
fn no_altered_byte_panics_or_goes_round() {
    let whole = rich();
    let (before, _) = rows(&whole).unwrap();
    let mut outcomes = [0_u32; 3];
    // Most of a page is free.
    for at in (0..whole.len()).filter(|at| at % PAGE < 300 || at % 53 == 0) {
        for flip in [0x01, 0xff] {
            let mut file = whole.clone();
            file[at] ^= flip;
            let outcome = match rows(&file) {
                Err(_) => 0,
                Ok((rows, _)) if rows != before => 1,
                Ok(_) => 2,
            };
            outcomes[outcome] += 1;
            let _ = first_filled(&mut Cursor::new(&file), &["tree"]);
        }
    }
    // Headers and elements; keys and values; what is free, and one meta of two.
    assert!(outcomes.iter().all(|n| *n > 100), "{outcomes:?}");
}
