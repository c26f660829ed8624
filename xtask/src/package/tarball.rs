//! The tarball a node gets: flat, checksummed, and the same bytes for the same content.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::manual;
use crate::site::Site;
use crate::site::runner::Runner;
use crate::units::rendered::Rendered;

/// The list of checksums in the tarball; covers every other file.
pub(crate) const SUMS: &str = "SHA256SUMS";

/// One file of the tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    mode: u32,
    content: Vec<u8>,
}

/// Writes the tarball of a site and its files to `path`, for the owner's eyes only: it holds the rclone secrets.
///
/// `program` is the node program, `manifest` says how it was made, `mtime` is the time of all files. Returns the
/// tarball's SHA-256. One that would come out the same is left as it is: packing an rclone takes seconds. `cache` has the
/// SHA-256 of what was packed, each under a checksum of all that went in.
pub(crate) fn write(
    site: &Site,
    rendered: &Rendered,
    program: &[u8],
    manifest: &str,
    mtime: u64,
    path: &Path,
    cache: &Path,
) -> Result<String> {
    let entries = entries(site, rendered, program, manifest)?;
    let known = cache.join(format!("tarball-{}", key(&entries, mtime)));
    if let Ok(sum) = fs::read_to_string(&known)
        && is_there(path, &sum)
    {
        return Ok(sum);
    }
    let bytes = pack(&entries, mtime).context("packing the tarball")?;
    write_atomic(path, &bytes, 0o600)?;
    let sum = sha256(&bytes);
    create_dirs(cache, 0o700)?;
    write_atomic(&known, sum.as_bytes(), 0o600)?;
    Ok(sum)
}

/// Stands for everything the packed bytes come from: the entries, of which SHA256SUMS covers all others, their modes, and
/// the crates that pack.
fn key(entries: &[Entry], mtime: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(include_bytes!("../../../Cargo.lock"));
    hash.update(include_bytes!("tarball.rs"));
    hash.update(mtime.to_le_bytes());
    for entry in entries {
        hash.update(entry.mode.to_le_bytes());
        if entry.name == SUMS {
            hash.update(&entry.content);
        }
    }
    hex(&hash.finalize())
}

/// Whether the file has this SHA-256, and nobody else may read it.
fn is_there(path: &Path, sum: &str) -> bool {
    let private = |m: &fs::Metadata| m.is_file() && m.permissions().mode() & 0o7777 == 0o600;
    fs::symlink_metadata(path).is_ok_and(|m| private(&m)) && fs::read(path).is_ok_and(|b| sha256(&b) == sum)
}

