//! The folder the tarball was unpacked to. Nothing is taken from it that SHA256SUMS does not vouch for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::sums::{self, Digest};
use crate::exit::{Exit, OrFault, fault};
use crate::paths;
use crate::settings::names::UnitName;
use crate::settings::our_units;
use crate::sys::unit_file;

/// This program, under the name it has in the tarball.
pub const PROGRAM: &str = "etcd2-backup-install";
/// The drop-in with all settings, for our services.
pub const SETTINGS: &str = "30-etcd2-backup-restore.conf";
/// The drop-in with fence and guard, for etcd's unit.
pub const FENCE: &str = "30-etcd2-backup-fence.conf";
/// The operator's rclone configuration.
pub const RCLONE_CONF: &str = "rclone.conf";
/// The rclone program, only there for the runner `bundled`.
pub const RCLONE: &str = "rclone";
/// Facts of the build; stays where it is.
pub const MANIFEST: &str = "manifest.json";
/// The man page.
pub const MAN: &str = "etcd2-backup.8";
/// The completions for bash.
pub const BASH: &str = "etcd2-backup.bash";
/// The completions for zsh.
pub const ZSH: &str = "_etcd2-backup";
/// The completions for fish.
pub const FISH: &str = "etcd2-backup.fish";
/// The checksums of all the others.
pub const SUMS: &str = "SHA256SUMS";

const RUNNER_KEY: &str = "ETCD2_BACKUP_RCLONE_RUNNER";
const DATA_DIR_KEY: &str = "ETCD_DATA_DIR";
const UNIT_KEY: &str = "ETCD2_BACKUP_ETCD_UNIT";
/// The text files we read are a few hundred bytes.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// An unpacked tarball that was found whole.
#[derive(Debug)]
pub struct Payload {
    dir: PathBuf,
    sums: BTreeMap<String, Digest>,
    etcd_unit: UnitName,
    data_dir: String,
    runner: String,
}

impl Payload {
    /// Checks every file of ours in `dir`; others may lie there too, such as the tarball itself.
    ///
    /// # Errors
    /// [`Exit::Corrupt`]: a file is missing, altered or not listed, or one is listed that is not ours.
    /// [`Exit::Settings`]: the settings name no etcd unit.
    pub fn verify(dir: &Path) -> Result<Self> {
        let again = "unpack etcd2-backup.tgz again into an empty directory and run etcd2-backup-install \
                     there; if that fails too, compare the tarball with its .sha256 and copy or build it \
                     again";
        let damaged = || format!("checking the unpacked files in {}", dir.display());
        let sums = read_text(&dir.join(SUMS))
            .and_then(|text| sums::parse(&text).with_context(|| format!("reading {SUMS}")))
            .or_fault(Exit::Corrupt, damaged(), again)?;
        let problems = problems(dir, &sums);
        if !problems.is_empty() {
            return Err(fault(Exit::Corrupt, format!("{}: {}", damaged(), problems.join(", ")), again));
        }
        let settings =
            read_listed(&dir.join(SETTINGS), sums.get(SETTINGS)).or_fault(Exit::Corrupt, damaged(), again)?;
        let settings = unit_file::parse_environment(&settings);
        let value = |key| settings.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        if value(RUNNER_KEY) == Some("bundled") && !sums.contains_key(RCLONE) {
            let what = format!("{}: {RUNNER_KEY}=bundled, but {SUMS} does not list {RCLONE}", damaged());
            return Err(fault(Exit::Corrupt, what, again));
        }
        let etcd_unit = etcd_unit(value(UNIT_KEY))?;
        let data_dir = value(DATA_DIR_KEY).unwrap_or_default().to_owned();
        let runner = value(RUNNER_KEY).unwrap_or_default().to_owned();
        Ok(Self { dir: dir.to_path_buf(), sums, etcd_unit, data_dir, runner })
    }

    /// How rclone is run on the node, as the settings write it.
    pub fn runner(&self) -> &str {
        &self.runner
    }

    /// Where a file of the tarball lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The checksum of a file, if the tarball has it.
    pub fn digest(&self, name: &str) -> Option<Digest> {
        self.sums.get(name).copied()
    }

    /// Every file that was vouched for, and the list that vouches for them.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.sums.keys().map(String::as_str).chain([SUMS]).map(|name| self.path(name))
    }

    /// The content of a file that a node can hold in memory.
    ///
    /// # Errors
    /// [`Exit::Corrupt`]: it changed since it was checked. Or it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        if self.digest(name) == Some(sums::of_bytes(&bytes)) {
            return Ok(bytes);
        }
        let what = format!("{} changed after it was checked", path.display());
        Err(fault(
            Exit::Corrupt,
            what,
            "unpack the tarball again into an empty directory, and install from there",
        ))
    }

    /// Which data directory of etcd's the settings are for.
    pub fn data_dir(&self) -> &str {
        &self.data_dir
    }

    /// Which unit of etcd's the settings are for.
    pub fn etcd_unit(&self) -> &str {
        &self.etcd_unit
    }
}

