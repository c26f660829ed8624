//! `rehearse`: restore the newest point beside the data, start an etcd on it, and compare.

use std::path::{self, Path};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::args;
use crate::archive::ids;
use crate::cluster::access;
use crate::etcd::frame::Kind;
use crate::etcd::proto::Entry;
use crate::etcd::rewrite::{self, NewMember, Purpose, Rewrite, Target};
use crate::etcd::wal::{self, Reading};
use crate::exit::{Exit, fault};
use crate::inspect::keys;
use crate::inspect::output::Output;
use crate::paths::{self, Root};
use crate::recovery::fetch::Wanted;
use crate::recovery::guards;
use crate::recovery::source::{self, Source};
use crate::rehearsal::account::{Account, Compared};
use crate::rehearsal::process::{self, Etcd, Stage};
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::running::program::{self, Program};
use crate::settings::Settings;
use crate::settings::source::Choice;
use crate::sys::fs::{create_dirs, write_atomic};
use crate::sys::http::Client;
use crate::sys::lock::Lock;
use crate::sys::room::{self, Leave, Scratch};
use crate::sys::summed;
use crate::sys::time;

/// What etcd writes of its own: 3.x preallocates the next segment of its log.
const OF_ETCD: u64 = 72 << 20;

/// The answer, and what is kept of it in `rehearsed.json`.
#[derive(Debug, Serialize)]
struct Answer {
    format: u32,
    folder: String,
    source: String,
    generation: u64,
    time: String,
    index: u64,
    raft_index: u64,
    etcd_index: u64,
    keys: u64,
    compared_with_snapshot: u64,
    compared_with_log: u64,
    digest: String,
    read_ms: u64,
    write_ms: u64,
    start_ms: u64,
    wrong: u64,
    differences: Vec<String>,
}

pub(super) fn run(root: &Root, options: &args::Rehearse) -> Result<Exit> {
    super::look::before(root);
    let settings = Settings::load(root)?;
    guards::refuse_other_place(root, &settings, options.force)?;
    let program = match &options.etcd {
        Some(path) => Program::Here(path::absolute(path)?),
        None => program::find(root, &settings)?,
    };
    create_dirs(&settings.backup_dir, 0o700)?;
    // Backups go on meanwhile.
    let Some(_lock) = Lock::try_take(&settings.backup_dir.join("rehearse.lock"))? else {
        log::info!("nothing done: another rehearsal is in progress");
        return Ok(Exit::Done);
    };
    let stage = Stage::set(program)?;
    let scratch = Scratch::new(settings.restore_dir.join("rehearsal"), Leave::Reserve)?;
    create_dirs(scratch.dir(), 0o700)?;
    let answer = rehearse(root, &settings, &scratch, stage, options.wait)?;
    drop(scratch);
    write_atomic(&paths::rehearsed(&settings.backup_dir), &summed::to_vec(&answer)?, 0o600)?;
    say(options.json, &answer)?;
    match answer.differences.first() {
        None => Ok(Exit::Done),
        Some(first) => {
            let what = format!("the restored etcd is not what the archive says, {}: {first}", answer.wrong);
            Err(fault(Exit::Corrupt, what, "look at it with etcd2-backup verify, and try another generation"))
        }
    }
}

fn rehearse(
    root: &Root,
    settings: &Settings,
    scratch: &Scratch,
    stage: Stage,
    wait: Duration,
) -> Result<Answer> {
    let started = Instant::now();
    let remote = Rclone::beside(settings, root, "rehearse");
    let incoming = Scratch::new(scratch.dir().join("incoming"), scratch.leave())?;
    let from = (&remote as &dyn Remote, &incoming);
    let source = source::open(settings, from, Choice::Archive, &settings.machine_id, Wanted::default())?;
    let read = started.elapsed();
    let bytes = source.contents.base_size()?.saturating_add(source.log_size()).saturating_add(OF_ETCD);
    room::check(scratch.dir(), bytes, scratch.leave(), "an etcd with the restored data")?;
    let last = write(&source, scratch.dir())?;
    let written = started.elapsed();
    let etcd = Etcd::start(stage, scratch.dir(), wait)?;
    let running = started.elapsed();

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
    let ms = |from: Duration, to: Duration| u64::try_from((to - from).as_millis()).unwrap_or(u64::MAX);
    Ok(Answer {
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
    let rewrite = Rewrite { cluster_id, purpose, up_to: None, family: source.contents.family };
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

fn say(json: bool, answer: &Answer) -> Result<()> {
    let mut out = Output::new(json);
    let text = || {
        let Answer { source, index, keys, compared_with_snapshot, compared_with_log, .. } = answer;
        let Answer { read_ms, write_ms, start_ms, digest, differences, .. } = answer;
        let mut text = format!(
            "{source}, index {index}\n\
             etcd has {keys} keys; {compared_with_snapshot} were compared with the snapshot, {compared_with_log} with \
             the log\nSHA-256 of keys, values and indexes: {digest}\n\
             a restore takes {} ms: {read_ms} to bring and check, {write_ms} to write, {start_ms} to start etcd\n",
            read_ms + write_ms + start_ms,
        );
        differences.iter().for_each(|d| text += &format!("wrong: {d}\n"));
        text
    };
    let said = if json { out.json(answer) } else { out.text(&text()) };
    if out.finish()? { said } else { Ok(()) }
}
