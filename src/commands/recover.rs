//! `recover`: all nodes of a dead cluster, from a workstation or from one of them, by ssh.
//!
//! Nothing is remembered between two runs: what is to be done follows from what the nodes say. Whatever was cut off, and
//! wherever, running it again goes on from there.

use std::io::stderr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{args, both};
use crate::archive::lineage::Record;
use crate::exit::{Exit, OrFault, fault};
use crate::fleet::progress::Progress;
use crate::fleet::ssh::Ssh;
use crate::fleet::steps::Fleet;
use crate::fleet::way::{Node, Take, Way, Wish};
use crate::fleet::{past, plan, text};
use crate::settings::our_units::TIMER;
use crate::sys::terminal::live;
use crate::sys::terminal::question::{self, Answer};
use crate::sys::terminal::table::width;

struct Recover<'a> {
    options: &'a args::Recover,
    wish: Wish,
    fleet: Fleet,
}

/// A point in the past: who restores it, and what that node says of it.
struct Past {
    first: usize,
    planned: Record,
}

pub(super) fn run(options: &args::Recover) -> Result<Exit> {
    let wish = wish(options)?;
    let ssh = Ssh { command: options.ssh.split_whitespace().map(str::to_owned).collect() };
    let progress = Arc::new(Progress::default());
    let fleet = Fleet { ssh, wait: options.wait, started: Instant::now(), progress: Arc::clone(&progress) };
    let recover = Recover { options, wish, fleet };
    on_interrupt(Arc::clone(&progress))?;

    let nodes = recover.ask()?;
    let past = recover.past(&nodes)?;
    let way = recover.decide(&nodes, past.as_ref())?;
    recover.show(&nodes, &way, past.as_ref());
    if options.dry_run {
        log::info!("nothing was changed");
        return Ok(Exit::Done);
    }
    if way != Way::Nothing {
        recover.confirm()?;
    }
    recover.carry_out(nodes, way, past.as_ref()).inspect_err(|_| {
        log::info!("the recovery stopped; what is already done is kept:");
        progress
            .tell("fix the cause, then run the same command again")
            .iter()
            .for_each(|line| log::info!("{line}"));
    })
}

