//! The facts of a build: which commit, when, made by which tools. The same facts make the same bytes.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault};
use etcd2_backup::sys::command::CommandRunExt;
use serde::{Deserialize, Serialize};

use super::rclone::Bundle;
use crate::package::tarball;
use crate::site::validate;

/// Every question to a tool is short.
const LIMIT: Duration = Duration::from_secs(60);
/// What decides on the node program and the tarball, besides the site.
const INPUTS: [&str; 8] =
    ["src", "xtask", "templates", "Cargo.toml", "Cargo.lock", ".cargo", "rust-toolchain.toml", "build.rs"];
/// Without git and without a dated release in the changelog: 1980-01-01, which no tar calls implausible.
const LONG_AGO: u64 = 315_532_800;

/// What `manifest.json` in the tarball says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The node program's version.
    pub(crate) version: String,
    /// The commit, `-dirty` if what is built differs from it, `unknown` without git.
    pub(crate) commit: String,
    /// The time of every file in the tarball, seconds since 1970.
    pub(crate) source_date_epoch: u64,
    /// What the node program was compiled for.
    pub(crate) target: String,
    /// The compiler.
    pub(crate) rustc: String,
    /// The C compiler that made zstd and linked.
    pub(crate) gcc: String,
    /// The libc that was linked in.
    pub(crate) libc: String,
    /// The SHA-256 of Cargo.lock, and so of every crate's version and checksum.
    pub(crate) cargo_lock: String,
}

/// All of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// How the node program was made.
    #[serde(flatten)]
    pub(crate) facts: Facts,
    /// The node program's SHA-256, in hex.
    pub(crate) program_sha256: String,
    /// The rclone beside it, if one travels in the tarball.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rclone: Option<Bundle>,
}

impl Facts {
    /// Asks git and the tools.
    pub(crate) fn gather(root: &Path, target: &str) -> Result<Self> {
        let (commit, time) = match git_facts(root) {
            Some(facts) => facts,
            None => {
                let text = std::fs::read_to_string(root.join("CHANGELOG.md")).unwrap_or_default();
                ("unknown".to_owned(), changelog_date(&text).unwrap_or(LONG_AGO))
            }
        };
        let source_date_epoch = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => text.parse().or_fault(
                Exit::Settings,
                format!("SOURCE_DATE_EPOCH {text:?}"),
                "give it in seconds since 1970, or unset it",
            )?,
            Err(_) => time,
        };
        let rustc = first_line(Command::new("rustc").arg("--version").current_dir(root))
            .context("asking the Rust compiler for its version")?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit,
            source_date_epoch,
            target: target.to_owned(),
            // Whatever is missing here is missed by the compilation too, which says so better.
            gcc: first_line(Command::new("cc").arg("--version")).unwrap_or_else(|_| "unknown".into()),
            libc: if libc_name(target) == "musl" {
                format!("musl of {rustc}")
            } else {
                first_line(Command::new("ldd").arg("--version")).unwrap_or_else(|_| "unknown".into())
            },
            rustc,
            cargo_lock: tarball::sha256(
                &std::fs::read(root.join("Cargo.lock")).context("reading Cargo.lock")?,
            ),
        })
    }

    /// The manifest of this program, made of these facts, as JSON.
    pub(crate) fn manifest(&self, program: &[u8], rclone: Option<Bundle>) -> Result<String> {
        let program_sha256 = tarball::sha256(program);
        let manifest = Manifest { facts: self.clone(), program_sha256, rclone };
        Ok(serde_json::to_string_pretty(&manifest)? + "\n")
    }
}

/// Reads a manifest that came with a program. Its words are printed and go into another manifest: each is one plain line.
pub(crate) fn parse_manifest(text: &str) -> Result<Manifest> {
    let manifest: Manifest = serde_json::from_str(text)?;
    let facts = &manifest.facts;
    for (key, value) in [
        ("version", &facts.version),
        ("commit", &facts.commit),
        ("target", &facts.target),
        ("rustc", &facts.rustc),
        ("gcc", &facts.gcc),
        ("libc", &facts.libc),
        ("cargo_lock", &facts.cargo_lock),
        ("program_sha256", &manifest.program_sha256),
    ] {
        validate::check_one_line(key, value)?;
    }
    Ok(manifest)
}

