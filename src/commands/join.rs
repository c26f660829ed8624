//! `join`: makes this node a member of the founding member's cluster, and watches until it has caught up.
//!
//! Everything that can fail comes before the cluster is asked. From then on the fence keeps etcd from starting until the
//! node is ready; whenever this is interrupted, running it again goes on where it was.
//!
//! The member begins with a seed, where there is one: with what the founding member was restored from.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::cluster::access::Access;
use crate::cluster::admit::{self, Admission};
use crate::cluster::find::Cluster;
use crate::cluster::local::{self, Ids};
use crate::cluster::plan::{self, Running, Situation, Step};
use crate::cluster::{Membership, api, drop_in, preflight};
use crate::exit::{Exit, OrFault, fault};
use crate::member_dir::aside;
use crate::member_dir::places::Places;
use crate::paths::{IDENTITY, JOIN_DROP_IN, Root};
use crate::recovery::guards;
use crate::recovery::seed::Seed;
use crate::settings::Settings;
use crate::settings::unit::UnitEnvironment;
use crate::sys::http::is_unasked;
use crate::sys::lock::Lock;
use crate::sys::{fs, look, systemd};
use crate::{cli, fence, identity};

mod turn;
mod watch;

use turn::Ready;

/// What every step needs.
struct Join<'a> {
    root: &'a Root,
    options: &'a cli::Join,
    settings: Settings,
    cluster: Cluster,
    /// The peer URLs of the members that the drop-in was written for; empty until then.
    written_for: RefCell<Vec<String>>,
}

/// What an earlier attempt left, which an attempt that changes nothing must leave too.
struct Before {
    fenced: bool,
    unfinished: bool,
}

pub(super) fn run(root: &Root, options: &cli::Join) -> Result<Exit> {
    let started = Instant::now();
    super::look::before(root);
    let settings = Settings::load(root)?;
    guards::refuse_other_place(root, &settings, options.force)?;
    settings.own_name()?;
    settings.own_peer_urls()?;
    refuse_on_founder(&settings)?;
    let _lock = lock(&settings)?;
    let cluster = find(&settings)?;
    log::info!("the founding member's cluster is {:x}, asked at {}", cluster.id, cluster.via);
    let join = Join { root, options, settings, cluster, written_for: RefCell::default() };

    let Ready { step, members, seed } = join.ready()?;
    let id = match step {
        Step::Watch(id) => {
            log::info!("this node already runs as member {id:x} of that cluster");
            return join.watch(id, started);
        }
        Step::Start(id) => {
            log::info!("the data directory is that of member {id:x} of that cluster: it is started as it is");
            id
        }
        _ => join.enter(step, &members, seed)?,
    };
    if options.no_start || !root.is_live() {
        fence::lower(root)?;
        log::info!(
            "ready as member {id:x}: {}; then run join again to watch it catch up",
            join.how_to_start()?
        );
        return Ok(Exit::Done);
    }
    fence::lower(root)?;
    systemd::start_no_block(&join.settings.etcd_unit)?;
    join.watch(id, started)
}

fn find(settings: &Settings) -> Result<Cluster> {
    let access = Access::of(settings)?;
    Cluster::find(&access, settings.founder()?).or_else(|e| {
        // It may have a quorum that we could not ask for.
        if is_unasked(&e) {
            return Err(e);
        }
        let waiting = Cluster::that_waits_for(settings.own_peer_urls()?, &access, settings.founder()?);
        waiting.inspect(|_| log::info!("the cluster has no quorum until this node has started")).ok_or(e)
    })
}

fn refuse_on_founder(settings: &Settings) -> Result<()> {
    settings.founder()?;
    if settings.is_founder() {
        return Err(fault(
            Exit::Refused,
            format!("this node is the founding member ({})", settings.peer_urls.join(",")),
            "the founding member is restored, not joined: systemctl start etcd2-restore.service",
        ));
    }
    Ok(())
}

fn lock(settings: &Settings) -> Result<Lock> {
    settings.try_lock()?.ok_or_else(|| {
        fault(
            Exit::Refused,
            "a backup, restore or join is running on this node",
            "wait until it has ended (`systemctl list-units 'etcd2-*'`), then run join again",
        )
    })
}

