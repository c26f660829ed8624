//! The steps of a recovery of all nodes: what is run on which of them, at the same time where one does not need the other.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::progress::{Progress, Stage};
use super::report::{Found, PROTOCOL, Report, Serving};
use super::ssh::Ssh;
use super::way::{Node, Take};
use super::{plan, said};
use crate::archive::lineage::Record;
use crate::exit::{Exit, OrFault, exit_of, fault, tell};
use crate::sys::terminal::live;
use crate::sys::terminal::table::count;

/// A node looks at its disk and asks the remote, which may take its time to say that it is not there.
const ASKING: Duration = Duration::from_secs(180);
/// etcd may take its whole stop timeout.
const STOPPING: Duration = Duration::from_secs(600);
/// What is written may be fetched by a slow line first.
const WRITING: Duration = Duration::from_secs(3600);
const SYSTEMD: Duration = Duration::from_secs(60);

/// The nodes as they are worked on.
#[derive(Debug)]
pub struct Fleet {
    /// How they are reached.
    pub ssh: Ssh,
    /// How long a member may take until it serves.
    pub wait: Duration,
    /// Since when.
    pub started: Instant,
    /// How far it is.
    pub progress: Arc<Progress>,
}

const SAME: &str = "install the same tarball on all nodes, and run the etcd2-backup that its build left \
                    beside it; then run recover again";

impl Fleet {
    /// Says what has come about, and when.
    pub fn tell(&self, what: &str) {
        let ms = self.started.elapsed().as_millis();
        log::info!("{:>4}.{} s  {what}", ms / 1000, ms / 100 % 10);
    }

    /// Asks each node what it has.
    ///
    /// # Errors
    /// One cannot be reached, or is not set up, or its program is one that this one does not understand. Nothing was touched.
    pub fn ask(&self, targets: &[String]) -> Result<Vec<Node>> {
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let nodes = self.each("asking", &targets, |target| {
            let answer: Result<Value> = self.answer(target, &["report"], ASKING);
            let answer = answer.map_err(|e| match exit_of(&e) {
                // A program that knows no such verb.
                Exit::Usage => {
                    fault(Exit::Refused, format!("{target} runs another version than this one: {e:#}"), SAME)
                }
                _ => e,
            })?;
            Ok(Node { target: target.to_owned(), report: understood(target, &answer)? })
        })?;
        self.tell("all nodes have answered");
        Ok(nodes)
    }

    /// Stops etcd and the backups on these nodes and fences them; `nodes` says then what is on their disks for good. Whether one
    /// holds another cluster than it said.
    ///
    /// # Errors
    /// A node cannot be reached, or something does not stop there.
    pub fn stand_by(&self, nodes: &mut [Node], which: &[usize]) -> Result<bool> {
        let targets = names(nodes, which);
        self.progress.note(&targets, Stage::Stopping);
        let disks: Vec<Option<Found>> = self.each("stopping etcd", &targets, |target| {
            let disk = self.answer(target, &["stand-by"], STOPPING)?;
            self.progress.note(&[target], Stage::Fenced);
            Ok(disk)
        })?;
        self.tell("etcd and the backups are stopped, and etcd is fenced");
        let mut changed = false;
        for (n, disk) in which.iter().zip(disks) {
            let report = &mut nodes[*n].report;
            (report.running, report.healthy) = (false, false);
            match (&mut report.disk, disk) {
                (Some(old), Some(new)) if old.cluster_id == new.cluster_id => {
                    (old.index, old.term) = (new.index, new.term);
                }
                (old, new) => changed |= old.is_some() || new.is_some(),
            }
        }
        Ok(changed)
    }

