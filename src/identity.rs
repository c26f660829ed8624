//! The stamp that says which member this node was last seen to be. It outlives any data directory, so that an empty one
//! is noticed.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::paths::{ALLOW_EMPTY, IDENTITY, Root, STAMP_DIR};
use crate::sys::fs::{create_dirs, remove_if_there, write_atomic};

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

#[derive(Serialize, Deserialize)]
struct Stamp {
    version: u32,
    cluster_id: String,
    member_id: String,
    wal_dir: PathBuf,
}

/// Writes down who this node is, seen from data that is really there. Readable by etcd's user.
///
/// A leave to start empty is used up once the node is somebody else than before.
///
/// # Errors
/// The stamp cannot be written; the old one is still there then.
pub fn record(root: &Root, identity: &Identity) -> Result<()> {
    let known = load(root);
    if matches!(&known, Ok(Some(k)) if k == identity) {
        return Ok(());
    }
    create_dirs(&root.join(STAMP_DIR), 0o755)?;
    write_atomic(&root.join(IDENTITY), render(identity)?.as_bytes(), 0o644)?;
    match known {
        Ok(Some(k)) if k.cluster_id == identity.cluster_id && k.member_id == identity.member_id => Ok(()),
        _ => remove_if_there(&root.join(ALLOW_EMPTY)),
    }
}

/// Who this node was last seen to be; `None` if it was never seen.
///
/// # Errors
/// There is a stamp, but it cannot be read or understood.
pub fn load(root: &Root) -> Result<Option<Identity>> {
    let path = root.join(IDENTITY);
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e.into()),
        Ok(text) => parse(&text).map(Some),
    }
    .with_context(|| format!("reading {}", path.display()))
}

/// Forgets who this node was: the next start of etcd is meant to find no data, as at a join.
///
/// # Errors
/// The stamp is there and cannot be removed.
pub fn forget(root: &Root) -> Result<()> {
    remove_if_there(&root.join(IDENTITY))
}

fn parse(text: &[u8]) -> Result<Identity> {
    let stamp: Stamp = serde_json::from_slice(text)?;
    ensure!(stamp.version == VERSION, "version {} is not known to this program", stamp.version);
    ensure!(stamp.wal_dir.is_absolute(), "wal_dir is not an absolute path");
    let id = |text: &str| {
        let hex = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        ensure!(hex, "{text:?} is not an ID of 16 hexadecimal digits");
        Ok(u64::from_str_radix(text, 16)?)
    };
    let (cluster_id, member_id) = (id(&stamp.cluster_id)?, id(&stamp.member_id)?);
    Ok(Identity { cluster_id, member_id, wal_dir: stamp.wal_dir })
}

fn render(identity: &Identity) -> Result<String> {
    let id = |n: u64| format!("{n:016x}");
    let (cluster_id, member_id) = (id(identity.cluster_id), id(identity.member_id));
    let stamp = Stamp { version: VERSION, cluster_id, member_id, wal_dir: identity.wal_dir.clone() };
    Ok(serde_json::to_string(&stamp)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const TEXT: &str = "{\"version\":1,\"cluster_id\":\"00000000000000ab\",\"member_id\":\"8e9e05c52164694d\",\
                        \"wal_dir\":\"/var/lib/etcd2/member/wal\"}\n";

    fn sample() -> Identity {
        let wal_dir = "/var/lib/etcd2/member/wal".into();
        Identity { cluster_id: 0xab, member_id: 0x8e9e_05c5_2164_694d, wal_dir }
    }

    #[test]
    fn the_stamp_reads_and_writes_as_documented() {
        assert_eq!(render(&sample()).unwrap(), TEXT);
        assert_eq!(parse(TEXT.as_bytes()).unwrap(), sample());
        // Fields of a later version that kept the number.
        assert_eq!(parse(TEXT.replace('{', "{\"more\":1,").as_bytes()).unwrap(), sample());
        let changes = [
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1,", ""),
            ("8e9e05c52164694d", "+e9e05c52164694d"),
            ("8e9e05c52164694d", "8e9e05c52164694"),
            ("/var/lib", "var/lib"),
            ("}", ""),
        ];
        for (from, to) in changes {
            assert!(parse(TEXT.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
        }
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
