//! When the v3 store is to be copied again. Pure.
//!
//! Until the log is as large as the store, the log is cheaper. What a restore brings of it etcd holds in memory at its start, two to
//! three times over.

use crate::backup::state::State;
use crate::sys::terminal::table::bytes;

/// As much log is never too much.
const LOG_BYTES: u64 = 256 << 20;
/// Of a node's memory, the log that etcd can hold at its start beside everything else.
const OF_MEMORY: u64 = 6;
/// However little memory there is.
const LEAST: u64 = 64 << 20;
/// A day of cycles, one every 30 s: a restore brings each part.
const PARTS: u64 = 2880;
/// The thresholds of members lie between once and one and a half times these.
const SPREAD: u64 = 512;

/// Why a generation that goes on is to be followed by another one; `None`: it is not. `memory` is the node's, in bytes.
pub fn why(state: &State, memory: Option<u64>) -> Option<String> {
    beyond(state, memory, 1)
}

/// Whether it has been due for long: nobody else brings one.
pub fn is_overdue(state: &State, memory: Option<u64>) -> bool {
    beyond(state, memory, 2).is_some()
}

fn beyond(state: &State, memory: Option<u64>, times: u64) -> Option<String> {
    let store = state.v3_base?;
    let can_hold = memory.map_or(u64::MAX, |memory| (memory / OF_MEMORY).max(LEAST));
    let most = spread(LOG_BYTES.max(store).min(can_hold), state.member_id);
    if state.log_bytes > most.saturating_mul(times) {
        return Some(format!("{} of WAL follow the base", bytes(state.log_bytes)));
    }
    let most = spread(PARTS, state.member_id).saturating_mul(times);
    (state.sequence >= most).then(|| format!("the generation has {} parts", state.sequence + 1))
}

/// Members of one cluster see the same log. By this not all of them read their stores in the same minute.
fn spread(most: u64, member_id: u64) -> u64 {
    most.saturating_add(most / (2 * SPREAD) * (member_id % SPREAD))
}

/// The node's memory in bytes, by the text of `/proc/meminfo`; `None` where it does not say that.
pub fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::state::tests::state;

    #[test]
    fn a_base_is_due_once_the_log_is_larger_than_what_pays_or_can_be_held() {
        let gib = 1 << 30;
        for (store, log_bytes, sequence, memory, due) in [
            (Some(1000), LOG_BYTES, 7, None, false),
            (Some(1000), LOG_BYTES + 1, 7, None, true),
            (Some(2 * gib), LOG_BYTES + 1, 7, None, false),
            (Some(2 * gib), 2 * gib + 1, 7, None, true),
            (Some(2 * gib), gib, 7, Some(5 * gib), true),
            (Some(1000), LEAST + 1, 7, Some(1 << 20), true),
            (Some(1000), LEAST, 7, Some(1 << 20), false),
            (Some(1000), 5, PARTS - 1, None, false),
            (Some(1000), 5, PARTS, None, true),
            // A generation of the v2 store alone is another matter.
            (None, u64::MAX, PARTS, None, false),
        ] {
            let state = State { v3_base: store, log_bytes, sequence, member_id: 512, ..state(0) };
            assert_eq!(why(&state, memory).is_some(), due, "{store:?} {log_bytes} {sequence} {memory:?}");
            let twice = State { log_bytes: log_bytes.saturating_mul(2), sequence: 2 * sequence, ..state };
            assert_eq!(is_overdue(&twice, memory), due);
        }
    }

    #[test]
    fn three_members_do_not_take_theirs_at_the_same_moment() {
        let all = [0x8e9e_05c5_2164_694d, 0xade5_26d2_8b1f_92f7, 0xd282_ac2c_e600_c1ce];
        let mut thresholds = all.map(|id| spread(LOG_BYTES, id));
        thresholds.sort_unstable();
        assert!(thresholds.windows(2).all(|two| two[1] - two[0] > 1 << 20), "{thresholds:?}");
        assert!(thresholds.iter().all(|most| (LOG_BYTES..LOG_BYTES / 2 * 3).contains(most)));
    }

    #[test]
    fn the_memory_is_read_as_the_kernel_says_it() {
        assert_eq!(memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        for text in
            ["", "MemFree: 1 kB", "MemTotal: x kB", "MemTotal: 7 MB", "MemTotal: 99999999999999999999 kB"]
        {
            assert_eq!(memory(text), None, "{text}");
        }
    }
}
