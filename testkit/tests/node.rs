//! A node starts etcd as its unit would, and runs the program with its units' settings. The program here is a stand-in.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use testkit::node::Node;
use testkit::tools_or_skip;

/// Installs itself and two drop-ins; `guard` refuses while a file says so; anything else prints what it was given.
const PROGRAM: &str = r#"#!/bin/sh
root=$2
case ${3:-install} in
install)
    units=$root/etc/systemd/system
    mkdir -p "$root/opt/bin" "$root/etc/etcd2-backup" "$units/etcd2-backup.service.d" "$units/etcd2.service.d"
    cp "$0" "$root/opt/bin/etcd2-backup"
    printf '[Service]\nEnvironment="RCLONE_ENDPOINT=r:a b"\nEnvironment="ETCD_DATA_DIR=/var/lib/etcd2"\n' \
        >"$units/etcd2-backup.service.d/30-etcd2-backup-restore.conf"
    printf '[Service]\nEnvironment="ETCD_SNAPSHOT_COUNT=77"\n' >"$units/etcd2.service.d/40-x.conf"
    ;;
guard) test ! -e "$root/etc/empty" || { echo "nothing there" >&2; exit 3; } ;;
*) echo "$3 $ETCD_NAME $ETCD_DATA_DIR $RCLONE_ENDPOINT $ETCD_SNAPSHOT_COUNT ${HOME-none}"; exit 4 ;;
esac
"#;

fn tarball(path: &Path) {
    let packed = flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(packed);
    let mut header = tar::Header::new_ustar();
    header.set_size(PROGRAM.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "etcd2-backup-install", PROGRAM.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[test]
fn the_fence_the_guard_and_the_drop_ins_count() {
    let tools = tools_or_skip!();
    let dir = tempfile::tempdir().unwrap();
    let packed = dir.path().join("x.tgz");
    tarball(&packed);
    let mut node = Node::bare(tools, "e1", &dir.path().join("e1")).unwrap();
    node.install(&packed).unwrap();

    let ended = node.run(&["backup"]);
    assert_eq!((ended.code, ended.answer.trim()), (4, "backup e1 /var/lib/etcd2 r:a b 77 none"));
    let error = node.try_run(&["backup"]).unwrap_err().to_string();
    assert!(error.starts_with("e1: backup ended with 4"), "{error}");

    let fence = node.path("/etc/etcd2-backup/fence");
    File::create(&fence).unwrap();
    assert!(node.try_start_etcd().unwrap_err().to_string().contains("fence"));
    std::fs::remove_file(fence).unwrap();
    let empty = node.path("/etc/empty");
    File::create(&empty).unwrap();
    assert!(node.try_start_etcd().unwrap_err().to_string().ends_with("nothing there"));
    std::fs::remove_file(empty).unwrap();

    let url = node.etcd.peer_url.clone();
    node.etcd.set("ETCD_INITIAL_CLUSTER", format!("e1={url}"));
    node.start_etcd();
    let environment = std::fs::read(format!("/proc/{}/environ", node.etcd.pid().unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("ETCD_SNAPSHOT_COUNT=77"));
    assert!(node.path("/var/lib/etcd2/member/wal").exists());
    node.destroy_data().unwrap();
    assert!(!node.path("/var/lib/etcd2").exists() && node.etcd.pid().is_none());
}
