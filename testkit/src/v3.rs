//! etcd's v3 store by its JSON gateway (3.4 and later): a sample of all it can hold, and what etcd answers about it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::http::Connection;
use crate::keys::address_of;
use crate::process::run;

const LIMIT: Duration = Duration::from_secs(30);

/// A client of one member.
#[derive(Debug)]
pub struct Gateway(Connection);

impl Gateway {
    /// Of the member whose client URL is `url`.
    ///
    /// # Errors
    /// Not an URL with address and port.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self(Connection::new(address_of(url)?)))
    }

    /// Calls a method, like `kv/put`.
    ///
    /// # Errors
    /// etcd refuses, or does not answer.
    pub fn call(&mut self, what: &str, body: &Value) -> Result<Value> {
        let reply = self.0.request("POST", &format!("/v3/{what}"), Some(&body.to_string()))?;
        ensure!(reply.status == 200, "{what}: {} {}", reply.status, reply.body);
        serde_json::from_str(&reply.body).with_context(|| format!("parsing the answer to {what}"))
    }

    /// Sets a key, with a lease unless it is 0.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub fn put(&mut self, key: &str, value: &str, lease: u64) -> Result<()> {
        let body = json!({"key": encode(key.as_bytes()), "value": encode(value.as_bytes()), "lease": lease.to_string()});
        self.call("kv/put", &body).map(drop)
    }

    /// Deletes the keys from one to another; one alone without the other.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub fn delete(&mut self, key: &str, end: &str) -> Result<()> {
        let body = json!({"key": encode(key.as_bytes()), "range_end": encode(end.as_bytes())});
        self.call("kv/deleterange", &body).map(drop)
    }

    /// Changes a key as Kubernetes does it: only if it was changed last at this revision, 0 for never.
    ///
    /// # Errors
    /// As [`Gateway::call`].
    pub fn compare_and_put(&mut self, key: &str, revision: u64, value: &str) -> Result<()> {
        let key = encode(key.as_bytes());
        self.call(
            "kv/txn",
            &json!({
                "compare": [{"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string()}],
                "success": [{"request_put": {"key": key, "value": encode(value.as_bytes())}}],
                "failure": [{"request_range": {"key": key}}],
            }),
        )
        .map(drop)
    }
}

/// Writes one of everything: keys changed, deleted and made again, transactions that fail too, ranges, leases that stay and
/// one that is revoked, users and roles, a compaction in between. `head` begins the names of some keys.
///
/// # Errors
/// etcd refuses something.
pub fn write_sample(url: &str, head: &str) -> Result<()> {
    let mut v3 = Gateway::new(url)?;
    for lease in [7_001, 7_002, 7_003] {
        v3.call("lease/grant", &json!({"ID": lease.to_string(), "TTL": "360000"}))?;
    }
    for i in 0..150 {
        v3.put(&format!("{head}/many/{:03}", i % 60), &format!("value {i} {}", "x".repeat(i)), 0)?;
    }
    v3.put(&format!("{head}/leased/a"), "goes with a lease", 7_001)?;
    v3.put(&format!("{head}/leased/b"), "goes with a lease", 7_001)?;
    v3.put(&format!("{head}/revoked"), "is gone", 7_002)?;
    v3.call("lease/revoke", &json!({"ID": "7002"}))?;
    v3.put("large", &"large ".repeat(5_000), 0)?;
    v3.put("empty", "", 0)?;
    v3.put("uni/ключ\n", "quotes \" ' \\ <&> newline\n snowman \u{2603}", 0)?;
    v3.compare_and_put("/registry/pods/default/a", 0, "made")?;
    v3.compare_and_put("/registry/pods/default/a", 1, "not made")?;
    v3.delete(&format!("{head}/many/010"), &format!("{head}/many/015"))?;
    v3.delete("absent", "")?;
    let compacted = revision(&mut v3)?;
    for i in 0..40 {
        v3.put(&format!("{head}/many/{i:03}"), &format!("behind the compaction {i}"), 0)?;
    }
    v3.call("kv/compaction", &json!({"revision": compacted.to_string(), "physical": true}))?;
    v3.delete("large", "")?;
    v3.put("large", "small", 7_003)?;
    v3.delete("uni/ключ\n", "")?;
    v3.call("auth/user/add", &json!({"name": "root", "password": "root's secret"}))?;
    v3.call("auth/user/add", &json!({"name": "alice", "password": "alice's secret"}))?;
    v3.call("auth/role/add", &json!({"name": "root"}))?;
    v3.call("auth/role/add", &json!({"name": "reader"}))?;
    let permission = json!({"permType": "READ", "key": encode(b"a"), "range_end": encode(b"b")});
    v3.call("auth/role/grant", &json!({"name": "reader", "perm": permission}))?;
    v3.call("auth/user/grant", &json!({"user": "root", "role": "root"}))?;
    v3.call("auth/user/grant", &json!({"user": "alice", "role": "reader"}))?;
    Ok(())
}

fn revision(v3: &mut Gateway) -> Result<u64> {
    let answer = v3.call("kv/range", &json!({"key": encode(b"empty"), "keys_only": true}))?;
    answer["header"]["revision"].as_str().and_then(|r| r.parse().ok()).context("no revision")
}

/// What etcd says of its store: the answers to range, HashKV, status, members, alarms, leases, users and roles. Before 3.6
/// the gateway has no HashKV: this etcdctl is asked for it.
///
/// # Errors
/// etcd refuses something: authentication is on.
pub fn answers(url: &str, etcdctl: &Path) -> Result<Value> {
    let mut v3 = Gateway::new(url)?;
    let hash = match v3.call("maintenance/hashkv", &json!({"revision": "0"})) {
        Ok(hash) => hash,
        Err(_) => hash_kv(url, etcdctl)?,
    };
    let all = json!({"key": encode(&[0]), "range_end": encode(&[0])});
    Ok(json!({
        "range": v3.call("kv/range", &all)?,
        "hash": hash,
        "status": v3.call("maintenance/status", &json!({}))?,
        "members": v3.call("cluster/member/list", &json!({}))?,
        "alarms": v3.call("maintenance/alarm", &json!({"action": "GET"}))?,
        "leases": v3.call("lease/leases", &json!({}))?,
        "users": v3.call("auth/user/list", &json!({}))?,
        "roles": v3.call("auth/role/list", &json!({}))?,
    }))
}

fn hash_kv(url: &str, etcdctl: &Path) -> Result<Value> {
    let mut command = Command::new(etcdctl);
    command.env("ETCDCTL_API", "3").args(["--endpoints", url, "endpoint", "hashkv", "-w", "json"]);
    let all: Value = serde_json::from_str(&run(&mut command, LIMIT)?).context("parsing the hash")?;
    Ok(all[0]["HashKV"].clone())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, as the gateway has bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let six = word >> (18 - 6 * place) & 63;
            out.push(if place <= three.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(encode(&[0xff, 0xef, 0]), "/+8A");
    }
}
