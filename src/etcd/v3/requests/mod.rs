//! What a log entry of 3.x asks for: the kind and fields of etcdserverpb.InternalRaftRequest.
//!
//! Values are borrowed from the entry, and a transaction's parts are read when asked for. Passwords are passed over.

use anyhow::{Result, ensure};

use super::alarms::AlarmRequest;
use crate::etcd::request::name_of;
use crate::etcd::wire::{Fields, Value};

#[cfg(test)]
mod tests;

const ID: u64 = 1;
const HEADER: u64 = 100;
/// Transactions in transactions; etcd's clients make none deeper than two.
const MAX_DEPTH: usize = 16;

/// A request of a log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Reads keys; in a transaction only.
    Range(Keys<'a>),
    /// Sets a key.
    Put(Put<'a>),
    /// Deletes keys.
    DeleteRange(Keys<'a>),
    /// Does one list of operations if all comparisons hold, else another.
    Txn(Txn<'a>),
    /// Drops the history up to a revision.
    Compaction {
        /// The revision.
        revision: u64,
    },
    /// Makes a lease.
    LeaseGrant {
        /// Its ID.
        id: i64,
        /// How long it lives, in seconds.
        ttl: i64,
    },
    /// Ends a lease, and deletes its keys.
    LeaseRevoke {
        /// Its ID.
        id: i64,
    },
    /// Notes how long leases have left.
    LeaseCheckpoint,
    /// Sets or lifts an alarm.
    Alarm(AlarmRequest),
    /// Changes users or roles, switches authentication, or logs in.
    Auth(Auth<'a>),
    /// Sets the cluster's version.
    ClusterVersion {
        /// The version.
        version: &'a [u8],
    },
    /// Sets a member's name and client URLs.
    MemberAttributes {
        /// Whose.
        member_id: u64,
        /// Its name.
        name: &'a [u8],
    },
    /// One of which the name is all that is told; empty for a header alone.
    Other(&'static str),
}

/// A key, or those from one to another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keys<'a> {
    /// The first.
    pub key: &'a [u8],
    /// The one behind the last; empty for one key alone, a zero byte for all from the first on.
    pub range_end: &'a [u8],
}

/// Sets a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Put<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its new value.
    pub value: &'a [u8],
    /// The lease it goes with; 0 for none.
    pub lease: i64,
    /// The value stays.
    pub ignore_value: bool,
    /// The lease stays.
    pub ignore_lease: bool,
}

/// A transaction, encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn<'a>(&'a [u8]);

/// A comparison of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare<'a> {
    /// Of what.
    pub keys: Keys<'a>,
    /// What is compared: `version`, `create`, `mod`, `value`, `lease`.
    pub target: &'static str,
    /// `=`, `>`, `<` or `!=`.
    pub result: &'static str,
    /// With which number.
    pub number: i64,
    /// With which value, if the target is `value`.
    pub value: &'a [u8],
}

/// A change of users, roles and authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// The request's name, like `auth_user_add`.
    pub what: &'static str,
    /// The user.
    pub user: &'a [u8],
    /// The role.
    pub role: &'a [u8],
    /// Of a permission: which keys.
    pub keys: Keys<'a>,
    /// Of a permission that is granted: `read`, `write`, `readwrite`.
    pub permission: &'static str,
}

impl<'a> Request<'a> {
    /// What an ordinary entry's data asks for.
    ///
    /// # Errors
    /// It is no request of 3.x, or a damaged one.
    pub fn of(data: &'a [u8]) -> Result<Self> {
        let mut found = Self::Other("");
        for field in Fields::new(data) {
            match field? {
                (ID, Value::Varint(_)) | (HEADER, Value::Bytes(_)) => {}
                (number, value) => found = Self::of_field(number, value.bytes()?)?,
            }
        }
        Ok(found)
    }

    fn of_field(field: u64, body: &'a [u8]) -> Result<Self> {
        let Some(name) = name_of(field) else { anyhow::bail!("field {field} is no request of 3.x") };
        Ok(match name {
            "range" => Self::Range(Keys::decode(body)?),
            "put" => Self::Put(Put::decode(body)?),
            "delete_range" => Self::DeleteRange(Keys::decode(body)?),
            "txn" => Self::Txn(Txn(body)),
            "compaction" => Self::Compaction { revision: number_of(body, 1)? },
            "lease_grant" => {
                let (ttl, id) = (number_of(body, 1)?.cast_signed(), number_of(body, 2)?.cast_signed());
                Self::LeaseGrant { id, ttl }
            }
            "lease_revoke" => Self::LeaseRevoke { id: number_of(body, 1)?.cast_signed() },
            "lease_checkpoint" => Self::LeaseCheckpoint,
            "alarm" => Self::Alarm(AlarmRequest::decode(body)?),
            "cluster_version_set" => Self::ClusterVersion { version: bytes_of(body, 1)? },
            "cluster_member_attr_set" => Self::MemberAttributes {
                member_id: number_of(body, 1)?,
                name: bytes_of(bytes_of(body, 2)?, 1)?,
            },
            auth if auth.starts_with("auth") => Self::Auth(Auth::decode(auth, body)?),
            other => Self::Other(other),
        })
    }

    /// Its name, as etcd's sources have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Range(_) => "range",
            Self::Put(_) => "put",
            Self::DeleteRange(_) => "delete_range",
            Self::Txn(_) => "txn",
            Self::Compaction { .. } => "compaction",
            Self::LeaseGrant { .. } => "lease_grant",
            Self::LeaseRevoke { .. } => "lease_revoke",
            Self::LeaseCheckpoint => "lease_checkpoint",
            Self::Alarm(_) => "alarm",
            Self::Auth(auth) => auth.what,
            Self::ClusterVersion { .. } => "cluster_version_set",
            Self::MemberAttributes { .. } => "cluster_member_attr_set",
            Self::Other(name) => name,
        }
    }

    /// By how much it may move the store's revision: 1 if it writes keys, however many, else 0. A request that fails or
    /// finds nothing to delete moves it by 0, which only etcd knows.
    pub fn may_move_revision(&self) -> u64 {
        u64::from(match self {
            Self::Put(_) | Self::DeleteRange(_) | Self::LeaseRevoke { .. } => true,
            Self::Txn(txn) => txn.may_write(),
            _ => false,
        })
    }

    /// Whether it sets a key that begins so. Of a transaction each operation counts, done or not.
    pub fn may_put_below(&self, prefix: &[u8]) -> bool {
        match self {
            Self::Put(put) => put.key.starts_with(prefix),
            Self::Txn(txn) => txn.any(
                0,
                &|operation| matches!(operation, Ok(Request::Put(put)) if put.key.starts_with(prefix)),
            ),
            _ => false,
        }
    }

    /// If it sets or lifts an alarm.
    pub fn alarm(&self) -> Option<AlarmRequest> {
        match self {
            Self::Alarm(alarm) => Some(*alarm),
            _ => None,
        }
    }
}

