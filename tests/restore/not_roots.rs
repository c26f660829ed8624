//! The data directory belongs to etcd's user, who may put anything under any name in it, at any moment; and root works there.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, thread};

use testkit::files::{tree, write};
use testkit::keys::Keys;
use testkit::node::Node;
use testkit::tools::{self, Tools};

use crate::PROGRAM;

/// `nobody`, here as etcd's user.
const ETCD: u32 = 65534;

/// A node with a backup, whose data directory is etcd's user's, and a folder of root's. `None` for who cannot give away files.
fn node() -> Option<(Node, Keys, PathBuf)> {
    let node = Node::new(PROGRAM, Tools::from_env()?);
    if !rustix::process::geteuid().is_root() {
        tools::skip_unless_ci(&std::io::Error::other("only root can give files to etcd's user").into());
        return None;
    }
    let keys = node.put_fixture("v3423-single-snap-trimmed");
    node.ok(&["backup"]);
    give(&node.path("/var/lib/etcd2"));
    let roots = node.path("/etc/cron.d");
    fs::create_dir_all(&roots).unwrap();
    write(&roots.join("roots"), "* * * * * root /bin/true\n");
    Some((node, keys, roots))
}

fn give(path: &Path) {
    lchown(path, Some(ETCD), Some(ETCD)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// Who owns what in a folder of root's, and how, with all that is in it.
fn state(path: &Path) -> Vec<(PathBuf, u32, u32)> {
    let meta = path.symlink_metadata().unwrap();
    let mut all = vec![(path.to_owned(), meta.uid(), meta.mode())];
    if meta.is_dir() {
        let inner = fs::read_dir(path).unwrap().flat_map(|entry| state(&entry.unwrap().path()));
        all.extend(inner);
    }
    all.sort();
    all
}

fn link(to: &Path, at: &Path) {
    symlink(to, at).unwrap();
    lchown(at, Some(ETCD), Some(ETCD)).unwrap();
}

#[test]
fn a_link_to_a_folder_of_roots_gets_nobody_that_folder() {
    let Some((node, _, roots)) = node() else { return };
    let member = node.path("/var/lib/etcd2/member");
    fs::rename(&member, member.with_file_name("hidden")).unwrap();
    link(&roots, &member);
    let before = state(&node.path("/etc"));
    for arguments in [&["restore"][..], &["restore", "--plan"], &["undo"], &["clean", "--yes"]] {
        let words = ["/var/lib/etcd2/member is a link that user 65534 made", "chown -h root:"];
        node.refused(arguments, 10, &words);
        assert_eq!(state(&node.path("/etc")), before, "{arguments:?}");
    }
    assert!(!node.is_fenced() && node.kept("member.").is_empty());
}

/// What root made leads where root wants it.
#[test]
fn a_link_that_root_made_is_followed_as_ever() {
    let Some((mut node, keys, _)) = node() else { return };
    let (member, disk) = (node.path("/var/lib/etcd2/member"), node.path("/disk"));
    fs::create_dir_all(&disk).unwrap();
    fs::rename(&member, disk.join("member")).unwrap();
    symlink(disk.join("member"), &member).unwrap();
    node.ok(&["restore"]);
    assert!(member.is_symlink());
    assert_eq!(fs::metadata(disk.join("member/wal")).unwrap().uid(), ETCD);
    node.assert_etcd_has(&keys);
}

/// Names that a restore and its kin use, each taken before by a link to a folder of root's.
#[test]
fn a_name_that_is_taken_by_a_link_is_not_written_through() {
    let Some((node, _, roots)) = node() else { return };
    let data = node.path("/var/lib/etcd2");
    let before = (state(&roots), tree(&roots));
    for name in ["member.restoring", "member.empty", "proxy", "snap", "wal", ".member.new"] {
        link(&roots, &data.join(name));
    }
    link(&roots, &data.join("member.before-restore-20160131T235959Z"));
    node.refused(&["undo"], 12, &["there is no member directory that a restore moved aside"]);
    node.ok(&["restore"]);
    assert!((state(&roots), tree(&roots)) == before);
    node.ok(&["undo"]);
    assert!((state(&roots), tree(&roots)) == before);
}

/// The same while the restore is at work: as fast as one can, what it builds is moved away and a link put there.
#[test]
fn a_link_that_comes_in_between_gets_nobody_anything() {
    let Some((node, _, roots)) = node() else { return };
    let data = node.path("/var/lib/etcd2");
    let before = (state(&roots), tree(&roots));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !done.load(Ordering::Relaxed) {
                for name in ["member.restoring", "member.restoring/new", ".member.new", "member"] {
                    number += 1;
                    let (path, away) = (data.join(name), data.join(format!("away-{number}")));
                    // As etcd's user, who may not move what is in a folder of root's.
                    let is_roots = fs::metadata(path.parent().unwrap()).is_ok_and(|meta| meta.uid() == 0);
                    if is_roots || fs::rename(&path, &away).is_err() {
                        continue;
                    }
                    if symlink(&roots, &path).is_ok() {
                        let _ = lchown(&path, Some(ETCD), Some(ETCD));
                        thread::yield_now();
                        let _ = fs::remove_file(&path);
                    }
                    let _ = fs::rename(&away, &path);
                }
            }
        });
        for _ in 0..10 {
            node.run(&["restore"]);
            node.run(&["undo"]);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!((state(&roots), tree(&roots)) == before);
}

/// The folders that are ours lie where etcd's user has no say.
#[test]
fn a_backup_directory_in_a_folder_of_etcds_is_refused() {
    let Some((mut node, ..)) = node() else { return };
    for (variable, words) in
        [("ETCD_BACKUP_DIR", "/var/lib/etcd2/ours"), ("ETCD_RESTORE_DIR", "/var/lib/etcd2/ours")]
    {
        let ours = node.path("/var/lib/etcd2/ours");
        fs::create_dir_all(&ours).unwrap();
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&ours, Some(0), Some(0)).unwrap();
        node.environment.insert(variable.into(), words.into());
        node.refused(&["restore"], 10, &["user 65534 owns ", words]);
        node.environment.remove(variable);
        assert!(!node.is_fenced());
    }
}