impl Join<'_> {
    fn drop_in(&self) -> PathBuf {
        self.root.drop_ins(&self.settings.etcd_unit).join(JOIN_DROP_IN)
    }

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
        let unfinished = look::is_there(&self.drop_in())?;
        if unfinished && local.is_none() {
            self.stop_vain_starts()?;
        }
        plan::decide(&Situation {
            own_name: self.settings.own_name()?,
            own_urls,
            etcd_unit: &self.settings.etcd_unit,
            members,
            matched,
            local,
            set_aside: &self.earlier_ids()?,
            running: self.running()?,
            unfinished,
        })
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

    /// An earlier join started etcd, which has no log yet: systemd tries again and again what does not start.
    fn stop_vain_starts(&self) -> Result<()> {
        let unit = &self.settings.etcd_unit;
        if self.root.is_live() && systemd::is_active(unit)? {
            log::info!("{unit} was started by an earlier join and has not come up: it is stopped first");
            systemd::stop(unit)?;
        }
        Ok(())
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
    fn enter(&self, step: Step, members: &Membership, seed: Option<Seed>) -> Result<u64> {
        let before =
            Before { fenced: fence::is_up(self.root)?, unfinished: look::is_there(&self.drop_in())? };
        fence::raise(self.root, "join")?;
        if let Err(e) = self.write_drop_in(members) {
            self.undo(&before)?;
            return Err(e);
        }
        let id = match self.become_member(step)? {
            Admission::Done(id) => id,
            Admission::Refused(why) => {
                self.undo(&before)?;
                return Err(api::not_changed("the cluster did not take this node as a member", &why));
            }
            Admission::Unknown(why) => {
                let what =
                    "the cluster did not say whether it took this node as a member; etcd stays fenced here";
                return Err(api::not_changed(what, &why));
            }
        };
        log::info!("this node is member {id:x}");
        let other = local::local_ids(&self.settings).ok().flatten().filter(|ids| ids.0 != self.cluster.id);
        if let Some((cluster, member)) = other {
            log::info!(
                "the data here is that of member {member:x} of cluster {cluster:x}, and goes into no other"
            );
        }
        for old in aside::set_aside(&Places::of(&self.settings)?, "join")? {
            log::info!("the old data is kept as {}", old.display());
        }
        // Others may have changed in between; etcd wants the list to the letter.
        let members = self.cluster.members().or_fault(
            Exit::Cluster,
            format!("this node is member {id:x} now, but the cluster does not answer any more; etcd stays fenced here"),
            "when the founding member answers, run join again: it goes on where it was",
        )?;
        self.write_drop_in(&members)?;
        identity::forget(self.root)?;
        if let Some(seed) = seed {
            match seed.finish(&self.settings, id) {
                Ok(()) => {
                    seed.place()?;
                    // With data etcd needs no variables to find the cluster.
                    self.remove_drop_in()?;
                }
                Err(e) => {
                    log::warn!(
                        "the member begins empty after all, and the leader sends it everything: {e:#}"
                    );
                }
            }
        }
        Ok(id)
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

    /// An etcd that reads a configuration file has to find there what a drop-in would say.
    fn refuse_config_file(&self, members: &Membership) -> Result<()> {
        let Some(file) = &self.settings.etcd_config_file else { return Ok(()) };
        let own_urls = self.settings.own_peer_urls()?;
        let list = drop_in::initial_cluster(members, self.settings.own_name()?, own_urls);
        let Some(why) = drop_in::contradicted(file, &list) else { return Ok(()) };
        let what = format!("etcd reads its configuration file instead of what join sets for it, and {why}");
        let mut hint = drop_in::in_file(&file.path, &list);
        if file.values.is_err() {
            let unit = &self.settings.etcd_unit;
            hint = format!(
                "put it where this node has it, and Environment=ETCD_CONFIG_FILE={} into a drop-in of {unit}; {hint}",
                file.path.display()
            );
        }
        Err(fault(Exit::Settings, what, hint))
    }

    /// Writes the drop-in and sees to it that nothing overrides it.
    fn write_drop_in(&self, members: &Membership) -> Result<()> {
        self.refuse_config_file(members)?;
        let own_urls = self.settings.own_peer_urls()?;
        let list = drop_in::initial_cluster(members, self.settings.own_name()?, own_urls);
        let text = drop_in::text(&list, own_urls, &self.settings.etcd_command)?;
        let path = self.drop_in();
        fs::create_dirs(&fs::parent(&path), 0o755)?;
        fs::write_atomic(&path, text.as_bytes(), 0o644)?;
        self.written_for.replace(drop_in::urls(members));
        if !self.root.is_live() {
            return Ok(());
        }
        systemd::daemon_reload()?;
        match drop_in::overridden(&UnitEnvironment::load(&self.settings.etcd_unit, self.root)?, &list) {
            None => Ok(()),
            Some(why) => Err(fault(
                Exit::Settings,
                format!("{} does not have its effect: {why}", path.display()),
                format!(
                    "it is set by an EnvironmentFile or a later drop-in of {}: take it out there",
                    self.settings.etcd_unit
                ),
            )),
        }
    }

    /// Nothing was changed in the cluster: the node becomes what it was.
    fn undo(&self, before: &Before) -> Result<()> {
        if !before.unfinished {
            self.remove_drop_in()?;
        }
        if before.fenced { Ok(()) } else { fence::lower(self.root) }
    }

    fn remove_drop_in(&self) -> Result<()> {
        let path = self.drop_in();
        if look::is_there(&path)? {
            fs::remove_if_there(&path)?;
            fs::sync_dir(&fs::parent(&path))?;
            if self.root.is_live() {
                systemd::daemon_reload()?;
            }
        }
        Ok(())
    }

    fn how_to_start(&self) -> Result<String> {
        if self.root.is_live() {
            return Ok(format!("systemctl start {}", self.settings.etcd_unit));
        }
        Ok(match self.drop_in() {
            path if look::is_there(&path)? => {
                format!("start etcd with the variables of {}", self.root.strip(&path).display())
            }
            _ => "start etcd as usual".to_owned(),
        })
    }
}