/// Which libc is linked in; the compiler brings musl along, and glibc is this machine's.
pub(crate) fn libc_name(target: &str) -> &'static str {
    if target.contains("-musl") { "musl" } else { "glibc" }
}

/// The first line a command prints.
pub(crate) fn first_line(command: &mut Command) -> Result<String> {
    Ok(command.run_ok(LIMIT)?.text().lines().next().unwrap_or_default().trim().to_owned())
}

/// Commit and commit time; `None` if `root` is not the top of a git checkout that git is willing to read.
fn git_facts(root: &Path) -> Option<(String, u64)> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).run_ok(LIMIT).ok()?;
        Some(output.text().trim().to_owned())
    };
    // An unpacked source archive inside somebody else's checkout is not of that checkout's commit.
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    let log = git(&["log", "-1", "--format=%H %ct"])?;
    let (commit, time) = log.split_once(' ')?;
    // The operator's site and notes may lie about in the checkout; they are not what is compiled.
    let changed = git(&[&["status", "--porcelain", "--"], INPUTS.as_slice()].concat())?;
    let mark = if changed.is_empty() { "" } else { "-dirty" };
    Some((format!("{commit}{mark}"), time.parse().ok()?))
}

/// The date of the newest release in a changelog: the first `## [x.y.z] - YYYY-MM-DD`.
fn changelog_date(text: &str) -> Option<u64> {
    let date = text.lines().filter(|l| l.starts_with("## ")).find_map(|l| l.rsplit_once(" - "))?.1;
    let time = humantime::parse_rfc3339(&format!("{}T00:00:00Z", date.trim())).ok()?;
    Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Facts of no build.
    pub(crate) fn facts() -> Facts {
        let some = |text: &str| text.to_owned();
        Facts {
            version: some(env!("CARGO_PKG_VERSION")),
            commit: "0".repeat(40),
            source_date_epoch: 1_700_000_000,
            target: some("x86_64-unknown-linux-gnu"),
            rustc: some("rustc"),
            gcc: some("cc"),
            libc: some("ldd"),
            cargo_lock: "1".repeat(64),
        }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let bundle = Bundle { version: "v1.75.2".into(), sha256: "2".repeat(64) };
        for rclone in [None, Some(bundle)] {
            let text = facts().manifest(b"abc", rclone.clone()).unwrap();
            let program_sha256 = tarball::sha256(b"abc");
            let want = Manifest { facts: facts(), program_sha256, rclone };
            assert_eq!(parse_manifest(&text).unwrap(), want);
        }
    }

    #[test]
    fn the_changelogs_newest_date() {
        let text = "# Changelog\n- x - 2001-01-01\n## [Unreleased]\n## [0.2.0] - 2026-11-22\n## [0.1.0] - 2026-01-01\n";
        assert_eq!(changelog_date(text), Some(1_795_305_600));
        assert_eq!(changelog_date("## [Unreleased]\n"), None);
        assert_eq!(changelog_date("## [1.0.0] - soon\n"), None);
    }

    #[test]
    fn a_checkout_is_marked_when_what_is_built_changed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(git_facts(dir.path()), None);
        let script = "git init -q . && mkdir src && echo a >src/x && git add . && \
            git -c user.name=t -c user.email=t@example.com commit -qm t --date 2026-01-01T00:00:00Z";
        let sh = |script: &str| {
            let mut sh = Command::new("sh");
            sh.args(["-ec", script])
                .current_dir(dir.path())
                .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
            assert!(sh.status().unwrap().success());
        };
        sh(script);
        let (commit, time) = git_facts(dir.path()).unwrap();
        assert_eq!((commit.len(), time), (40, 1_767_225_600));
        sh("echo secret >rclone.conf");
        assert_eq!(git_facts(dir.path()).unwrap().0, commit);
        sh("echo b >src/new");
        assert_eq!(git_facts(dir.path()).unwrap().0, format!("{commit}-dirty"));
        assert_eq!(git_facts(&dir.path().join("src")), None);
    }
}
