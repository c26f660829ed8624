//! What is in a v2 store: write it, list it, and say whether two lists are the same.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::http::{Connection, Reply, encode};

/// Every listed key and directory by its full path. etcd never lists names that begin with `_`.
pub type Keys = BTreeMap<String, Node>;

/// One key or directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The value; none for a directory.
    pub value: Option<String>,
    /// Whether it is a directory.
    pub dir: bool,
    /// `createdIndex`.
    pub created: u64,
    /// `modifiedIndex`.
    pub modified: u64,
    /// When it expires, as etcd prints it; none if never. `ttl` is left out: it differs with each reading.
    pub expiration: Option<String>,
}

/// How a key is written, beside its value.
#[derive(Debug, Clone, Default)]
pub struct How<'a> {
    /// Seconds to live.
    pub ttl: Option<u64>,
    /// Make a directory.
    pub dir: bool,
    /// Only if the key exists (or does not).
    pub prev_exist: Option<bool>,
    /// Only if it was last changed at this index.
    pub prev_index: Option<u64>,
    /// Only if this is its value.
    pub prev_value: Option<&'a str>,
}

/// A client of one member's v2 keys.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// For the member whose client URL is `url`, an address and a port.
    ///
    /// # Errors
    /// It is not such a URL: names are not resolved here.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { connection: Connection::new(address_of(url)?) })
    }

    /// Sets a key.
    ///
    /// # Errors
    /// etcd refused, or did not answer.
    pub fn put(&mut self, key: &str, value: &str) -> Result<Node> {
        self.put_how(key, value, &How::default())
    }

    /// Sets a key under conditions, or makes a directory.
    ///
    /// # Errors
    /// etcd refused, or did not answer.
    pub fn put_how(&mut self, key: &str, value: &str, how: &How<'_>) -> Result<Node> {
        self.write("PUT", key, Some(&form(value, how)))
    }

    /// Adds a value under the next in-order name below a directory.
    ///
    /// # Errors
    /// etcd refused, or did not answer.
    pub fn post(&mut self, dir: &str, value: &str) -> Result<Node> {
        self.write("POST", dir, Some(&form(value, &How::default())))
    }

    /// Removes a key.
    ///
    /// # Errors
    /// etcd refused, or did not answer.
    pub fn delete(&mut self, key: &str) -> Result<()> {
        self.write("DELETE", key, None).map(drop)
    }

    /// One key; hidden ones too.
    ///
    /// # Errors
    /// etcd did not answer, or with something else than the key or its absence.
    pub fn get(&mut self, key: &str) -> Result<Option<Node>> {
        let reply = self.connection.request("GET", &target(key, "?quorum=true"), None)?;
        if reply.status == 404 { Ok(None) } else { node_of(key, &reply).map(Some) }
    }

    /// Every key, as of all writes acknowledged so far. Needs a quorum; does not change any index of a key.
    ///
    /// # Errors
    /// etcd did not answer, or with something else than a list.
    pub fn dump(&mut self) -> Result<Keys> {
        self.list("?recursive=true&quorum=true")
    }

    /// Every key this member has applied; works without a quorum too.
    ///
    /// # Errors
    /// etcd did not answer, or with something else than a list.
    pub fn dump_local(&mut self) -> Result<Keys> {
        self.list("?recursive=true")
    }

    fn list(&mut self, query: &str) -> Result<Keys> {
        let reply = self.connection.request("GET", &target("/", query), None)?;
        if reply.status != 200 {
            bail!("listing the keys: {} {}", reply.status, reply.body.trim());
        }
        parse_listing(&reply.body)
    }

    fn write(&mut self, method: &str, key: &str, form: Option<&str>) -> Result<Node> {
        let reply = self.connection.request(method, &target(key, ""), form)?;
        node_of(key, &reply).with_context(|| format!("{method} {key}"))
    }
}

/// Every key of the member at `url`; see [`Client::dump`].
///
/// # Errors
/// As there.
pub fn dump(url: &str) -> Result<Keys> {
    Client::new(url)?.dump()
}

/// The address in `http://ADDRESS:PORT`.
///
/// # Errors
/// It is something else.
pub fn address_of(url: &str) -> Result<SocketAddr> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url:?} is not an http URL"))?;
    rest.trim_end_matches('/').parse().with_context(|| format!("{url:?} has no address and port"))
}

