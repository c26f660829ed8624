//! Which of the processes that write to a log is the member of this node. Told by what nobody else has: the control group of
//! etcd's unit, the peer URL, the IDs in the log. An etcd that is a stranger's is never taken for it.

use std::path::Path;

use super::mounts::{self, Mount};
use super::process::Process;
use super::theirs;
use crate::settings::urls;

/// Services whose processes are what others asked them to run.
const ENGINES: [&str; 5] =
    ["docker.service", "containerd.service", "crio.service", "podman.service", "rkt.service"];

/// Which process is the member.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// This one.
    One(&'a Process),
    /// None that can be: etcd does not run or starts, or it is a proxy.
    None,
    /// Another etcd writes to a log with the IDs of this member.
    Twin(&'a Process),
    /// One of these may be.
    Untold(Vec<&'a Process>),
}

/// What is known of the member.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// The unit that runs it.
    pub unit: &'a str,
    /// Whether that is active.
    pub is_active: bool,
    /// The WAL directory that it had before.
    pub wal_dir: Option<&'a Path>,
    /// Its peer URLs, as the unit says them.
    pub peer_urls: &'a [String],
    /// The processes that write to a log with its IDs.
    pub with_its_ids: &'a [u32],
}

/// What a process is to the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kin {
    /// In the unit's control group.
    Own,
    /// It goes by the same peer URL; or, while the unit is active, nothing says another one, and it has the same IDs.
    Same,
    /// It has the same IDs, and that is all.
    Twin,
    /// A container of which nothing is known.
    Perhaps,
    /// Somebody else.
    Stranger,
}

impl Sought<'_> {
    /// Looks for it.
    pub fn among<'a>(&self, all: &'a [Process], ours: &[Mount]) -> Found<'a> {
        let of = |kin: Kin| all.iter().filter(|p| self.kin(p) == kin).collect::<Vec<_>>();
        let here = |p: &&Process| self.wal_dir.is_some() && wal_dir(p, ours).as_deref() == self.wal_dir;
        let known = |all: &[&'a Process]| all.iter().copied().find(|p| here(p));
        let own = of(Kin::Own);
        match own[..] {
            [] => {}
            [one] => return Found::One(one),
            _ => return known(&own).map_or(Found::Untold(own), Found::One),
        }
        let same = of(Kin::Same);
        match same[..] {
            [] => {}
            [one] => return Found::One(one),
            // Two that nothing tells apart: which one was known before may be the wrong one.
            _ => return Found::Untold(same),
        }
        let twins = of(Kin::Twin);
        if let Some(twin) = twins.first() {
            return known(&twins).map_or(Found::Twin(twin), Found::One);
        }
        let perhaps = of(Kin::Perhaps);
        match perhaps[..] {
            [] => Found::None,
            [one] if self.is_active => Found::One(one),
            _ => known(&perhaps).map_or(Found::Untold(perhaps), Found::One),
        }
    }

    fn kin(&self, process: &Process) -> Kin {
        if process.group.split('/').any(|part| part == self.unit) {
            return Kin::Own;
        }
        let theirs = peer_urls(process);
        let told = !theirs.is_empty() && !self.peer_urls.is_empty();
        if told && urls::share_a_place(&theirs, self.peer_urls) {
            return Kin::Same;
        }
        match self.with_its_ids.contains(&process.pid) {
            true if !told && self.is_active => Kin::Same,
            true => Kin::Twin,
            false if !told && is_contained(&process.group) => Kin::Perhaps,
            false => Kin::Stranger,
        }
    }
}

/// The peer URLs that a process was given, also by a configuration file; none if it goes by etcd's own.
fn peer_urls(process: &Process) -> Vec<String> {
    let given = theirs::environment(process);
    let text = given.get("initial-advertise-peer-urls");
    urls::parse_list("", text.unwrap_or_default()).unwrap_or_default()
}

/// Whether a control group is a container's, and not of some other service.
fn is_contained(group: &str) -> bool {
    let mut services = group.split('/').filter(|part| part.ends_with(".service"));
    services.next().is_none_or(|first| ENGINES.contains(&first))
}

