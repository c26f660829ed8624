//! What a node says of itself to whoever recovers all of them, one JSON object. Both ends are this program, and what they say
//! to each other has a number: who has another one is not worked with.

use serde::{Deserialize, Serialize};

use crate::archive::lineage::{Parent, Record, RecordedMember};
use crate::etcd::proto::LogPosition;
use crate::settings::names::{MachineId, UnitName};
use crate::settings::urls;

/// What `recover` and the nodes say to each other: reports, answers, and the verbs and options by which they are asked. It
/// grows with whatever an older program would not understand, or would understand otherwise. Programs before it had none.
pub const PROTOCOL: u64 = 3;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`PROTOCOL`] of its program.
    pub protocol: u64,
    /// Version, commit and target of its program.
    pub program: String,
    /// Its clock, in seconds since 1970.
    pub time: u64,
    /// systemd's machine ID.
    pub machine_id: String,
    /// The member's name.
    pub name: String,
    /// The member's advertised peer URLs.
    pub peer_urls: Vec<String>,
    /// The founding member's peer URLs, as this node has them.
    pub founder_urls: Vec<String>,
    /// Where all machines' backups lie.
    pub endpoint: String,
    /// etcd's unit.
    pub etcd_unit: String,
    /// `ETCD_RESTORE_DIR`.
    pub restore_dir: String,
    /// Whether backups are made at every boot.
    pub timer: bool,
    /// Whether etcd's unit is active.
    pub running: bool,
    /// Whether this member takes part in a quorum; not if that is a doubt.
    pub healthy: bool,
    /// What its disk holds.
    pub disk: Option<Found>,
    /// The newest restore point in its folder of the remote.
    pub archive: Option<Found>,
    /// What is not known, and why.
    pub doubts: Vec<Doubt>,
    /// The record of the recovery that made the cluster of its disk.
    pub record: Option<Record>,
    /// What would keep etcd here from being the member that its data says, if anything.
    pub bootstrap: Option<String>,
}

impl Report {
    /// What is wrong with it, if the report of it cannot be used: a node may be broken, or say what it likes.
    pub fn objection(&self) -> Option<String> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "=,\\".contains(c);
        let of_url =
            |url: &String| Some(format!("{url:?} is not a peer URL: {}", urls::peer_url_problem(url)?));
        if self.peer_urls.is_empty() {
            return Some("it reports no peer URL of its own".into());
        }
        if self.name.is_empty() || self.name.contains(odd) {
            return Some(format!("\"{}\" is not a member name", self.name));
        }
        if let Err(why) = self.machine_id.parse::<MachineId>() {
            return Some(format!("\"{}\" {why}", self.machine_id));
        }
        if let Err(why) = self.etcd_unit.parse::<UnitName>() {
            return Some(format!("\"{}\" is not a service: it {why}", self.etcd_unit));
        }
        if !self.restore_dir.starts_with('/') {
            return Some(format!("\"{}\" is not an absolute path", self.restore_dir));
        }
        self.peer_urls.iter().find_map(of_url)
    }

    /// Why a question could not be asked, if so.
    pub fn unasked(&self, about: About) -> Option<&Doubt> {
        self.doubts.iter().find(|doubt| doubt.about == about && doubt.unasked)
    }
}

/// A question that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Which one.
    pub about: About,
    /// Why: for people.
    pub why: String,
    /// The exit code of whoever asks nothing else.
    pub code: u8,
    /// It could not be asked: the answer may be anything. Else it was asked, and what it is about is of no use.
    pub unasked: bool,
}

/// What a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum About {
    /// Whether etcd has a quorum.
    Health,
    /// What is on the disk.
    Disk,
    /// What this machine has in the remote.
    Archive,
    /// What others have there.
    Others,
    /// What recoveries were begun, and what continues what.
    Records,
}

impl About {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Health => "whether etcd has a quorum",
            Self::Disk => "the disk",
            Self::Archive => "the archive",
            Self::Others => "the other machines' backups",
            Self::Records => "the recovery records",
        }
    }
}

/// Data one could recover from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its cluster.
    pub cluster_id: u64,
    /// Whose it is.
    pub member_id: u64,
    /// The generation; 0 for a disk.
    pub generation: u64,
    /// Its last entry.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// What its cluster continues, and what was given up for it, as far as that is known.
    pub parents: Vec<Parent>,
    /// The members in its list at that entry; none where only its end was looked at.
    pub members: Vec<RecordedMember>,
    /// It has data in the v3 store: not every backup has what its member had there.
    pub v3: bool,
}

impl Found {
    /// Where its log ends.
    pub fn end(&self) -> LogPosition {
        LogPosition { index: self.index, term: self.term }
    }
}

/// What a member that serves says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// How many members it knows.
    pub members: usize,
    /// The last entry it has applied.
    pub index: u64,
    /// How many keys it has; none if it keeps that behind its authentication, or serves no v2 API.
    pub keys: Option<u64>,
}

#[cfg(test)]
mod tests {
    use crate::fleet::plan::tests::{found, nodes};

    #[test]
    fn what_is_no_report_is_told() {
        type Change = fn(&mut super::Report);
        let good: Change = |_| ();
        let changes: [(Change, &str); 8] = [
            (good, ""),
            (|r| r.peer_urls.clear(), "no peer URL of its own"),
            (|r| r.peer_urls.push("http://e0".into()), "is not a peer URL"),
            (|r| r.name = "e-a\\u{1b}[2J".into(), "is not a member name"),
            (|r| r.name.clear(), "is not a member name"),
            (|r| r.machine_id = "../m".into(), "is not a machine ID"),
            (|r| r.etcd_unit = "-x;id".into(), "is not a service"),
            (|r| r.restore_dir = "x".into(), "is not an absolute path"),
        ];
        for (change, words) in changes {
            let mut node = nodes([(found(1, 5), None), (None, None), (None, None)]).swap_remove(0);
            node.report.machine_id = "0f".repeat(16);
            change(&mut node.report);
            let said = node.report.objection();
            assert!(said.as_deref().is_none_or(|said| said.contains(words)), "{said:?}");
            assert_eq!(said.is_none(), words.is_empty(), "{words}");
        }
    }
}
