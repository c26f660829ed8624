//! What is seen of an etcd that runs: which log it has open, where that is, and that it holds it.

use std::path::Path;
use std::{fs, io};

use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::running::member::Member as Seen;
use etcd2_backup::running::which::{Found, Sought};
use etcd2_backup::running::{mounts, process};
use testkit::etcd::Member;
use testkit::tools::Tools;

fn ours() -> Vec<mounts::Mount> {
    mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap())
}

fn is_held(wal_dir: &Path) -> bool {
    DataDir { snap: wal_dir.to_owned(), wal: wal_dir.to_owned() }.is_held().unwrap()
}

#[test]
fn a_running_etcd_says_where_its_data_is_and_holds_its_log() {
    let Some(tools) = Tools::from_env() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("a folder/etcd");
    let separate = dir.path().join("wal");
    for wal_dir in [None, Some(&separate)] {
        fs::create_dir_all(data_dir.parent().unwrap()).unwrap();
        let mut etcd = Member::new(tools, "e1", &data_dir).unwrap();
        if let Some(wal_dir) = wal_dir {
            etcd.set("ETCD_WAL_DIR", wal_dir.to_str().unwrap());
        }
        etcd.start().unwrap();
        let wal_dir = wal_dir.map_or_else(|| data_dir.join("member/wal"), |dir| dir.to_path_buf());
        let seen = process::of(etcd.pid().unwrap()).unwrap().unwrap();
        assert_eq!(seen.wal_dir, wal_dir);
        let sought = Sought {
            unit: "x.service",
            is_active: false,
            wal_dir: None,
            peer_urls: &[etcd.peer_url.clone()],
            with_its_ids: &[],
        };
        assert_eq!(sought.among(std::slice::from_ref(&seen), &ours()), Found::One(&seen));
        let member = Seen::of(&seen, &ours()).unwrap();
        assert_eq!(member.wal_dir, wal_dir);
        let said = |flag: &str| member.settings.get(flag).map(String::as_str);
        assert_eq!(said("data-dir"), data_dir.to_str());
        assert_eq!(said("name"), Some("e1"));
        assert!(is_held(&wal_dir));
        etcd.kill().unwrap();
        assert!(!is_held(&wal_dir));
        let gone = process::of(seen.pid);
        assert!(matches!(&gone, Err(e) if e.kind() == io::ErrorKind::NotFound), "{gone:?}");
        fs::remove_dir_all(&data_dir).unwrap();
    }
}