/// Whoever presses Ctrl-C is told what that leaves behind. What runs on a node by then ends there: each ssh has a process
/// group of its own, which a terminal's signals do not reach.
fn on_interrupt(progress: Arc<Progress>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).or_fault(
        Exit::Failed,
        "waiting for an interrupt",
        "are signals forbidden here? try another shell",
    )?;
    thread::spawn(move || {
        for signal in signals.forever() {
            live::stop();
            log::info!("");
            log::error!("interrupted; the nodes are left like this:");
            progress.tell("run the same command again").iter().for_each(|line| log::info!("{line}"));
            // It ends as if nobody had waited for it: its caller sees the signal.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
    Ok(())
}

/// Numbers for the names that were given.
fn wish(options: &args::Recover) -> Result<Wish> {
    let nodes = &options.nodes;
    let twice = nodes.iter().enumerate().find(|(at, node)| nodes[..*at].contains(node));
    let odd = nodes.iter().find(|node| node.is_empty() || node.starts_with('-'));
    if let Some(node) = twice.map(|(_, node)| node).or(odd) {
        return Err(fault(
            Exit::Usage,
            format!("{node:?} is not a node, or is named twice"),
            "name each node once",
        ));
    }
    if nodes.is_empty() {
        return Err(fault(
            Exit::Usage,
            "no nodes were named",
            "name all of them: recover core@e1 core@e2 core@e3",
        ));
    }
    let number = |name: &Option<String>| {
        name.as_ref().map(|name| {
            nodes.iter().position(|node| node == name).ok_or_else(|| {
                let what = format!("{name} is not one of the nodes");
                fault(Exit::Usage, what, format!("it is one of {}", nodes.join(" ")))
            })
        })
    };
    match options {
        args::Recover { at: Some(_), raft_index: Some(_), .. } => {
            return Err(both("--at", "--raft-index"));
        }
        args::Recover { from: Some(_), source: Some(_), .. } => return Err(both("--from", "--source")),
        args::Recover { generation: Some(_), from: None, source: None, .. } => {
            let hint = "name the machine: --from MACHINE_ID, or --source NODE; to list them, on a node: \
                        sudo /opt/bin/etcd2-backup list --all";
            return Err(fault(
                Exit::Usage,
                "--generation needs a machine: each has generations of its own",
                hint,
            ));
        }
        _ => {}
    }
    Ok(Wish {
        founder: number(&options.founder).transpose()?,
        source: number(&options.source).transpose()?,
        one_by_one: options.one_by_one,
    })
}

impl Recover<'_> {
    fn ask(&self) -> Result<Vec<Node>> {
        let nodes = self.fleet.ask(&self.options.nodes)?;
        let own = args::version();
        for node in nodes.iter().filter(|node| node.report.program != own) {
            log::warn!("{} runs another version: {}", node.target, node.report.program);
        }
        Ok(nodes)
    }

    /// The point in the past that is wanted, if one is. Asked once, while nothing has been touched, and meant from then on.
    fn past(&self, nodes: &[Node]) -> Result<Option<Past>> {
        let args::Recover { at, raft_index, generation, from, .. } = self.options;
        if at.is_none() && raft_index.is_none() && generation.is_none() && from.is_none() {
            return Ok(None);
        }
        let (first, machine_id) = past::place(nodes, self.wish, from.as_deref())?;
        let moment = |at: &u64| UNIX_EPOCH + Duration::from_nanos(*at);
        let values = [
            ("--from", Some(machine_id)),
            ("--at", at.as_ref().map(|at| humantime::format_rfc3339_nanos(moment(at)).to_string())),
            ("--raft-index", raft_index.map(|index| index.to_string())),
            ("--generation", generation.map(|number| number.to_string())),
        ];
        let given = values.iter().filter_map(|(name, value)| Some([*name, value.as_deref()?]));
        let which: Vec<&str> = given.flatten().collect();
        let _step = live::step(format!("asking {} what it would restore", nodes[first].target));
        let planned = self.fleet.planned(&nodes[first].target, &which)?;
        Ok(Some(Past { first, planned }))
    }

    fn decide(&self, nodes: &[Node], past: Option<&Past>) -> Result<Way> {
        match past {
            None => plan::decide(nodes, self.wish),
            Some(Past { first, planned }) => past::decide(nodes, self.wish, *first, planned),
        }
    }

    fn show(&self, nodes: &[Node], way: &Way, past: Option<&Past>) {
        if *way == Way::Nothing && past.is_some() {
            log::info!(
                "this cluster was already restored to that very point and has been written to since; to \
                 discard those writes too, stop etcd on all nodes, then run the same command again"
            );
        }
        let said = text::render(nodes, way, self.wish.one_by_one, width(&stderr()));
        said.lines().for_each(|line| log::info!("{line}"));
    }

    fn confirm(&self) -> Result<()> {
        if self.options.yes {
            return Ok(());
        }
        let no = |what: &str| Err(fault(Exit::Refused, what, "add --yes to continue without this question"));
        match question::go_on("")? {
            Answer::Yes => Ok(()),
            Answer::No => no("not confirmed: stopping here"),
            Answer::NobodyThere => no("cannot ask for confirmation without a terminal: stopping here"),
        }
    }

    fn carry_out(&self, nodes: Vec<Node>, way: Way, past: Option<&Past>) -> Result<Exit> {
        let (nodes, way) = self.stop(nodes, way, past)?;
        let done = match &way {
            Way::Nothing => None,
            Way::Begin { first, take, .. } if self.wish.one_by_one => Some(self.found(&nodes, *first, take)?),
            Way::Begin { first, take, .. } => Some(self.all_at_once(&nodes, *first, take)?),
            Way::GoOn { record, first, left } => Some(self.go_on(&nodes, record, *first, left)?),
            Way::Join { first, left } => Some(self.join(&nodes, *first, left)?),
        };
        if let Some((cluster_id, index)) = done {
            self.fleet.verify(&nodes, cluster_id, index)?;
        }
        self.fleet.start_timers(&nodes, TIMER)?;
        self.fleet.tell("done");
        Ok(Exit::Done)
    }

    /// Stops etcd and the backups where data is going to be written, and decides again: until then etcd may have written.
    fn stop(&self, mut nodes: Vec<Node>, way: Way, past: Option<&Past>) -> Result<(Vec<Node>, Way)> {
        let which = match &way {
            Way::Nothing => return Ok((nodes, way)),
            Way::Begin { .. } => (0..nodes.len()).collect(),
            Way::GoOn { left, .. } | Way::Join { left, .. } => left.clone(),
        };
        if self.fleet.stand_by(&mut nodes, &which)? {
            // What a run before this one had begun there has ended meanwhile.
            nodes = self.ask()?;
        }
        let now = self.decide(&nodes, past)?;
        if now.is_as_agreed(&way) {
            return Ok((nodes, now));
        }
        log::warn!("the data on the nodes has changed in the meantime");
        self.show(&nodes, &now, past);
        self.confirm()?;
        self.stop(nodes, now, past)
    }

    /// What the restore is told of the v3 store's revision.
    fn bump(&self) -> &'static [&'static str] {
        match self.options {
            args::Recover { bump: true, .. } => &["--bump"],
            args::Recover { no_bump: true, .. } => &["--no-bump"],
            _ => &[],
        }
    }

    /// A new cluster of all nodes; gives its ID and the index that all must have.
    fn all_at_once(&self, nodes: &[Node], first: usize, take: &Take) -> Result<(u64, u64)> {
        let members = plan::initial_cluster(nodes);
        let record = self.fleet.restore(
            nodes,
            first,
            take,
            &[&["--initial-cluster", &members], self.bump()].concat(),
        )?;
        self.fleet.write_rest(nodes, &record, first, &others(nodes, first))?;
        self.fleet.start(nodes, &silent(nodes))?;
        Ok((record.cluster_id, record.index))
    }

    /// What is left of a recovery.
    fn go_on(&self, nodes: &[Node], record: &Record, first: usize, left: &[usize]) -> Result<(u64, u64)> {
        let done: Vec<usize> = silent(nodes).into_iter().filter(|n| !left.contains(n)).collect();
        self.fleet.let_start(nodes, record, &done)?;
        self.fleet.write_rest(nodes, record, first, left)?;
        self.fleet.start(nodes, &silent(nodes))?;
        Ok((record.cluster_id, record.index))
    }

    /// The founding member alone, then the others.
    fn found(&self, nodes: &[Node], first: usize, take: &Take) -> Result<(u64, u64)> {
        self.fleet.set_founder(nodes, first)?;
        let record = self.fleet.restore(nodes, first, take, self.bump())?;
        self.fleet.start(nodes, &[first])?;
        let step = live::step(format!("waiting until {} serves", nodes[first].target));
        self.fleet.serving(&nodes[first].target, record.cluster_id, record.index)?;
        drop(step);
        self.fleet.join(nodes, &others(nodes, first))?;
        Ok((record.cluster_id, record.index))
    }

    fn join(&self, nodes: &[Node], first: usize, left: &[usize]) -> Result<(u64, u64)> {
        self.fleet.set_founder(nodes, first)?;
        self.fleet.join(nodes, left)?;
        let disk = nodes[first].report.disk.as_ref().context("a member that serves has no data")?;
        Ok((disk.cluster_id, disk.index))
    }
}

fn others(nodes: &[Node], first: usize) -> Vec<usize> {
    (0..nodes.len()).filter(|n| *n != first).collect()
}

fn silent(nodes: &[Node]) -> Vec<usize> {
    (0..nodes.len()).filter(|n| !nodes[*n].report.healthy).collect()
}
