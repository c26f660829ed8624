//! Alarms of the v3 store: kept in the bucket `alarm`, set and lifted by log entries. While one is on, etcd refuses writes
//! (no space) or everything (corrupt).

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Result;

use crate::etcd::wire::Fields;

/// Why it is on (etcdserverpb.AlarmType).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// None; lifts and sets nothing.
    None,
    /// The db has reached its quota.
    NoSpace,
    /// The members do not have the same.
    Corrupt,
    /// One that this program does not know.
    Other(u64),
}

impl AlarmKind {
    /// From its number.
    pub fn of(number: u64) -> Self {
        match number {
            0 => Self::None,
            1 => Self::NoSpace,
            2 => Self::Corrupt,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u64 {
        match self {
            Self::None => 0,
            Self::NoSpace => 1,
            Self::Corrupt => 2,
            Self::Other(other) => other,
        }
    }
}

/// As etcdctl prints it.
impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("NONE"),
            Self::NoSpace => f.write_str("NOSPACE"),
            Self::Corrupt => f.write_str("CORRUPT"),
            Self::Other(number) => write!(f, "{number}"),
        }
    }
}

/// What an alarm request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Asks which are on.
    Get,
    /// Sets one.
    Activate,
    /// Lifts one.
    Deactivate,
    /// Something that this program does not know.
    Other(u64),
}

/// An alarm request of the log (etcdserverpb.AlarmRequest).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmRequest {
    /// What it does.
    pub action: Action,
    /// Whose alarm it is.
    pub member_id: u64,
    /// Which.
    pub kind: AlarmKind,
}

impl AlarmRequest {
    /// Decodes it.
    ///
    /// # Errors
    /// Not such a message.
    pub fn decode(message: &[u8]) -> Result<Self> {
        let mut this = Self { action: Action::Get, member_id: 0, kind: AlarmKind::None };
        for field in Fields::new(message) {
            match field? {
                (1, v) => {
                    this.action = match v.number()? {
                        0 => Action::Get,
                        1 => Action::Activate,
                        2 => Action::Deactivate,
                        other => Action::Other(other),
                    }
                }
                (2, v) => this.member_id = v.number()?,
                (3, v) => this.kind = AlarmKind::of(v.number()?),
                _ => {}
            }
        }
        Ok(this)
    }
}

/// The alarms that are on: of which member, and which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms(pub BTreeSet<(u64, AlarmKind)>);

impl Alarms {
    /// Follows a request of the log, as etcd does.
    pub fn apply(&mut self, request: AlarmRequest) {
        let alarm = (request.member_id, request.kind);
        match request.action {
            Action::Activate if request.kind != AlarmKind::None => {
                self.0.insert(alarm);
            }
            Action::Deactivate => {
                self.0.remove(&alarm);
            }
            _ => {}
        }
    }
}

/// An alarm's row: all of it is in the key (etcdserverpb.AlarmMember).
pub(super) fn decode_row(key: &[u8]) -> Result<(u64, AlarmKind)> {
    let (mut member_id, mut kind) = (0, AlarmKind::None);
    for field in Fields::new(key) {
        match field? {
            (1, v) => member_id = v.number()?,
            (2, v) => kind = AlarmKind::of(v.number()?),
            _ => {}
        }
    }
    Ok((member_id, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::wire::Encoder;

    #[test]
    fn alarms_follow_the_log() {
        let mut alarms = Alarms::default();
        let mut step = |action, member, kind| {
            let message = Encoder::default().number(1, action).number(2, member).number(3, kind).done();
            alarms.apply(AlarmRequest::decode(&message).unwrap());
            alarms.0.iter().map(|(id, kind)| format!("{id} {kind}")).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(step(0, 7, 1), "");
        assert_eq!(step(1, 7, 1), "7 NOSPACE");
        assert_eq!(step(1, 7, 0), "7 NOSPACE");
        assert_eq!(step(1, 8, 2), "7 NOSPACE, 8 CORRUPT");
        assert_eq!(step(2, 7, 2), "7 NOSPACE, 8 CORRUPT");
        assert_eq!(step(2, 7, 1), "8 CORRUPT");
        assert_eq!(step(9, 8, 2), "8 CORRUPT");
        assert_eq!(step(1, 8, 9), "8 CORRUPT, 8 9");
        for number in 0..4 {
            assert_eq!(AlarmKind::of(number).number(), number);
        }
    }
}
