//! Looking for what was sent: the folder is listed until it is there, for a while.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::folder_check::{self, Demand, Finding, Trouble};
use super::state::State;
use crate::exit::{Exit, fault};
use crate::remote::{Object, Remote};

/// A remote that shows an object so late is slow; what it shows later still is not there.
pub const PATIENCE: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// A machine's folder that is looked into.
#[derive(Debug)]
pub struct Watch<'a, R: ?Sized> {
    /// Where it is.
    pub remote: &'a R,
    /// Its name there.
    pub folder: &'a str,
    /// Where it is, for people.
    pub place: &'a str,
    /// How long what is late is asked for again.
    pub patience: Duration,
}

/// What a look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The folder's objects.
    pub objects: Vec<Object>,
    /// What is not as it was left; `None`: all that must be there is.
    pub finding: Option<Finding>,
}

impl<R: Remote + ?Sized> Watch<'_, R> {
    /// Lists until all that must be there is, also what is on its way; no longer than it is patient.
    ///
    /// # Errors
    /// [`Exit::Remote`]: it cannot be listed, or what is on its way did not arrive.
    pub fn look(&self, state: &State, on_its_way: &[Object], demand: Demand) -> Result<Look> {
        let began = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let objects = self.remote.list(self.folder)?;
            let (what, finding) = match folder_check::look(&objects, state, on_its_way, demand) {
                Ok(()) => return Ok(Look { objects, finding: None }),
                Err(Trouble::Found(finding)) => return Ok(Look { objects, finding: Some(finding) }),
                Err(Trouble::Late { what, finding }) => (what, finding),
            };
            let left = self.patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return match finding {
                    Some(_) => Ok(Look { objects, finding }),
                    None => Err(self.not_there(&what)),
                };
            }
            if pause == FIRST_PAUSE {
                log::info!("{what}: checking again for up to {} s", self.patience.as_secs());
            }
            thread::sleep(pause.min(left));
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    fn not_there(&self, what: &str) -> anyhow::Error {
        let what = format!(
            "rclone reported a complete upload to {}, but after {} s {what}",
            self.place,
            self.patience.as_secs()
        );
        fault(
            Exit::Remote,
            what,
            "the data is kept on this node, and the next backup uploads it again. To test the remote with a \
             small object: sudo systemctl start etcd2-backup-doctor.service; journalctl -u \
             etcd2-backup-doctor.service",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;
    use crate::backup::state::tests::state;
    use crate::exit::exit_of;
    use crate::remote::Proof;

    /// Shows an object from the so many-th listing on.
    struct Late {
        object: Object,
        from: usize,
        listed: Cell<usize>,
    }

    impl Remote for Late {
        fn list(&self, _: &str) -> Result<Vec<Object>> {
            let listed = self.listed.replace(self.listed.get() + 1);
            Ok(if listed >= self.from { vec![self.object.clone()] } else { Vec::new() })
        }

        fn walk(&self, _: &str, _: &[String], _: &mut dyn FnMut(crate::remote::Seen<'_>)) -> Result<()> {
            unreachable!()
        }

        fn folders(&self) -> Result<Vec<String>> {
            unreachable!()
        }

        fn put(&self, _: &Path, _: &str) -> Result<()> {
            unreachable!()
        }

        fn get(&self, _: &str, _: &[Object], _: &Path, _: crate::sys::room::Leave, _: Proof) -> Result<()> {
            unreachable!()
        }

        fn copy(&self, _: &str, _: &str, _: &[String]) -> Result<()> {
            unreachable!()
        }

        fn heads(&self, _: &str, _: &[String], _: u64) -> Result<Vec<u8>> {
            unreachable!()
        }

        fn remove(&self, _: &str, _: &[String]) -> Result<()> {
            unreachable!()
        }

        fn remove_empty_folders(&self, _: &str) -> Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn what_is_late_is_asked_for_again_and_not_for_ever() {
        let object = Object { path: "recovery/token".into(), size: 7 };
        let mut state = state(0);
        state.pending = Some("x".into());
        for (from, patience, listings) in [(0, 30_000, Ok(1)), (2, 30_000, Ok(3)), (9, 600, Err(()))] {
            let remote = Late { object: object.clone(), from, listed: Cell::new(0) };
            let patience = Duration::from_millis(patience);
            let watch = Watch { remote: &remote, folder: "id", place: "r:p/id", patience };
            let began = Instant::now();
            let seen = watch.look(&state, std::slice::from_ref(&object), Demand::All);
            match (&seen, listings) {
                (Ok(look), Ok(listings)) => {
                    assert_eq!((look.finding.as_ref(), remote.listed.get()), (None, listings));
                }
                (Err(e), Err(())) => {
                    assert_eq!(exit_of(e), Exit::Remote);
                    let said = e.to_string();
                    assert!(
                        said.contains("complete upload to r:p/id")
                            && said.contains("recovery/token is not there"),
                        "{said}"
                    );
                    assert!(began.elapsed() >= patience && remote.listed.get() > 1);
                }
                _ => panic!("{from}: {seen:?}"),
            }
        }
    }
}
