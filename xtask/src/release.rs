//! `cargo xtask release`: what a tag publishes. The same commit and toolchain make the same bytes, wherever
//! the checkout is and whoever builds it; `--verify` shows it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd2_backup::exit::{Exit, OrFault, fault};
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{create_dirs, remove_dir_if_there, write_atomic};
use etcd2_backup::sys::terminal::table::bytes;

use crate::package::tarball;
use crate::program::provenance::Facts;
use crate::program::{checks, compile, prebuilt, sbom};
use crate::units::judged;
use crate::{checkout, site};

/// A whole build of another checkout.
const LIMIT: Duration = Duration::from_secs(3600);

/// `release`: make what a tag publishes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The tag that is released; refused unless it is v and the version
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// What the nodes are [default: x86_64-unknown-linux-musl; without its std x86_64-unknown-linux-gnu]
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Go on although the checkout differs from its commit, or has none
    #[arg(long, conflicts_with = "verify")]
    allow_dirty: bool,
    /// Make it a second time, in a clone in another folder and with another HOME, and compare every file
    #[arg(long)]
    verify: bool,
    /// Where to leave it, instead of the checkout's dist/release. What is there is replaced
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,
}

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    check_tag(options.tag.as_deref())?;
    let facts = Facts::gather(checkout::root(), &compile::target_or(options.target.as_deref()))?;
    if !options.allow_dirty {
        check_commit(&facts.commit)?;
    }
    let dist = options.dist.clone().unwrap_or_else(|| checkout::dist().join("release"));
    let sums = make(&facts, &dist)?;
    println!("{}:\n{sums}", dist.display());
    if options.verify {
        let theirs = elsewhere(&facts)?;
        compare(&sums, &theirs)?;
        // A gigabyte. What differs is left for a look.
        remove_dir_if_there(&verify_place())?;
        println!(
            "A clone in another folder, built with another HOME, made the same {} files.",
            sums.lines().count()
        );
    }
    Ok(())
}

/// Why what is here cannot be made twice, if so: a clone has what is committed.
pub(crate) fn obstacle() -> Result<Option<String>> {
    let facts = Facts::gather(checkout::root(), compile::target())?;
    Ok(check_commit(&facts.commit).err().map(|e| e.to_string()))
}

fn check_tag(tag: Option<&str>) -> Result<()> {
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    match tag {
        Some(tag) if tag != version => {
            let hint = "set the version in Cargo.toml and CHANGELOG.md before the tag";
            Err(fault(Exit::Refused, format!("the tag {tag:?} is not {version}"), hint))
        }
        _ => Ok(()),
    }
}

fn check_commit(commit: &str) -> Result<()> {
    if commit == "unknown" || commit.ends_with("-dirty") {
        let hint = "commit what is to be released, or try it with --allow-dirty";
        return Err(fault(Exit::Refused, format!("what would be released is not a commit: {commit}"), hint));
    }
    Ok(())
}

/// Fills `dist`; gives the checksums of all of it.
fn make(facts: &Facts, dist: &Path) -> Result<String> {
    let program = compile::program(facts)?;
    let stock = stock()?;
    remove_dir_if_there(dist)?;
    create_dirs(dist, 0o755)?;
    let base = format!("etcd2-backup-{}-{}", facts.version, facts.target);
    let path = |suffix: &str| dist.join(format!("{base}{suffix}"));
    let manifest = facts.manifest(&program, None)?;
    write_atomic(&path(""), &program, 0o755)?;
    write_atomic(&path(".manifest.json"), manifest.as_bytes(), 0o644)?;
    write_atomic(&path(".cdx.json"), sbom::make(facts)?.as_bytes(), 0o644)?;
    let (unconfigured, epoch) = (path("-unconfigured.tgz"), facts.source_date_epoch);
    tarball::write(&stock, &judged(&stock)?, &program, &manifest, epoch, &unconfigured, &checkout::cache())?;
    // What an operator's build will ask of it.
    prebuilt::load(&path("")).context("taking the program as an operator will")?;
    let sums = sums(dist)?;
    write_atomic(&dist.join(tarball::SUMS), sums.as_bytes(), 0o644)?;
    let (size, most) = (program.len() as u64, checks::max_bytes(&facts.target) as u64);
    println!("node program: {} of at most {}", bytes(size), bytes(most));
    Ok(sums)
}

/// The published tarball's site, which has nothing of anybody's.
fn stock() -> Result<site::Site> {
    let dir = checkout::target().join("stock-site");
    create_dirs(&dir, 0o700)?;
    for (name, text) in site::STOCK {
        write_atomic(&dir.join(name), text.as_bytes(), 0o600)?;
    }
    site::load(&site::Options::of(&dir))
}

