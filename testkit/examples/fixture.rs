//! Makes a fixture: a real etcd is written to and stopped, its data directory packed beside what it listed last.
//!
//! `cargo run -p testkit --example fixture -- KIND NAME ETCD [LATER_ETCD | ETCDCTL]` writes `tests/fixtures/NAME.*`. KIND is one of
//!
//! - `single`: one member with a snapshot every 100 entries; half of the sample lies behind the newest
//! - `purged`: the same, and waits until etcd has removed its oldest segment (2.0, which cuts at each snapshot)
//! - `follower`: one of three that was down while the others wrote more than they keep for it, so it got a snapshot
//! - `upgraded`: one member without a snapshot, written to by ETCD first and by LATER_ETCD then
//! - `v3-member`: one of three with a v3 store and an alarm; `v3-learner`: one member with a v3 store, a learner that never
//!   started, a member that was removed, and authentication switched on last
//!
//! etcd 3.x fills the last segment up to 64 MB with zeros: 1 MB of them stays, none if NAME ends with `-trimmed`.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use testkit::etcd::{Cluster, Member};
use testkit::fixtures;
use testkit::http::Connection;
use testkit::keys::{self, Client, How};
use testkit::tools::Tools;
use testkit::v3;

const SNAPSHOT_EVERY: usize = 100;
/// Entries that etcd keeps in memory for a slow follower, in every version.
const CATCH_UP: usize = 5000;
const ZEROS_KEPT: usize = 1_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let work = tempfile::tempdir()?;
    let dir = |name: &str| work.path().join(name);
    let (name, listing) = match arguments[..] {
        ["single", name, etcd] => (name, single(&only(etcd), &dir(name), 170, |_| true)?),
        ["purged", name, etcd] => (name, single(&only(etcd), &dir(name), 620, is_purged)?),
        ["follower", name, etcd] => (name, follower(&only(etcd), work.path(), name)?),
        ["upgraded", name, etcd, later] => (name, upgraded(&only(etcd), &only(later), &dir(name))?),
        ["v3-member", name, etcd, ctl] => (name, v3_member(&with(etcd, ctl), work.path(), name)?),
        ["v3-learner", name, etcd, ctl] => (name, v3_learner(&with(etcd, ctl), &dir(name))?),
        _ => bail!(
            "usage: fixture single|purged|follower|upgraded|v3-member|v3-learner NAME ETCD [LATER_ETCD | ETCDCTL]"
        ),
    };
    trim(&dir(name).join("member/wal"), if name.ends_with("-trimmed") { 0 } else { ZEROS_KEPT })?;
    pack(&dir(name), name)?;
    let what = if arguments[0].starts_with("v3-") { "v3" } else { "keys" };
    let keys =
        File::create(fixtures::folder().join(format!("{name}.{what}.json"))).context("creating the keys")?;
    serde_json::to_writer(keys, &listing).context("writing the keys")
}

/// A member is given the path of its etcd in [`Tools`], and uses nothing else of it.
fn only(etcd: &str) -> Tools {
    Tools { etcd: etcd.into(), etcdctl: PathBuf::new(), rclone: PathBuf::new() }
}

fn with(etcd: &str, etcdctl: &str) -> Tools {
    Tools { etcdctl: etcdctl.into(), ..only(etcd) }
}

fn single(tools: &Tools, dir: &Path, rounds: usize, ready: fn(&Path) -> bool) -> Result<Value> {
    let mut member = Member::new(tools, "e1", dir)?;
    member.set("ETCD_SNAPSHOT_COUNT", SNAPSHOT_EVERY.to_string());
    member.start()?;
    overwrite(&member.client_url, rounds)?;
    poll("etcd to purge", || Ok(ready(dir)))?;
    keys::write_sample(&member.client_url)?;
    stop_and_list(&mut member)
}

fn is_purged(dir: &Path) -> bool {
    !dir.join("member/wal/0000000000000000-0000000000000000.wal").exists()
}

fn follower(tools: &Tools, work: &Path, name: &str) -> Result<Value> {
    let mut cluster = Cluster::new(tools, &["e1", "e2", name].map(|n| (n, work.join(n))))?;
    cluster.set("ETCD_SNAPSHOT_COUNT", &SNAPSHOT_EVERY.to_string());
    cluster.start()?;
    let url = cluster.members[0].client_url.clone();
    overwrite(&url, 150)?;
    cluster.members[2].stop()?;
    // While it was the leader, the others first have to elect one.
    cluster.members[0].wait_healthy()?;
    overwrite(&url, CATCH_UP + 5 * SNAPSHOT_EVERY)?;
    keys::write_sample(&url)?;
    let follower = &mut cluster.members[2];
    follower.start()?;
    wait_equal(&url, &follower.client_url)?;

    let mut client = Client::new(&url)?;
    let before = client.put("/svc/d0/behind", "the jump")?;
    let unchanged = How { prev_index: Some(before.modified), ..How::default() };
    client.put_how("/svc/d0/behind", "cas", &unchanged)?;
    client.delete("/svc/d0/k3")?;
    wait_equal(&url, &follower.client_url)?;
    stop_and_list(follower)
}

