//! What is in a v3 store, and whether two stores are the same; asked through etcd's JSON gateway (3.4 and later).

pub mod ledger;
pub mod random;
pub mod sample;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::Connection;
use crate::keys::address_of;
use crate::process::run;

/// A member, as a client of its v3 store.
#[derive(Debug)]
pub struct Client {
    url: String,
    connection: Connection,
}

/// All that a store holds and that a restore has to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Its revision.
    pub revision: u64,
    /// The keys, in base64.
    pub keys: BTreeMap<String, Key>,
    /// The leases by their IDs, with what they were granted for and the keys that go with them.
    pub leases: BTreeMap<String, Value>,
    /// The users, with their roles.
    pub users: BTreeMap<String, Value>,
    /// The roles, with their permissions.
    pub roles: BTreeMap<String, Value>,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its value, in base64.
    pub value: String,
    /// The revision it was created at.
    pub created: u64,
    /// The revision of its last change.
    pub modified: u64,
    /// How often it was written since.
    pub version: u64,
    /// Its lease, 0 without one.
    pub lease: u64,
}

/// Bytes as the gateway wants them.
pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

impl Client {
    /// Of the member with this client URL.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self { url: url.to_owned(), connection: Connection::new(address_of(url)?) })
    }

    /// Asks as this user from now on.
    ///
    /// # Errors
    /// It is not let in.
    pub fn log_in(&mut self, name: &str, password: &str) -> Result<()> {
        let answer = self.call("auth/authenticate", &json!({ "name": name, "password": password }))?;
        self.connection.token = answer["token"].as_str().map(str::to_owned);
        Ok(())
    }

    /// One request: `kv/put` and so on.
    ///
    /// # Errors
    /// It is refused, or there is no answer.
    pub fn call(&mut self, what: &str, request: &Value) -> Result<Value> {
        let reply = self.connection.request("POST", &format!("/v3/{what}"), Some(&request.to_string()))?;
        ensure!(reply.status == 200, "{what}: {} {}", reply.status, reply.body.trim());
        serde_json::from_str(&reply.body).with_context(|| format!("{what}: {}", reply.body))
    }

    /// Writes a key; gives the revision it has then.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn put(&mut self, key: &str, value: &str) -> Result<u64> {
        self.put_leased(key, value, 0)
    }

    /// The same with a lease.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn put_leased(&mut self, key: &str, value: &str, lease: u64) -> Result<u64> {
        let request = json!({ "key": base64(key), "value": base64(value), "lease": lease });
        revision(&self.call("kv/put", &request)?)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn delete(&mut self, key: &str) -> Result<u64> {
        revision(&self.call("kv/deleterange", &json!({ "key": base64(key) }))?)
    }

    /// Grants a lease of this ID for so many seconds.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn grant(&mut self, lease: u64, seconds: u64) -> Result<()> {
        self.call("lease/grant", &json!({ "ID": lease, "TTL": seconds })).map(drop)
    }

    /// Forgets what was before a revision.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn compact(&mut self, revision: u64) -> Result<()> {
        self.call("kv/compaction", &json!({ "revision": revision, "physical": true })).map(drop)
    }

    /// The member's sum over all keys up to a revision (0: the newest), and what it is compacted to (0: nothing). The gateway gives the name of
    /// this request to another one, so etcdctl asks.
    ///
    /// # Errors
    /// etcdctl does not run, or there is no answer.
    pub fn hash(&self, etcdctl: &Path, revision: u64) -> Result<(u64, u64)> {
        let mut command = Command::new(etcdctl);
        command.args([
            "--endpoints",
            &self.url,
            "endpoint",
            "hashkv",
            "-w",
            "json",
            "--rev",
            &revision.to_string(),
        ]);
        let printed = run(command.env("ETCDCTL_API", "3"), Duration::from_secs(30))?;
        let answer: Value = serde_json::from_str(&printed).with_context(|| format!("etcdctl: {printed}"))?;
        let answer = &answer[0]["HashKV"];
        // -1 where nothing was compacted yet.
        let compacted = answer["compact_revision"].as_i64().and_then(|at| u64::try_from(at).ok());
        Ok((number(&answer["hash"])?, compacted.unwrap_or_default()))
    }

    /// The revision of the store, as the member has it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn revision(&mut self) -> Result<u64> {
        revision(&self.call("kv/range", &json!({ "key": base64("revision"), "serializable": true }))?)
    }

    /// The raft index of the last entry that the member knows to be committed: that of each write it answered, or behind it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn committed(&mut self) -> Result<u64> {
        self.indexes().map(|(committed, _)| committed)
    }

    /// The raft index that the store is at, as long as nobody writes: all that is committed is applied. etcd answers a write a
    /// moment before it says that it is applied.
    ///
    /// # Errors
    /// As [`Client::call`]; somebody writes all the time.
    pub fn raft_index(&mut self) -> Result<u64> {
        for _ in 0..1000 {
            let (committed, applied) = self.indexes()?;
            if committed == applied {
                return Ok(applied);
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("what is committed is not applied")
    }

    /// Committed and applied.
    fn indexes(&mut self) -> Result<(u64, u64)> {
        let answer = self.call("maintenance/status", &json!({}))?;
        Ok((number(&answer["raftIndex"])?, number(&answer["raftAppliedIndex"])?))
    }

    /// All that is in the store.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn store(&mut self) -> Result<Store> {
        let all = json!({ "key": base64([0]), "range_end": base64([0]) });
        let answer = self.call("kv/range", &all)?;
        let mut keys = BTreeMap::new();
        for kv in list(&answer["kvs"]) {
            let key = Key {
                value: text(&kv["value"]),
                created: number(&kv["create_revision"])?,
                modified: number(&kv["mod_revision"])?,
                version: number(&kv["version"])?,
                lease: number(&kv["lease"])?,
            };
            keys.insert(text(&kv["key"]), key);
        }
        let mut leases = BTreeMap::new();
        for lease in list(&self.call("lease/leases", &json!({}))?["leases"]) {
            let id = text(&lease["ID"]);
            let mut answer = self.call("lease/timetolive", &json!({ "ID": id, "keys": true }))?;
            // A restarted leader gives each lease its whole time again.
            let mut keys: Vec<String> = list(&answer["keys"]).iter().map(text).collect();
            keys.sort_unstable();
            let told = json!({ "granted": answer["grantedTTL"].take(), "keys": keys });
            leases.insert(id, told);
        }
        let users = self.named("user", "users", "roles")?;
        let roles = self.named("role", "roles", "perm")?;
        Ok(Store { revision: revision(&answer)?, keys, leases, users, roles })
    }

    fn named(&mut self, kind: &str, plural: &str, what: &str) -> Result<BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        for name in list(&self.call(&format!("auth/{kind}/list"), &json!({}))?[plural]) {
            let asked = if kind == "user" { "name" } else { "role" };
            let mut answer = self.call(&format!("auth/{kind}/get"), &json!({ asked: name }))?;
            all.insert(text(name), answer[what].take());
        }
        Ok(all)
    }
}

fn revision(answer: &Value) -> Result<u64> {
    number(&answer["header"]["revision"])
}

/// The gateway writes 64-bit numbers as texts, and leaves zeros out.
fn number(value: &Value) -> Result<u64> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => text.parse().with_context(|| format!("{text:?} is no number")),
        other => other.as_u64().with_context(|| format!("{other} is no number")),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
