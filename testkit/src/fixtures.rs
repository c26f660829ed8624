//! Data directories of etcd versions that are not at hand, with the keys that were in them.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::checkout;
use crate::keys::{self, Keys};

/// Every fixture, by name. `tests/fixtures/README.md` says how each was made.
pub const NAMES: [&str; 18] = [
    "v2013-purged",
    "v213-single-snap",
    "v225-single-snap",
    "v238-3node-member",
    "v238-etcdctl-backup",
    "v238-flipped-wal",
    "v238-follower",
    "v238-single-nosnap",
    "v238-single-snap",
    "v238-then-v3423",
    "v238-torn-tail",
    "v3017-single-snap-trimmed",
    "v3232-single-snap-trimmed",
    "v3327-single-snap-trimmed",
    "v3423-follower-trimmed",
    "v3423-single-nosnap-trimmed",
    "v3423-single-snap-trimmed",
    "v351-single-snap",
];

/// Those with a v3 store, and without v2 keys.
pub const V3_NAMES: [&str; 2] = ["v3423-v3-member-trimmed", "v351-v3-learner-trimmed"];

/// Unpacks a fixture of [`V3_NAMES`] to `into`/`name`: the data directory, and what etcd answered just before the copy was
/// made, see [`crate::v3::sample::answers`].
///
/// # Errors
/// There is no such fixture, or it cannot be unpacked there.
pub fn unpack_v3(name: &str, into: &Path) -> Result<(PathBuf, serde_json::Value)> {
    unpack(name, into)?;
    let listing = folder().join(format!("{name}.v3.json"));
    let text = std::fs::read_to_string(&listing).with_context(|| format!("reading {}", listing.display()))?;
    Ok((into.join(name), serde_json::from_str(&text)?))
}

fn unpack(name: &str, into: &Path) -> Result<()> {
    let archive = folder().join(format!("{name}.tgz"));
    let packed = File::open(&archive).with_context(|| format!("opening {}", archive.display()))?;
    tar::Archive::new(flate2::read::GzDecoder::new(packed))
        .unpack(into)
        .with_context(|| format!("unpacking {}", archive.display()))
}

/// A fixture, unpacked.
#[derive(Debug)]
pub struct Fixture {
    /// The data directory; it holds `member/snap` and `member/wal`.
    pub data_dir: PathBuf,
    /// What etcd's `X-Etcd-Index` was.
    pub index: u64,
    /// The keys etcd listed just before the copy was made.
    pub keys: Keys,
}

/// Where the fixtures lie in the repository.
pub fn folder() -> PathBuf {
    checkout::root().join("tests/fixtures")
}

impl Fixture {
    /// Unpacks fixture `name` to `into`/`name` and loads its keys.
    ///
    /// # Errors
    /// There is no such fixture, or it cannot be unpacked there.
    pub fn unpack(name: &str, into: &Path) -> Result<Self> {
        unpack(name, into)?;
        let listing = folder().join(format!("{name}.keys.json"));
        let text =
            std::fs::read_to_string(&listing).with_context(|| format!("reading {}", listing.display()))?;
        let (index, keys) =
            keys::parse_fixture(&text).with_context(|| format!("parsing {}", listing.display()))?;
        Ok(Self { data_dir: into.join(name), index, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_fixture_unpacks_and_its_keys_are_the_documented_ones() {
        for name in NAMES {
            let dir = tempfile::tempdir().unwrap();
            let fixture = Fixture::unpack(name, dir.path()).unwrap();
            for part in ["member/snap", "member/wal"] {
                assert!(fixture.data_dir.join(part).exists(), "{name}: no {part}");
            }
            let keys = &fixture.keys;
            assert_eq!(keys["/empty"].value.as_deref(), Some(""), "{name}");
            assert!(keys["/emptydir"].dir && keys["/ttldir"].expiration.is_some(), "{name}");
            let jobs = keys.keys().filter(|k| k.starts_with("/queue/")).count();
            assert_eq!(jobs, if keys.contains_key("/big") { 4 } else { 2 }, "{name}");
            assert!(keys.keys().any(|k| k.starts_with("/uni/")), "{name}");
            assert!(keys.keys().filter(|k| k.starts_with("/svc/d")).count() > 20, "{name}");
            let newest = keys.values().map(|n| n.modified).max();
            assert!(newest <= Some(fixture.index), "{name}: {newest:?} is newer than {}", fixture.index);
        }
    }

    #[test]
    fn the_list_of_names_is_complete() {
        let found: BTreeSet<String> = std::fs::read_dir(folder())
            .unwrap()
            .filter_map(|e| Some(e.unwrap().file_name().to_str()?.strip_suffix(".tgz")?.to_owned()))
            .collect();
        assert_eq!(found, NAMES.into_iter().chain(V3_NAMES).map(str::to_owned).collect());
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Fixture::unpack("v1", dir.path()).unwrap_err();
        assert!(error.to_string().contains("v1.tgz"), "{error:#}");
    }
}
