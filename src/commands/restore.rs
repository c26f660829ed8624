//! `restore`: make this node the founding member of a new cluster with the data of a source.
//!
//! Nothing of the old data is touched before the new member directory is written, read back and synced; and the old one
//! is kept. Killed at any moment, the node has the old data or the new, and the fence keeps etcd from starting in
//! between; running it again works.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::archive::lineage::{Parent, Record, RecordedMember};
use crate::archive::spool::{Spool, Staged};
use crate::cli::{self, Major, Moment};
use crate::etcd::datadir::Family;
use crate::etcd::rewrite::{self, NewMember, Purpose, Rewrite, Target};
use crate::exit::{Exit, fault};
use crate::fence;
use crate::identity::{self, Identity};
use crate::member_dir::{exchange, owner};
use crate::paths::Root;
use crate::recovery::fetch::Wanted;
use crate::recovery::point::Point;
use crate::recovery::source::{self, Choice, Source};
use crate::recovery::{heal, ids};
use crate::remote::Remote;
use crate::remote::rclone::Rclone;
use crate::settings::Settings;
use crate::sys::fs as files;
use crate::sys::lock::Lock;
use crate::sys::time;

pub(super) fn run(root: &Root, options: &cli::Restore) -> Result<Exit> {
    let started = Instant::now();
    let wanted = wanted(options)?;
    let settings = Settings::load(root)?;
    files::create_dirs(&settings.restore_dir, 0o700)?;
    let _lock = take_lock(&settings)?;
    refuse_unless_safe(root, &settings, options.force)?;

    let remote = Rclone::for_recovery(&settings, root);
    let folder = options.from.as_ref().map_or(&settings.machine_id, |from| &from.0);
    let source = source::open(&settings, &remote, options.source, folder, wanted)?;
    let present = source.contents.members()?;
    if !options.force {
        heal::refuse_if_cluster_answers(&settings, &present)?;
    }
    let present: Vec<u64> = present.into_keys().collect();
    let plan = Plan::make(&settings, &source, folder, &present, options.for_etcd)?;
    plan.say(&settings, &source);
    if options.plan {
        log::info!("nothing was changed");
        return Ok(Exit::Done);
    }

    let record = plan.record(&source);
    // All that needs room comes before the exchange.
    let prepare = || {
        build(&settings, &source, &plan).context("writing the new member directory")?;
        let staged = note(&settings, &record)?;
        fence::raise(root, "restore").map(|()| staged)
    };
    let prepared = prepare();
    if prepared.is_err() {
        files::remove_dir_if_there(&exchange::staging(&settings.data_dir))?;
    }
    let staged = prepared.context("the old data is untouched")?;
    let kept = exchange::exchange(&settings.data_dir)?;
    plan.identify(root, &settings)?;
    staged.add()?;
    fence::lower(root)?;

    publish(&settings, &remote, &record);
    files::remove_dir_if_there(&settings.restore_dir.join("incoming"))?;
    report(&settings, &source, &plan, &kept, started);
    Ok(Exit::Done)
}

/// Which state is wanted.
fn wanted(options: &cli::Restore) -> Result<Wanted> {
    let two = |one: &str, other: &str| {
        Err(fault(Exit::Usage, format!("{one} and {other} exclude each other"), "leave one of them out"))
    };
    let point = match (options.at, options.raft_index) {
        (Some(_), Some(_)) => return two("--at", "--raft-index"),
        (Some(Moment(at)), None) => Some(Point::At(at)),
        (None, Some(index)) => Some(Point::Index(index)),
        (None, None) => None,
    };
    let of_the_archive = options.generation.is_some() || options.from.is_some() || point.is_some();
    if of_the_archive && options.source != Choice::Archive {
        return two("--source local or auto", "--generation, --at, --raft-index and --from");
    }
    Ok(Wanted { generation: options.generation, accept_older: options.accept_older, point })
}

