//! Waits for what nobody tells.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Until something holds; `what` does not, if it takes longer than the limit.
///
/// # Panics
/// It takes longer.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(PAUSE);
    }
}