fn wal_dir(process: &Process, ours: &[Mount]) -> Option<std::path::PathBuf> {
    mounts::translate(&process.wal_dir, &process.mounts, ours)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NODE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
    const UNIT: &str = "/system.slice/etcd2.service";
    const OTHER: &str = "/system.slice/etcd-events.service";
    const DOCKER: &str = "/docker/0a1b";
    const NESTED: &str = "/system.slice/docker.service/0a1b";
    const SCOPE: &str = "/system.slice/docker-0a1b.scope";
    const URL: &str = "http://10.0.0.1:2380";
    const ANOTHER: &str = "http://10.0.0.1:12380";
    const OWN: Of = (UNIT, "/a", false, "");
    const EVENTS: Of = (OTHER, "/b", false, "");

    /// A process by its group, its log, whether that has this member's IDs, and its peer URL.
    type Of = (&'static str, &'static str, bool, &'static str);

    /// Those that run, whether the unit is active, the place known before, the unit's peer URL, and what is found.
    type Case = (&'static [Of], bool, Option<&'static str>, &'static str, &'static str);

    fn found(all: &[Of], is_active: bool, known: Option<&str>, url: &str) -> String {
        let processes: Vec<Process> = all
            .iter()
            .zip(1..)
            .map(|(&(group, wal_dir, _, url), pid)| Process {
                pid,
                command: vec!["etcd".into(), format!("--initial-advertise-peer-urls={url}")],
                variables: BTreeMap::new(),
                group: group.into(),
                wal_dir: wal_dir.into(),
                snap_dir: None,
                mounts: mounts::parse(NODE),
            })
            .collect();
        let with_its_ids: Vec<u32> = all.iter().zip(1..).filter(|(of, _)| of.2).map(|(_, pid)| pid).collect();
        let peer_urls = urls::parse_list("", url).unwrap();
        let sought = Sought {
            unit: "etcd2.service",
            is_active,
            wal_dir: known.map(Path::new),
            peer_urls: &peer_urls,
            with_its_ids: &with_its_ids,
        };
        match sought.among(&processes, &mounts::parse(NODE)) {
            Found::One(process) => process.wal_dir.display().to_string(),
            Found::Twin(process) => format!("twin {}", process.wal_dir.display()),
            Found::None => "none".into(),
            Found::Untold(all) => format!("untold {}", all.len()),
        }
    }

    #[test]
    fn the_member_is_told_from_strangers() {
        let cases: [Case; 28] = [
            (&[], true, None, URL, "none"),
            // In the unit's group, whatever else there is.
            (&[EVENTS, OWN], true, None, "", "/a"),
            (&[(DOCKER, "/c", true, URL), OWN], true, None, URL, "/a"),
            (&[OWN, (UNIT, "/a2", false, "")], true, None, "", "untold 2"),
            (&[OWN, (UNIT, "/a2", false, "")], true, Some("/a2"), "", "/a2"),
            // A container of the unit's, of which nothing is known.
            (&[EVENTS, (DOCKER, "/c", false, "")], true, None, "", "/c"),
            (&[EVENTS, (SCOPE, "/d", false, "")], true, None, "", "/d"),
            (&[(NESTED, "/e", false, "")], true, None, "", "/e"),
            (&[(DOCKER, "/c", false, ""), (SCOPE, "/d", false, "")], true, None, "", "untold 2"),
            (&[(DOCKER, "/c", false, ""), (SCOPE, "/d", false, "")], true, Some("/d"), "", "/d"),
            (&[(DOCKER, "/c", false, ""), (SCOPE, "/d", false, "")], true, Some("/x"), "", "untold 2"),
            // A stranger: beside an etcd that starts, that is stopped, in another service.
            (&[EVENTS], true, None, "", "none"),
            (&[EVENTS], false, None, "", "none"),
            (&[(DOCKER, "/c", false, ANOTHER)], true, None, URL, "none"),
            (&[(DOCKER, "/c", false, ANOTHER)], false, Some("/a"), URL, "none"),
            // Started in another way: a container that outlives its unit, another unit, a shell.
            (&[(DOCKER, "/c", false, URL)], false, None, URL, "/c"),
            (&[(OTHER, "/b", false, URL)], false, Some("/a"), URL, "/b"),
            // The old log is held by another etcd.
            (&[(OTHER, "/old", true, ANOTHER), (DOCKER, "/c", true, URL)], true, Some("/old"), URL, "/c"),
            (&[(OTHER, "/old", true, ANOTHER), (DOCKER, "/c", false, URL)], false, Some("/old"), URL, "/c"),
            (&[(OTHER, "/old", true, ""), (OTHER, "/new", true, "")], true, Some("/old"), "", "untold 2"),
            // Its URL is not known, and its IDs are.
            (&[(OTHER, "/b", true, "")], true, None, URL, "/b"),
            (&[(OTHER, "/b", true, URL)], true, None, "", "/b"),
            // That may be a copy which somebody looks into.
            (&[(OTHER, "/b", true, "")], false, Some("/a"), URL, "twin /b"),
            (&[(OTHER, "/b", true, ANOTHER)], true, Some("/a"), URL, "twin /b"),
            (&[(OTHER, "/a", true, "")], false, Some("/a"), URL, "/a"),
            // It cannot be told.
            (&[(DOCKER, "/c", false, "")], false, Some("/a"), URL, "untold 1"),
            (&[(DOCKER, "/c", false, "")], false, Some("/c"), URL, "/c"),
            (&[(DOCKER, "/c", false, ""), (DOCKER, "/d", false, ANOTHER)], true, Some("/a"), URL, "/c"),
        ];
        for (all, is_active, known, url, want) in cases {
            assert_eq!(found(all, is_active, known, url), want, "{all:?} {is_active} {known:?} {url}");
        }
    }
}
