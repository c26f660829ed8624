//! What a machine's folder holds, and what the base of each generation says of it: a listing and one more call, however
//! much lies there. Nothing of it is proven but the listing.

use std::collections::BTreeMap;

use anyhow::Result;

use super::chain::{self, Generation};
use super::history::{self, Committed};
use super::names::{GenerationName, PartName};
use super::part::{self, FIXED_BYTES, Head, MAGIC, MAX_HEAD_BYTES};
use crate::remote::{Object, Remote};

/// How much is asked of each part: a head names a file or two, seldom hundreds.
const STEPS: [u64; 3] = [4 << 10, 64 << 10, MAX_HEAD_BYTES as u64 + FIXED_BYTES];

/// A generation of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As the listing shows it.
    pub generation: Generation,
    /// What its base says; `None` if the base is not there or cannot be read.
    pub base: Option<Head>,
    /// Up to where it knew what was committed, if that decides anything and can be read.
    pub committed: Option<u64>,
}

/// The generations of a folder, oldest first.
///
/// # Errors
/// The remote could not be asked.
pub fn read(remote: &dyn Remote, folder: &str) -> Result<Vec<Entry>> {
    of(remote, folder, &remote.list(folder)?)
}

/// The same for a folder that was listed.
///
/// # Errors
/// The remote could not be asked.
pub fn of(remote: &dyn Remote, folder: &str, objects: &[Object]) -> Result<Vec<Entry>> {
    let generations = chain::generations(objects);
    let bases: Vec<Wanted> = generations.iter().filter_map(|g| Wanted::base(g, "")).collect();
    let heads = heads(remote, folder, &bases)?;
    let committed = committed(remote, folder, &generations)?;
    Ok(entries(generations, &mut heads.into_iter(), &committed))
}

/// Up to where generations knew what was committed, of those where that decides which history they are of: a call only where
/// there is any.
///
/// # Errors
/// The remote could not be asked.
pub fn committed(remote: &dyn Remote, folder: &str, generations: &[Generation]) -> Result<Committed> {
    let wanted: Vec<Wanted> =
        history::in_question(generations).into_iter().filter_map(Wanted::last).collect();
    let heads = if wanted.is_empty() { Vec::new() } else { heads(remote, folder, &wanted)? };
    let known = |(wanted, head): (&Wanted, Option<Head>)| Some((wanted.generation, head?.commit?));
    Ok(wanted.iter().zip(heads).filter_map(known).collect())
}

/// The generations of entries, and what is known to be committed in them.
pub fn judged(entries: &[Entry]) -> (Vec<Generation>, Committed) {
    let committed = entries.iter().filter_map(|e| Some((e.generation.name, e.committed?))).collect();
    (entries.iter().map(|e| e.generation.clone()).collect(), committed)
}

/// A folder at the top of the endpoint: a machine's, or whatever lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// systemd's machine ID.
    pub name: String,
    /// All that lies in it, the paths from there on.
    pub objects: Vec<Object>,
    /// Its generations, oldest first.
    pub entries: Vec<Entry>,
}

/// Every folder below the endpoint, by name: one listing and one call for all bases.
///
/// # Errors
/// The remote could not be asked.
pub fn all(remote: &dyn Remote) -> Result<Vec<Folder>> {
    let folders = by_folder(remote.list("")?);
    let generations: Vec<Vec<Generation>> = folders.iter().map(|(_, o)| chain::generations(o)).collect();
    let bases = folders.iter().zip(&generations).flat_map(|((folder, _), all)| {
        all.iter().filter_map(move |g| Wanted::base(g, &format!("{folder}/")))
    });
    let mut heads = heads(remote, "", &bases.collect::<Vec<_>>())?.into_iter();
    let listed = folders.into_iter().zip(generations);
    let folder = |((name, objects), all): ((String, Vec<Object>), Vec<Generation>)| {
        let committed = committed(remote, &name, &all)?;
        Ok(Folder { name, objects, entries: entries(all, &mut heads, &committed) })
    };
    listed.map(folder).collect()
}

/// Where the parts of a cluster lie below the endpoint: [`Remote::walk`].
pub fn parts_of(cluster_id: u64) -> String {
    format!("/*/*-{cluster_id:016x}-*/*.part")
}

