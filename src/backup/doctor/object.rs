//! One small object on its way to the remote and back. Nobody else reads it, and nothing is overwritten: its name is random.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result};

use super::Check;
use crate::exit::{Exit, fault};
use crate::remote::{Object, Proof, Remote};
use crate::sys::fs::{create_dirs, write_atomic};
use crate::sys::room::Leave;
use crate::sys::terminal::table::{bytes, count};

const PAUSE: Duration = Duration::from_millis(500);

/// Where the object goes.
#[derive(Debug)]
pub struct Trial<'a, R> {
    /// The remote.
    pub remote: &'a R,
    /// The folder in it.
    pub folder: &'a str,
    /// The same for people.
    pub place: &'a str,
    /// How long what is late is asked for again.
    pub patience: Duration,
}

impl<R: Remote> Trial<'_, R> {
    /// Writes an object of this name, lists it, reads it back and removes it, by way of the folder `scratch`. Ends with the
    /// first of these that fails. One that may not be removed is no failure: some buckets are locked.
    pub fn run(&self, name: &str, scratch: &Path) -> Vec<Check> {
        let content = format!("etcd2-backup doctor: {name}\n").into_bytes();
        let mut checks = Vec::new();
        let steps: [(&'static str, &dyn Fn() -> Result<String>); 3] = [
            ("write", &|| self.write(name, &content, &scratch.join("out"))),
            ("list", &|| self.list(name, content.len() as u64)),
            ("read", &|| self.read(name, &content, &scratch.join("in"))),
        ];
        for (step, take) in steps {
            match take() {
                Ok(says) => checks.push(Check::good(step, says)),
                Err(e) => {
                    checks.push(Check::failed(step, &e));
                    // It may be there all the same.
                    if step != "write" {
                        checks.push(self.remove(name));
                    }
                    return checks;
                }
            }
        }
        checks.push(self.remove(name));
        checks
    }

    fn write(&self, name: &str, content: &[u8], out: &Path) -> Result<String> {
        create_dirs(out, 0o700)?;
        write_atomic(&out.join(name), content, 0o600)?;
        self.remote.put(out, self.folder)?;
        Ok(format!("rclone sent {name}, {}, to {}", bytes(content.len() as u64), self.place))
    }

    fn list(&self, name: &str, size: u64) -> Result<String> {
        let began = Instant::now();
        loop {
            let there = self.remote.list(self.folder)?;
            let found = there.iter().find(|o| o.path == name);
            if found.is_some_and(|o| o.size == size) {
                let seconds = began.elapsed().as_millis().div_ceil(1000);
                return Ok(format!("it is listed there with its size, within {seconds} s"));
            }
            if began.elapsed() >= self.patience {
                return Err(self.not_listed(found));
            }
            thread::sleep(PAUSE);
        }
    }

    fn not_listed(&self, found: Option<&Object>) -> anyhow::Error {
        let seconds = self.patience.as_secs();
        let what = match found {
            None => {
                format!(
                    "rclone reported a complete upload, but {} does not list it within {seconds} s",
                    self.place
                )
            }
            Some(Object { size: Object::UNKNOWN_SIZE, .. }) => {
                format!(
                    "{} does not report its size: a truncated backup would look like a complete one",
                    self.place
                )
            }
            Some(Object { size, .. }) => {
                format!("{} lists it with {}", self.place, count(*size, "byte", "bytes"))
            }
        };
        let hint = "is the remote's path inside the container's own file system, or does something in between drop, truncate \
            or redirect uploads? Backups would be lost the same way";
        fault(Exit::Remote, what, hint)
    }

    fn read(&self, name: &str, content: &[u8], into: &Path) -> Result<String> {
        let object = Object { path: name.to_owned(), size: content.len() as u64 };
        self.remote.get(self.folder, &[object], into, Leave::Reserve, Proof::Remote)?;
        let path = into.join(name);
        let read = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if read == content {
            return Ok("what was read back is what was sent".into());
        }
        let what = format!("{} returned other bytes than were sent", self.place);
        Err(fault(
            Exit::Corrupt,
            what,
            "nothing could be restored from it: does the remote, or a crypt, alter objects?",
        ))
    }

    fn remove(&self, name: &str) -> Check {
        let hint = "backups and restores do not need that right, but prune does: without it, set prune = \
                    false below [retention] in the site";
        let removed = self.remote.remove(self.folder, &[name.to_owned()]);
        match (removed, self.remote.list(self.folder)) {
            (_, Ok(there)) if there.is_empty() => Check::good("remove", "nothing of it is left"),
            (_, Ok(there)) if there.iter().all(|o| o.path != name) => Check::good(
                "remove",
                format!("nothing of it is left; {} of earlier runs remain", there.len()),
            ),
            (Ok(()), Ok(_)) => {
                Check::noted("remove", format!("{name} is still listed although rclone removed it"), hint)
            }
            (Ok(()), Err(e)) => {
                Check::noted("remove", format!("could not check whether it is gone: {e:#}"), hint)
            }
            (Err(e), _) => Check::noted("remove", format!("could not remove it: {e:#}"), hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::super::Outcome;
    use super::*;

    /// What a remote does wrong.
    #[derive(Default, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        #[default]
        None,
        Refuses,
        Drops,
        Cuts,
        Alters,
        HidesSize,
        Locked,
        ForgetsToRemove,
    }

    #[derive(Default)]
    struct Memory {
        objects: RefCell<BTreeMap<String, Vec<u8>>>,
        fault: Fault,
    }

    impl Memory {
        fn is(&self, fault: Fault) -> bool {
            self.fault == fault
        }
    }

    impl Remote for Memory {
        fn list(&self, folder: &str) -> Result<Vec<Object>> {
            assert_eq!(folder, "id/doctor");
            let size = |bytes: &Vec<u8>| {
                if self.is(Fault::HidesSize) { Object::UNKNOWN_SIZE } else { bytes.len() as u64 }
            };
            let objects = self.objects.borrow();
            Ok(objects.iter().map(|(path, bytes)| Object { path: path.clone(), size: size(bytes) }).collect())
        }

        fn walk(&self, _: &str, _: &[String], _: &mut dyn FnMut(crate::remote::Seen<'_>)) -> Result<()> {
            unreachable!()
        }

        fn put(&self, local: &Path, _: &str) -> Result<()> {
            if self.is(Fault::Refuses) {
                return Err(fault(Exit::Remote, "AccessDenied", "ask for it"));
            }
            for entry in fs::read_dir(local).unwrap() {
                let entry = entry.unwrap();
                let mut bytes = fs::read(entry.path()).unwrap();
                match self.fault {
                    Fault::Drops => continue,
                    Fault::Cuts => drop(bytes.pop()),
                    Fault::Alters => bytes[3] ^= 1,
                    _ => {}
                }
                self.objects.borrow_mut().insert(entry.file_name().into_string().unwrap(), bytes);
            }
            Ok(())
        }

        fn get(&self, _: &str, objects: &[Object], local: &Path, _: Leave, _: Proof) -> Result<()> {
            create_dirs(local, 0o700)?;
            for path in objects.iter().map(|o| &o.path) {
                write_atomic(&local.join(path), &self.objects.borrow()[path], 0o600)?;
            }
            Ok(())
        }

        fn remove(&self, _: &str, paths: &[String]) -> Result<()> {
            if self.is(Fault::Locked) {
                return Err(fault(Exit::Remote, "ObjectLocked", "wait"));
            }
            if !self.is(Fault::ForgetsToRemove) {
                paths.iter().for_each(|path| drop(self.objects.borrow_mut().remove(path)));
            }
            Ok(())
        }

        fn folders(&self) -> Result<Vec<String>> {
            unreachable!()
        }

        fn copy(&self, _: &str, _: &str, _: &[String]) -> Result<()> {
            unreachable!()
        }

        fn heads(&self, _: &str, _: &[String], _: u64) -> Result<Vec<u8>> {
            unreachable!()
        }

        fn remove_empty_folders(&self, _: &str) -> Result<()> {
            unreachable!()
        }
    }

    #[test]
    fn each_fault_of_a_remote_is_found_where_it_is() {
        let failed = Outcome::Failed;
        let good = Outcome::Good;
        let remote = failed(Exit::Remote);
        for (fault, want, left) in [
            (Fault::None, vec![("write", good), ("list", good), ("read", good), ("remove", good)], 0),
            (Fault::Refuses, vec![("write", remote)], 0),
            (Fault::Drops, vec![("write", good), ("list", remote), ("remove", good)], 0),
            (Fault::Cuts, vec![("write", good), ("list", remote), ("remove", good)], 0),
            (Fault::HidesSize, vec![("write", good), ("list", remote), ("remove", good)], 0),
            (
                Fault::Alters,
                vec![("write", good), ("list", good), ("read", failed(Exit::Corrupt)), ("remove", good)],
                0,
            ),
            (
                Fault::Locked,
                vec![("write", good), ("list", good), ("read", good), ("remove", Outcome::Noted)],
                1,
            ),
            (
                Fault::ForgetsToRemove,
                vec![("write", good), ("list", good), ("read", good), ("remove", Outcome::Noted)],
                1,
            ),
        ] {
            let memory = Memory { fault, ..Memory::default() };
            let scratch = tempfile::tempdir().unwrap();
            let trial = Trial {
                remote: &memory,
                folder: "id/doctor",
                place: "r:p/id/doctor",
                patience: Duration::ZERO,
            };
            let checks = trial.run("name", scratch.path());
            let got: Vec<_> = checks.iter().map(|c| (c.name, c.outcome)).collect();
            assert_eq!((got, memory.objects.borrow().len()), (want, left), "{checks:?}");
            assert!(checks.iter().all(|c| (c.outcome == good) == c.hint.is_none()), "{checks:?}");
        }
    }
}