/// What a tarball may have or not; those of a version before these were made have none of the last four.
const OPTIONAL: [&str; 5] = [RCLONE, MAN, BASH, ZSH, FISH];

fn required() -> impl Iterator<Item = &'static str> {
    [PROGRAM, SETTINGS, FENCE, RCLONE_CONF, MANIFEST].into_iter().chain(our_units::names())
}

/// What is wrong with the folder, all of it, so that one look is enough.
fn problems(dir: &Path, sums: &BTreeMap<String, Digest>) -> Vec<String> {
    let unlisted =
        required().filter(|n| !sums.contains_key(*n)).map(|n| format!("{n} is not listed in {SUMS}"));
    let is_ours = |name: &String| required().chain(OPTIONAL).any(|ours| ours == name);
    let foreign = sums
        .keys()
        .filter(|n| !is_ours(n))
        .map(|n| format!("{n} is listed in {SUMS} but is not a file of etcd2-backup"));
    let bad = sums
        .iter()
        .filter(|(n, _)| is_ours(n))
        .filter_map(|(n, digest)| problem(&dir.join(n), digest).map(|p| format!("{n} {p}")));
    unlisted.chain(foreign).chain(bad).collect()
}

fn problem(path: &Path, listed: &Digest) -> Option<String> {
    match digest_of(path) {
        Ok(Some(digest)) if digest == *listed => None,
        Ok(Some(_)) => Some("is altered".to_owned()),
        Ok(None) => Some("is not a regular file".to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Some("is missing".to_owned()),
        Err(e) => Some(format!("cannot be read ({e})")),
    }
}

/// The checksum of a regular file. Anything else is not opened: a pipe would keep us waiting.
pub(super) fn digest_of(path: &Path) -> io::Result<Option<Digest>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    sums::copy(File::open(path)?, io::sink()).map(Some)
}

fn read_text(path: &Path) -> Result<String> {
    let read = || -> io::Result<String> {
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut text = String::new();
        File::open(path)?.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_TEXT_BYTES {
            return Err(io::Error::other("too long"));
        }
        Ok(text)
    };
    read().with_context(|| format!("reading {}", path.display()))
}

/// Reads a file and checks what was read, as it may have changed since it was checked first.
fn read_listed(path: &Path, listed: Option<&Digest>) -> Result<String> {
    let text = read_text(path)?;
    let digest = sums::copy(text.as_bytes(), io::sink())?;
    ensure!(Some(&digest) == listed, "{} changed while it was read", path.display());
    Ok(text)
}

fn etcd_unit(value: Option<&str>) -> Result<UnitName> {
    let problem = match value {
        None | Some("") => format!("{SETTINGS} does not say which unit runs etcd: {UNIT_KEY} is missing"),
        Some(name) => match name.parse() {
            Ok(unit) => return Ok(unit),
            Err(why) => format!("{SETTINGS}: {UNIT_KEY}={name:?} {why}"),
        },
    };
    let hint = "set etcd_unit in etcd2-backup.toml (for example \"etcd2.service\"), build and copy the tarball again";
    Err(fault(Exit::Settings, problem, hint))
}

/// Where a file's content comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file of the unpacked tarball.
    Copy(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What a file should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its content.
    pub content: Content,
    /// The content's checksum.
    pub digest: Digest,
    /// Its mode.
    pub mode: u32,
}

/// The path of a drop-in of a unit.
pub fn drop_in(unit: &str, name: &str) -> String {
    format!("{}/{unit}.d/{name}", paths::UNIT_DIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etcd_unit_must_be_a_service_of_somebody_else() {
        assert_eq!(etcd_unit(Some("etcd-member.service")).unwrap(), "etcd-member.service");
        for bad in [None, Some(""), Some("etcd2"), Some("../../x.service"), Some("etcd2-join.service")] {
            let error = etcd_unit(bad).unwrap_err();
            assert_eq!(crate::exit::exit_of(&error), Exit::Settings, "{bad:?}");
            assert!(error.to_string().contains(UNIT_KEY), "{error}");
        }
    }

    #[test]
    fn a_text_that_changed_or_has_no_end_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        crate::sys::fs::write_atomic(&path, b"text", 0o644).unwrap();
        let digest = digest_of(&path).unwrap().unwrap();
        assert_eq!(read_listed(&path, Some(&digest)).unwrap(), "text");
        assert!(read_listed(&path, Some(&[0; 32])).is_err());
        crate::sys::fs::write_atomic(&path, &vec![b' '; 64 << 10], 0o644).unwrap();
        assert!(read_text(&path).is_ok());
        crate::sys::fs::write_atomic(&path, &vec![b' '; (64 << 10) + 1], 0o644).unwrap();
        assert!(read_text(&path).is_err());
    }
}