fn take_lock(settings: &Settings) -> Result<Lock> {
    settings.try_lock()?.ok_or_else(|| {
        let hint = "stop the timer (systemctl stop etcd2-backup.timer), wait for it to end, and try again";
        fault(Exit::Refused, "a backup or another recovery is in progress on this node", hint)
    })
}

fn refuse_unless_safe(root: &Root, settings: &Settings, force: bool) -> Result<()> {
    let unit = &settings.etcd_unit;
    if root.is_live() && crate::sys::systemd::is_active(unit)? {
        let hint = format!("stop it on all nodes first: systemctl stop {unit} etcd2-backup.timer");
        return Err(fault(Exit::Refused, format!("{unit} is running"), hint));
    }
    exchange::refuse_if_in_use(&settings.effective_wal_dir())?;
    if let Some(wal_dir) = &settings.wal_dir {
        let what = format!("etcd has a separate WAL directory here, {}", wal_dir.display());
        return Err(fault(
            Exit::Refused,
            what,
            "restore cannot exchange two directories yet: take ETCD_WAL_DIR out",
        ));
    }
    if !settings.is_founder() && !force {
        let what = format!(
            "this node ({}) is not the founding member ({})",
            settings.own_peer_urls()?.join(","),
            settings.founder()?.join(",")
        );
        let hint = "run etcd2-restore.service on the founding member and etcd2-join.service here; --force restores here";
        return Err(fault(Exit::Refused, what, hint));
    }
    Ok(())
}

/// What a restore is going to make.
struct Plan {
    /// Whose data it is.
    machine_id: String,
    token: String,
    name: String,
    own: NewMember,
    rewrite: Rewrite,
}

impl Plan {
    /// `present` are the members that the source has.
    fn make(
        settings: &Settings,
        source: &Source,
        folder: &str,
        present: &[u64],
        for_etcd: Option<Major>,
    ) -> Result<Self> {
        let urls = settings.own_peer_urls()?.to_vec();
        let token = ids::token()?;
        let members = [(settings.name.clone(), urls.clone())];
        let (cluster_id, ids) = ids::derive(&source.hash, &members, &token, present);
        let family = match for_etcd {
            Some(Major::Two) => Family::Two,
            Some(Major::Three) => Family::Three,
            None => source.contents.family,
        };
        let own = NewMember { id: ids[0], peer_urls: urls };
        let purpose = Purpose::Found(vec![own.clone()]);
        let rewrite = Rewrite { cluster_id, purpose, up_to: Some(source.point.index), family };
        Ok(Self { machine_id: folder.to_owned(), token, name: settings.name.clone(), own, rewrite })
    }

    fn say(&self, settings: &Settings, source: &Source) {
        let (contents, last) = (&source.contents, source.point);
        log::info!("source: {}", source.origin.describe());
        let urls = self.own.peer_urls.join(",");
        log::info!(
            "data of cluster {:x}, up to index {} of term {} ({} entries behind {})",
            contents.metadata.cluster_id,
            last.index,
            last.term,
            last.index - contents.base_index(),
            contents
                .base
                .as_ref()
                .map_or("no snapshot".into(), |b| format!("the snapshot at {}", b.name.index)),
        );
        if let Some(reason) = contents.torn() {
            log::warn!("the log's last write was torn ({reason}); everything before it is restored");
        }
        warn_of_v3_data(source);
        log::info!(
            "becomes cluster {:x} with one member, {:x} at {urls}",
            self.rewrite.cluster_id,
            self.own.id
        );
        if settings.data_dir.join("member").exists() {
            let kept = exchange::kept_name(&settings.data_dir);
            log::info!("the present data is kept as {}", kept.display());
        }
    }

    /// Who this node is now, for the guard.
    fn identify(&self, root: &Root, settings: &Settings) -> Result<()> {
        let wal_dir = root.strip(&settings.effective_wal_dir());
        let (cluster_id, member_id) = (self.rewrite.cluster_id, self.own.id);
        identity::record(root, &Identity { cluster_id, member_id, wal_dir })
    }

