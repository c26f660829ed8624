//! `join`: makes this node a member of the founding member's cluster, or of its own that lives without that one, and watches
//! until it has caught up.
//!
//! Everything that can fail comes before the cluster is asked. From then on the fence keeps etcd from starting until the
//! node is ready; whenever this is interrupted, running it again goes on where it was.
//!
//! The member begins with a log that was written here, so that nothing of how etcd is started decides what it joins: a seed,
//! where there is one (what the founding member was restored from), else one with nothing in it but the member's IDs.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::args;
use crate::cluster::admit::{self, Admission};
use crate::cluster::find::Cluster;
use crate::cluster::local::{self, Ids};
use crate::cluster::plan::{self, Running, Situation, Step};
use crate::cluster::{Membership, api, preflight};
use crate::etcd::in_use::Trace;
use crate::etcd::proto::Metadata;
use crate::exit::{Exit, OrFault};
use crate::member_dir::aside::{self, Aside};
use crate::member_dir::empty_log;
use crate::member_dir::exchange;
use crate::member_dir::places::Places;
use crate::paths::{IDENTITY, Root};
use crate::recovery::guards;
use crate::recovery::seed::Seed;
use crate::settings::Settings;
use crate::sys::http::is_unasked;
use crate::sys::systemd;
use crate::{fence, identity};

mod trial;
mod turn;
mod watch;
mod way_in;

use turn::Ready;

/// A backup that the timer has just begun is waited for, but not one that a slow remote holds up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What every step needs.
struct Join<'a> {
    root: &'a Root,
    options: &'a args::Join,
    settings: Settings,
    cluster: Cluster,
    /// What etcd's log looked like before anything was asked.
    before: Trace,
}

pub(super) fn run(root: &Root, options: &args::Join) -> Result<Exit> {
    let started = Instant::now();
    super::look::before(root);
    let settings = Settings::load(root)?;
    guards::refuse_other_place(root, &settings, options.force)?;
    guards::refuse_bootstrap(&settings)?;
    settings.own_name()?;
    settings.own_peer_urls()?;
    settings.founder()?;
    let _lock = guards::wait_for_lock(&settings, PATIENCE)?;
    let before = Trace::of(&settings.effective_wal_dir())?;
    let cluster = way_in::find(root, &settings)?;
    log::info!("the cluster is {:x}, asked at {}", cluster.id, cluster.via);
    let join = Join { root, options, settings, cluster, before };

    let Ready { step, seed } = join.ready()?;
    let id = match step {
        Step::Watch(id) => {
            log::info!("this node already runs as member {id:x} of that cluster");
            return join.watch(id, started);
        }
        Step::Start(id) => {
            log::info!("the data directory is that of member {id:x} of that cluster: it is started as it is");
            // Of a run that ended behind its last rename.
            exchange::clear(&Places::of(&join.settings)?)?;
            id
        }
        _ => join.enter(step, seed)?,
    };
    if options.no_start || !root.is_live() {
        fence::lower(root)?;
        log::info!(
            "ready as member {id:x}: {}; then run join again to watch it catch up",
            join.how_to_start()
        );
        return Ok(Exit::Done);
    }
    fence::lower(root)?;
    systemd::start_no_block(&join.settings.etcd_unit)?;
    join.watch(id, started)
}

