//! A running cluster, seen through its members' API: v2 where it is served, else v3.
//!
//! - [`access`]: what opens its ports to us · [`api`]: the calls and their answers · [`find`]: the founder's cluster and its leader
//! - [`membership`]: adding and removing a member · [`catch_up`]: has a member caught up?
//! - [`own`]: what the etcd of this node says of itself, beside its log
//! - [`v3`]: the calls to etcd's v3 API, for members that serve no other

pub mod access;
pub mod api;
pub mod catch_up;
pub mod find;
pub mod membership;
pub mod own;
pub mod v3;

use crate::settings::urls::share_a_place;

/// A member as the cluster lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// Its ID.
    pub id: u64,
    /// Its name; empty until it has started and published itself.
    pub name: String,
    /// How other members reach it.
    pub peer_urls: Vec<String>,
    /// How clients reach it; empty until it has published itself.
    pub client_urls: Vec<String>,
    /// Whether it has no vote. The v2 API on the client port does not say it.
    pub is_learner: bool,
}

/// What the answer to a change of membership says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Done; for an addition, the new member's ID.
    Done(Option<u64>),
    /// It may be done, now or later, or not: only the member list can tell.
    Unknown(String),
    /// Not done, and asking again will not help.
    No(String),
}

impl Member {
    /// Whether it has started and published itself.
    pub fn has_started(&self) -> bool {
        !self.name.is_empty()
    }

    /// What to call it in a message.
    pub fn label(&self) -> String {
        match self.name.as_str() {
            "" => format!("{:x} ({})", self.id, self.peer_urls.join(",")),
            name => format!("{name} ({:x})", self.id),
        }
    }
}

/// The members of a cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The cluster's ID.
    pub cluster_id: u64,
    /// Its members.
    pub members: Vec<Member>,
}

impl Membership {
    /// The member with this ID.
    pub fn by_id(&self, id: u64) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// The member that has one of these peer URLs.
    pub fn by_peer_urls(&self, urls: &[String]) -> Option<&Member> {
        self.members.iter().find(|m| share_a_place(&m.peer_urls, urls))
    }
}