/// Writes one of everything a v2 store can hold: plain keys, changed and deleted ones, conditions, directories,
/// in-order keys, values that need care, keys that expire (in ten years), and a hidden one.
///
/// # Errors
/// etcd refused one, or did not answer.
pub fn write_sample(url: &str) -> Result<()> {
    let mut client = Client::new(url)?;
    let year = 365 * 24 * 3600;
    for i in 0..30 {
        let key = format!("/svc/d{}/k{i}", i % 3);
        let set = client.put(&key, &format!("value-{i}"))?;
        let unchanged = How { prev_index: Some(set.modified), ..How::default() };
        let present = How { prev_exist: Some(true), ..How::default() };
        match i % 5 {
            0 => drop(client.put_how(&key, "cas", &unchanged)?),
            1 => client.delete(&key)?,
            2 => drop(client.put_how(&key, "again", &present)?),
            _ => {}
        }
    }
    for value in ["job1", "job2"] {
        client.post("/queue", value)?;
    }
    client.put_how("/ttl/long", "x", &How { ttl: Some(10 * year), ..How::default() })?;
    client.put_how("/ttldir", "", &How { dir: true, ttl: Some(10 * year), ..How::default() })?;
    client.put("/ttldir/inside", "x")?;
    client.put_how("/emptydir", "", &How { dir: true, ..How::default() })?;
    client.put("/uni/ключ", "quotes \" ' \\ <&> newline\n snowman \u{2603}")?;
    client.put("/empty", "")?;
    client.put("/_hidden/secret", "not listed")?;
    Ok(())
}

/// Writes `count` keys below `dir`, over several connections at once: a cluster takes them in batches.
///
/// # Errors
/// etcd refused one, or did not answer.
pub fn write_many(url: &str, dir: &str, count: usize) -> Result<()> {
    const WRITERS: usize = 8;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|first| {
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::new(url)?;
                    for i in (first..count).step_by(WRITERS) {
                        client.put(&format!("{dir}/{i:06}"), &format!("value of key {i}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        // A writer that panics has said why already.
        writers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| bail!("a writer panicked")))
    })
}

/// One way in which two stores differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The key or directory.
    pub key: String,
    /// Whether it, or a directory above it, expires: then its absence may be right.
    pub expires: bool,
    /// What is different.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let note = if self.expires { " (expires)" } else { "" };
        write!(f, "{}{note}: {}", self.key, self.what)
    }
}

/// Every difference between two stores, by key: values, both indexes, and when a key expires. Empty: they are equal.
pub fn compare(expected: &Keys, found: &Keys) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differs = |keys: &Keys, key: &str, what: String| {
        differences.push(Difference { key: key.to_owned(), expires: expires(keys, key), what });
    };
    for (key, want) in expected {
        let Some(have) = found.get(key) else {
            differs(expected, key, "missing".to_owned());
            continue;
        };
        let fields = [
            ("dir", want.dir.to_string(), have.dir.to_string()),
            ("value", format!("{:?}", want.value), format!("{:?}", have.value)),
            ("createdIndex", want.created.to_string(), have.created.to_string()),
            ("modifiedIndex", want.modified.to_string(), have.modified.to_string()),
            ("expiration", format!("{:?}", want.expiration), format!("{:?}", have.expiration)),
        ];
        for (field, want, have) in fields {
            if want != have {
                differs(expected, key, format!("{field} is {have}, expected {want}"));
            }
        }
    }
    for key in found.keys().filter(|k| !expected.contains_key(*k)) {
        differs(found, key, "not expected".to_owned());
    }
    differences
}

/// Whether a key or a directory above it expires.
pub fn expires(keys: &Keys, key: &str) -> bool {
    let above = key.match_indices('/').map(|(end, _)| &key[..end]);
    above.chain([key]).any(|path| keys.get(path).is_some_and(|n| n.expiration.is_some()))
}

/// The nodes of a recursive `GET /v2/keys/`, without the root itself.
///
/// # Errors
/// It is not such an answer.
pub fn parse_listing(json: &str) -> Result<Keys> {
    let value: Value = serde_json::from_str(json).context("parsing a listing")?;
    let mut keys = Keys::new();
    collect(&value["node"], &mut keys)?;
    Ok(keys)
}

/// A fixture's index and keys: `{"X-Etcd-Index": "…", "body": <recursive GET>}`.
///
/// # Errors
/// It is not such a file.
pub fn parse_fixture(json: &str) -> Result<(u64, Keys)> {
    let value: Value = serde_json::from_str(json)?;
    let index = value["X-Etcd-Index"].as_str().and_then(|i| i.parse().ok()).context("no X-Etcd-Index")?;
    let mut keys = Keys::new();
    collect(&value["body"]["node"], &mut keys)?;
    Ok((index, keys))
}