    /// Writes the new cluster's first member; `more` are further arguments of `restore`.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn restore(&self, nodes: &[Node], first: usize, take: &Take, more: &[&str]) -> Result<Record> {
        let target = &nodes[first].target;
        let mut arguments = vec!["restore", "--json", "--as-founder"];
        arguments.extend(more);
        let (number, last);
        match take {
            Take::Disk => arguments.extend(["--source", "local"]),
            Take::Archive { machine_id, generation } => {
                number = generation.to_string();
                arguments.extend(["--from", machine_id, "--generation", &number]);
            }
            Take::Past { machine_id, generation, index } => {
                (number, last) = (generation.to_string(), index.to_string());
                arguments.extend(["--from", machine_id, "--generation", &number, "--raft-index", &last]);
            }
        }
        self.progress.note(&[target], Stage::Writing);
        let step = live::step(format!("writing the new data: {target}"));
        let record: Record = self.answer(target, &arguments, WRITING)?;
        drop(step);
        self.progress.note(&[target], Stage::Written);
        self.tell(&format!(
            "{target} has the new data: cluster {:x}, up to index {}",
            record.cluster_id, record.index
        ));
        if let Some(bump) = record.v3.and_then(|v3| v3.bump) {
            self.tell(&bump.to_string());
        }
        Ok(record)
    }

    /// Writes the same data on these nodes, each as its own member. Where it came from a disk, that of `first` has it.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn write_rest(&self, nodes: &[Node], record: &Record, first: usize, left: &[usize]) -> Result<()> {
        let json = serde_json::to_vec(record)?;
        let is_disk = record.generation == 0;
        let file = |target: &str| {
            let node = nodes.iter().find(|n| n.target == target);
            node.map(|n| format!("{}/recovery.part", n.report.restore_dir)).unwrap_or_default()
        };
        let targets = names(nodes, left);
        if is_disk {
            let export = &["export", "--recovery-file", "/dev/stdin"];
            // The node that has the data packs it anew for each: what that costs there is less than what the others would wait.
            let passed = self.each("sending the data", &targets, |target| {
                self.ssh.pass((&nodes[first].target, export, &json), target, &file(target))?;
                self.tell(&format!("{target} received the data of {}", nodes[first].target));
                Ok(())
            });
            if passed.is_err() {
                // A node that is not reached any more keeps it, and the next attempt writes over it.
                let _ = self.each("removing the data", &targets, |target| {
                    self.ssh.system(target, &["rm", "-f", &file(target)], SYSTEMD)
                });
            }
            passed?;
        }
        self.each("writing the new data", &targets, |target| {
            let file = file(target);
            let mut arguments = vec!["restore", "--recovery-file", "/dev/stdin"];
            if is_disk {
                arguments.extend(["--source-file", &file]);
            }
            self.progress.note(&[target], Stage::Writing);
            let written = self.ssh.run(target, &arguments, &json, WRITING);
            let removed = is_disk.then(|| self.ssh.system(target, &["rm", "-f", &file], SYSTEMD)).transpose();
            written.and(removed)?;
            self.progress.note(&[target], Stage::Written);
            self.tell(&format!("{target} has the new data"));
            Ok(())
        })?;
        Ok(())
    }

    /// Has nodes that were written before find that they are that member: what kept etcd from starting there is gone then.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn let_start(&self, nodes: &[Node], record: &Record, done: &[usize]) -> Result<()> {
        let json = serde_json::to_vec(record)?;
        let arguments = ["restore", "--recovery-file", "/dev/stdin"];
        self.each("looking at the new data", &names(nodes, done), |target| {
            self.ssh.run(target, &arguments, &json, WRITING)
        })?;
        Ok(())
    }

    /// Starts etcd on these nodes.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn start(&self, nodes: &[Node], which: &[usize]) -> Result<()> {
        // A unit that failed too often before is not started again until told so.
        let start = "systemctl reset-failed \"$1\" 2>/dev/null; exec systemctl start --no-block \"$1\"";
        self.each("starting etcd", &names(nodes, which), |target| {
            let unit = nodes.iter().find(|n| n.target == target).map_or("", |n| &n.report.etcd_unit);
            self.ssh.system(target, &["sh", "-c", start, "sh", unit], SYSTEMD)?;
            self.progress.note(&[target], Stage::Started);
            Ok(())
        })?;
        self.tell("etcd is started");
        Ok(())
    }

    /// Makes one node the founding member on all: joining nodes look for the cluster there.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn set_founder(&self, nodes: &[Node], first: usize) -> Result<()> {
        let founder = &nodes[first].report;
        let is_other = |n: &usize| !plan::names_as_founder(&nodes[*n].report, founder);
        let other: Vec<usize> = (0..nodes.len()).filter(is_other).collect();
        let urls = founder.peer_urls.iter().map(String::as_str);
        let arguments: Vec<&str> = ["set-founder"].into_iter().chain(urls).collect();
        self.each("setting the founding member", &names(nodes, &other), |target| {
            self.ssh.run(target, &arguments, &[], SYSTEMD)?;
            self.tell(&format!("{target} has {} as the founding member", nodes[first].target));
            Ok(())
        })?;
        Ok(())
    }

    /// Joins these nodes, one after the other.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn join(&self, nodes: &[Node], left: &[usize]) -> Result<()> {
        let wait = self.wait_in_words();
        for target in names(nodes, left) {
            self.progress.note(&[target], Stage::Joining);
            let _step = live::step(format!("joining: {target}"));
            self.ssh.run(target, &["join", "--wait", &wait], &[], self.wait + STOPPING)?;
            self.progress.note(&[target], Stage::Started);
            self.tell(&format!("{target} has joined"));
        }
        Ok(())
    }

    /// Waits until a node serves as a member of this cluster, with all up to this index.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn serving(&self, target: &str, cluster_id: u64, index: u64) -> Result<Serving> {
        let wait = self.wait_in_words();
        let (cluster, index) = (cluster_id.to_string(), index.to_string());
        let arguments = ["await", "--cluster", &cluster, "--index", &index, "--wait", &wait];
        self.answer(target, &arguments, self.wait + SYSTEMD)
    }

    /// Sees to it that each member serves, has all entries, and knows as many members and keys as the others.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn verify(&self, nodes: &[Node], cluster_id: u64, index: u64) -> Result<()> {
        let targets: Vec<&str> = nodes.iter().map(|n| n.target.as_str()).collect();
        let all = self
            .each("waiting until etcd serves", &targets, |target| self.serving(target, cluster_id, index))?;
        for (target, Serving { members, index, keys }) in targets.iter().zip(&all) {
            let keys = keys.map_or("keys that only a user of etcd may read".to_owned(), |keys| {
                count(keys, "key", "keys")
            });
            self.tell(&format!(
                "{target} serves: {}, index {index}, {keys}",
                count(*members, "member", "members")
            ));
        }
        if let Some(at) = all.iter().position(|one| one.members != nodes.len()) {
            let members = count(all[at].members, "member", "members");
            let what = format!("{} knows {members}, not {}", targets[at], nodes.len());
            return Err(fault(Exit::Cluster, what, "look at `etcdctl member list` there"));
        }
        if all.iter().any(|one| one.keys != all[0].keys) {
            log::warn!(
                "the nodes have different numbers of keys: are clients already writing, or keys expiring?"
            );
        }
        Ok(())
    }

    /// Starts the backups where they are made at every boot.
    ///
    /// # Errors
    /// A node cannot be reached, or refuses; with what it said.
    pub fn start_timers(&self, nodes: &[Node], timer: &str) -> Result<()> {
        let with_timer: Vec<usize> = (0..nodes.len()).filter(|n| nodes[*n].report.timer).collect();
        self.each("starting the backups", &names(nodes, &with_timer), |target| {
            self.ssh.system(target, &["systemctl", "start", timer], SYSTEMD)
        })?;
        Ok(())
    }

    /// As `--wait` takes it.
    fn wait_in_words(&self) -> String {
        humantime::format_duration(self.wait).to_string().replace(' ', "")
    }

    /// Does the same on each of these nodes at the same time, and shows on which of them it is not done yet. All of them end; the
    /// first error is the answer.
    fn each<T: Send>(
        &self,
        doing: &str,
        targets: &[&str],
        what: impl Fn(&str) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let name = |left: &[&str]| format!("{doing}: {}", left.join(", "));
        let (step, left) = (live::step(name(targets)), Mutex::new(targets.to_vec()));
        let what = |target| {
            let done = what(target);
            let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
            left.retain(|other| *other != target);
            step.rename(name(&left));
            done
        };
        let all: Vec<Result<T>> = thread::scope(|scope| {
            let what = &what;
            let running: Vec<_> = targets.iter().map(|target| scope.spawn(move || what(target))).collect();
            let gone = || Err(anyhow::anyhow!("a thread ended early"));
            running.into_iter().map(|one| one.join().unwrap_or_else(|_| gone())).collect()
        });
        drop(step);
        let errors: Vec<&anyhow::Error> = all.iter().filter_map(|one| one.as_ref().err()).collect();
        for error in errors.iter().skip(1) {
            tell(error);
        }
        all.into_iter().collect()
    }

    fn answer<T: DeserializeOwned>(&self, target: &str, arguments: &[&str], limit: Duration) -> Result<T> {
        read(target, &self.ssh.run(target, arguments, &[], limit)?.stdout)
    }
}

