//! The users' keys in a store's JSON, one at a time, as etcd's API names them.

use std::fmt;
use std::io::Read;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::subject::Subject;
use super::v3_keys;
use crate::etcd::frame::Record;
use crate::etcd::replay::Sink;
use crate::etcd::snap::{self, SnapshotName};
use crate::etcd::wal::SegmentName;
use crate::sys::json::{Reader, Token};
use crate::sys::look;
use crate::sys::terminal::output::Output;
use crate::sys::terminal::text;

/// The subtree of the users' keys. `/0` is the cluster's own, `/2` has users and roles.
const USERS: &str = "1";

/// A key or a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its path, without the store's prefix.
    pub key: String,
    /// Of a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it is a folder.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dir: bool,
    /// The store's index when it was made.
    #[serde(rename = "createdIndex")]
    pub created: u64,
    /// The store's index when it was last changed.
    #[serde(rename = "modifiedIndex")]
    pub modified: u64,
    /// When it expires, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} {:>8}  {}", self.created, self.modified, text::name(self.key.as_bytes()))?;
        match &self.value {
            Some(value) => write!(f, " {}", text::value(value.as_bytes()))?,
            None => f.write_str("/")?,
        }
        self.expiration.as_ref().map_or(Ok(()), |time| write!(f, " expires {time}"))
    }
}

/// Lists the keys of the subject's snapshot, and those of its v3 store; the values of these only if asked for.
///
/// # Errors
/// It cannot be read on, or the output is closed.
pub fn list(subject: &Subject, values: bool, out: &mut Output) -> Result<()> {
    if let Subject::Db(path) = subject {
        return v3_keys::list(path, values, out).map(drop);
    }
    if !out.json {
        out.text(" created modified  key and value\n")?;
    }
    let mut lister = Lister { out, snapshots: 0 };
    subject.snapshot(&mut lister)?;
    let none = lister.snapshots == 0;
    let listed = match subject.db() {
        Some(db) if look::is_there(&db)? => v3_keys::list(&db, values, out)?,
        _ => 0,
    };
    if none && listed == 0 {
        log::info!("there is no snapshot: all keys are in the log's entries (--entries)");
    }
    Ok(())
}

struct Lister<'a> {
    out: &'a mut Output,
    snapshots: usize,
}

impl Sink for Lister<'_> {
    fn snapshot(&mut self, _: Option<SnapshotName>, size: u64, bytes: &mut dyn Read) -> Result<()> {
        self.snapshots += 1;
        let mut print = |key: &Key| match self.out.json {
            true => self.out.json(key),
            false => self.out.text(&format!("{key}\n")),
        };
        snap::read_through(bytes, size, &mut |store| visit(store, &mut print)).map(drop)
    }

    fn record(&mut self, _: SegmentName, _: &Record<'_>) -> Result<()> {
        Ok(())
    }
}

/// Visits every key in the order of the JSON, a folder before what is in it, however deep that is.
///
/// # Errors
/// Not the JSON of a v2 store, or `visit` fails.
pub fn visit(store: &mut dyn Read, visit: &mut dyn FnMut(&Key) -> Result<()>) -> Result<()> {
    let mut walker = Walker { json: Reader::new(store), path: Vec::new(), open: Vec::new(), visit };
    walker.store().context("reading the store's JSON")
}

/// A node of the tree that is being read.
#[derive(Default)]
struct Node {
    key: Key,
    /// What comes next is in it.
    in_children: bool,
}

struct Walker<'a> {
    json: Reader<&'a mut dyn Read>,
    /// The names from the root on.
    path: Vec<String>,
    /// The nodes that have begun: the root, and one for each name.
    open: Vec<Node>,
    visit: &'a mut dyn FnMut(&Key) -> Result<()>,
}

