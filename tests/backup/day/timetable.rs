//! What happens to a node in a day, and what each cycle is to do about it by the documents alone.

use std::collections::BTreeMap;

/// Seconds between two cycles.
pub(crate) const CYCLE: u64 = 30;
/// Cycles of a day.
pub(crate) const CYCLES: u64 = 86_400 / CYCLE;

/// What happens just before a cycle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// etcd is stopped.
    Stop,
    /// Killed inside a write.
    Torn,
    /// Started; so many seconds later it has read its log and holds it.
    Start(u64),
    /// Started, as it ended at once.
    Fail,
    /// The next start is one of 3.x.
    Upgrade,
    /// A new segment.
    Cut,
    /// A snapshot, and a new segment.
    Snapshot,
    /// What is old is removed.
    Purge,
    /// rclone renewed its token.
    Token,
    /// Another rclone.
    Rclone,
    /// The remote shows late what was sent, or does so no more.
    Lag(bool),
    /// The clock is set forward or back, in seconds.
    Step(i64),
    /// The node is down for two minutes.
    Reboot,
    /// The etcd beside this one ends, or starts.
    Neighbour(bool),
}

/// The first cycle at this time of the day.
pub(crate) const fn at(hour: u64, minute: u64, second: u64) -> u64 {
    (hour * 3600 + minute * 60 + second) / CYCLE
}

/// What happens before each cycle.
pub(crate) fn timetable() -> BTreeMap<u64, Vec<Event>> {
    use Event::{
        Cut, Fail, Lag, Neighbour, Purge, Rclone, Reboot, Snapshot, Start, Step, Stop, Token, Torn, Upgrade,
    };
    let mut all: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    let mut add = |cycle, event| all.entry(cycle).or_default().push(event);
    for hour in 0..24 {
        add(at(hour, 7, 30), Token);
        if hour % 2 == 0 {
            add(at(hour, 40, 0), Snapshot);
            add(at(hour, 40, 30), Purge);
        }
    }
    for (cycle, event) in [
        (at(0, 20, 0), Stop),
        (at(0, 21, 0), Start(0)),
        (at(2, 0, 0), Stop),
        (at(2, 0, 30), Start(29)),
        (at(4, 0, 0), Torn),
        (at(4, 1, 0), Start(59)),
        (at(5, 40, 0), Start(10)),
        (at(6, 0, 0), Cut),
        (at(8, 0, 0), Lag(true)),
        (at(8, 15, 0), Rclone),
        (at(9, 0, 0), Stop),
        (at(9, 0, 30), Upgrade),
        (at(9, 1, 0), Start(55)),
        (at(9, 30, 0), Lag(false)),
        (at(10, 20, 0), Step(-4)),
        (at(11, 11, 30), Torn),
        (at(11, 12, 30), Start(31)),
        (at(12, 30, 0), Reboot),
        (at(12, 32, 30), Start(50)),
        (at(13, 0, 0), Neighbour(false)),
        (at(13, 5, 0), Neighbour(true)),
        (at(14, 0, 0), Lag(true)),
        (at(15, 40, 0), Step(9)),
        (at(16, 30, 0), Lag(false)),
        (at(19, 0, 0), Stop),
        (at(20, 0, 0), Start(40)),
        (at(22, 15, 0), Step(-3)),
    ] {
        add(cycle, event);
    }
    // It ends at once, and its unit starts it again and again.
    for cycle in at(5, 30, 0)..at(5, 40, 0) {
        add(cycle, Fail);
    }
    all
}

/// Whether somebody writes before this cycle: in each so many of office hours, and seldom at night.
pub(crate) fn is_written(cycle: u64, every: u64) -> bool {
    ((at(7, 0, 0)..at(16, 30, 0)).contains(&cycle) && cycle.is_multiple_of(every)) || cycle.is_multiple_of(41)
}

/// What a cycle is to do, from format.md and design.md: nothing of the program's state is looked at.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// rclone.conf is encrypted.
    pub(crate) sealed: bool,
    /// Something was written that was not sent.
    pub(crate) written: bool,
    /// Something is in the log that was not sent.
    pub(crate) logged: bool,
    /// rclone is another one than at the last look.
    pub(crate) other_way: bool,
    /// It has another token than at the last look.
    pub(crate) other_token: bool,
    /// The remote shows late what is sent now.
    pub(crate) lagging: bool,
    /// So many listings are those before the last upload.
    pub(crate) stale: u64,
    unseen: bool,
    /// Generations begun.
    pub(crate) bases: u64,
    /// The last part's place in its generation.
    part: u64,
    parts_since_look: u64,
    sent: u64,
    seen: u64,
}

impl Due {
    /// Of a node that was never backed up.
    pub(crate) fn new(sealed: bool) -> Self {
        Self { sealed, written: true, logged: true, ..Self::default() }
    }

    /// How the next cycle is called, and its calls of rclone.
    pub(crate) fn next(&mut self, now: u64) -> (&'static str, Vec<&'static str>) {
        let mut calls = Vec::new();
        let token = self.sealed && self.other_token && now - self.seen >= 3600;
        let base = self.bases == 0 || self.part >= 1000;
        if self.bases > 0 && (self.other_way || token) {
            self.unseen |= self.other_way;
            self.list(&mut calls, true);
            self.look(now);
        } else if self.parts_since_look >= 20 {
            self.list(&mut calls, false);
            self.parts_since_look = 0;
        }
        if base && calls.is_empty() {
            self.list(&mut calls, false);
        }
        if !(base || self.written || (self.logged && now - self.sent >= 600)) {
            return (if self.logged { "held back" } else { "nothing new" }, calls);
        }
        calls.push("copy");
        self.stale = if self.lagging { 2 } else { 0 };
        (self.part, self.parts_since_look) =
            if base { (0, 0) } else { (self.part + 1, self.parts_since_look + 1) };
        self.bases += u64::from(base);
        if base || self.unseen {
            self.list(&mut calls, true);
            self.look(now);
            self.unseen = false;
        }
        (self.written, self.logged, self.sent) = (false, false, now);
        ("sent", calls)
    }

    /// How long ago something was sent.
    pub(crate) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.sent)
    }

    /// Until all is there, if it must be.
    fn list(&mut self, calls: &mut Vec<&'static str>, all: bool) {
        let times = if all { self.stale + 1 } else { 1 };
        calls.extend((0..times).map(|_| "lsjson"));
        self.stale = self.stale.saturating_sub(times);
    }

    fn look(&mut self, now: u64) {
        (self.other_way, self.other_token, self.parts_since_look, self.seen) = (false, false, 0, now);
    }
}
