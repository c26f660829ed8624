//! The new directories for the old ones, with nothing lost at any moment.
//!
//! What is in `member.restoring` beside `member` is being built and is garbage whenever it is found, as is that of a separate
//! WAL directory. When they are complete and synced, each gets the name that the old directory will have, and the two names are
//! exchanged. Two pairs cannot be exchanged at once: a journal says which ones belong together, so that an exchange that was
//! interrupted is taken back before anything is read. All of that happens under the fence.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::places::Places;
use super::{aside, workshop};
use crate::sys::{folder, fs as files, look};

/// One directory for another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    /// The new directory, whatever it is called at the moment.
    inode: u64,
    /// Where it was built or kept.
    from: PathBuf,
    /// Where it is to be.
    place: PathBuf,
    /// Where the old one is kept.
    kept: PathBuf,
}

/// An exchange that is in the journal, and has not begun.
#[derive(Debug)]
pub struct Exchange {
    journal: PathBuf,
    steps: Vec<Step>,
    suffix: String,
    others: Vec<PathBuf>,
}

/// Removes what was being built.
///
/// # Errors
/// It cannot be removed.
pub fn clear(places: &Places) -> Result<()> {
    places.data().try_for_each(|place| workshop::clear(place))
}

impl Exchange {
    /// Writes into the journal what [`Exchange::carry_out`] will do: it needs no room any more. The new directories are
    /// where `from` says for each place.
    ///
    /// # Errors
    /// One is not there, or the journal cannot be written.
    pub fn prepare(backup_dir: &Path, places: &Places, from: impl Fn(&Path) -> PathBuf) -> Result<Self> {
        let suffix = aside::suffix("restore", places)?;
        let step = |place: &PathBuf| -> Result<Step> {
            let from = from(place);
            let inode = inode(&from)?.with_context(|| format!("{} does not exist", from.display()))?;
            Ok(Step { inode, from, place: place.clone(), kept: aside::with_suffix(place, &suffix) })
        };
        let steps = places.data().map(step).collect::<Result<Vec<_>>>()?;
        let journal = journal(backup_dir);
        files::write_atomic(&journal, render(&steps).as_bytes(), 0o600)?;
        Ok(Self { journal, steps, suffix, others: places.others.clone() })
    }

    /// Puts the new directories in the place of the old ones; returns where those are now. The fence must be up. `may_be` is
    /// asked of the old log, under its new name: what holds it there will not find the new one.
    ///
    /// # Errors
    /// A rename fails, or `may_be` says no; then all is as it was, or, if [`is_interrupted`] says so, [`take_back`] makes it so
    /// later.
    pub fn carry_out(&self, may_be: impl FnOnce(&Path) -> Result<()>) -> Result<Vec<PathBuf>> {
        let all = || -> Result<Vec<PathBuf>> {
            let kept = self.steps.iter().filter_map(|step| put(step).transpose()).collect::<Result<_>>()?;
            may_be(&self.old_log()).map(|()| kept)
        };
        match all() {
            Ok(kept) => self.forget().map(|()| kept),
            Err(e) => {
                undo(&self.journal, &self.steps).context("undoing the exchange")?;
                Err(e)
            }
        }
    }

    /// Where the old log is now.
    fn old_log(&self) -> PathBuf {
        match &self.steps[..] {
            [.., _, wal] => wal.kept.clone(),
            steps => steps.first().map(|member| member.kept.join("wal")).unwrap_or_default(),
        }
    }

    /// Takes it out of the journal: it is done, or is not to be.
    ///
    /// # Errors
    /// The journal cannot be removed.
    pub fn forget(&self) -> Result<()> {
        forget(&self.journal)
    }

    /// Sets aside what etcd would trip over. It goes last: until then one of them may be the only data that can be
    /// restored.
    ///
    /// # Errors
    /// A rename fails.
    pub fn set_others_aside(&self) -> Result<Vec<PathBuf>> {
        let aside = |other: &PathBuf| aside::move_aside(other, &self.suffix).transpose();
        self.others.iter().filter_map(aside).collect()
    }
}

/// Whether an exchange was interrupted, and the fence is up since.
///
/// # Errors
/// It could not be asked.
pub fn is_interrupted(backup_dir: &Path) -> Result<bool> {
    look::is_there(&journal(backup_dir))
}

