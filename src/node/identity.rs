//! The stamp that says which member this node was last seen to be, and how its etcd was run. It outlives any data directory,
//! so that an empty one is noticed.

use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::paths::{ALLOW_EMPTY, IDENTITY, STAMP_DIR};
use crate::settings::seen::Setup;
use crate::sys::fs::{create_dirs, remove_if_there, write_atomic};
use crate::sys::root::Root;
use crate::sys::summed;

const VERSION: u32 = 1;

/// A member of a cluster, and where it has its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// etcd's ID of the cluster.
    pub cluster_id: u64,
    /// etcd's ID of the member.
    pub member_id: u64,
    /// The folder of its WAL files: the path on the node, without the root.
    pub wal_dir: PathBuf,
}

/// What this node's stamp says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Who this node was last seen to be; `None` if it was never seen.
    pub identity: Option<Identity>,
    /// How its etcd was set up when it was last seen to run; `None` if it was never seen.
    pub setup: Option<Setup>,
    /// At which peer URLs the other members were last seen.
    pub peers: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct StampFile {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wal_dir: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etcd: Option<Setup>,
    /// Peer URLs of the other members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peers: Vec<String>,
}

/// Reads the stamp; without one nothing is known.
///
/// # Errors
/// There is a stamp, but it cannot be read or understood.
pub fn read(root: &Root) -> Result<Stamp> {
    let path = root.join(IDENTITY);
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Stamp::default()),
        Err(e) => Err(e.into()),
        Ok(text) => parse(&text),
    }
    .with_context(|| format!("reading {}", path.display()))
}

/// Who this node was last seen to be; `None` if it was never seen.
///
/// # Errors
/// As [`read`].
pub fn load(root: &Root) -> Result<Option<Identity>> {
    Ok(read(root)?.identity)
}

/// Writes down who this node is, seen from data that is really there. Readable by etcd's user.
///
/// A leave to start empty is used up once the node is somebody else than before.
///
/// # Errors
/// The stamp cannot be written; the old one is still there then.
pub fn record(root: &Root, identity: &Identity) -> Result<()> {
    // Where the old stamp cannot be read, the new one takes its place.
    let known = read(root).unwrap_or_default();
    let before = known.identity.as_ref();
    if before == Some(identity) {
        return Ok(());
    }
    let same =
        before.is_some_and(|k| k.cluster_id == identity.cluster_id && k.member_id == identity.member_id);
    write(root, Stamp { identity: Some(identity.clone()), ..known })?;
    if same { Ok(()) } else { remove_if_there(&root.join(ALLOW_EMPTY)) }
}

/// Writes down how etcd is set up, seen from one that runs.
///
/// # Errors
/// The stamp cannot be read or written; the old one is still there then.
pub fn record_setup(root: &Root, setup: Setup) -> Result<()> {
    let known = read(root)?;
    if known.setup.as_ref() == Some(&setup) {
        return Ok(());
    }
    write(root, Stamp { setup: Some(setup), ..known })
}

/// Writes down at which peer URLs the other members were last seen: who has lost its data asks them for its cluster.
///
/// # Errors
/// As [`record_setup`].
pub fn record_peers(root: &Root, peers: Vec<String>) -> Result<()> {
    let known = read(root)?;
    if known.peers == peers {
        return Ok(());
    }
    write(root, Stamp { peers, ..known })
}

/// Forgets who this node was: the next start of etcd is meant to find no data, as at a join. How etcd is run, and where the other members
/// were, stays known.
///
/// # Errors
/// The stamp is there and cannot be removed, or written anew.
pub fn forget(root: &Root) -> Result<()> {
    let known = Stamp { identity: None, ..read(root).unwrap_or_default() };
    match known == Stamp::default() {
        true => remove_if_there(&root.join(IDENTITY)),
        false => write(root, known),
    }
}

/// Readable by etcd's user.
fn write(root: &Root, known: Stamp) -> Result<()> {
    create_dirs(&root.join(STAMP_DIR), 0o755)?;
    write_atomic(&root.join(IDENTITY), &summed::to_vec(&StampFile::of(known))?, 0o644)
}

fn parse(text: &[u8]) -> Result<Stamp> {
    let stamp: StampFile = summed::from_slice(text)?;
    ensure!(stamp.version == VERSION, "version {} is not known to this program", stamp.version);
    let identity = identity_in(&stamp)?;
    let relative = |etcd: &Setup| !etcd.places().0.is_absolute() || !etcd.places().1.is_absolute();
    ensure!(!stamp.etcd.as_ref().is_some_and(relative), "a directory of etcd is not an absolute path");
    Ok(Stamp { identity, setup: stamp.etcd, peers: stamp.peers })
}

/// `None` if the stamp says only how etcd is run, or who else there was.
fn identity_in(stamp: &StampFile) -> Result<Option<Identity>> {
    let (cluster_id, member_id, wal_dir) = match (&stamp.cluster_id, &stamp.member_id, &stamp.wal_dir) {
        (None, None, None) if stamp.etcd.is_some() || !stamp.peers.is_empty() => return Ok(None),
        (Some(cluster_id), Some(member_id), Some(wal_dir)) => (cluster_id, member_id, wal_dir),
        _ => bail!("it does not say cluster_id, member_id and wal_dir"),
    };
    ensure!(wal_dir.is_absolute(), "wal_dir is not an absolute path");
    let id = |text: &str| {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(hex, "{text:?} is not an ID of 16 hexadecimal digits");
        Ok(u64::from_str_radix(text, 16)?)
    };
    let (cluster_id, member_id) = (id(cluster_id)?, id(member_id)?);
    Ok(Some(Identity { cluster_id, member_id, wal_dir: wal_dir.clone() }))
}