/// Every file of a folder, as sha256sum would list it.
fn sums(dir: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        lines.push((name, tarball::sha256(&bytes)));
    }
    lines.sort();
    Ok(lines.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect())
}

fn verify_place() -> PathBuf {
    checkout::target().join("verify")
}

/// Makes the same commit's release in a clone elsewhere, with an empty HOME; gives its checksums.
fn elsewhere(facts: &Facts) -> Result<String> {
    let place = verify_place();
    remove_dir_if_there(&place)?;
    let (home, checkout, dist) =
        (place.join("home"), place.join("a folder/of another length"), place.join("dist"));
    create_dirs(&home.join(".cargo"), 0o755)?;
    println!("The same in {}:", checkout.display());
    let run = |command: &mut Command| {
        let hint = "what git and cargo say is above; the folder is left for a look";
        command.run_ok(LIMIT).or_fault(Exit::Failed, "building a second time", hint).map(drop)
    };
    run(Command::new("git").args(["clone", "--quiet"]).args([checkout::root(), &checkout]))?;
    run(Command::new("git").arg("-C").arg(&checkout).args(["checkout", "--quiet", &facts.commit]))?;
    // Crates are as good as their checksums in Cargo.lock, so they need not be fetched twice.
    let cargo_home = compile::cargo_home().context("neither CARGO_HOME nor HOME is set")?;
    for name in ["registry", "config.toml"] {
        if cargo_home.join(name).exists() {
            std::os::unix::fs::symlink(cargo_home.join(name), home.join(".cargo").join(name))?;
        }
    }
    // The task works in the checkout around its working directory, and is of the same commit there.
    let mut release = Command::new(std::env::current_exe().context("finding this program")?);
    release.args(["release", "--target", &facts.target, "--dist"]).arg(&dist);
    release.current_dir(&checkout).env_clear().env("HOME", &home);
    if let Some(rustup) = rustup_home() {
        release.env("RUSTUP_HOME", rustup);
    }
    for name in ["PATH", "SOURCE_DATE_EPOCH", "STRIP"] {
        if let Some(value) = std::env::var_os(name) {
            release.env(name, value);
        }
    }
    run(&mut release)?;
    fs::read_to_string(dist.join(tarball::SUMS)).context("reading the second checksums")
}

fn rustup_home() -> Option<PathBuf> {
    let named = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup"))).filter(|p| p.is_dir())
}

fn compare(ours: &str, theirs: &str) -> Result<()> {
    ensure!(!ours.is_empty(), "nothing was made");
    let other: Vec<&str> = ours.lines().filter(|l| !theirs.lines().any(|t| t == *l)).collect();
    if other.is_empty() && ours.lines().count() == theirs.lines().count() {
        return Ok(());
    }
    let names: Vec<&str> = other.iter().filter_map(|l| l.split_once("  ")).map(|(_, name)| name).collect();
    let what = format!("the second build made other files: {}", names.join(", "));
    Err(fault(Exit::Failed, what, "compare them in target/verify/dist: diffoscope, or cmp and strings"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::exit_of;

    #[test]
    fn only_a_commit_and_its_own_tag_are_released() {
        let version = env!("CARGO_PKG_VERSION");
        check_tag(None).unwrap();
        check_tag(Some(&format!("v{version}"))).unwrap();
        for tag in [version.to_owned(), format!("v{version}-rc1"), "v9.9.9".into(), String::new()] {
            assert_eq!(exit_of(&check_tag(Some(&tag)).unwrap_err()), Exit::Refused, "{tag}");
        }
        check_commit(&"0".repeat(40)).unwrap();
        for commit in ["unknown", "0123-dirty"] {
            assert_eq!(exit_of(&check_commit(commit).unwrap_err()), Exit::Refused, "{commit}");
        }
    }

    #[test]
    fn the_stock_site_is_loaded_and_recognisable() {
        let site = stock().unwrap();
        assert_eq!(site.founder, ["http://unconfigured.invalid:2380"]);
        assert!(site.endpoint.starts_with("unconfigured:"));
        assert!(site.password_file.is_none());
    }

    #[test]
    fn a_difference_is_found_and_named() {
        let ours = "1  a\n2  b\n";
        compare(ours, ours).unwrap();
        for (theirs, want) in [
            ("1  a\n3  b\n", "the second build made other files: b"),
            ("1  a\n", "the second build made other files: b"),
            ("", "the second build made other files: a, b"),
            ("1  a\n2  b\n3  c\n", "the second build made other files: "),
        ] {
            assert_eq!(compare(ours, theirs).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn checksums_are_those_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            write_atomic(&dir.path().join(name), b"abc", 0o644).unwrap();
        }
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sums(dir.path()).unwrap(), format!("{abc}  a\n{abc}  b\n"));
    }
}