/// Takes an exchange that was interrupted back: the old directories are in their places, the new ones where they came
/// from. The fence must be up since then; whoever took it down has decided otherwise.
///
/// # Errors
/// The journal cannot be read, or a rename fails; running it again goes on.
pub fn take_back(backup_dir: &Path) -> Result<()> {
    let path = journal(backup_dir);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    undo(&path, &parse(&text).with_context(|| format!("reading {}", path.display()))?)
}

fn journal(backup_dir: &Path) -> PathBuf {
    backup_dir.join("exchange")
}

/// Four lines a step: inode, from, place, kept.
fn render(steps: &[Step]) -> String {
    let line = |p: &Path| p.to_string_lossy().into_owned();
    let step =
        |s: &Step| [s.inode.to_string(), line(&s.from), line(&s.place), line(&s.kept)].join("\n") + "\n";
    steps.iter().map(step).collect()
}

fn parse(text: &str) -> Result<Vec<Step>> {
    let lines: Vec<&str> = text.lines().collect();
    let step = |lines: &[&str]| match *lines {
        [inode, from, place, kept] => {
            Ok(Step { inode: inode.parse()?, from: from.into(), place: place.into(), kept: kept.into() })
        }
        _ => anyhow::bail!("it is incomplete"),
    };
    lines.chunks(4).map(step).collect()
}

fn put(step: &Step) -> Result<Option<PathBuf>> {
    let Step { from, place, kept, .. } = step;
    let was_there = look::is_there(place)?;
    if was_there {
        folder::rename(from, kept)?;
        if !folder::exchange(place, kept)? {
            folder::rename(kept, from)?;
            folder::rename(place, kept)?;
            folder::rename(from, place)?;
        }
    } else {
        folder::rename(from, place)?;
    }
    folder::sync_above(place)?;
    Ok(was_there.then(|| kept.clone()))
}

fn undo(journal: &Path, steps: &[Step]) -> Result<()> {
    for Step { inode: new, from, place, kept } in steps {
        for path in [kept, place] {
            if inode(path)? == Some(*new) {
                folder::rename(path, from)?;
            }
        }
        if !look::is_there(place)? && look::is_there(kept)? {
            folder::rename(kept, place)?;
        }
        folder::sync_above(place)?;
    }
    forget(journal)
}

fn forget(journal: &Path) -> Result<()> {
    files::remove_if_there(journal)?;
    folder::sync_above(journal)
}