/// The folder and the part that a path below the endpoint names, if it is whole and of this cluster.
pub fn part_of(path: &str, size: u64, cluster_id: u64) -> Option<(&str, PartName)> {
    let (folder, path) = path.split_once('/')?;
    let (generation, file) = path.split_once('/')?;
    let part = PartName::parse(file).filter(|part| part.size == size && size != Object::UNKNOWN_SIZE)?;
    (GenerationName::parse(generation)?.cluster_id == cluster_id).then_some((folder, part))
}

/// The objects of each folder at the top, their paths from there on.
pub fn by_folder(objects: Vec<Object>) -> Vec<(String, Vec<Object>)> {
    let mut all: Vec<(String, Vec<Object>)> = Vec::new();
    for Object { path, size } in objects {
        let Some((folder, path)) = path.split_once('/') else { continue };
        let object = Object { path: path.to_owned(), size };
        match all.binary_search_by(|(known, _)| known.as_str().cmp(folder)) {
            Ok(at) => all[at].1.push(object),
            Err(at) => all.insert(at, (folder.to_owned(), vec![object])),
        }
    }
    all
}

/// Generations and the heads of their bases, which come in the same order; one without a base takes none.
fn entries(
    generations: Vec<Generation>,
    heads: &mut dyn Iterator<Item = Option<Head>>,
    committed: &Committed,
) -> Vec<Entry> {
    let entry = |generation: Generation| {
        let base = if generation.parts.is_empty() { None } else { heads.next().flatten() };
        let committed = committed.known(generation.name);
        Entry { generation, base, committed }
    };
    generations.into_iter().map(entry).collect()
}

/// A part whose head is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    path: String,
    generation: GenerationName,
    part: PartName,
}

impl Wanted {
    /// The part that a generation ends with.
    fn last(generation: &Generation) -> Option<Self> {
        let part = *generation.last()?;
        Some(Self { path: generation.path(&part), generation: generation.name, part })
    }

    /// A generation's base, if it is there; `above` is what stands before its path, with the `/`.
    pub fn base(generation: &Generation, above: &str) -> Option<Self> {
        let part = *generation.parts.first()?;
        Some(Self { path: format!("{above}{}", generation.path(&part)), generation: generation.name, part })
    }
}

/// The heads of parts, in their order; `None` for one that is gone or cannot be read.
///
/// # Errors
/// The remote could not be asked.
pub fn heads(remote: &dyn Remote, folder: &str, wanted: &[Wanted]) -> Result<Vec<Option<Head>>> {
    let mut heads = vec![None; wanted.len()];
    let mut places: Places = BTreeMap::new();
    // Those that are equal are given heads in their order.
    for (at, wanted) in wanted.iter().enumerate().rev() {
        let place = part::place_in_chain(wanted.generation, wanted.part);
        places.entry(place).or_default().push((at, wanted.part.size));
    }
    for bytes in STEPS {
        let paths: Vec<String> =
            wanted.iter().zip(&heads).filter(|(_, h)| h.is_none()).map(|(w, _)| w.path.clone()).collect();
        let more = take_apart(&remote.heads(folder, &paths, bytes)?, bytes, &mut places, &mut heads);
        if !more {
            break;
        }
    }
    Ok(heads)
}

/// The places of parts without a head among those that are asked for, and their sizes; the first one last.
type Places = BTreeMap<(GenerationName, PartName), Vec<(usize, u64)>>;