/// The user who asked for it, if authentication was on; empty otherwise.
///
/// # Errors
/// It is no request of 3.x.
pub fn user(data: &[u8]) -> Result<&[u8]> {
    bytes_of(bytes_of(data, HEADER)?, 2)
}

impl<'a> Keys<'a> {
    fn decode(body: &'a [u8]) -> Result<Self> {
        Ok(Self { key: bytes_of(body, 1)?, range_end: bytes_of(body, 2)? })
    }
}

impl<'a> Put<'a> {
    fn decode(body: &'a [u8]) -> Result<Self> {
        let mut this = Self::default();
        for field in Fields::new(body) {
            match field? {
                (1, v) => this.key = v.bytes()?,
                (2, v) => this.value = v.bytes()?,
                (3, v) => this.lease = v.number()?.cast_signed(),
                (5, v) => this.ignore_value = v.number()? != 0,
                (6, v) => this.ignore_lease = v.number()? != 0,
                _ => {}
            }
        }
        Ok(this)
    }
}

impl<'a> Txn<'a> {
    /// What must hold.
    pub fn compares(self) -> impl Iterator<Item = Result<Compare<'a>>> {
        self.parts(1).map(|part| part.and_then(Compare::decode))
    }

    /// What is done if all of it holds.
    pub fn success(self) -> impl Iterator<Item = Result<Request<'a>>> {
        self.parts(2).map(|part| part.and_then(operation))
    }

    /// What is done otherwise.
    pub fn failure(self) -> impl Iterator<Item = Result<Request<'a>>> {
        self.parts(3).map(|part| part.and_then(operation))
    }

    fn parts(self, wanted: u64) -> impl Iterator<Item = Result<&'a [u8]>> {
        Fields::new(self.0).filter_map(move |field| match field {
            Ok((number, value)) => (number == wanted).then(|| value.bytes()),
            Err(e) => Some(Err(e)),
        })
    }

    /// Whether any operation writes. What cannot be read, or is too deep, may.
    fn may_write(self) -> bool {
        self.any(0, &|operation| !matches!(operation, Ok(Request::Range(_))))
    }

    /// Whether an operation is so, in transactions within it, too. What is too deep is.
    fn any(self, depth: usize, is_so: &dyn Fn(&Result<Request<'_>>) -> bool) -> bool {
        let mut all = self.success().chain(self.failure());
        all.any(|operation| match operation {
            Ok(Request::Txn(inner)) => depth >= MAX_DEPTH || inner.any(depth + 1, is_so),
            other => is_so(&other),
        })
    }
}

