//! A sample of all that a v3 store can hold, and what etcd answers about it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Client, base64};
use crate::process::run;

const LIMIT: Duration = Duration::from_secs(30);

/// Writes one of everything: keys changed, deleted and made again, transactions that fail too, ranges, leases that stay and
/// one that is revoked, users and roles, a compaction in between. `head` begins the names of some keys.
///
/// # Errors
/// etcd refuses something.
pub fn write_sample(url: &str, head: &str) -> Result<()> {
    let mut v3 = Client::new(url)?;
    for lease in [7_001, 7_002, 7_003] {
        v3.call("lease/grant", &json!({"ID": lease.to_string(), "TTL": "360000"}))?;
    }
    for i in 0..150 {
        v3.put(&format!("{head}/many/{:03}", i % 60), &format!("value {i} {}", "x".repeat(i)))?;
    }
    v3.put_leased(&format!("{head}/leased/a"), "goes with a lease", 7_001)?;
    v3.put_leased(&format!("{head}/leased/b"), "goes with a lease", 7_001)?;
    v3.put_leased(&format!("{head}/revoked"), "is gone", 7_002)?;
    v3.call("lease/revoke", &json!({"ID": "7002"}))?;
    v3.put("large", &"large ".repeat(5_000))?;
    v3.put("empty", "")?;
    v3.put("uni/ключ\n", "quotes \" ' \\ <&> newline\n snowman \u{2603}")?;
    compare_and_put(&mut v3, "/registry/pods/default/a", 0, "made")?;
    compare_and_put(&mut v3, "/registry/pods/default/a", 1, "not made")?;
    delete_range(&mut v3, &format!("{head}/many/010"), &format!("{head}/many/015"))?;
    v3.delete("absent")?;
    let compacted = revision(&mut v3)?;
    for i in 0..40 {
        v3.put(&format!("{head}/many/{i:03}"), &format!("behind the compaction {i}"))?;
    }
    v3.call("kv/compaction", &json!({"revision": compacted.to_string(), "physical": true}))?;
    v3.delete("large")?;
    v3.put_leased("large", "small", 7_003)?;
    v3.delete("uni/ключ\n")?;
    v3.call("auth/user/add", &json!({"name": "root", "password": "root's secret"}))?;
    v3.call("auth/user/add", &json!({"name": "alice", "password": "alice's secret"}))?;
    v3.call("auth/role/add", &json!({"name": "root"}))?;
    v3.call("auth/role/add", &json!({"name": "reader"}))?;
    let permission = json!({"permType": "READ", "key": base64(b"a"), "range_end": base64(b"b")});
    v3.call("auth/role/grant", &json!({"name": "reader", "perm": permission}))?;
    v3.call("auth/user/grant", &json!({"user": "root", "role": "root"}))?;
    v3.call("auth/user/grant", &json!({"user": "alice", "role": "reader"}))?;
    Ok(())
}

/// Deletes the keys from one to another.
fn delete_range(v3: &mut Client, key: &str, end: &str) -> Result<()> {
    v3.call("kv/deleterange", &json!({"key": base64(key), "range_end": base64(end)})).map(drop)
}

/// Changes a key as Kubernetes does it: only if it was changed last at this revision, 0 for never.
fn compare_and_put(v3: &mut Client, key: &str, revision: u64, value: &str) -> Result<()> {
    let key = base64(key);
    v3.call(
        "kv/txn",
        &json!({
            "compare": [{"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision.to_string()}],
            "success": [{"request_put": {"key": key, "value": base64(value)}}],
            "failure": [{"request_range": {"key": key}}],
        }),
    )
    .map(drop)
}

fn revision(v3: &mut Client) -> Result<u64> {
    let answer = v3.call("kv/range", &json!({"key": base64(b"empty"), "keys_only": true}))?;
    answer["header"]["revision"].as_str().and_then(|r| r.parse().ok()).context("no revision")
}

/// What etcd says of its store: the answers to range, HashKV, status, members, alarms, leases, users and roles. Before 3.6
/// the gateway has no HashKV: this etcdctl is asked for it.
///
/// # Errors
/// etcd refuses something: authentication is on.
pub fn answers(url: &str, etcdctl: &Path) -> Result<Value> {
    let mut v3 = Client::new(url)?;
    let hash = match v3.call("maintenance/hashkv", &json!({"revision": "0"})) {
        Ok(hash) => hash,
        Err(_) => hash_kv(url, etcdctl)?,
    };
    let all = json!({"key": base64([0]), "range_end": base64([0])});
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
