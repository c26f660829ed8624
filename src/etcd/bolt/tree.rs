//! The one walk through a tree of pages: in order, page by page, each at most once, every page checked.

use std::io::{Read, Seek};

use anyhow::{Context, Result, bail, ensure};

use super::layout::BUCKET_ELEMENT;
use super::page::{Kind, Page, Pages};

/// A tree of 8 GB has five levels.
const MAX_DEPTH: usize = 24;

/// A set of pages, one bit each: 256 KiB for a db of 8 GB.
#[derive(Debug, Clone)]
pub struct PageSet {
    bits: Vec<u64>,
    count: u64,
}

impl PageSet {
    /// An empty one for pages below `limit`.
    pub(super) fn new(limit: u64) -> Self {
        Self { bits: vec![0; (limit / 64 + 1) as usize], count: 0 }
    }

    /// How many are in it.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether this one is.
    pub fn contains(&self, page: u64) -> bool {
        self.bits.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    /// Puts pages in. `false`: one of them was there, or is beyond the limit.
    pub(super) fn insert(&mut self, first: u64, run: u64) -> bool {
        (first..first + run).all(|page| {
            let fresh = !self.contains(page);
            let word = self.bits.get_mut((page / 64) as usize);
            self.count += u64::from(fresh);
            word.map(|word| *word |= 1 << (page % 64)).is_some() && fresh
        })
    }
}

/// Which way a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first key on.
    Forward,
    /// From the last key on.
    Backward,
}

/// A row: whether it is a bucket, its key and its value.
pub(super) type Visit<'a> = dyn FnMut(bool, &[u8], &[u8]) -> Result<()> + 'a;

/// A walk: what it has seen, and whom it tells.
pub(super) struct Walk<'a> {
    pub seen: &'a mut PageSet,
    pub order: Order,
    pub visit: &'a mut Visit<'a>,
}

/// What a page's keys may be: not lower than the first, lower than the second.
#[derive(Clone, Copy)]
struct Bounds<'a> {
    low: &'a [u8],
    high: Option<&'a [u8]>,
}

const ALL: Bounds<'_> = Bounds { low: &[], high: None };

impl Walk<'_> {
    /// Walks the tree below a page.
    pub(super) fn below<S: Read + Seek>(&mut self, pages: &mut Pages<S>, root: u64) -> Result<()> {
        self.descend(pages, root, 0, ALL)
    }

    /// Walks a bucket's one leaf that lies in its parent.
    pub(super) fn inline<S: Read + Seek>(&mut self, pages: &mut Pages<S>, bytes: &[u8]) -> Result<()> {
        let page = Page::inline(bytes)?;
        self.leaf(pages, &page, ALL).context("an inline bucket")
    }

    fn descend<S: Read + Seek>(
        &mut self,
        pages: &mut Pages<S>,
        number: u64,
        depth: usize,
        bounds: Bounds<'_>,
    ) -> Result<()> {
        ensure!(depth < MAX_DEPTH, "page {number} is below {MAX_DEPTH} others");
        let page = pages.read(number)?;
        ensure!(self.seen.insert(number, page.run), "page {number} is in the tree twice");
        if page.kind == Kind::Leaf {
            // Bolt removes what has become empty.
            ensure!(depth == 0 || !page.elements.is_empty(), "page {number} is empty, but not its tree");
            return self.leaf(pages, &page, bounds).with_context(|| format!("page {number}"));
        }
        check_branch(&page, bounds).with_context(|| format!("page {number}"))?;
        let last = page.elements.len() - 1;
        for step in 0..=last {
            let i = if self.order == Order::Forward { step } else { last - step };
            let low = page.branch_key(page.elements[i])?;
            let high = match page.elements.get(i + 1) {
                Some(next) => Some(page.branch_key(*next)?),
                None => bounds.high,
            };
            self.descend(pages, page.elements[i].child, depth + 1, Bounds { low, high })?;
        }
        Ok(())
    }

    /// Visits a leaf's rows. In either order each is compared with the one before it.
    fn leaf<S: Read + Seek>(&mut self, pages: &mut Pages<S>, page: &Page, bounds: Bounds<'_>) -> Result<()> {
        let mut beside: Option<Vec<u8>> = None;
        let count = page.elements.len();
        for step in 0..count {
            let i = if self.order == Order::Forward { step } else { count - 1 - step };
            let element = page.elements[i];
            let (key, value) = pages.row(page, element)?;
            let ordered = match (&beside, self.order) {
                (None, _) => true,
                (Some(beside), Order::Forward) => beside.as_slice() < key,
                (Some(beside), Order::Backward) => key < beside.as_slice(),
            };
            ensure!(ordered, "the keys are not in order at element {i}");
            bounds.check(key).with_context(|| format!("element {i}"))?;
            ensure!(element.flags & !BUCKET_ELEMENT == 0, "element {i} is of kind {:#x}", element.flags);
            let mut kept = beside.take().unwrap_or_default();
            kept.clear();
            kept.extend_from_slice(key);
            beside = Some(kept);
            (self.visit)(element.flags == BUCKET_ELEMENT, key, value)?;
        }
        Ok(())
    }
}