fn collect(node: &Value, keys: &mut Keys) -> Result<()> {
    let node_object = node.as_object().context("a node is missing")?;
    // Only the root has no name.
    if let Some(key) = node_object.get("key").and_then(Value::as_str).filter(|k| *k != "/") {
        keys.insert(key.to_owned(), parse_node(node)?);
    }
    node_object
        .get("nodes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .try_for_each(|n| collect(n, keys))
}

fn parse_node(node: &Value) -> Result<Node> {
    let index = |name: &str| node[name].as_u64().with_context(|| format!("a node without {name}: {node}"));
    let text = |name: &str| node[name].as_str().map(str::to_owned);
    let dir = node["dir"].as_bool().unwrap_or(false);
    let value = if dir { None } else { Some(text("value").unwrap_or_default()) };
    let (created, modified) = (index("createdIndex")?, index("modifiedIndex")?);
    Ok(Node { value, dir, created, modified, expiration: text("expiration") })
}

fn node_of(key: &str, reply: &Reply) -> Result<Node> {
    if !matches!(reply.status, 200 | 201) {
        bail!("etcd answered {}: {}", reply.status, reply.body.trim());
    }
    let value: Value =
        serde_json::from_str(&reply.body).with_context(|| format!("parsing the answer for {key}"))?;
    parse_node(&value["node"])
}

fn target(key: &str, query: &str) -> String {
    format!("/v2/keys/{}{query}", encode(key.trim_start_matches('/'), "/"))
}

fn form(value: &str, how: &How<'_>) -> String {
    // etcd refuses a value for a directory.
    let mut form = if how.dir { "dir=true".to_owned() } else { format!("value={}", encode(value, "")) };
    let fields = [
        ("ttl", how.ttl.map(|v| v.to_string())),
        ("prevExist", how.prev_exist.map(|v| v.to_string())),
        ("prevIndex", how.prev_index.map(|v| v.to_string())),
        ("prevValue", how.prev_value.map(|v| encode(v, ""))),
    ];
    for (name, value) in fields {
        form.extend(value.map(|v| format!("&{name}={v}")));
    }
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"{"action":"get","node":{"dir":true,"nodes":[
        {"key":"/a","value":"1","createdIndex":4,"modifiedIndex":5},
        {"key":"/d","dir":true,"createdIndex":6,"modifiedIndex":6,"expiration":"2036-01-01T00:00:00Z","ttl":9,"nodes":[
            {"key":"/d/x","value":"","createdIndex":7,"modifiedIndex":7}]}]}}"#;

    #[test]
    fn a_listing_becomes_keys_by_path() {
        let keys = parse_listing(LISTING).unwrap();
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["/a", "/d", "/d/x"]);
        let a = Node { value: Some("1".into()), dir: false, created: 4, modified: 5, expiration: None };
        assert_eq!(keys["/a"], a);
        assert_eq!(keys["/d"].expiration.as_deref(), Some("2036-01-01T00:00:00Z"));
        assert_eq!((keys["/d"].value.as_deref(), keys["/d/x"].value.as_deref()), (None, Some("")));
        assert!(parse_listing(r#"{"errorCode":100}"#).is_err());
        assert!(parse_listing(r#"{"node":{"nodes":[{"key":"/a"}]}}"#).is_err());
    }

    #[test]
    fn each_kind_of_difference_is_found() {
        let expected = parse_listing(LISTING).unwrap();
        assert_eq!(compare(&expected, &expected), []);
        type Change = fn(&mut Keys);
        let cases: [(Change, &str); 8] = [
            (
                |k| k.get_mut("/a").unwrap().value = Some("2".into()),
                r#"/a: value is Some("2"), expected Some("1")"#,
            ),
            (|k| k.get_mut("/a").unwrap().created = 3, "/a: createdIndex is 3, expected 4"),
            (|k| k.get_mut("/a").unwrap().modified = 6, "/a: modifiedIndex is 6, expected 5"),
            (|k| k.get_mut("/a").unwrap().dir = true, "/a: dir is true, expected false"),
            (|k| drop(k.remove("/a")), "/a: missing"),
            (|k| drop(k.insert("/b".into(), Node::default())), "/b: not expected"),
            (|k| drop(k.remove("/d/x")), "/d/x (expires): missing"),
            (
                |k| k.get_mut("/d").unwrap().expiration = None,
                r#"/d (expires): expiration is None, expected Some("2036-01-01T00:00:00Z")"#,
            ),
        ];
        for (change, text) in cases {
            let mut found = expected.clone();
            change(&mut found);
            let differences: Vec<String> =
                compare(&expected, &found).iter().map(ToString::to_string).collect();
            assert_eq!(differences, [text]);
        }
    }

    #[test]
    fn forms_carry_conditions_and_hostile_values() {
        let cas =
            How { prev_index: Some(7), prev_value: Some("a&b"), prev_exist: Some(true), ..How::default() };
        assert_eq!(form("x=y", &cas), "value=x%3Dy&prevExist=true&prevIndex=7&prevValue=a%26b");
        assert_eq!(form("", &How { dir: true, ttl: Some(5), ..How::default() }), "dir=true&ttl=5");
        assert_eq!(target("/a b", ""), "/v2/keys/a%20b");
    }

    #[test]
    fn only_plain_addresses_are_urls() {
        assert_eq!(address_of("http://127.0.0.1:2379/").unwrap().port(), 2379);
        for bad in ["https://127.0.0.1:1", "127.0.0.1:1", "http://localhost:1", "http://127.0.0.1"] {
            assert!(address_of(bad).is_err(), "{bad}");
        }
    }
}
