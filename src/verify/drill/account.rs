//! What a restored etcd must say, by the archive: keys of the snapshot that no later entry touched, and keys whose last
//! entry writes them without a condition. What has a TTL may be gone, what depends on a condition is etcd's to decide:
//! such keys are left out. No key may be there that neither snapshot nor log knows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::etcd::proto::{Entry, EntryKind};
use crate::etcd::request::{Payload, Request};
use crate::inspect::keys::Key;
use crate::sys::digest::to_hex;

use super::above::{Above, above};
use super::answer::{self, Answer, Node};

/// More differences than these are counted only.
const SHOWN: usize = 20;

type Hash = [u8; 32];

/// A key of the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    value: Hash,
    created: u64,
    modified: u64,
}

/// An operation on a key.
#[derive(Debug)]
struct Operation {
    index: u64,
    path: String,
    /// It writes this, whatever was there before.
    writes: Option<Hash>,
    deletes: bool,
    posts: bool,
    expires: bool,
}

/// The keys by the archive.
#[derive(Debug, Default)]
pub struct Account {
    stored: BTreeMap<String, Stored>,
    expiring: BTreeSet<String>,
    log: Vec<Operation>,
}

/// What etcd says, and how it compares.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Keys in etcd.
    pub keys: u64,
    /// Those that are as the snapshot says.
    pub of_snapshot: u64,
    /// Those that are as the log says.
    pub of_log: u64,
    /// SHA-256 over all keys in order, with value and indexes.
    pub digest: String,
    /// What is wrong; no more than the first 20.
    pub differences: Vec<String>,
    /// How much is wrong.
    pub wrong: u64,
}

impl Compared {
    fn differs(&mut self, what: String) {
        self.wrong += 1;
        if self.differences.len() < SHOWN {
            self.differences.push(what);
        }
    }
}

impl Account {
    /// Adds a key or folder of the snapshot.
    pub fn key(&mut self, key: &Key) {
        if key.expiration.is_some() {
            self.expiring.insert(key.key.clone());
        }
        if let Some(value) = &key.value {
            let stored = Stored { value: hash(value), created: key.created, modified: key.modified };
            self.stored.insert(key.key.clone(), stored);
        }
    }

    /// Adds an entry of the log; it takes the place of those that it overwrites.
    pub fn entry(&mut self, entry: &Entry<'_>) {
        while self.log.last().is_some_and(|o| o.index >= entry.index) {
            self.log.pop();
        }
        if entry.kind == EntryKind::Normal
            && let Payload::V2(request) = Payload::of(entry.data)
        {
            self.log.extend(operation(entry.index, &request));
        }
    }

    /// Compares all of it with etcd's answer to a recursive GET.
    ///
    /// # Errors
    /// It is no such answer.
    pub fn compare(&self, answer: &[u8]) -> Result<Compared> {
        let answer = answer::read(answer).context("reading etcd's answer")?;
        let history = History::of(self);
        let keys = answer.keys.len() as u64;
        let mut out = Compared { keys, digest: digest(&answer.keys), ..Compared::default() };
        self.judge_what_is_there(&answer, &history, &mut out);
        self.demand_what_is_not(&answer, &history, &mut out);
        Ok(out)
    }

    /// Each key of etcd's is one of the archive's, and is as the archive says wherever that decides it.
    fn judge_what_is_there(&self, answer: &Answer, history: &History<'_>, out: &mut Compared) {
        let mut open = history.open();
        for (key, node) in &answer.keys {
            let key = key.as_str();
            let (written, stored) = (history.last.get(key), self.stored.get(key));
            if written.is_none() && stored.is_none() && !history.is_posted(key) {
                out.differs(format!("{key} is in etcd, but not in the archive"));
            }
            match (written, stored) {
                (Some((index, Some(value))), _) if !open.is(key, *index) => {
                    out.of_log += 1;
                    if hash(&node.value) != *value {
                        out.differs(format!("{key} has another value than entry {index} gives it"));
                    }
                }
                (None, Some(stored)) if !open.is(key, 0) => {
                    out.of_snapshot += 1;
                    let there =
                        Stored { value: hash(&node.value), created: node.created, modified: node.modified };
                    if there != *stored {
                        out.differs(format!("{key} has another value or index than in the snapshot"));
                    }
                }
                // An entry with a condition wrote last, or it may be gone and written anew: that is etcd's to decide.
                (Some(_), _) | (None, _) => {}
            }
        }
    }