impl StampFile {
    fn of(Stamp { identity, setup, peers }: Stamp) -> Self {
        let id = |n: u64| format!("{n:016x}");
        Self {
            version: VERSION,
            cluster_id: identity.as_ref().map(|identity| id(identity.cluster_id)),
            member_id: identity.as_ref().map(|identity| id(identity.member_id)),
            wal_dir: identity.map(|identity| identity.wal_dir),
            etcd: setup,
            peers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::summed::tests::flipped;
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt;

    const TEXT: &str = "{\"version\":1,\"cluster_id\":\"00000000000000ab\",\"member_id\":\"8e9e05c52164694d\",\
                        \"wal_dir\":\"/var/lib/etcd2/member/wal\"}\n";

    fn sample() -> Identity {
        let wal_dir = "/var/lib/etcd2/member/wal".into();
        Identity { cluster_id: 0xab, member_id: 0x8e9e_05c5_2164_694d, wal_dir }
    }

    fn identity(text: &str) -> Result<Option<Identity>> {
        Ok(parse(text.as_bytes())?.identity)
    }

    #[test]
    fn the_stamp_reads_and_writes_as_documented() {
        let known = Stamp { identity: Some(sample()), ..Stamp::default() };
        let written = summed::to_vec(&StampFile::of(known.clone())).unwrap();
        assert_eq!(parse(&written).unwrap(), known);
        for altered in flipped(&written) {
            let read = parse(&altered);
            assert!(read.is_err() || read.unwrap() == known, "{}", String::from_utf8_lossy(&altered));
        }
        // As it was before it had a checksum.
        assert_eq!(identity(TEXT).unwrap(), Some(sample()));
        // Fields of a later version that kept the number.
        assert_eq!(identity(&TEXT.replace('{', "{\"more\":1,")).unwrap(), Some(sample()));
        let changes = [
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1,", ""),
            ("8e9e05c52164694d", "+e9e05c52164694d"),
            ("8e9e05c52164694d", "8e9e05c52164694"),
            ("\"member_id\":\"8e9e05c52164694d\",", ""),
            ("/var/lib", "var/lib"),
            ("}", ",\"etcd\":{\"unit\":\"\",\"settings\":{\"data-dir\":\"x\"}}}"),
            ("}", ""),
        ];
        for (from, to) in changes {
            assert!(identity(&TEXT.replace(from, to)).is_err(), "{from} -> {to}");
        }
        assert!(identity("{\"version\":1}").is_err());
    }

    #[test]
    fn who_this_node_is_and_how_its_etcd_is_run_are_written_apart() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let of = |identity, setup: &Setup, peers: &[String]| Stamp {
            identity,
            setup: Some(setup.clone()),
            peers: peers.to_vec(),
        };
        let settings = BTreeMap::from([("data-dir".to_owned(), "/var/lib/etcd2".to_owned())]);
        let seen = Setup { unit: "ab".into(), file: None, settings, owner: Some((232, 0)) };
        record_setup(&root, seen.clone()).unwrap();
        assert_eq!(read(&root).unwrap(), of(None, &seen, &[]));
        record(&root, &sample()).unwrap();
        assert_eq!(read(&root).unwrap(), of(Some(sample()), &seen, &[]));
        let later = Setup { unit: "cd".into(), ..seen };
        record_setup(&root, later.clone()).unwrap();
        assert_eq!(read(&root).unwrap(), of(Some(sample()), &later, &[]));
        let others = vec!["http://b:2380".to_owned()];
        record_peers(&root, others.clone()).unwrap();
        let another = Identity { member_id: 1, ..sample() };
        record(&root, &another).unwrap();
        assert_eq!(read(&root).unwrap(), of(Some(another), &later, &others));
        forget(&root).unwrap();
        assert_eq!(read(&root).unwrap(), of(None, &later, &others));
        write_atomic(&root.join(IDENTITY), b"{", 0o644).unwrap();
        record(&root, &sample()).unwrap();
        assert_eq!(read(&root).unwrap(), Stamp { identity: Some(sample()), ..Stamp::default() });
    }

    #[test]
    fn recording_writes_only_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(load(&root).unwrap(), None);
        record(&root, &sample()).unwrap();
        assert_eq!(load(&root).unwrap(), Some(sample()));
        // Held open: a file that replaces it cannot get its inode number.
        let open = fs::File::open(root.join(IDENTITY)).unwrap();
        let written = open.metadata().unwrap();
        assert_eq!(written.mode() & 0o777, 0o644);
        record(&root, &sample()).unwrap();
        assert_eq!(fs::metadata(root.join(IDENTITY)).unwrap().ino(), written.ino());
        forget(&root).unwrap();
        forget(&root).unwrap();
        assert_eq!(load(&root).unwrap(), None);
    }

    #[test]
    fn a_leave_to_start_empty_lasts_until_the_node_is_somebody_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        record(&root, &sample()).unwrap();
        let allow = root.join(ALLOW_EMPTY);
        write_atomic(&allow, b"", 0o644).unwrap();
        record(&root, &sample()).unwrap();
        record(&root, &Identity { wal_dir: "/other".into(), ..sample() }).unwrap();
        assert!(allow.exists());
        record(&root, &Identity { member_id: 1, ..sample() }).unwrap();
        assert!(!allow.exists());
    }
}