/// Tells the beginnings of parts apart, each as long as was asked or as its part; whether one of them needs more.
fn take_apart(all: &[u8], bytes: u64, places: &mut Places, heads: &mut [Option<Head>]) -> bool {
    let step = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (mut rest, mut more) = (all, false);
    while rest.len() > MAGIC.len() {
        let length = match part::peek(&rest[..step.min(rest.len())]) {
            Ok(Some(head)) => give(head, places, heads).map(|size| step.min(size)),
            Ok(None) => {
                more = true;
                None
            }
            Err(_) => None,
        };
        // What cannot be read does not say where it ends; the next one says where it begins.
        let length = length.or_else(|| {
            let next = rest[1..].windows(MAGIC.len()).position(|bytes| bytes == MAGIC);
            next.map(|before| before + 1)
        });
        rest = length.and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    more
}

/// Puts a head to the first part without one that it is of, and gives that part's size. Folders that were copied hold the
/// same parts.
fn give(head: Head, places: &mut Places, heads: &mut [Option<Head>]) -> Option<usize> {
    let (at, size) = places.get_mut(&head.place_in_chain())?.pop()?;
    heads[at] = Some(head);
    usize::try_from(size).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::archive::part::tests::head;
    use crate::etcd::proto::LogPosition;
    use crate::exit::{Exit, fault};
    use crate::remote::{Proof, Seen};
    use crate::sys::room::Leave;

    /// Objects in memory. The order of heads is the reverse of what was asked.
    #[derive(Default)]
    struct Memory(BTreeMap<String, Vec<u8>>);

    impl Remote for Memory {
        fn walk(&self, _: &str, _: &[String], take: &mut dyn FnMut(Seen<'_>)) -> Result<()> {
            take(Seen::Start);
            self.0.iter().for_each(|(path, bytes)| take(Seen::Object(path, bytes.len() as u64)));
            Ok(())
        }

        fn folders(&self) -> Result<Vec<String>> {
            Err(fault(Exit::Remote, "not asked for", "no"))
        }

        fn put(&self, _: &Path, _: &str) -> Result<()> {
            self.folders().map(drop)
        }

        fn get(&self, _: &str, _: &[Object], _: &Path, _: Leave, _: Proof) -> Result<()> {
            self.folders().map(drop)
        }

        fn copy(&self, _: &str, _: &str, _: &[String]) -> Result<()> {
            self.folders().map(drop)
        }

        fn remove(&self, _: &str, _: &[String]) -> Result<()> {
            self.folders().map(drop)
        }

        fn remove_empty_folders(&self, _: &str) -> Result<()> {
            self.folders().map(drop)
        }

        fn heads(&self, _: &str, paths: &[String], bytes: u64) -> Result<Vec<u8>> {
            let there = paths.iter().rev().filter_map(|p| self.0.get(p));
            Ok(there.flat_map(|b| &b[..b.len().min(bytes as usize)]).copied().collect())
        }
    }

    impl Memory {
        /// A base with `urls` peer URLs and a payload that does not compress.
        fn add(&mut self, generation: u64, urls: usize, payload: usize) -> (String, Head) {
            let urls = (0..urls).map(|n| format!("http://host-{n}:2380")).collect();
            self.part(Head { generation, peer_urls: urls, ..head(0, "") }, payload)
        }

        fn part(&mut self, head: Head, payload: usize) -> (String, Head) {
            let dir = tempfile::tempdir().unwrap();
            let noise: Vec<u8> = (0..payload as u64)
                .map(|n| (n.wrapping_mul(n).wrapping_mul(0x9e37_79b9) >> 11) as u8)
                .collect();
            let written = part::write(dir.path(), &head, |out| Ok(out.write_all(&noise)?)).unwrap();
            let path = format!("{}/{}", head.generation_name(), written.name);
            self.0.insert(path.clone(), fs::read(dir.path().join(written.name.to_string())).unwrap());
            (path, head)
        }

        fn bases(&self) -> Vec<Option<Head>> {
            read(self, "id").unwrap().into_iter().map(|entry| entry.base).collect()
        }
    }

    /// Compared with each other they would take longer than a test may (.config/nextest.toml).
    #[test]
    fn very_many_bases_cost_each_as_little_as_a_few() {
        let (mut memory, many) = (Memory::default(), 30_000);
        let (path, _) = memory.add(100_000, 1, 10);
        let bytes = memory.0.remove(&path).unwrap();
        let at = bytes.windows(6).position(|six| six == b"100000").unwrap();
        for number in 100_000..100_000 + many {
            let mut bytes = bytes.clone();
            bytes[at..at + 6].copy_from_slice(number.to_string().as_bytes());
            memory.0.insert(path.replacen("00100000", &format!("{number:08}"), 1), bytes);
        }
        let all = read(&memory, "m").unwrap();
        let right =
            |e: &Entry| e.base.as_ref().is_some_and(|base| base.generation == e.generation.name.number);
        assert_eq!(all.iter().filter(|e| right(e)).count(), many);
    }

    #[test]
    fn heads_are_told_apart_in_any_order_and_of_any_length() {
        let mut memory = Memory::default();
        // Shorter than what is asked, longer, a head that is longer, and one that is longer still.
        let sizes = [(1, 0), (1, 90_000), (300, 10), (1, 1), (5000, 100), (300, 100_000)];
        let heads: Vec<Option<Head>> =
            (1..).zip(sizes).map(|(n, (urls, payload))| Some(memory.add(n, urls, payload).1)).collect();
        assert_eq!(memory.bases(), heads);
    }

    #[test]
    fn what_was_committed_is_asked_only_where_it_decides() {
        let point = |generation, index, commit| {
            let last = LogPosition { index, term: 2 };
            Head { generation, last, commit, ..head(0, "") }
        };
        for (heads, expected) in [
            (vec![point(1, 9, Some(7)), point(2, 9, Some(9))], vec![None, None]),
            (vec![point(1, 9, Some(7)), point(2, 8, Some(8))], vec![Some(7), None]),
            // Parts of before it was noted, and what cannot be read.
            (vec![point(1, 9, None), point(2, 8, Some(8))], vec![None, None]),
        ] {
            let mut memory = Memory::default();
            heads.into_iter().for_each(|head| drop(memory.part(head, 10)));
            let entries = read(&memory, "id").unwrap();
            assert_eq!(entries.iter().map(|e| e.committed).collect::<Vec<_>>(), expected);
            let (generations, committed) = judged(&entries);
            let known: Vec<_> = generations.iter().map(|g| committed.known(g.name)).collect();
            assert_eq!(known, expected);
        }
    }

    #[test]
    fn a_base_that_cannot_be_read_hides_no_other() {
        for damage in [0, 3, 8, 12, 13, 14, 15, 16, 40] {
            let mut memory = Memory::default();
            let all: Vec<_> =
                [10, 9000, 9000, 70_000].iter().zip(1..).map(|(&size, n)| memory.add(n, 1, size)).collect();
            for at in 0..all.len() {
                let whole = memory.0[&all[at].0].clone();
                memory.0.get_mut(&all[at].0).unwrap()[damage] ^= 0x55;
                let mut expected: Vec<Option<Head>> =
                    all.iter().map(|(_, head)| Some(head.clone())).collect();
                expected[at] = None;
                assert_eq!(memory.bases(), expected, "byte {damage} of {at}");
                memory.0.insert(all[at].0.clone(), whole);
            }
        }
    }

    #[test]
    fn a_base_that_is_gone_or_says_something_else_is_none() {
        let mut memory = Memory::default();
        let (first, head) = memory.add(1, 1, 10);
        let (second, _) = memory.add(2, 1, 10);
        let wanted: Vec<Wanted> =
            read(&memory, "id").unwrap().iter().filter_map(|e| Wanted::base(&e.generation, "")).collect();
        let bytes = memory.0[&first].clone();
        memory.0.insert(second.clone(), bytes);
        assert_eq!(heads(&memory, "id", &wanted).unwrap(), [Some(head.clone()), None]);
        memory.0.remove(&second);
        assert_eq!(heads(&memory, "id", &wanted).unwrap(), [Some(head), None]);
        memory.0.remove(&first);
        assert_eq!(heads(&memory, "id", &wanted).unwrap(), [None, None]);
    }

    #[test]
    fn a_folder_that_was_copied_has_the_same_heads() {
        let mut memory = Memory::default();
        let (path, head) = memory.add(1, 1, 5000);
        let generation = chain::generations(&memory.list("").unwrap()).remove(0);
        let bytes = memory.0.remove(&path).unwrap();
        for machine in ["a", "b"] {
            memory.0.insert(format!("{machine}/{path}"), bytes.clone());
        }
        let wanted = ["a/", "b/"].map(|above| Wanted::base(&generation, above).unwrap());
        assert_eq!(heads(&memory, "", &wanted).unwrap(), [Some(head.clone()), Some(head)]);
    }
}