impl Walker<'_> {
    /// The top of the JSON: the root, and the history, which passes by.
    fn store(&mut self) -> Result<()> {
        self.json.object()?;
        let mut found = false;
        loop {
            match self.json.some()? {
                Token::Name(field) if field == "Root" => {
                    self.root()?;
                    found = true;
                }
                Token::End if found => break,
                Token::End => bail!("it has no root directory"),
                _ => self.json.skip()?,
            }
        }
        self.json.end()
    }

    fn root(&mut self) -> Result<()> {
        self.json.object()?;
        self.open.push(Node::default());
        while let Some(node) = self.open.last_mut() {
            match (self.json.some()?, node.in_children) {
                (Token::Name(name), true) if self.path.is_empty() && name != USERS => self.json.skip()?,
                (Token::Name(name), true) => {
                    self.json.object()?;
                    self.path.push(name);
                    self.open.push(Node::default());
                }
                (Token::Name(field), false) => self.field(&field)?,
                (_, true) => node.in_children = false,
                (_, false) => self.close()?,
            }
        }
        Ok(())
    }

    /// A field of the node that was begun last.
    fn field(&mut self, field: &str) -> Result<()> {
        let Self { json, open, .. } = self;
        let Some(node) = open.last_mut() else { return Ok(()) };
        match field {
            "CreatedIndex" => node.key.created = json.number()?,
            "ModifiedIndex" => node.key.modified = json.number()?,
            "ExpireTime" => node.key.expiration = text::stored_time(&json.text()?),
            "Value" => node.key.value = Some(json.text()?),
            // etcd writes it last, so all that is known of a folder comes before what is in it.
            "Children" => match json.some()? {
                Token::Object => {
                    node.in_children = true;
                    node.key.dir = true;
                    node.key.value = None;
                    let folder = node.key.clone();
                    self.show(folder)?;
                }
                Token::Plain(null) if null == "null" => {}
                other => bail!("{other:?} in place of the children of a directory"),
            },
            _ => json.skip()?,
        }
        Ok(())
    }

    /// What was begun last has ended.
    fn close(&mut self) -> Result<()> {
        if let Some(Node { mut key, .. }) = self.open.pop()
            && !key.dir
        {
            key.value.get_or_insert_default();
            self.show(key)?;
        }
        self.path.pop();
        Ok(())
    }

    /// Only what lies below the users' folder is shown.
    fn show(&mut self, key: Key) -> Result<()> {
        let Some((_, below)) = self.path.split_first().filter(|(_, below)| !below.is_empty()) else {
            return Ok(());
        };
        (self.visit)(&Key { key: format!("/{}", below.join("/")), ..key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = r#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{
        "0":{"Path":"/0","Children":{"version":{"Value":"2.3.0","Children":null}}},
        "1":{"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"Value":"","Children":{
            "d":{"Path":"/1/d","CreatedIndex":4,"ModifiedIndex":5,"ExpireTime":"2036-01-01T01:00:00+01:00","ACL":"","Value":"","Children":{
                "k\n":{"Path":"/1/d/k","CreatedIndex":6,"ModifiedIndex":7,"ExpireTime":"0001-01-01T00:00:00Z","Value":"\"v\"","Children":null}}},
            "e":{"CreatedIndex":8,"ModifiedIndex":8,"Value":"","Children":{}}}},
        "2":{"Children":{"users":{"Children":{"root":{"Value":"secret","Children":null}}}}}
    }},"WatcherHub":{"EventHistory":{"Queue":{"Events":[null,{}]}}},"CurrentIndex":9}"#;

    fn listed(store: &str) -> Result<Vec<String>> {
        let mut all = Vec::new();
        visit(&mut store.as_bytes(), &mut |key| {
            all.push(format!("{key} {}", serde_json::to_string(key)?));
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn the_users_keys_are_named_as_the_api_does() {
        let all = listed(STORE).unwrap();
        assert_eq!(
            all,
            [
                "       4        5  /d/ expires 2036-01-01T00:00:00Z \
                 {\"key\":\"/d\",\"dir\":true,\"createdIndex\":4,\"modifiedIndex\":5,\"expiration\":\"2036-01-01T00:00:00Z\"}",
                r#"       6        7  /d/k\n "\"v\"" {"key":"/d/k\n","value":"\"v\"","createdIndex":6,"modifiedIndex":7}"#,
                r#"       8        8  /e/ {"key":"/e","dir":true,"createdIndex":8,"modifiedIndex":8}"#,
            ]
        );
    }

    #[test]
    fn folders_in_folders_end_neither_at_a_bound_nor_in_the_stack() {
        let mut node = r#"{"CreatedIndex":7,"Value":"x","Children":null}"#.to_owned();
        for _ in 0..5000 {
            node = format!(r#"{{"CreatedIndex":3,"Children":{{"a":{node}}}}}"#);
        }
        let all = listed(&format!(r#"{{"Root":{{"Children":{{"1":{node}}}}},"CurrentIndex":1}}"#)).unwrap();
        assert_eq!(all.len(), 5000);
        let deepest = format!(r#"       7        0  {} "x" {{"key":"#, "/a".repeat(5000));
        assert!(all[4999].starts_with(&deepest), "{}", &all[4999][all[4999].len() - 200..]);
    }

    #[test]
    fn what_is_no_store_is_an_error_and_a_visitor_can_stop() {
        for bad in ["", "{}", "[]", r#"{"Root":7}"#, r#"{"Root":{"Children":7}}"#, &STORE[..STORE.len() - 1]]
        {
            assert!(listed(bad).is_err(), "{bad}");
        }
        let mut count = 0;
        let stopped = visit(&mut STORE.as_bytes(), &mut |_| {
            count += 1;
            anyhow::bail!("enough")
        });
        assert!(format!("{:#}", stopped.unwrap_err()).contains("enough"));
        assert_eq!(count, 1);
    }
}