fn upgraded(tools: &Tools, later: &Tools, dir: &Path) -> Result<Value> {
    let mut member = Member::new(tools, "e1", dir)?;
    member.start()?;
    overwrite(&member.client_url, 20)?;
    member.stop()?;
    let mut member = Member::new(later, "e1", dir)?;
    member.start()?;
    keys::write_sample(&member.client_url)?;
    stop_and_list(&mut member)
}

fn v3_member(tools: &Tools, work: &Path, name: &str) -> Result<Value> {
    let mut cluster = Cluster::new(tools, &["e1", "e2", name].map(|n| (n, work.join(n))))?;
    cluster.set("ETCD_SNAPSHOT_COUNT", &SNAPSHOT_EVERY.to_string());
    cluster.start()?;
    let url = cluster.members[2].client_url.clone();
    v3::sample::write_sample(&url, "a")?;
    let mut gateway = v3::Client::new(&url)?;
    let id = gateway.call("maintenance/status", &json!({}))?["header"]["member_id"].clone();
    gateway.call("maintenance/alarm", &json!({"action": "ACTIVATE", "memberID": id, "alarm": "NOSPACE"}))?;
    let answers = v3::sample::answers(&url, &tools.etcdctl)?;
    cluster.members[2].stop()?;
    Ok(answers)
}

fn v3_learner(tools: &Tools, dir: &Path) -> Result<Value> {
    let mut member = Member::new(tools, "e1", dir)?;
    member.set("ETCD_SNAPSHOT_COUNT", SNAPSHOT_EVERY.to_string());
    member.start()?;
    let url = member.client_url.clone();
    let mut gateway = v3::Client::new(&url)?;
    // Another port: an ID comes from the URLs and the second.
    let learner = |port| json!({"peerURLs": [format!("http://127.0.0.1:{port}")], "isLearner": true});
    let removed = gateway.call("cluster/member/add", &learner(1))?["member"]["ID"].clone();
    gateway.call("cluster/member/remove", &json!({"ID": removed}))?;
    v3::sample::write_sample(&url, "a")?;
    gateway.call("cluster/member/add", &learner(2))?;
    let id = gateway.call("maintenance/status", &json!({}))?["header"]["member_id"].clone();
    for action in ["ACTIVATE", "DEACTIVATE"] {
        gateway.call("maintenance/alarm", &json!({"action": action, "memberID": id, "alarm": "NOSPACE"}))?;
    }
    let answers = v3::sample::answers(&url, &tools.etcdctl)?;
    gateway.call("auth/enable", &json!({}))?;
    member.stop()?;
    Ok(answers)
}

/// Few keys and many entries: a data directory that stays small.
fn overwrite(url: &str, count: usize) -> Result<()> {
    let mut client = Client::new(url)?;
    (0..count).try_for_each(|i| client.put(&format!("/svc/d0/round{}", i % 5), &i.to_string()).map(drop))
}

fn wait_equal(leader: &str, follower: &str) -> Result<()> {
    let expected = keys::dump(leader)?;
    poll("the follower", || Ok(Client::new(follower)?.dump_local()? == expected))
}

fn poll(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !done()? {
        ensure!(Instant::now() < deadline, "waiting for {what} took too long");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn stop_and_list(member: &mut Member) -> Result<Value> {
    let mut connection = Connection::new(keys::address_of(&member.client_url)?);
    let reply = connection.request("GET", "/v2/keys/?recursive=true&sorted=true", None)?;
    let body: Value = serde_json::from_str(&reply.body).context("parsing the listing")?;
    let listing = json!({"X-Etcd-Index": reply.header("x-etcd-index").context("no index")?, "body": body});
    member.stop()?;
    Ok(listing)
}

/// Removes spare segments, and all but `zeros` of the zeros behind the last record.
fn trim(wal: &Path, zeros: usize) -> Result<()> {
    for entry in fs::read_dir(wal)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "tmp") {
            fs::remove_file(&path)?;
            continue;
        }
        let bytes = fs::read(&path)?;
        let length = bytes.len().min(end_of_records(&bytes) + zeros);
        File::options().write(true).open(&path)?.set_len(length as u64)?;
    }
    Ok(())
}

/// Not where the zeros begin: a record ends with zeros too.
fn end_of_records(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 8) {
        let field = u64::from_le_bytes(head.try_into().unwrap_or_default());
        if field == 0 {
            break;
        }
        at += 8 + (field & 0x00ff_ffff_ffff_ffff) as usize + (field >> 56 & 7) as usize;
    }
    at
}

fn pack(dir: &Path, name: &str) -> Result<()> {
    let file =
        File::create(fixtures::folder().join(format!("{name}.tgz"))).context("creating the archive")?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::best()));
    archive.append_dir_all(name, dir)?;
    archive.into_inner()?.finish()?;
    Ok(())
}