/// A RequestOp.
fn operation(body: &[u8]) -> Result<Request<'_>> {
    let mut found = None;
    for field in Fields::new(body) {
        found = Some(match field? {
            (1, v) => Request::Range(Keys::decode(v.bytes()?)?),
            (2, v) => Request::Put(Put::decode(v.bytes()?)?),
            (3, v) => Request::DeleteRange(Keys::decode(v.bytes()?)?),
            (4, v) => Request::Txn(Txn(v.bytes()?)),
            (field, _) => anyhow::bail!("field {field} is no operation of a transaction"),
        });
    }
    Ok(found.unwrap_or(Request::Other("")))
}

impl<'a> Compare<'a> {
    fn decode(body: &'a [u8]) -> Result<Self> {
        let (result, target) = (number_of(body, 1)?, number_of(body, 2)?);
        let of = |names: &[&'static str], n: u64| {
            let name = usize::try_from(n).ok().and_then(|n| names.get(n));
            name.copied().ok_or_else(|| anyhow::anyhow!("a comparison of kind {n}"))
        };
        let target_name = of(&["version", "create", "mod", "value", "lease"], target)?;
        let number = match target {
            0..=2 => number_of(body, 4 + target)?,
            4 => number_of(body, 8)?,
            _ => 0,
        };
        Ok(Self {
            keys: Keys { key: bytes_of(body, 3)?, range_end: bytes_of(body, 64)? },
            target: target_name,
            result: of(&["=", ">", "<", "!="], result)?,
            number: number.cast_signed(),
            value: bytes_of(body, 7)?,
        })
    }
}

impl<'a> Auth<'a> {
    fn decode(what: &'static str, body: &'a [u8]) -> Result<Self> {
        let none = Self { what, user: &[], role: &[], keys: Keys::default(), permission: "" };
        let first = || bytes_of(body, 1);
        Ok(match what {
            "auth_user_grant_role" | "auth_user_revoke_role" => {
                Self { user: first()?, role: bytes_of(body, 2)?, ..none }
            }
            "auth_role_grant_permission" => {
                let permission = bytes_of(body, 2)?;
                let kind = number_of(permission, 1)?;
                ensure!(kind < 3, "a permission of kind {kind}");
                Self {
                    role: first()?,
                    keys: Keys { key: bytes_of(permission, 2)?, range_end: bytes_of(permission, 3)? },
                    permission: ["read", "write", "readwrite"][kind as usize],
                    ..none
                }
            }
            "auth_role_revoke_permission" => {
                let keys = Keys { key: bytes_of(body, 2)?, range_end: bytes_of(body, 3)? };
                Self { role: first()?, keys, ..none }
            }
            role if role.starts_with("auth_role_") && role != "auth_role_list" => {
                Self { role: first()?, ..none }
            }
            user if user.starts_with("auth_user_") || user == "authenticate" => {
                Self { user: first()?, ..none }
            }
            _ => none,
        })
    }
}

/// The number of a field, the last one of that number; 0 if there is none, as in proto3.
fn number_of(message: &[u8], wanted: u64) -> Result<u64> {
    let mut found = 0;
    for field in Fields::new(message) {
        let (number, value) = field?;
        if number == wanted {
            found = value.number()?;
        }
    }
    Ok(found)
}

/// The bytes of a field, the last one of that number; empty if there is none.
fn bytes_of(message: &[u8], wanted: u64) -> Result<&[u8]> {
    let mut found: &[u8] = &[];
    for field in Fields::new(message) {
        let (number, value) = field?;
        if number == wanted {
            found = value.bytes()?;
        }
    }
    Ok(found)
}
