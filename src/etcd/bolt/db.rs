//! A bolt file that is read: its newest transaction, its buckets, and whether all of it is sane.

use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::mem;

use anyhow::{Context, Result, ensure};

use super::layout::{BUCKET_HEADER, FLAG_FREELIST, NO_FREELIST, PAGE_HEADER, u16_at, u32_at, u64_at};
use super::meta::{Meta, newest};
use super::page::{Page, Pages};
use super::sum::content_length;
use super::tree::{self, Order, PageSet, Walk};

/// etcd has eleven.
const MAX_BUCKETS: usize = 256;
/// Bolt keeps a bucket in its parent if it needs less than a quarter of a page.
const MAX_INLINE: usize = 64 << 10;

/// Is given key and value of each row.
pub type OnRow<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;
/// Is given the bucket's name, key and value of each row.
pub type OnBucketRow<'a> = dyn FnMut(&[u8], &[u8], &[u8]) -> Result<()> + 'a;

/// A bolt file, of which one page at a time is in memory. The state is that of the newest transaction when it was opened.
///
/// etcd may be writing the file: a page of this transaction may be reused by the second one behind it. Who reads such a
/// file reads it again from [`Db::open`] on, and compares [`Db::txid`] before and after; a tree of mixed pages may look sane.
#[derive(Debug)]
pub struct Db<S> {
    pages: Pages<S>,
    meta: Meta,
    valid_metas: u8,
}

/// What a whole walk found.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The pages in use, without the two metas.
    pub pages: PageSet,
    /// Rows of all buckets.
    pub rows: u64,
}

/// Where a bucket's rows lie.
#[derive(Debug)]
enum Root {
    Page(u64),
    Inline(Vec<u8>),
}

/// A bucket of a [`Db`].
pub struct Bucket<'a, S> {
    pages: &'a mut Pages<S>,
    root: Root,
}

/// Reads something of a file that etcd may be writing; and whether no transaction was committed meanwhile, else what was read may be
/// anything.
///
/// # Errors
/// As [`Db::open`]; what `read` fails with is in the answer.
pub fn between_commits<S: Read + Seek, T>(
    source: S,
    read: impl FnOnce(&mut Db<S>) -> Result<T>,
) -> Result<(Result<T>, bool)> {
    let mut db = Db::open(source)?;
    let before = db.txid();
    let read = read(&mut db);
    let after = Db::open(db.into_source())?.txid();
    Ok((read, before == after))
}

impl<S: Read + Seek> Db<S> {
    /// Finds the newest transaction. The 32 bytes that a maintenance snapshot has at its end are passed over, see
    /// [`super::sum`].
    ///
    /// # Errors
    /// It cannot be read, is no bolt file, or is shorter than its newest transaction says.
    pub fn open(mut source: S) -> Result<Self> {
        let (meta, valid_metas) = newest(&mut source)?;
        // Behind the meta page: a file that grows meanwhile only has more.
        let length = source.seek(SeekFrom::End(0)).context("seeking in the db")?;
        let there = content_length(length) / meta.page_size;
        let Meta { high_water, page_size, .. } = meta;
        ensure!(
            high_water <= there,
            "the db is cut off: {there} of its {high_water} pages of {page_size} bytes are there"
        );
        Ok(Self { pages: Pages::new(source, page_size, high_water), meta, valid_metas })
    }

    /// The transaction.
    pub fn txid(&self) -> u64 {
        self.meta.txid
    }

    /// In bytes.
    pub fn page_size(&self) -> u64 {
        self.meta.page_size
    }

    /// How many pages the file has as of this transaction, free ones included.
    pub fn page_count(&self) -> u64 {
        self.meta.high_water
    }

    /// How many of the two meta pages are valid. With one alone bolt works on; while etcd writes it may be half written.
    pub fn valid_metas(&self) -> u8 {
        self.valid_metas
    }

    /// The file.
    pub fn into_source(self) -> S {
        self.pages.into_source()
    }

