//! The drill itself: a member directory as a restore writes it, a private etcd on it, and what that says.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::archive::ids;
use crate::cluster::access;
use crate::etcd::frame::Kind;
use crate::etcd::proto::Entry;
use crate::etcd::rewrite::{self, NewMember, Purpose, Rewrite, Target};
use crate::etcd::wal::{self, Reading};
use crate::inspect::keys;
use crate::node::Node;
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::restore::fetch::Wanted;
use crate::restore::open;
use crate::restore::source::Source;
use crate::settings::source::Choice;
use crate::sys::fs::create_dirs;
use crate::sys::http::Client;
use crate::sys::room::{self, Scratch};
use crate::sys::terminal::live;
use crate::sys::time;
use crate::verify::drill::account::{Account, Compared};
use crate::verify::drill::process::{self, Etcd, Stage};
use crate::verify::drill::v3::ComparedV3;

/// What etcd writes of its own: 3.x preallocates the next segment of its log.
const OF_ETCD: u64 = 72 << 20;

/// The answer, and what is kept of it in `rehearsed.json`.
#[derive(Debug, Serialize)]
pub struct Drilled {
    /// Version of this form.
    pub format: u32,
    /// The machine's directory in the remote.
    pub folder: String,
    /// What was restored, for people.
    pub source: String,
    /// Its generation.
    pub generation: u64,
    /// When it was tried, as RFC 3339.
    pub time: String,
    /// The raft index that was restored.
    pub index: u64,
    /// The raft index at which etcd answered.
    pub raft_index: u64,
    /// The index of its v2 store.
    pub etcd_index: u64,
    /// Keys that etcd has.
    pub keys: u64,
    /// Of these, compared with the snapshot.
    pub compared_with_snapshot: u64,
    /// Of these, compared with the log.
    pub compared_with_log: u64,
    /// SHA-256 of keys, values and indexes.
    pub digest: String,
    /// The v3 store, where a disk was restored that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub v3: Option<ComparedV3>,
    /// Milliseconds to download and check.
    pub read_ms: u64,
    /// Milliseconds to write the member directory.
    pub write_ms: u64,
    /// Milliseconds until etcd answered.
    pub start_ms: u64,
    /// Keys that differ.
    pub wrong: u64,
    /// The first of them, for people.
    pub differences: Vec<String>,
}

/// Restores the newest restore point, or the data of this disk, into `scratch`, starts etcd there and compares.
///
/// # Errors
/// The source cannot be had, there is no room, or etcd does not start or answer within `wait`.
pub fn rehearse(
    node: &Node,
    choice: Choice,
    scratch: &Scratch,
    stage: Stage,
    wait: Duration,
) -> Result<Drilled> {
    let started = Instant::now();
    let settings = &node.settings;
    let remote = Rclone::beside(&settings.remote, "rehearse");
    let incoming = Scratch::new(scratch.dir().join("incoming"), scratch.leave())?;
    let from = (&remote as &dyn Remote, &incoming);
    let source = open::open(settings, from, choice, &settings.machine_id, Wanted::default())?;
    let read = started.elapsed();
    let bytes = source.contents.base_size()?.saturating_add(source.log_size()).saturating_add(OF_ETCD);
    room::check(scratch.dir(), bytes, scratch.leave(), "an etcd with the restored data")?;
    let step = live::step("writing the restored data");
    let last = write(&source, scratch.dir())?;
    let written = started.elapsed();
    step.rename("starting etcd on the restored data".to_owned());
    let etcd = Etcd::start(stage, scratch.dir(), wait)?;
    let running = started.elapsed();

    step.rename("comparing every key".to_owned());
    let (client, url) = etcd.client().context("etcd has no network")?;
    let client = Client { limit: wait, login: access::login(settings)?, ..client };
    let response = client.get(&format!("{url}/v2/keys/?recursive=true&quorum=true"))?;
    if response.status == 401 {
        return Err(access::denied("the restored etcd", client.login.as_ref()));
    }
    let number = |name: &str| response.header(name).and_then(|v| v.trim().parse::<u64>().ok());
    let (raft_index, etcd_index) = (number("X-Raft-Index"), number("X-Etcd-Index"));
    let raft_index = raft_index.context("etcd does not say its raft index")?;
    let Compared { keys, of_snapshot, of_log, digest, mut differences, mut wrong } =
        account(&source)?.compare(&response.body)?;
    if raft_index < last {
        wrong += 1;
        differences.insert(0, format!("etcd is at raft index {raft_index}, not at {last}"));
    }
    let v3 = source.contents.v3.as_ref().map(|base| ComparedV3::of(&client, url, base)).transpose()?;
    if let Some(difference) = v3.as_ref().and_then(ComparedV3::difference) {
        wrong += 1;
        differences.insert(0, difference);
    }
    let ms = |from: Duration, to: Duration| u64::try_from((to - from).as_millis()).unwrap_or(u64::MAX);
    Ok(Drilled {
        format: 1,
        folder: settings.folder(),
        source: source.origin.describe(),
        generation: source.origin.generation(),
        time: time::rfc3339(time::now()),
        index: source.contents.last().index,
        raft_index,
        etcd_index: etcd_index.context("etcd does not say its index")?,
        keys,
        compared_with_snapshot: of_snapshot,
        compared_with_log: of_log,
        digest,
        v3,
        read_ms: ms(Duration::ZERO, read),
        write_ms: ms(read, written),
        start_ms: ms(written, running),
        wrong,
        differences,
    })
}

/// Writes the member directory as a restore does; gives the index that etcd has to reach.
fn write(source: &Source, scratch: &Path) -> Result<u64> {
    let present: Vec<u64> = source.contents.members()?.into_keys().collect();
    let urls = vec![process::PEER_URL.to_owned()];
    let members = [(process::NAME.to_owned(), urls.clone())];
    let (cluster_id, ids) = ids::derive(&source.hash, &members, &ids::token()?, &present);
    let purpose = Purpose::Found(vec![NewMember { id: ids[0], peer_urls: urls }]);
    let rewrite = Rewrite { cluster_id, purpose, up_to: None, family: source.contents.family, bump: None };
    create_dirs(&scratch.join("data"), 0o700)?;
    let member = scratch.join("data/member");
    let target = Target { member_id: ids[0], path: &member };
    rewrite::write_member_dir(&source.dir, &source.contents, &rewrite, target)?;
    rewrite::prove(&source.contents, &rewrite, target)?;
    Ok(source.contents.last().index)
}

/// The keys by the archive.
fn account(source: &Source) -> Result<Account> {
    let mut account = Account::default();
    if let Some(base) = &source.contents.base {
        keys::visit(&mut base.store()?, &mut |key| {
            account.key(key);
            Ok(())
        })?;
    }
    wal::walk(&source.dir.wal, source.contents.start, Reading::Still, &mut |_, record| {
        if record.kind == Kind::Entry {
            account.entry(&Entry::decode(record.data)?);
        }
        Ok(())
    })?;
    Ok(account)
}
