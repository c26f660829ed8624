//! The member list inside a v2 store's JSON, read as a stream.
//!
//! `Root.Children.0.Children.members.Children.<id>.Children.{raftAttributes,attributes}.Value`
//!
//! Reading ends behind `/0`. Go sorts the keys of a map, so `/0` comes before the users' keys in `/1`, which may be many
//! megabytes; in any other order they pass by without being kept.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// A member as the store describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredMember {
    /// Empty until the member has started once.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// Reads the member list out of a store.
///
/// # Errors
/// Not the JSON of a v2 store.
pub fn members(mut store: impl Read) -> Result<BTreeMap<u64, StoredMember>> {
    members_in(&mut store)
}

/// One copy of the parser, whatever is read from.
fn members_in(store: &mut dyn Read) -> Result<BTreeMap<u64, StoredMember>> {
    let mut cluster = None;
    let path = Child("Root", Child("Children", Child("0", Keep(&mut cluster))));
    let read = path.deserialize(&mut serde_json::Deserializer::from_reader(store));
    if cluster.is_none() {
        let root = read.context("reading the store's JSON")?.flatten();
        root.context("reading the store's JSON: it has no root directory")?;
    }
    let list = cluster.and_then(|c: Cluster| c.children.0).map(|m| m.children.0).unwrap_or_default();
    let mut all = BTreeMap::new();
    for (id, node) in list {
        let id = u64::from_str_radix(&id, 16).with_context(|| format!("member ID {id:?} in the store"))?;
        let mut member = StoredMember::default();
        if let Some(raft) = node.children.raft {
            let raft: RaftAttributes =
                serde_json::from_slice(raft.value.as_bytes()).context("raftAttributes of a member")?;
            member.peer_urls = raft.peer_urls;
        }
        if let Some(attributes) = node.children.attributes {
            let attributes: Attributes =
                serde_json::from_slice(attributes.value.as_bytes()).context("attributes of a member")?;
            member.name = attributes.name;
        }
        all.insert(id, member);
    }
    Ok(all)
}

#[derive(Deserialize)]
struct Node<T> {
    #[serde(rename = "Children")]
    children: T,
}

type Cluster = Node<OnlyMembers>;
type Members = Node<Map>;

/// `/0/members`.
struct OnlyMembers(Option<Members>);
/// Everything below `/0/members`.
struct Map(BTreeMap<String, Node<MemberKeys>>);

#[derive(Deserialize)]
struct MemberKeys {
    #[serde(rename = "raftAttributes")]
    raft: Option<Leaf>,
    attributes: Option<Leaf>,
}

#[derive(Deserialize)]
struct Leaf {
    #[serde(rename = "Value")]
    value: String,
}

#[derive(Deserialize)]
struct RaftAttributes {
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    name: String,
}

/// Goes on in one field of an object and lets the others pass; gives whether it was there.
struct Child<S>(&'static str, S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Child<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de, S: DeserializeSeed<'de>> Visitor<'de> for Child<S> {
    type Value = Option<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a directory of the store")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (name, mut seed, mut found) = (self.0, Some(self.1), None);
        while let Some(key) = map.next_key::<String>()? {
            match seed.take_if(|_| key == name) {
                Some(seed) => found = Some(map.next_value_seed(seed)?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Keeps a value and ends the reading, by an error: the only way serde has.
struct Keep<'a, T>(&'a mut Option<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Keep<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        *self.0 = Some(T::deserialize(d)?);
        Err(D::Error::custom("nothing more is wanted"))
    }
}

/// Keeps one child of a folder and lets the others pass.
struct OneChild<T>(&'static str, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneChild<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a directory of the store")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

impl<'de> Deserialize<'de> for OnlyMembers {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(OneChild("members", PhantomData)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(d).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = r#"{"Root":{"Path":"/","Children":{
        "0":{"Path":"/0","Children":{"members":{"Path":"/0/members","Children":{
            "3cb4bd0fad55831":{"Children":{
                "attributes":{"Value":"{\"name\":\"n1\",\"clientURLs\":[\"http://c\"]}","Children":null},
                "raftAttributes":{"Value":"{\"peerURLs\":[\"http://a:1\",\"http://b:2\"]}","Children":null}}},
            "2":{"Children":{"raftAttributes":{"Value":"{\"peerURLs\":[\"http://c:3\"]}","Children":null}}}
        }},"version":{"Value":"2.3.0","Children":null}}},
        "1":{"Path":"/1","Children":{"0":{"Value":"a user's key","Children":null},"members":{"Value":"x","Children":null}}}
    }},"WatcherHub":{"EventHistory":{"Queue":{"Events":[null,{}]}}},"CurrentIndex":9}"#;

    #[test]
    fn the_members_are_found_among_everything_else() {
        let members = members(STORE.as_bytes()).unwrap();
        let started =
            StoredMember { name: "n1".into(), peer_urls: vec!["http://a:1".into(), "http://b:2".into()] };
        let unstarted = StoredMember { name: String::new(), peer_urls: vec!["http://c:3".into()] };
        assert_eq!(members, BTreeMap::from([(0x3cb_4bd0_fad5_5831, started), (2, unstarted)]));
    }

    /// Counts the bytes that are taken from it.
    struct Counted<'a>(&'a [u8], usize);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1 += read;
            Ok(read)
        }
    }

    #[test]
    fn the_keys_of_the_users_are_not_read_unless_they_come_first() {
        let users = STORE.find(r#""1":"#).unwrap();
        let mut counted = Counted(STORE.as_bytes(), 0);
        let expected = members(&mut counted).unwrap();
        assert!(counted.1 < users, "{} of {} bytes were read", counted.1, STORE.len());
        assert!(members(&STORE.as_bytes()[..users]).unwrap() == expected);

        let (start, end) = (STORE.find(r#""0":"#).unwrap(), STORE.find(r#"}},"WatcherHub"#).unwrap());
        let cluster = STORE[start..users].trim().trim_end_matches(',');
        let swapped = format!("{}{},{cluster}{}", &STORE[..start], &STORE[users..end].trim(), &STORE[end..]);
        serde_json::from_str::<serde_json::Value>(&swapped).unwrap();
        assert_eq!(members(swapped.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_store_without_members_is_empty_and_no_store_is_an_error() {
        assert!(members(&br#"{"Root":{"Children":{"1":{"Children":{}}}}}"#[..]).unwrap().is_empty());
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"Root":7}"#,
            r#"{"Root":{}}"#,
            r#"{"Root":{"Children":null}}"#,
            r#"{"Root":{"Children":{"1":{"Children":{}}}}"#,
            r#"{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"xyz":{"Children":{}}}}}}}}}"#,
        ] {
            assert!(members(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
