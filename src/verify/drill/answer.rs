//! etcd's answer to a recursive GET, however deep its folders are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context as _, Result, bail};

use crate::sys::json::{Reader, Token};

/// A key as etcd lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its value.
    pub value: String,
    /// The store's index when it was made.
    pub created: u64,
    /// The store's index when it was last changed.
    pub modified: u64,
}

/// All that etcd lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The keys by their paths.
    pub keys: BTreeMap<String, Node>,
    /// The paths of folders; the root's is empty.
    pub folders: BTreeSet<String>,
}

/// One that is being read.
#[derive(Default)]
struct Open {
    path: String,
    node: Node,
    is_folder: bool,
    /// What comes next is in its list.
    in_nodes: bool,
}

/// Reads it; pure.
///
/// # Errors
/// It is none.
pub fn read(mut bytes: &[u8]) -> Result<Answer> {
    let mut json = Reader::new(&mut bytes as &mut dyn Read);
    let mut answer = None;
    json.object()?;
    loop {
        match json.some()? {
            Token::Name(field) if field == "node" => answer = Some(root(&mut json)?),
            Token::Name(_) => json.skip()?,
            _ => break,
        }
    }
    json.end()?;
    answer.context("it has no node")
}

fn root(json: &mut Reader<&mut dyn Read>) -> Result<Answer> {
    let mut answer = Answer::default();
    json.object()?;
    let mut open = vec![Open::default()];
    while let Some(last) = open.last_mut() {
        match (json.some()?, last.in_nodes) {
            (Token::Object, true) => open.push(Open::default()),
            (Token::End, true) => last.in_nodes = false,
            (other, true) => bail!("{other:?} in place of a key or folder"),
            (Token::Name(field), false) => last.field(&field, json)?,
            (_, false) => {
                let Open { path, node, is_folder, .. } = open.pop().unwrap_or_default();
                if is_folder {
                    answer.folders.insert(path);
                } else {
                    answer.keys.insert(path, node);
                }
            }
        }
    }
    Ok(answer)
}

impl Open {
    fn field(&mut self, field: &str, json: &mut Reader<&mut dyn Read>) -> Result<()> {
        match field {
            "key" => self.path = json.text()?,
            "value" => self.node.value = json.text()?,
            "createdIndex" => self.node.created = json.number()?,
            "modifiedIndex" => self.node.modified = json.number()?,
            "dir" => self.is_folder = json.some()? == Token::Plain("true".into()),
            "nodes" => match json.some()? {
                Token::Array => self.in_nodes = true,
                Token::Plain(null) if null == "null" => {}
                other => bail!("{other:?} in place of a list of keys"),
            },
            _ => json.skip()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_folders_are_taken_apart_in_any_order_of_fields() {
        let text = br#"{"action":"get","node":{"dir":true,"nodes":[
            {"key":"/a","value":"v\"","modifiedIndex":2,"createdIndex":1,"ttl":5,"expiration":"2036-01-01T00:00:00Z"},
            {"nodes":[{"key":"/d/k","value":"","createdIndex":3,"modifiedIndex":3}],"dir":true,"key":"/d","modifiedIndex":3},
            {"key":"/e","dir":true,"nodes":null}]},"prevNode":{"nodes":[[{}]]}}"#;
        let Answer { keys, folders } = read(text).unwrap();
        let node = |value: &str, created, modified| Node { value: value.into(), created, modified };
        let expected = [("/a".to_owned(), node("v\"", 1, 2)), ("/d/k".into(), node("", 3, 3))];
        assert_eq!(keys, BTreeMap::from(expected));
        assert_eq!(folders, ["", "/d", "/e"].map(str::to_owned).into());
        for bad in [
            "",
            "[]",
            "{}",
            "{\"node\":7}",
            "{\"node\":{\"nodes\":7}}",
            "{\"node\":{\"nodes\":[7]}}",
            "{\"node\":{}} x",
            "{\"node\":{}",
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
