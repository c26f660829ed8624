//! The users' keys in a store's JSON, one at a time, as etcd's API names them.

use std::fmt;
use std::io::Read;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::output::Output;
use super::subject::Subject;
use super::text;
use crate::archive::unpack::Sink;
use crate::etcd::frame::Record;
use crate::etcd::snap::{self, SnapshotName};
use crate::etcd::wal::SegmentName;

/// The subtree of the users' keys. `/0` is the cluster's own, `/2` has users and roles.
const USERS: &str = "1";
/// serde_json gives up at 128 levels, and a folder takes two.
const MAX_DEPTH: usize = 60;

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

/// Lists the keys of the subject's snapshot.
///
/// # Errors
/// It cannot be read on, or the output is closed.
pub fn list(subject: &Subject, out: &mut Output) -> Result<()> {
    if !out.json {
        out.text(" created modified  key and value\n")?;
    }
    let mut lister = Lister { out, snapshots: 0 };
    subject.snapshot(&mut lister)?;
    if lister.snapshots == 0 {
        log::info!("there is no snapshot: all keys are in the log's entries (--entries)");
    }
    Ok(())
}

struct Lister<'a> {
    out: &'a mut Output,
    snapshots: usize,
}

impl Sink for Lister<'_> {
    fn snapshot(&mut self, _: SnapshotName, size: u64, bytes: &mut dyn Read) -> Result<()> {
        self.snapshots += 1;
        let mut too_deep = 0;
        snap::read_through(bytes, size, &mut |_, store| {
            too_deep = visit(store, &mut |key| match self.out.json {
                true => self.out.json(key),
                false => self.out.text(&format!("{key}\n")),
            })?;
            Ok(())
        })?;
        if too_deep > 0 {
            log::warn!("{too_deep} folders more than {MAX_DEPTH} levels deep are not listed");
        }
        Ok(())
    }

    fn record(&mut self, _: SegmentName, _: &Record<'_>) -> Result<()> {
        Ok(())
    }
}

/// Visits every key in the order of the JSON, a folder before what is in it. Gives the number of folders that lie too
/// deep to be looked into.
///
/// # Errors
/// Not the JSON of a v2 store, or `visit` fails.
pub fn visit(store: &mut dyn Read, visit: &mut dyn FnMut(&Key) -> Result<()>) -> Result<u64> {
    let mut walker = Walker { path: Vec::new(), visit, too_deep: 0 };
    let mut json = serde_json::Deserializer::from_reader(store);
    Top(&mut walker).deserialize(&mut json).context("reading the store's JSON")?;
    json.end().context("reading the store's JSON")?;
    Ok(walker.too_deep)
}

struct Walker<'a> {
    /// The names from the root on.
    path: Vec<String>,
    visit: &'a mut dyn FnMut(&Key) -> Result<()>,
    too_deep: u64,
}

impl Walker<'_> {
    /// Only what lies below the users' folder is shown.
    fn show<E: serde::de::Error>(&mut self, key: Key) -> Result<(), E> {
        let Some((_, below)) = self.path.split_first().filter(|(_, below)| !below.is_empty()) else {
            return Ok(());
        };
        let key = Key { key: format!("/{}", below.join("/")), ..key };
        (self.visit)(&key).map_err(E::custom)
    }
}

/// The top of the JSON: the root, and the history, which passes by.
struct Top<'a, 'w>(&'a mut Walker<'w>);
/// One node of the tree.
struct Node<'a, 'w>(&'a mut Walker<'w>);
/// The children of a folder, or the null of a key; gives whether it is a folder.
struct Children<'a, 'w>(&'a mut Walker<'w>, Key);

macro_rules! seed {
    ($name:ident, $value:ty, $how:ident) => {
        impl<'de> DeserializeSeed<'de> for $name<'_, '_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<$value, D::Error> {
                d.$how(self)
            }
        }
    };
}
seed!(Top, (), deserialize_map);
seed!(Node, (), deserialize_map);
seed!(Children, bool, deserialize_any);

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(field) = map.next_key::<String>()? {
            if field == "Root" {
                map.next_value_seed(Node(&mut *self.0))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(A::Error::missing_field("Root")) }
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key or a folder of the store")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut key, mut value, mut dir) = (Key::default(), None, false);
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "CreatedIndex" => key.created = map.next_value()?,
                "ModifiedIndex" => key.modified = map.next_value()?,
                "ExpireTime" => key.expiration = text::stored_time(&map.next_value::<String>()?),
                "Value" => value = Some(map.next_value::<String>()?),
                // etcd writes it last, so all that is known of a folder comes before what is in it.
                "Children" if self.0.path.len() <= MAX_DEPTH => {
                    let folder = Key { dir: true, ..key.clone() };
                    dir = map.next_value_seed(Children(&mut *self.0, folder))?;
                }
                "Children" => {
                    dir = map.next_value::<Option<IgnoredAny>>()?.is_some();
                    if dir {
                        self.0.too_deep += 1;
                        self.0.show(Key { dir: true, ..key.clone() })?;
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if dir { Ok(()) } else { self.0.show(Key { value: Some(value.unwrap_or_default()), ..key }) }
    }
}

impl<'de> Visitor<'de> for Children<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the children of a folder")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self(walker, folder) = self;
        walker.show(folder)?;
        while let Some(name) = map.next_key::<String>()? {
            if walker.path.is_empty() && name != USERS {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            walker.path.push(name);
            map.next_value_seed(Node(&mut *walker))?;
            walker.path.pop();
        }
        Ok(true)
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

    fn listed(store: &str) -> Result<(Vec<String>, u64)> {
        let mut all = Vec::new();
        let too_deep = visit(&mut store.as_bytes(), &mut |key| {
            all.push(format!("{key} {}", serde_json::to_string(key)?));
            Ok(())
        })?;
        Ok((all, too_deep))
    }

    #[test]
    fn the_users_keys_are_named_as_the_api_does() {
        let (all, too_deep) = listed(STORE).unwrap();
        assert_eq!(
            all,
            [
                "       4        5  /d/ expires 2036-01-01T00:00:00Z \
                 {\"key\":\"/d\",\"dir\":true,\"createdIndex\":4,\"modifiedIndex\":5,\"expiration\":\"2036-01-01T00:00:00Z\"}",
                r#"       6        7  /d/k\n "\"v\"" {"key":"/d/k\n","value":"\"v\"","createdIndex":6,"modifiedIndex":7}"#,
                r#"       8        8  /e/ {"key":"/e","dir":true,"createdIndex":8,"modifiedIndex":8}"#,
            ]
        );
        assert_eq!(too_deep, 0);
    }

    #[test]
    fn folders_in_folders_end_at_a_bound_and_not_in_the_stack() {
        let mut node = r#"{"Value":"x","Children":null}"#.to_owned();
        for _ in 0..5000 {
            node = format!(r#"{{"CreatedIndex":3,"Children":{{"a":{node}}}}}"#);
        }
        let (all, too_deep) =
            listed(&format!(r#"{{"Root":{{"Children":{{"1":{node}}}}},"CurrentIndex":1}}"#)).unwrap();
        assert_eq!((all.len(), too_deep), (MAX_DEPTH, 1));
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