    fn record(&self, source: &Source) -> Record {
        let (contents, last) = (&source.contents, source.point);
        Record {
            version: 1,
            token: self.token.clone(),
            time: time::now(),
            source: source.origin.describe(),
            machine_id: self.machine_id.clone(),
            generation: source.origin.generation(),
            source_cluster_id: contents.metadata.cluster_id,
            index: last.index,
            term: last.term,
            source_hash: source.hash.clone(),
            cluster_id: self.rewrite.cluster_id,
            members: vec![RecordedMember {
                id: self.own.id,
                name: self.name.clone(),
                peer_urls: self.own.peer_urls.clone(),
            }],
        }
    }
}

/// Writes the new member directory beside the old one, reads it back, gives it to etcd's user and syncs it.
fn build(settings: &Settings, source: &Source, plan: &Plan) -> Result<()> {
    let data_dir = &settings.data_dir;
    let owner = owner::ready(settings)?;
    let need = source.contents.base_size()? + source.contents.tail.extents.iter().map(|e| e.to).sum::<u64>();
    let free = files::free_bytes(data_dir)?;
    if free < need {
        let what = format!("{} has {free} bytes free, the restored data needs {need}", data_dir.display());
        return Err(fault(Exit::NoSpace, what, "make room; nothing was changed"));
    }
    let staging = exchange::staging(data_dir);
    files::remove_dir_if_there(&staging)?;
    let target = Target { member_id: plan.own.id, path: &staging };
    rewrite::write_member_dirs(&source.dir, &source.contents, &plan.rewrite, &[target])?;
    rewrite::prove(&source.contents, &plan.rewrite, target)?;
    files::hand_over_and_sync(&staging, Some(owner))
}

/// What the next backup must know of the recovery, and the record for everyone else. Killed before the exchange, the
/// note is for a cluster that never was; killed behind it, the next recovery from this disk finds what it continues.
fn note(settings: &Settings, record: &Record) -> Result<Staged> {
    let parent = Parent {
        for_cluster: record.cluster_id,
        cluster_id: record.source_cluster_id,
        // Numbers count in one folder.
        generation: if record.machine_id == settings.machine_id { record.generation } else { 0 },
        index: record.index,
        token: record.token.clone(),
        before: Vec::new(),
    };
    parent.save(&settings.backup_dir)?;
    let json = serde_json::to_vec_pretty(record)?;
    Spool::open(&settings.backup_dir)?.stage("recovery", &record.token, &json)
}

/// Sends the recovery record. It waits in the spool for the next backup when the remote is not there.
fn publish(settings: &Settings, remote: &dyn Remote, record: &Record) {
    let sent = Spool::open(&settings.backup_dir).and_then(|spool| {
        remote.put(&spool.dir().join("recovery"), &format!("{}/recovery", settings.machine_id))?;
        files::remove_dir_if_there(&spool.dir().join("recovery"))
    });
    if let Err(e) = sent {
        log::warn!("the recovery record {} will be sent with the next backup: {e:#}", record.token);
    }
}

fn warn_of_v3_data(source: &Source) {
    if let Some(seen) = &source.v3_data {
        log::warn!("the member held data of the v3 store, and only the v2 store is restored: {seen}");
    }
}

fn report(settings: &Settings, source: &Source, plan: &Plan, kept: &[std::path::PathBuf], started: Instant) {
    let last = source.point;
    log::info!(
        "restored from {} up to index {} in {} ms: member {:x} of cluster {:x}",
        source.origin.describe(),
        last.index,
        started.elapsed().as_millis(),
        plan.own.id,
        plan.rewrite.cluster_id,
    );
    for path in kept {
        log::info!("the old data is in {}", path.display());
    }
    for given_up in &source.given_up {
        log::warn!("given up: {given_up}");
    }
    warn_of_v3_data(source);
    log::info!("next: systemctl start {}, then etcd2-join.service on the other nodes", settings.etcd_unit);
    log::info!(
        "restart everything that watches etcd: its index went back, and a waiting watch would wait for ever"
    );
}
