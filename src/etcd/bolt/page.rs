//! One page of a bolt file with those that overflow from it, checked before anything of it is believed.

use std::io::{Read, Seek, SeekFrom};

use anyhow::{Context, Result, ensure};

use super::layout::{ELEMENT, FLAG_BRANCH, FLAG_LEAF, PAGE_HEADER, u16_at, u32_at, u64_at};

/// The elements of a page, at most 65,535, lie in its first MiB. Of more, each key and value is read by itself.
const MAX_HEAD_BYTES: u64 = 1 << 20;
/// Bolt's branches have one page, unless keys are longer than etcd's.
const MAX_BRANCH_BYTES: u64 = 256 << 10;
/// etcd takes requests of up to 1.5 MiB, and warns of a limit above 10 MB.
const MAX_ROW_BYTES: u64 = 16 << 20;

/// The pages of a file, read one at a time.
#[derive(Debug)]
pub(super) struct Pages<S> {
    source: S,
    page_size: u64,
    /// Those in use have lower numbers.
    count: u64,
    /// A row that is not in a page's first MiB.
    scratch: Vec<u8>,
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Branch,
    Leaf,
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    pub kind: Kind,
    /// Its number; 0 for one that lies in its parent.
    pub number: u64,
    /// How many pages it has.
    pub run: u64,
    /// Its elements in order.
    pub elements: Vec<Element>,
    head: Vec<u8>,
}

/// Where an element's key and value lie: the value directly behind the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element {
    /// From the page's start.
    at: u64,
    key: u32,
    value: u32,
    /// Of a leaf: its flags.
    pub flags: u32,
    /// Of a branch: the page below.
    pub child: u64,
}

impl<S: Read + Seek> Pages<S> {
    pub(super) fn new(source: S, page_size: u64, count: u64) -> Self {
        Self { source, page_size, count, scratch: Vec::new() }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn into_source(self) -> S {
        self.source
    }

    /// The first `length` bytes of a page that is in the file.
    pub(super) fn first_bytes(&mut self, number: u64, length: u64) -> Result<Vec<u8>> {
        ensure!((2..self.count).contains(&number), "page {number} is outside of the db's {}", self.count);
        let mut bytes = vec![0; length as usize];
        read_at(&mut self.source, number * self.page_size, &mut bytes)
            .with_context(|| format!("reading page {number}"))?;
        Ok(bytes)
    }

    /// Reads a page of the tree.
    ///
    /// # Errors
    /// It is not in the file, cannot be read, or is no sane page of this number.
    pub(super) fn read(&mut self, number: u64) -> Result<Page> {
        let mut head = self.first_bytes(number, self.page_size)?;
        let run = self.header(number, &head).with_context(|| format!("page {number}"))?;
        let bytes = run * self.page_size;
        let length = bytes.min(MAX_HEAD_BYTES.max(self.page_size)) as usize;
        if length > head.len() {
            let have = head.len();
            head.resize(length, 0);
            read_at(&mut self.source, number * self.page_size + have as u64, &mut head[have..])
                .with_context(|| format!("reading page {number}"))?;
        }
        parse(number, run, head, bytes).with_context(|| format!("page {number}"))
    }

    /// How many pages it says to have.
    fn header(&self, number: u64, head: &[u8]) -> Result<u64> {
        let says = u64_at(head, 0).context("it is cut off")?;
        ensure!(says == number, "it calls itself page {says}");
        let run = u64::from(u32_at(head, 12).context("it is cut off")?) + 1;
        ensure!(run <= self.count - number, "it has {run} pages, more than there are");
        Ok(run)
    }

    /// Key and value of an element.
    pub(super) fn row<'a>(&'a mut self, page: &'a Page, element: Element) -> Result<(&'a [u8], &'a [u8])> {
        let (at, length) = (element.at, u64::from(element.key) + u64::from(element.value));
        let bytes = match page.head.get(at as usize..(at + length) as usize) {
            Some(bytes) => bytes,
            None => {
                let what = || format!("page {}", page.number);
                ensure!(length <= MAX_ROW_BYTES, "{}: a row of {length} bytes is too large", what());
                self.scratch.resize(length as usize, 0);
                read_at(&mut self.source, page.number * self.page_size + at, &mut self.scratch)
                    .with_context(what)?;
                &self.scratch
            }
        };
        Ok(bytes.split_at(element.key as usize))
    }
}

