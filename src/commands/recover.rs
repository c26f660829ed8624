//! `recover`: all nodes of a dead cluster, from a workstation or from one of them, by ssh.
//!
//! Nothing is remembered between two runs: what is to be done follows from what the nodes say. Whatever was cut off, and
//! wherever, running it again goes on from there.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::archive::lineage::Record;
use crate::cli;
use crate::exit::{Exit, fault};
use crate::fleet::plan::{self, Node, Take, Way, Wish};
use crate::fleet::ssh::Ssh;
use crate::fleet::steps::Fleet;
use crate::fleet::text;
use crate::install::payload::TIMER;

struct Recover<'a> {
    options: &'a cli::Recover,
    wish: Wish,
    fleet: Fleet,
}

pub(super) fn run(options: &cli::Recover) -> Result<Exit> {
    let wish = wish(options)?;
    let ssh = Ssh { command: options.ssh.0.clone() };
    let fleet = Fleet { ssh, wait: options.wait, started: Instant::now() };
    let recover = Recover { options, wish, fleet };

    let nodes = recover.ask()?;
    let way = plan::decide(&nodes, wish)?;
    recover.show(&nodes, &way);
    if options.dry_run {
        log::info!("nothing was changed");
        return Ok(Exit::Done);
    }
    if way != Way::Nothing {
        recover.confirm()?;
    }
    recover.carry_out(nodes, way).inspect_err(|_| {
        log::info!("etcd stays fenced where it was stopped; what is done is kept");
        log::info!("when the cause is put right, the same command goes on from there");
    })
}

/// Numbers for the names that were given.
fn wish(options: &cli::Recover) -> Result<Wish> {
    let nodes = &options.nodes;
    let twice = nodes.iter().enumerate().find(|(at, node)| nodes[..*at].contains(node));
    let odd = nodes.iter().find(|node| node.is_empty() || node.starts_with('-'));
    if let Some(node) = twice.map(|(_, node)| node).or(odd) {
        return Err(fault(
            Exit::Usage,
            format!("{node:?} cannot be a node, or is named twice"),
            "name each node once",
        ));
    }
    if nodes.is_empty() {
        return Err(fault(
            Exit::Usage,
            "no node is named",
            "name all of them: recover core@e1 core@e2 core@e3",
        ));
    }
    let number = |name: &Option<cli::NodeName>| {
        name.as_ref().map(|cli::NodeName(name)| {
            nodes.iter().position(|node| node == name).ok_or_else(|| {
                let what = format!("{name} is not one of the nodes");
                fault(Exit::Usage, what, format!("it is one of {}", nodes.join(" ")))
            })
        })
    };
    Ok(Wish {
        founder: number(&options.founder).transpose()?,
        source: number(&options.source).transpose()?,
        one_by_one: options.one_by_one,
    })
}

impl Recover<'_> {
    fn ask(&self) -> Result<Vec<Node>> {
        let nodes = self.fleet.ask(&self.options.nodes)?;
        let own = cli::version();
        for node in nodes.iter().filter(|node| node.report.program != own) {
            log::warn!("{} has another program: {}", node.target, node.report.program.trim());
        }
        Ok(nodes)
    }

    fn show(&self, nodes: &[Node], way: &Way) {
        for line in text::lines(nodes, way, self.wish.one_by_one) {
            log::info!("{line}");
        }
    }

    fn confirm(&self) -> Result<()> {
        if self.options.yes {
            return Ok(());
        }
        let no = |what: &str| Err(fault(Exit::Refused, what, "give --yes to go on without being asked"));
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return no("nobody can be asked here, so nothing more is done");
        }
        log::info!("go on? yes or no:");
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).context("reading the answer")?;
        if answer.trim() == "yes" { Ok(()) } else { no("not confirmed, so nothing more is done") }
    }

    fn carry_out(&self, nodes: Vec<Node>, way: Way) -> Result<Exit> {
        let (nodes, way) = self.stop(nodes, way)?;
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
    fn stop(&self, mut nodes: Vec<Node>, way: Way) -> Result<(Vec<Node>, Way)> {
        let which = match &way {
            Way::Nothing => return Ok((nodes, way)),
            Way::Begin { .. } => (0..nodes.len()).collect(),
            Way::GoOn { left, .. } | Way::Join { left, .. } => left.clone(),
        };
        if self.fleet.stand_by(&mut nodes, &which)? {
            // What a run before this one had begun there has ended meanwhile.
            nodes = self.ask()?;
        }
        let now = plan::decide(&nodes, self.wish)?;
        if now.is_as_agreed(&way) {
            return Ok((nodes, now));
        }
        log::warn!("what the nodes have has changed meanwhile");
        self.show(&nodes, &now);
        self.confirm()?;
        self.stop(nodes, now)
    }

    /// A new cluster of all nodes; gives its ID and the index that all must have.
    fn all_at_once(&self, nodes: &[Node], first: usize, take: &Take) -> Result<(u64, u64)> {
        let members = plan::initial_cluster(nodes);
        let record = self.fleet.restore(nodes, first, take, &["--initial-cluster", &members])?;
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
        let record = self.fleet.restore(nodes, first, take, &[])?;
        self.fleet.start(nodes, &[first])?;
        self.fleet.serving(&nodes[first].target, record.cluster_id, record.index)?;
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