    /// A bucket; `None` if there is none of this name.
    ///
    /// # Errors
    /// The file cannot be read, or is not sane on the way there.
    pub fn bucket(&mut self, name: &str) -> Result<Option<Bucket<'_, S>>> {
        let found = tree::get(&mut self.pages, self.meta.root, name.as_bytes())
            .with_context(|| format!("looking for the bucket {name}"))?;
        let Some((is_bucket, value)) = found else { return Ok(None) };
        let root = root(is_bucket, &value).with_context(|| format!("the bucket {name}"))?;
        Ok(Some(Bucket { pages: &mut self.pages, root }))
    }

    /// Walks through all buckets, in order: the bucket's name, key and value of each row. Whatever can be reached is
    /// checked: page numbers, kinds, sizes and order, no page twice.
    ///
    /// # Errors
    /// What is wrong with which page; the file cannot be read, or `visit` fails.
    pub fn check(&mut self, visit: &mut OnBucketRow<'_>) -> Result<Reached> {
        let mut pages = PageSet::new(self.meta.high_water);
        self.freelist(&mut pages)?;
        let mut buckets: Vec<(Vec<u8>, Root)> = Vec::new();
        let mut note = |is_bucket: bool, name: &[u8], value: &[u8]| {
            ensure!(buckets.len() < MAX_BUCKETS, "more than {MAX_BUCKETS} buckets");
            buckets.push((name.to_vec(), root(is_bucket, value)?));
            Ok(())
        };
        let mut walk = Walk { seen: &mut pages, order: Order::Forward, visit: &mut note };
        walk.below(&mut self.pages, self.meta.root).context("the tree of buckets")?;
        let mut rows = 0;
        for (name, root) in &buckets {
            let mut row = |is_bucket: bool, key: &[u8], value: &[u8]| {
                ensure!(!is_bucket, "a bucket in a bucket");
                rows += 1;
                visit(name, key, value)
            };
            Bucket { pages: &mut self.pages, root: Root::Page(0) }
                .walk_root(root, &mut pages, Order::Forward, &mut row)
                .with_context(|| format!("the bucket {}", String::from_utf8_lossy(name)))?;
        }
        Ok(Reached { pages, rows })
    }

    /// Bolt reads it at its start, where there is one, and panics if it is none.
    fn freelist(&mut self, seen: &mut PageSet) -> Result<()> {
        let number = self.meta.freelist;
        if number == NO_FREELIST {
            return Ok(());
        }
        let head = self.pages.first_bytes(number, PAGE_HEADER as u64 + 8)?;
        let says = (u64_at(&head, 0), u16_at(&head, 8));
        ensure!(says == (Some(number), Some(FLAG_FREELIST)), "page {number} is no freelist");
        let run = u64::from(u32_at(&head, 12).unwrap_or_default()) + 1;
        // A count of 0xffff says that the first number is the count.
        let count = match u16_at(&head, 10) {
            Some(0xffff) => u64_at(&head, PAGE_HEADER).unwrap_or_default().saturating_add(1),
            count => count.unwrap_or_default().into(),
        };
        let room = (run * self.meta.page_size - PAGE_HEADER as u64) / 8;
        ensure!(run <= self.meta.high_water - number, "page {number} has {run} pages, more than there are");
        ensure!(count <= room, "page {number} has no place for {count} free pages");
        seen.insert(number, run);
        Ok(())
    }
}

impl<S: Read + Seek> Bucket<'_, S> {
    /// The value of a key.
    ///
    /// # Errors
    /// The file cannot be read, or is not sane on the way there.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = match &self.root {
            Root::Page(number) => tree::get(self.pages, *number, key)?,
            Root::Inline(bytes) => tree::in_leaf(self.pages, &Page::inline(bytes)?, key)?,
        };
        Ok(found.map(|(_, value)| value))
    }

    /// Visits key and value of every row, in this order, one page at a time in memory.
    ///
    /// # Errors
    /// The file cannot be read, is not sane, or `visit` fails: a visitor that has enough returns an error of its own.
    pub fn walk(&mut self, order: Order, visit: &mut OnRow<'_>) -> Result<()> {
        let mut seen = PageSet::new(self.pages.count());
        let root = mem::replace(&mut self.root, Root::Page(0));
        let mut row = |_: bool, key: &[u8], value: &[u8]| visit(key, value);
        let walked = self.walk_root(&root, &mut seen, order, &mut row);
        self.root = root;
        walked
    }

    fn walk_root(
        &mut self,
        root: &Root,
        seen: &mut PageSet,
        order: Order,
        visit: &mut tree::Visit<'_>,
    ) -> Result<()> {
        let mut walk = Walk { seen, order, visit: &mut |b, k, v| visit(b, k, v) };
        match root {
            Root::Page(number) => walk.below(self.pages, *number),
            Root::Inline(bytes) => walk.inline(self.pages, bytes),
        }
    }

    /// Key and value of the last row.
    ///
    /// # Errors
    /// The file cannot be read, or is not sane on the way there.
    pub fn last(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        match &self.root {
            Root::Page(number) => tree::last(self.pages, *number),
            Root::Inline(bytes) => tree::last_of(self.pages, &Page::inline(bytes)?),
        }
    }

    /// Whether there is no row.
    ///
    /// # Errors
    /// The file cannot be read, or is not sane on the way there.
    pub fn is_empty(&mut self) -> Result<bool> {
        Ok(match &self.root {
            Root::Page(number) => self.pages.read(*number)?.elements.is_empty(),
            Root::Inline(bytes) => Page::inline(bytes)?.elements.is_empty(),
        })
    }
}

impl<S> fmt::Debug for Bucket<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("root", &self.root).finish_non_exhaustive()
    }
}

/// From a bucket's value in its parent.
fn root(is_bucket: bool, value: &[u8]) -> Result<Root> {
    ensure!(is_bucket, "a row that is no bucket has no place among them");
    let number = u64_at(value, 0).context("a bucket without a header")?;
    if number != 0 {
        ensure!(value.len() == BUCKET_HEADER, "a bucket's header of {} bytes", value.len());
        return Ok(Root::Page(number));
    }
    ensure!(value.len() <= MAX_INLINE, "an inline bucket of {} bytes", value.len());
    Ok(Root::Inline(value.get(BUCKET_HEADER..).unwrap_or_default().to_vec()))
}