impl Page {
    /// A bucket's one leaf that lies in its parent, to its end.
    pub(super) fn inline(bytes: &[u8]) -> Result<Self> {
        let (number, overflow) = (u64_at(bytes, 0), u32_at(bytes, 12));
        ensure!(number == Some(0) && overflow == Some(0), "an inline bucket without a page");
        let page = parse(0, 0, bytes.to_vec(), bytes.len() as u64).context("an inline bucket")?;
        ensure!(page.kind == Kind::Leaf, "an inline bucket that is no leaf");
        let end = page.elements.last().map_or(PAGE_HEADER as u64, Element::end);
        ensure!(end == bytes.len() as u64, "an inline bucket that goes on behind its rows");
        Ok(page)
    }

    /// The key of a branch's element, all of which are in memory.
    pub(super) fn branch_key(&self, element: Element) -> Result<&[u8]> {
        let end = element.at + u64::from(element.key);
        self.head.get(element.at as usize..end as usize).context("a branch's key is not in its page")
    }
}

impl Element {
    fn end(&self) -> u64 {
        self.at + u64::from(self.key) + u64::from(self.value)
    }
}

fn parse(number: u64, run: u64, head: Vec<u8>, bytes: u64) -> Result<Page> {
    let flags = u16_at(&head, 8).context("it is cut off")?;
    let kind = match flags {
        FLAG_BRANCH => Kind::Branch,
        FLAG_LEAF => Kind::Leaf,
        other => anyhow::bail!("it is neither branch nor leaf, but {other:#x}"),
    };
    ensure!(kind == Kind::Leaf || bytes <= MAX_BRANCH_BYTES, "a branch of {bytes} bytes");
    let count = usize::from(u16_at(&head, 10).context("it is cut off")?);
    let table = head.get(PAGE_HEADER..PAGE_HEADER + count * ELEMENT);
    let table = table.with_context(|| format!("{count} elements have no place in it"))?;
    let mut elements = Vec::with_capacity(count);
    let mut end = (PAGE_HEADER + count * ELEMENT) as u64;
    for (i, raw) in table.chunks_exact(ELEMENT).enumerate() {
        let (element, position) = element(kind, raw, end).context("an element is cut off")?;
        let own = (PAGE_HEADER + i * ELEMENT) as u64;
        ensure!(own + position == end, "element {i} is not where the one before it ends");
        ensure!(element.key > 0, "element {i} has no key");
        end = element.end();
        ensure!(end <= bytes, "element {i} goes on behind the page's end");
        elements.push(element);
    }
    ensure!(kind == Kind::Leaf || count > 0, "a branch without a page below");
    // Bolt may take one page too many, but no more.
    let spare = run.saturating_sub(1).saturating_mul(bytes / run.max(1));
    ensure!(end >= spare, "it has {run} pages, but what is in it ends at byte {end}");
    Ok(Page { kind, number, run, elements, head })
}

fn element(kind: Kind, raw: &[u8], at: u64) -> Option<(Element, u64)> {
    let word = |place| u32_at(raw, place);
    Some(match kind {
        Kind::Branch => {
            let element = Element { at, key: word(4)?, value: 0, flags: 0, child: u64_at(raw, 8)? };
            (element, word(0)?.into())
        }
        Kind::Leaf => {
            let element = Element { at, key: word(8)?, value: word(12)?, flags: word(0)?, child: 0 };
            (element, word(4)?.into())
        }
    })
}

fn read_at(source: &mut (impl Read + Seek), at: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    source.seek(SeekFrom::Start(at))?;
    source.read_exact(bytes)
}