/// The SHA-256 of some bytes, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// All files, sorted by name, with the checksums of all others among them.
fn entries(site: &Site, rendered: &Rendered, program: &[u8], manifest: &str) -> Result<Vec<Entry>> {
    let entry = |name: &str, mode, content: &[u8]| Entry { name: name.into(), mode, content: content.into() };
    let mut all = vec![
        entry("etcd2-backup-install", 0o755, program),
        entry("manifest.json", 0o644, manifest.as_bytes()),
        entry("rclone.conf", 0o600, &site.rclone_conf.0),
    ];
    if let Runner::Bundled(rclone) = &site.runner {
        all.push(entry("rclone", 0o755, &rclone.0));
    }
    for (name, text) in manual::of_the_node()? {
        all.push(entry(name, 0o644, &text));
    }
    for file in &rendered.files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        all.push(entry(name, 0o644, file.text.as_bytes()));
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in all.windows(2) {
        ensure!(pair[0].name != pair[1].name, "two files of the tarball are called {}", pair[0].name);
    }
    let sums: String = all.iter().map(|e| format!("{}  {}\n", sha256(&e.content), e.name)).collect();
    all.push(entry(SUMS, 0o644, sums.as_bytes()));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// A tar.gz in which nothing depends on the machine, the user or the hour.
fn pack(entries: &[Entry], mtime: u64) -> Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut tar = Builder::new(gzip);
    for entry in entries {
        let mut header = Header::new_ustar();
        header.set_path(&entry.name)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(entry.content.len() as u64);
        header.set_mode(entry.mode);
        header.set_mtime(mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_cksum();
        tar.append(&header, entry.content.as_slice())?;
    }
    Ok(tar.into_inner()?.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt as _;

    use crate::site::tests::{CONF, MINIMAL, load_of};
    use crate::units::judged;

    #[derive(Debug, PartialEq)]
    struct Unpacked {
        content: Vec<u8>,
        mode: u32,
    }

    fn site() -> Site {
        load_of(MINIMAL, CONF).unwrap()
    }

    fn made(site: &Site) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tgz");
        let sum = write(
            site,
            &judged(site).unwrap(),
            b"\x7fELF program",
            "{}\n",
            1_700_000_000,
            &path,
            &dir.path().join("cache"),
        )
        .unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(sum, sha256(&bytes));
        bytes
    }

    fn unpacked(bytes: &[u8]) -> BTreeMap<String, Unpacked> {
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(
                (header.username().unwrap(), header.groupname().unwrap()),
                (Some("root"), Some("root"))
            );
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let name = entry.path().unwrap().display().to_string();
            files.insert(name, Unpacked { content, mode: header.mode().unwrap() });
        }
        files
    }

    #[test]
    fn the_names_and_modes_of_the_contract() {
        let files = unpacked(&made(&site()));
        let list: Vec<(&str, u32)> = files.iter().map(|(name, f)| (name.as_str(), f.mode)).collect();
        assert_eq!(
            list,
            [
                ("30-etcd2-backup-fence.conf", 0o644),
                ("30-etcd2-backup-restore.conf", 0o644),
                ("SHA256SUMS", 0o644),
                ("_etcd2-backup", 0o644),
                ("etcd2-backup-base.service", 0o644),
                ("etcd2-backup-doctor.service", 0o644),
                ("etcd2-backup-install", 0o755),
                ("etcd2-backup-rehearse.service", 0o644),
                ("etcd2-backup-rehearse.timer", 0o644),
                ("etcd2-backup-verify.service", 0o644),
                ("etcd2-backup-verify.timer", 0o644),
                ("etcd2-backup.8", 0o644),
                ("etcd2-backup.bash", 0o644),
                ("etcd2-backup.fish", 0o644),
                ("etcd2-backup.service", 0o644),
                ("etcd2-backup.timer", 0o644),
                ("etcd2-join.service", 0o644),
                ("etcd2-restore.service", 0o644),
                ("manifest.json", 0o644),
                ("rclone.conf", 0o600),
            ]
        );
        assert_eq!(files["rclone.conf"].content, CONF.as_bytes());
    }

    #[test]
    fn the_checksums_cover_every_other_file() {
        let mut site = site();
        site.runner = Runner::Bundled(crate::site::input::Content(b"rclone".to_vec()));
        let mut files = unpacked(&made(&site));
        assert_eq!(files["rclone"], Unpacked { content: b"rclone".to_vec(), mode: 0o755 });
        let sums = String::from_utf8(files.remove(SUMS).unwrap().content).unwrap();
        let want: String =
            files.iter().map(|(name, f)| format!("{}  {name}\n", sha256(&f.content))).collect();
        assert_eq!(sums, want);
        assert_eq!(files.len(), 20);
    }

    #[test]
    fn two_tarballs_of_one_site_are_equal() {
        assert_eq!(made(&site()), made(&site()));
        let mut other = site();
        other.schedule.when = crate::site::schedule::When::Every("31sec".into());
        assert_ne!(made(&other), made(&site()));
    }

    #[test]
    fn an_equal_tarball_stays_and_any_other_is_packed_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, cache) = (dir.path().join("x.tgz"), dir.path().join("cache"));
        let write = |site: &Site, program: &[u8], mtime| {
            let sum = write(site, &judged(site).unwrap(), program, "{}\n", mtime, &path, &cache).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(sum, sha256(&bytes));
            let m = fs::symlink_metadata(&path).unwrap();
            assert_eq!((m.permissions().mode() & 0o7777, m.is_file()), (0o600, true));
            sum
        };
        // As long as a file is open, no other one gets its inode number.
        let same_file =
            |open: &fs::File| open.metadata().unwrap().ino() == fs::metadata(&path).unwrap().ino();
        let first = write(&site(), b"program", 1);
        let packed = fs::File::open(&path).unwrap();
        assert_eq!(write(&site(), b"program", 1), first);
        assert!(same_file(&packed), "left as it is");
        let touch = |text: &[u8], mode| {
            write_atomic(&path, text, 0o600).unwrap();
            // Afterwards: who is not root loses the bit of 4600 by writing.
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let good = fs::read(&path).unwrap();
        for (text, mode) in [(&b"damaged"[..], 0o600), (&good, 0o644), (&good, 0o4600)] {
            touch(text, mode);
            let spoiled = fs::File::open(&path).unwrap();
            assert_eq!(write(&site(), b"program", 1), first);
            assert!(!same_file(&spoiled), "{mode:o}");
        }
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(write(&site(), b"program", 1), first);
        // What is made of anything else is another one, though all of them are known by now.
        let mut other = site();
        other.rclone_conf = crate::site::input::Content(b"[s3]\ntype = s4\n".to_vec());
        let sums = [
            first,
            write(&other, b"program", 1),
            write(&site(), b"another", 1),
            write(&site(), b"program", 2),
        ];
        assert_eq!(sums.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(write(&site(), b"program", 1), sums[0]);
    }

    #[test]
    fn sha256_as_sha256sum_prints_it() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