fn inode(path: &Path) -> Result<Option<u64>> {
    Ok(look::at_name(path)?.map(|meta| meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EtcdConfig;
    use crate::sys::fs::{create_dirs, write_atomic};

    struct Case {
        dir: tempfile::TempDir,
        places: Places,
    }

    impl Case {
        fn new(separate: bool, names: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in names {
                create_dirs(&dir.path().join(name), 0o700).unwrap();
                write_atomic(&dir.path().join(name).join("of"), name.as_bytes(), 0o600).unwrap();
            }
            let wal_dir = separate.then(|| dir.path().join("log"));
            let settings = crate::settings::tests::in_tree(&dir.path().join("data"));
            let places = Places::of(&EtcdConfig { wal_dir, ..settings.etcd }).unwrap();
            Self { dir, places }
        }

        fn prepare(&self) -> Exchange {
            Exchange::prepare(self.dir.path(), &self.places, workshop::new_dir).unwrap()
        }

        fn of(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.dir.path().join(name).join("of")).ok()
        }
    }

    fn anything(_: &Path) -> Result<()> {
        Ok(())
    }

    fn content(path: &Path) -> String {
        fs::read_to_string(path.join("of")).unwrap()
    }

    #[test]
    fn the_old_data_is_kept_and_everything_else_that_etcd_would_trip_over() {
        let case = Case::new(false, &["data/member", "data/member.restoring/new", "data/proxy", "data/wal"]);
        let exchange = case.prepare();
        let kept = [exchange.carry_out(anything).unwrap(), exchange.set_others_aside().unwrap()].concat();
        assert_eq!(case.of("data/member").unwrap(), "data/member.restoring/new");
        let kept: Vec<String> = kept.iter().map(|p| content(p)).collect();
        assert_eq!(kept, ["data/member", "data/proxy", "data/wal"]);
        assert_eq!((case.of("data/member.restoring/new"), case.of("data/proxy")), (None, None));
        assert!(!is_interrupted(case.dir.path()).unwrap());
    }

    #[test]
    fn an_empty_data_directory_just_gets_the_new_data() {
        let case = Case::new(false, &["data/member.restoring/new"]);
        assert_eq!(case.prepare().carry_out(anything).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(case.of("data/member").unwrap(), "data/member.restoring/new");
    }

    #[test]
    fn a_separate_log_goes_with_its_snapshots() {
        let case = Case::new(true, &["data/member", "data/member.restoring/new", "log", "log.restoring/new"]);
        let kept = case.prepare().carry_out(anything).unwrap();
        assert_eq!(kept.iter().map(|p| content(p)).collect::<Vec<_>>(), ["data/member", "log"]);
        assert_eq!(case.of("log").unwrap(), "log.restoring/new");
        assert_eq!(case.of("data/member").unwrap(), "data/member.restoring/new");
    }

    /// Every state that a kill can leave, with and without a kernel that exchanges two names at once.
    #[test]
    fn an_exchange_is_taken_back_from_wherever_it_was() {
        type Renames<'a> = &'a [(&'a str, &'a str)];
        let exchanged: Renames<'_> =
            &[("from", "kept"), ("kept", "tmp"), ("place", "kept"), ("tmp", "place")];
        let stops: [Renames<'_>; 5] = [
            &[],
            &[("from", "kept")],
            &[("place", "kept")],
            &[("place", "kept"), ("from", "place")],
            exchanged,
        ];
        for first in stops {
            for second in if first == exchanged { &stops[..] } else { &stops[..1] } {
                let case = Case::new(
                    true,
                    &["data/member", "data/member.restoring/new", "log", "log.restoring/new"],
                );
                let exchange = case.prepare();
                for (step, renames) in exchange.steps.iter().zip([first, second]) {
                    let path = |name: &str| match name {
                        "from" => step.from.clone(),
                        "kept" => step.kept.clone(),
                        "place" => step.place.clone(),
                        _ => case.dir.path().join("tmp"),
                    };
                    renames.iter().for_each(|(a, b)| folder::rename(&path(a), &path(b)).unwrap());
                }
                assert!(is_interrupted(case.dir.path()).unwrap());
                take_back(case.dir.path()).unwrap();
                assert!(!is_interrupted(case.dir.path()).unwrap());
                for name in ["data/member", "data/member.restoring/new", "log", "log.restoring/new"] {
                    assert_eq!(case.of(name).as_deref(), Some(name), "{first:?} {second:?}");
                }
                assert_eq!(fs::read_dir(case.dir.path()).unwrap().count(), 3);
            }
        }
    }

    #[test]
    fn a_rename_that_fails_leaves_all_as_it_was() {
        let case = Case::new(true, &["data/member", "data/member.restoring/new", "log", "log.restoring/new"]);
        let exchange = case.prepare();
        fs::rename(case.dir.path().join("log.restoring"), case.dir.path().join("gone")).unwrap();
        assert!(exchange.carry_out(anything).is_err());
        assert_eq!(case.of("data/member").unwrap(), "data/member");
        assert_eq!(case.of("log").unwrap(), "log");
        assert!(!is_interrupted(case.dir.path()).unwrap());
    }

    #[test]
    fn a_log_that_is_held_under_its_new_name_gets_its_old_one_again() {
        for (separate, log) in [(true, "log"), (false, "data/member/wal")] {
            let names = ["data/member", "data/member.restoring/new", "log", "log.restoring/new", log];
            let case = Case::new(separate, &names);
            let seen = |old: &Path| {
                assert!(old.to_string_lossy().contains(".before-restore-"), "{}", old.display());
                assert_eq!(content(old), log);
                anyhow::bail!("it is held")
            };
            assert_eq!(case.prepare().carry_out(seen).unwrap_err().to_string(), "it is held");
            assert_eq!(case.of("data/member").unwrap(), "data/member");
            assert_eq!(case.of(log).unwrap(), log);
            assert!(!is_interrupted(case.dir.path()).unwrap());
        }
    }

    #[test]
    fn the_journal_reads_as_it_was_written() {
        let step = |n: u64| Step { inode: n, from: "/a b".into(), place: "/c".into(), kept: "/d".into() };
        let steps = vec![step(1), step(u64::MAX)];
        assert_eq!(parse(&render(&steps)).unwrap(), steps);
        assert_eq!(parse("").unwrap(), []);
        for bad in ["1\n/a\n/b\n", "x\n/a\n/b\n/c\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