impl Join<'_> {
    /// Looks at everything, and decides what to do.
    fn decide(&self, members: &Membership) -> Result<Step> {
        let own_urls = self.settings.own_peer_urls()?;
        let entry = members.by_peer_urls(own_urls);
        // Without a leader nobody knows; the plan takes that into account.
        let status = self.cluster.leader_status(members);
        let status = match status {
            Err(e) if is_unasked(&e) => return Err(e),
            status => status,
        };
        let matched = entry.and_then(|e| Some(status.as_ref().ok()?.progress.get(&e.id)?.matched));
        let local = local::local_ids(&self.settings)?;
        let local = if self.end_trial()? { None } else { local };
        plan::decide(&Situation {
            own_name: self.settings.own_name()?,
            own_urls,
            etcd_unit: &self.settings.etcd_unit,
            members,
            matched,
            local,
            set_aside: &self.earlier_ids()?,
            running: self.running()?,
            unfinished: fence::is_up_for(self.root, "join")?,
        })
    }

    /// Ends a trial that was interrupted, as by a reboot: etcd waits for a cluster that nobody has. Says whether one was.
    fn end_trial(&self) -> Result<bool> {
        if !empty_log::is_nobodys(&self.settings)? {
            return Ok(false);
        }
        let unit = &self.settings.etcd_unit;
        if self.root.is_live() && systemd::is_active(unit)? {
            log::info!("{unit} was started by an earlier join for a trial: it is stopped first");
            fence::raise(self.root, "join")?;
            systemd::stop(unit)?;
        }
        Ok(true)
    }

    /// Whose data this node had, as far as it is there or remembered.
    fn earlier_ids(&self) -> Result<Vec<Ids>> {
        let mut ids = local::ids_set_aside(&self.settings)?;
        // One that cannot be read may say that an ID must not be used again.
        let stamp = identity::load(self.root).or_fault(
            Exit::Failed,
            "finding out which member this node was",
            format!("if this node was none of this cluster, remove it: sudo rm {IDENTITY}"),
        )?;
        ids.extend(stamp.map(|i| (i.cluster_id, i.member_id)));
        Ok(ids)
    }

    fn running(&self) -> Result<Running> {
        if let Some(ids) = self.settings.client_urls.iter().find_map(|url| self.answers_as(url)) {
            return Ok(Running::As(ids));
        }
        let active = self.root.is_live() && systemd::is_active(&self.settings.etcd_unit)?;
        let taken = preflight::peer_port_is_taken(self.settings.own_peer_urls()?);
        Ok(if active || taken { Running::Silent } else { Running::No })
    }

    fn answers_as(&self, client_url: &str) -> Option<Ids> {
        let cluster = api::members(&self.cluster.http, client_url).ok()?.cluster_id;
        let (member, _) = api::self_and_leader(&self.cluster.http, client_url).ok()?;
        Some((cluster, member))
    }

    /// From the fence to a node on which etcd starts as a new member.
    fn enter(&self, step: Step, seed: Option<Seed>) -> Result<u64> {
        let was_fenced = fence::is_up(self.root)?;
        guards::fence_off(self.root, &self.settings, "join", &self.before)?;
        if empty_log::is_nobodys(&self.settings)? {
            empty_log::take_away(&self.settings)?;
        }
        let other = local::local_ids(&self.settings).ok().flatten().filter(|ids| ids.0 != self.cluster.id);
        if let Some((cluster, member)) = other {
            log::info!(
                "the data here is that of member {member:x} of cluster {cluster:x}, and goes into no other"
            );
        }
        let old = aside::set_aside(&Places::of(&self.settings)?, "join")?;
        if let Err(e) = self.refuse_if_held(&old).and_then(|()| self.trial()) {
            self.undo(&old, was_fenced)?;
            return Err(e);
        }
        let id = match self.become_member(step)? {
            Admission::Done(id) => id,
            Admission::Refused(why) => {
                self.undo(&old, was_fenced)?;
                return Err(api::not_changed("the cluster did not take this node as a member", &why));
            }
            Admission::Unknown(why) => {
                self.say_kept(&old);
                let what =
                    "the cluster did not say whether it took this node as a member; etcd stays fenced here";
                return Err(api::not_changed(what, &why));
            }
        };
        log::info!("this node is member {id:x}");
        self.say_kept(&old);
        identity::forget(self.root)?;
        if !seed.is_some_and(|seed| self.begins_with(&seed, id)) {
            empty_log::place(&self.settings, Metadata { member_id: id, cluster_id: self.cluster.id })?;
        }
        Ok(id)
    }

    /// Whether the member begins with the seed.
    fn begins_with(&self, seed: &Seed, id: u64) -> bool {
        match seed.finish(&self.settings, id).and_then(|()| seed.place()) {
            Ok(()) => true,
            Err(e) => {
                log::warn!("the member begins empty after all, and the leader sends it everything: {e:#}");
                false
            }
        }
    }

    /// A directory that was set aside may be a log, or have one in it.
    fn refuse_if_held(&self, old: &[Aside]) -> Result<()> {
        let mut logs = old.iter().flat_map(|Aside { now, .. }| [now.clone(), now.join("wal")]);
        logs.try_for_each(|log| guards::refuse_if_old_log_is_held(&self.settings, &log))
    }

    fn say_kept(&self, old: &[Aside]) {
        for old in old {
            log::info!("the old data is kept as {}", old.now.display());
        }
    }

    fn become_member(&self, step: Step) -> Result<Admission> {
        if let Step::Reuse(id) = step {
            log::info!("the entry {id:x} waits for this node and was never started: it is used");
            return Ok(Admission::Done(id));
        }
        if let Step::Replace(id) = step {
            log::info!("the entry {id:x} is this node's, but its data is gone: it is removed first");
            match admit::remove(&self.cluster, id)? {
                Admission::Done(_) => {}
                other => return Ok(other),
            }
        }
        let deadline = Instant::now() + self.options.wait;
        let own_urls = self.settings.own_peer_urls()?;
        loop {
            match admit::add(&self.cluster, own_urls)? {
                // Another node was added at the same moment; until it has started there may be no quorum.
                Admission::Unknown(_) if Instant::now() < deadline && self.somebody_is_half_in() => {}
                other => return Ok(other),
            }
        }
    }

    fn somebody_is_half_in(&self) -> bool {
        self.cluster.members().is_ok_and(|m| m.members.iter().any(|m| !m.has_started()))
    }

    /// Nothing was changed in the cluster: the node becomes what it was.
    fn undo(&self, old: &[Aside], was_fenced: bool) -> Result<()> {
        aside::put_back(old)?;
        if was_fenced { Ok(()) } else { fence::lower(self.root) }
    }

    fn how_to_start(&self) -> String {
        match self.root.is_live() {
            true => format!("systemctl start {}", self.settings.etcd_unit),
            false => "start etcd as usual".to_owned(),
        }
    }
}