    /// Each key that the archive writes is one of etcd's, but where it may be gone or could not be written.
    fn demand_what_is_not(&self, answer: &Answer, history: &History<'_>, out: &mut Compared) {
        let Answer { keys, folders } = answer;
        let written = history.last.iter().filter_map(|(key, (index, value))| value.map(|_| (*key, *index)));
        let stored = self.stored.keys().map(|key| (key.as_str(), 0));
        let stored = stored.filter(|(key, _)| !history.last.contains_key(key));
        let (mut open, mut keys_above) = (history.open(), Above::new(|path| (keys.contains_key(path), None)));
        for (key, index) in written.chain(stored) {
            // A folder cannot be written to, nor a key below a key.
            let in_key = above(key).nth(1).is_some_and(|folder| keys_above.of(folder).0);
            let cannot = folders.contains(key) || in_key;
            if !keys.contains_key(key) && !hidden(key) && !cannot && !open.is(key, index) {
                out.differs(format!("{key} is in the archive, but not in etcd"));
            }
        }
    }
}

/// What happened to each path, by the log.
struct History<'a> {
    /// Its last operation, and what that writes.
    last: BTreeMap<&'a str, (u64, Option<Hash>)>,
    /// Where it was last deleted.
    deleted: BTreeMap<&'a str, u64>,
    /// Keys were made in it, under names that etcd chose.
    posted: BTreeSet<&'a str>,
    /// It had a TTL at some time.
    expiring: BTreeSet<&'a str>,
}

impl<'a> History<'a> {
    fn of(account: &'a Account) -> Self {
        let (mut last, mut deleted) = (BTreeMap::new(), BTreeMap::new());
        let (mut posted, mut expiring) = (BTreeSet::new(), BTreeSet::new());
        expiring.extend(account.expiring.iter().map(String::as_str));
        for operation in &account.log {
            let path = operation.path.as_str();
            last.insert(path, (operation.index, operation.writes));
            if operation.deletes {
                deleted.insert(path, operation.index);
            }
            if operation.posts {
                posted.insert(path);
            }
            if operation.expires {
                expiring.insert(path);
            }
        }
        Self { last, deleted, posted, expiring }
    }

    fn is_posted(&self, key: &str) -> bool {
        above(key).nth(1).is_some_and(|folder| self.posted.contains(folder))
    }

    /// What can be told of a key by what happened to it and to the folders it lies in.
    fn open(&self) -> Open<'_, impl Fn(&str) -> (bool, Option<u64>)> {
        Open(Above::new(|path| (self.expiring.contains(path), self.deleted.get(path).copied())))
    }
}

/// Whether a key may be gone, or another, for what happened to it or above it behind an index.
struct Open<'a, F>(Above<'a, F>);

impl<'a, F: Fn(&str) -> (bool, Option<u64>)> Open<'a, F> {
    fn is(&mut self, key: &'a str, index: u64) -> bool {
        let (expires, deleted) = self.0.of(key);
        expires || deleted > Some(index)
    }
}

fn operation(index: u64, request: &Request<'_>) -> Option<Operation> {
    let path = String::from_utf8_lossy(request.path).strip_prefix("/1")?.to_owned();
    let conditional =
        !request.prev_value.is_empty() || request.prev_index > 0 || request.prev_exist.is_some();
    let writes = request.method == "PUT" && !conditional && !request.dir && !request.refresh;
    Some(Operation {
        index,
        path,
        writes: writes.then(|| hash(&String::from_utf8_lossy(request.value))),
        deletes: match request.method {
            "PUT" | "POST" => false,
            "DELETE" => true,
            _ => return None,
        },
        posts: request.method == "POST",
        expires: request.expiration != 0,
    })
}

/// etcd lists no key or folder whose name begins so.
fn hidden(key: &str) -> bool {
    key.split('/').any(|name| name.starts_with('_'))
}

fn hash(value: &str) -> Hash {
    Sha256::digest(value).into()
}