impl Bounds<'_> {
    fn check(self, key: &[u8]) -> Result<()> {
        ensure!(key >= self.low, "its key is lower than the branch above says");
        ensure!(self.high.is_none_or(|high| key < high), "its key belongs to the next page");
        Ok(())
    }
}

fn check_branch(page: &Page, bounds: Bounds<'_>) -> Result<()> {
    let mut before: Option<&[u8]> = None;
    for (i, element) in page.elements.iter().enumerate() {
        let key = page.branch_key(*element)?;
        ensure!(before.is_none_or(|before| before < key), "the keys are not in order at element {i}");
        bounds.check(key).with_context(|| format!("element {i}"))?;
        before = Some(key);
    }
    Ok(())
}

/// The value of a key below a page, and whether it is a bucket.
pub(super) fn get<S: Read + Seek>(
    pages: &mut Pages<S>,
    root: u64,
    wanted: &[u8],
) -> Result<Option<(bool, Vec<u8>)>> {
    let mut number = root;
    for _ in 0..MAX_DEPTH {
        let page = pages.read(number)?;
        if page.kind == Kind::Leaf {
            return in_leaf(pages, &page, wanted).with_context(|| format!("page {number}"));
        }
        check_branch(&page, ALL).with_context(|| format!("page {number}"))?;
        let mut below = page.elements[0].child;
        for element in &page.elements {
            if page.branch_key(*element)? <= wanted {
                below = element.child;
            }
        }
        number = below;
    }
    bail!("page {number} is below {MAX_DEPTH} others")
}

/// The value of a key in a leaf, and whether it is a bucket.
pub(super) fn in_leaf<S: Read + Seek>(
    pages: &mut Pages<S>,
    page: &Page,
    wanted: &[u8],
) -> Result<Option<(bool, Vec<u8>)>> {
    for element in &page.elements {
        let (key, value) = pages.row(page, *element)?;
        if key == wanted {
            return Ok(Some((element.flags == BUCKET_ELEMENT, value.to_vec())));
        }
    }
    Ok(None)
}

/// A row, owned: key and value.
type Row = (Vec<u8>, Vec<u8>);

/// The last row below a page.
pub(super) fn last<S: Read + Seek>(pages: &mut Pages<S>, root: u64) -> Result<Option<Row>> {
    let mut number = root;
    for _ in 0..MAX_DEPTH {
        let page = pages.read(number)?;
        match (page.kind, page.elements.last()) {
            (Kind::Branch, Some(element)) => number = element.child,
            _ => return last_of(pages, &page).with_context(|| format!("page {number}")),
        }
    }
    bail!("page {number} is below {MAX_DEPTH} others")
}

/// The last row of a leaf.
pub(super) fn last_of<S: Read + Seek>(pages: &mut Pages<S>, page: &Page) -> Result<Option<Row>> {
    let Some(element) = page.elements.last() else { return Ok(None) };
    let (key, value) = pages.row(page, *element)?;
    Ok(Some((key.to_vec(), value.to_vec())))
}
