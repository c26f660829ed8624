//! `guard`: before etcd starts, notice a data directory that was lost. Runs in etcd's unit, with its user and variables.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Result;

use crate::exit::{Exit, fault};
use crate::install::payload::SETTINGS;
use crate::node::identity::{self, Identity};
use crate::paths::{self, ALLOW_EMPTY};
use crate::settings::our_units::{BACKUP, JOIN, RESTORE};
use crate::sys::root::Root;
use crate::sys::unit_file;

pub(super) fn run(root: &Root) -> Result<Exit> {
    guard(root, |name| std::env::var(name).ok())
}

fn guard(root: &Root, variable: impl Fn(&str) -> Option<String>) -> Result<Exit> {
    let (who, wal_dir) = match identity::load(root) {
        Ok(None) => return Ok(Exit::Done),
        Ok(Some(Identity { cluster_id, member_id, wal_dir })) => {
            (format!("member {member_id:016x} of cluster {cluster_id:016x}"), wal_dir)
        }
        // A damaged stamp must not stop a member that has its data.
        Err(e) => match wal_dir_of(&variable, root) {
            Some(wal_dir) => {
                log::warn!("{e:#}; looking for data in {} instead", wal_dir.display());
                ("a member whose identity file is corrupt".to_owned(), wal_dir)
            }
            None => {
                log::warn!("{e:#}; the place of etcd's data is not known either, so nothing was checked");
                return Ok(Exit::Done);
            }
        },
    };
    match has_wal(&root.join(&wal_dir)) {
        Ok(true) => return Ok(Exit::Done),
        Ok(false) => {}
        // etcd has the same user: it will say so itself if it cannot read its own data.
        Err(e) => {
            log::warn!("could not look for etcd's WAL in {}: {e}; nothing was checked", wal_dir.display());
            return Ok(Exit::Done);
        }
    }
    if root.join(ALLOW_EMPTY).exists() {
        log::warn!("{} is empty, but {ALLOW_EMPTY} allows etcd to start", wal_dir.display());
        return Ok(Exit::Done);
    }
    let what = format!(
        "this node was {who}, but {} no longer holds a WAL: etcd would start empty",
        wal_dir.display()
    );
    Err(fault(Exit::Refused, what, hint()))
}

fn hint() -> String {
    format!(
        "if the other members are running, or were restored, join this node, even if it is the founding \
         member: sudo systemctl start {JOIN}; if the cluster is lost, restore it on the \
         founding member: sudo systemctl start {RESTORE}; to start empty on purpose: sudo \
         touch {ALLOW_EMPTY}"
    )
}

/// Where etcd has its log as far as its own variables say, else as our settings say.
fn wal_dir_of(variable: impl Fn(&str) -> Option<String>, root: &Root) -> Option<PathBuf> {
    let data = |dir: String| Path::new(&dir).join("member/wal");
    let own = variable("ETCD_WAL_DIR").map(PathBuf::from);
    own.or_else(|| variable("ETCD_DATA_DIR").map(data)).or_else(|| {
        let drop_in = paths::drop_ins(root, BACKUP).join(SETTINGS);
        let settings = unit_file::parse_environment(&fs::read_to_string(drop_in).ok()?);
        settings.into_iter().find(|(n, _)| n == "ETCD_DATA_DIR").map(|(_, dir)| data(dir))
    })
}

fn has_wal(dir: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        if entry?.path().extension().is_some_and(|e| e == "wal") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::paths::{IDENTITY, STAMP_DIR};
    use crate::sys::fs::{create_dirs, write_atomic};

    const WAL: &str = "/var/lib/etcd2/member/wal";

    struct Case {
        root: Root,
        _dir: tempfile::TempDir,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::new(dir.path());
            create_dirs(&root.join(STAMP_DIR), 0o755).unwrap();
            Self { root, _dir: dir }
        }

        fn stamped() -> Self {
            let case = Self::new();
            let identity = Identity { cluster_id: 0xc, member_id: 0xa, wal_dir: WAL.into() };
            identity::record(&case.root, &identity).unwrap();
            case
        }

        fn damaged() -> Self {
            let case = Self::new();
            case.put(IDENTITY, "{");
            case
        }

        fn put(&self, path: &str, content: &str) {
            let path = self.root.join(path);
            create_dirs(path.parent().unwrap(), 0o755).unwrap();
            write_atomic(&path, content.as_bytes(), 0o644).unwrap();
        }

        fn run(&self, variables: &[(&str, &str)]) -> Result<Exit> {
            guard(&self.root, |n| variables.iter().find(|(k, _)| *k == n).map(|(_, v)| (*v).to_owned()))
        }

        fn refuses(&self, variables: &[(&str, &str)]) {
            let error = self.run(variables).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Refused);
        }
    }

    fn segment(dir: &str) -> String {
        format!("{dir}/0000000000000000-0000000000000000.wal")
    }

    #[test]
    fn a_node_that_was_never_seen_starts() {
        assert_eq!(Case::new().run(&[]).unwrap(), Exit::Done);
    }

    #[test]
    fn a_member_with_its_log_starts_and_one_without_does_not() {
        let case = Case::stamped();
        let error = case.run(&[]).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Refused);
        assert_eq!(
            error.to_string(),
            "this node was member 000000000000000a of cluster 000000000000000c, but /var/lib/etcd2/member/wal no longer holds a WAL: etcd would start empty"
        );
        let hint = hint_of(&error).unwrap();
        for part in [RESTORE, JOIN] {
            assert!(hint.contains(&format!("sudo systemctl start {part}")), "{hint}");
        }
        assert!(hint.ends_with("sudo touch /etc/etcd2-backup/allow-empty-data-dir"), "{hint}");
        case.put(&format!("{WAL}/0.tmp"), "");
        case.refuses(&[]);
        case.put(&segment(WAL), "");
        assert_eq!(case.run(&[]).unwrap(), Exit::Done);
    }

    #[test]
    fn the_operator_may_let_it_start_empty() {
        let case = Case::stamped();
        case.put(ALLOW_EMPTY, "");
        assert_eq!(case.run(&[]).unwrap(), Exit::Done);
    }

    #[test]
    fn with_a_damaged_stamp_the_data_is_looked_for_elsewhere() {
        let case = Case::damaged();
        assert_eq!(case.run(&[]).unwrap(), Exit::Done, "nothing says where the data is");
        let variables = [("ETCD_DATA_DIR", "/var/lib/etcd2")];
        case.refuses(&variables);
        case.put(&segment(WAL), "");
        assert_eq!(case.run(&variables).unwrap(), Exit::Done);
        let separate = [("ETCD_DATA_DIR", "/var/lib/etcd2"), ("ETCD_WAL_DIR", "/wal")];
        case.refuses(&separate);
        case.put(&segment("/wal"), "");
        assert_eq!(case.run(&separate).unwrap(), Exit::Done);
    }

    #[test]
    fn with_a_damaged_stamp_our_settings_say_where_the_data_is() {
        let case = Case::damaged();
        let drop_in = format!("/etc/systemd/system/{BACKUP}.d/{SETTINGS}");
        case.put(&drop_in, "[Service]\nEnvironment=\"ETCD_DATA_DIR=/data\"\n");
        case.refuses(&[]);
        case.put(ALLOW_EMPTY, "");
        assert_eq!(case.run(&[]).unwrap(), Exit::Done);
        fs::remove_file(case.root.join(ALLOW_EMPTY)).unwrap();
        case.put(&segment("/data/member/wal"), "");
        assert_eq!(case.run(&[]).unwrap(), Exit::Done);
    }
}
