//! The nodes, what is asked for, and what can come of it: the values that a plan is made of.

use super::report::Report;
use crate::archive::lineage::Record;
use crate::etcd::proto::LogPosition;

/// A node by the words its user has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What ssh is given.
    pub target: String,
    /// What it says.
    pub report: Report,
}

/// What the operator asks for; numbers count the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Who makes the new cluster.
    pub founder: Option<usize>,
    /// Whose disk or backup alone comes into question.
    pub source: Option<usize>,
    /// The founding member first, then one join after the other.
    pub one_by_one: bool,
}

/// Where the data comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Take {
    /// The disk of the node that makes the new cluster.
    Disk,
    /// This generation of this machine's folder.
    Archive {
        /// Whose folder.
        machine_id: String,
        /// Which generation.
        generation: u64,
    },
    /// A point in the past, in this generation.
    Past {
        /// Whose folder.
        machine_id: String,
        /// Which generation.
        generation: u64,
        /// The last entry that is taken.
        index: u64,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// All nodes are healthy members of one cluster.
    Nothing,
    /// A new cluster.
    Begin {
        /// Who makes it.
        first: usize,
        /// Of what.
        take: Take,
        /// The position it continues from: term, then index.
        end: LogPosition,
    },
    /// A recovery that was begun: the others write their part of it.
    GoOn {
        /// Which one.
        record: Box<Record>,
        /// Who has the data, where it was a disk's.
        first: usize,
        /// Who has not written it yet.
        left: Vec<usize>,
    },
    /// The founding member's cluster lives; the others join it.
    Join {
        /// A member of it.
        first: usize,
        /// Who joins.
        left: Vec<usize>,
    },
}

impl Way {
    /// Whether somebody who agreed to `other` has agreed to this too: what was written until etcd was stopped is no change.
    pub fn is_as_agreed(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Begin { first, take, end }, Self::Begin { first: one, take: same, end: before }) => {
                (first, take) == (one, same) && end >= before
            }
            _ => self == other,
        }
    }
}