/// An answer of a node, if it is one.
pub(super) fn read<T: DeserializeOwned>(target: &str, stdout: &[u8]) -> Result<T> {
    said::answer(stdout).or_fault(
        Exit::Failed,
        format!("reading what {target} answered"),
        format!(
            "check what this prints: ssh {target} sudo /opt/bin/etcd2-backup report; does that node run the \
             same version as this one?"
        ),
    )
}

/// A report, if its program speaks as this one does and it can be one.
fn understood(target: &str, answer: &Value) -> Result<Report> {
    let protocol = answer.get("protocol").and_then(Value::as_u64).unwrap_or(1);
    if protocol != PROTOCOL {
        let program = answer.get("program").and_then(Value::as_str).unwrap_or("unknown");
        // Programs of version 1 end it with a line break, which was escaped on its way.
        let program = program.trim_end_matches("\\n");
        let older = if protocol < PROTOCOL { "an older" } else { "a newer" };
        let what = format!(
            "{target} runs {older} version ({program}), which speaks version {protocol} of recover's \
             protocol, and this one version {PROTOCOL}; nothing was touched"
        );
        return Err(fault(Exit::Refused, what, SAME));
    }
    let reading = format!("reading what {target} answered");
    let report: Report = said::of_value(answer).or_fault(Exit::Failed, reading, SAME)?;
    match report.objection() {
        None => Ok(report),
        Some(what) => {
            let hint = "check etcd's unit and our settings there: systemctl cat etcd2-backup.service; then \
                        run recover again";
            Err(fault(Exit::Refused, format!("the report of {target} cannot be used: {what}"), hint))
        }
    }
}

/// What ssh is given for these nodes.
fn names<'a>(nodes: &'a [Node], which: &[usize]) -> Vec<&'a str> {
    which.iter().map(|n| nodes[*n].target.as_str()).collect()
}