fn digest(found: &BTreeMap<String, Node>) -> String {
    let mut all = Sha256::new();
    for (key, node) in found {
        all.update(format!("{} {} {} {} ", key.len(), node.value.len(), node.created, node.modified));
        all.update(key);
        all.update(&node.value);
    }
    to_hex(&all.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &str, value: &str, index: u64) -> Key {
        Key { key: path.into(), value: Some(value.into()), created: index, modified: index, ..Key::default() }
    }

    fn put<'a>(path: &'a str, value: &'a str) -> Request<'a> {
        Request { method: "PUT", path: path.as_bytes(), value: value.as_bytes(), ..Request::default() }
    }

    fn account(log: &[Request<'_>]) -> Account {
        let mut account = Account::default();
        for (path, index) in [("/a", 1), ("/d/x", 2), ("/d/y", 3), ("/_h", 4)] {
            account.key(&key(path, "old", index));
        }
        account.key(&Key { expiration: Some("soon".into()), ..key("/t", "old", 5) });
        let operations = log.iter().zip(10..).filter_map(|(r, index)| operation(index, r));
        account.log.extend(operations);
        account
    }

    fn wrong(account: &Account, keys: &[(&str, &str, u64)]) -> Vec<String> {
        let nodes: Vec<String> = keys
            .iter()
            .map(|(k, v, i)| {
                format!(r#"{{"key":"{k}","value":"{v}","createdIndex":{i},"modifiedIndex":{i}}}"#)
            })
            .collect();
        let answer = format!(r#"{{"action":"get","node":{{"dir":true,"nodes":[{}]}}}}"#, nodes.join(","));
        account.compare(answer.as_bytes()).unwrap().differences
    }

    const KEYS: [(&str, &str, u64); 3] = [("/a", "old", 1), ("/d/x", "old", 2), ("/d/y", "old", 3)];

    #[test]
    fn what_the_archive_proves_is_demanded_and_nothing_else() {
        let snapshot = account(&[]);
        assert_eq!(wrong(&snapshot, &KEYS), [""; 0]);
        assert_eq!(wrong(&snapshot, &KEYS[..2]), ["/d/y is in the archive, but not in etcd"]);
        let mut other = KEYS.to_vec();
        other[0].2 = 2;
        assert_eq!(wrong(&snapshot, &other), ["/a has another value or index than in the snapshot"]);
        other[0] = ("/a", "new", 1);
        assert_eq!(wrong(&snapshot, &other), ["/a has another value or index than in the snapshot"]);
        let more = [&KEYS[..], &[("/z", "v", 9)]].concat();
        assert_eq!(wrong(&snapshot, &more), ["/z is in etcd, but not in the archive"]);

        let written = account(&[put("/1/a", "one"), put("/1/a", "two"), put("/1/n", "three")]);
        let now = [("/a", "two", 11), ("/d/x", "old", 2), ("/d/y", "old", 3), ("/n", "three", 12)];
        assert_eq!(wrong(&written, &now), [""; 0]);
        assert_eq!(wrong(&written, &now[..3]), ["/n is in the archive, but not in etcd"]);
        let stale = [&[("/a", "one", 10)], &now[1..]].concat();
        assert_eq!(wrong(&written, &stale), ["/a has another value than entry 11 gives it"]);

        let delete = Request { method: "DELETE", recursive: true, ..put("/1/d", "") };
        let deleted = account(&[delete.clone(), put("/1/d/z", "new")]);
        let now = [("/a", "old", 1), ("/d/z", "new", 11)];
        assert_eq!(wrong(&deleted, &now), [""; 0]);
        assert_eq!(wrong(&deleted, &now[..1]), ["/d/z is in the archive, but not in etcd"]);
        assert_eq!(wrong(&account(&[put("/1/d/z", "new"), delete]), &now[..1]), [""; 0]);

        let condition = Request { prev_exist: Some(true), ..put("/1/a", "new") };
        let post = Request { method: "POST", ..put("/1/q", "v") };
        let left_open = account(&[condition, post, Request { expiration: 1, ..put("/1/e", "v") }]);
        assert_eq!(wrong(&left_open, &[&KEYS[..], &[("/q/11", "v", 11)]].concat()), [""; 0]);
        assert_eq!(wrong(&left_open, &KEYS[1..]), [""; 0]);
        assert_eq!(wrong(&left_open, &[&KEYS[..], &[("/t", "x", 7), ("/e", "v", 9)]].concat()), [""; 0]);
    }

    #[test]
    fn folders_as_deep_as_they_may_be_are_compared() {
        let depth = 1500;
        let path = |depth: usize| "/d".repeat(depth);
        let mut account = Account::default();
        let mut node = String::new();
        for depth in (1..=depth).rev() {
            account.key(&key(&format!("{}/k", path(depth)), "v", 7));
            let more = if node.is_empty() { String::new() } else { format!(",{node}") };
            node = format!(
                r#"{{"key":"{0}","dir":true,"nodes":[{{"key":"{0}/k","value":"v","modifiedIndex":7,"createdIndex":7}}{more}]}}"#,
                path(depth)
            );
        }
        let answer = format!(r#"{{"action":"get","node":{{"dir":true,"nodes":[{node}]}}}}"#);
        let compared = account.compare(answer.as_bytes()).unwrap();
        assert_eq!((compared.keys, compared.of_snapshot, compared.wrong), (1500, 1500, 0));
        let other = answer.replacen(
            &format!(r#"{}/k","value":"v""#, path(depth)),
            &format!(r#"{}/k","value":"w""#, path(depth)),
            1,
        );
        assert_eq!(account.compare(other.as_bytes()).unwrap().wrong, 1);
    }
}
