//! What etcd2-backup-coreos, and joins of earlier versions of this program, left on a node beside the files that ours replace.
//!
//! Each is known by its exact path and by what is in it: a file of the operator's that only has the name stays.

use std::fs;
use std::path::Path;

use super::payload::{self, drop_in};
use crate::paths::RUNTIME_UNIT_DIR;
use crate::settings::our_units::services;
use crate::sys::root::Root;

/// Why it is removed.
pub const WHY: &str = "left by etcd2-backup-coreos";

/// A join of an earlier version made etcd start by this drop-in, until the member had caught up.
const OUR_JOIN: (&str, &[u8]) = ("zz-etcd2-join.conf", b"etcd2-backup join");
/// Why it is removed.
pub const NOT_NEEDED: &str = "no join needs it any more";

/// The programs of etcd2-backup-coreos: `member add` and the restore helper are what they were for.
const PROGRAMS: [(&str, &[u8]); 2] =
    [("/opt/bin/etcd2-join", b"member add"), ("/opt/bin/etcd2-restore", b"force-new-cluster")];
/// The link by which its services learned etcd's settings.
const LINK: &str = "20-cloudinit.conf";
const LINK_TO: &str = "etcd2.service.d/20-cloudinit.conf";
/// What its join left in etcd's own unit, spelled so.
const JOIN: &str = "etcd2.service.d/40-boostrap-cluster.conf";
/// Its helper was a few MiB.
const MAX_BYTES: u64 = 64 << 20;

/// The path of what an earlier join left for etcd's unit, if it is there.
pub fn of_join(root: &Root, etcd_unit: &str) -> Option<String> {
    let target = drop_in(etcd_unit, OUR_JOIN.0);
    has(root, &target, OUR_JOIN.1).then_some(target)
}

/// The paths of what etcd2-backup-coreos left, without those that are `placed` anew.
pub fn of_the_original(root: &Root, data_dir: &str, placed: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all = Vec::new();
    for (path, mark) in PROGRAMS {
        all.extend(has(root, path, mark).then(|| path.to_owned()));
    }
    for service in services() {
        let folder = format!("{RUNTIME_UNIT_DIR}/{service}.d");
        let settings = format!("{folder}/{}", payload::SETTINGS);
        all.extend(has(root, &settings, b"ETCD_RESTORE_MASTER_ADV_PEER_URLS").then_some(settings));
        let link = format!("{folder}/{LINK}");
        let theirs = fs::read_link(root.join(&link)).is_ok_and(|to| to.ends_with(LINK_TO));
        all.extend(theirs.then_some(link));
    }
    // Where there is a log, etcd does not look at these settings. Where there is none, they make it join: that is
    // their join not yet finished, and without them etcd would found a cluster of its own.
    let join = format!("{RUNTIME_UNIT_DIR}/{JOIN}");
    let has_log =
        || fs::read_dir(root.join(data_dir).join("member/wal")).is_ok_and(|mut d| d.next().is_some());
    all.extend((has(root, &join, b"ETCD_INITIAL_CLUSTER") && has_log()).then_some(join));
    all.retain(|path| !placed(path));
    all
}

/// The folder of a drop-in, which goes with the last file in it.
pub fn folder(target: &str) -> Option<String> {
    target.rsplit_once('/').map(|(folder, _)| folder.to_owned()).filter(|f| f.ends_with(".d"))
}

fn has(root: &Root, path: &str, mark: &[u8]) -> bool {
    let path = root.join(path);
    let is_file = |p: &Path| fs::symlink_metadata(p).is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES);
    is_file(&path) && fs::read(&path).is_ok_and(|bytes| bytes.windows(mark.len()).any(|w| w == mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::{create_dirs, parent, write_atomic};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_has_its_name_and_its_marks_is_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let put = |path: &str, text: &str| {
            create_dirs(&parent(&root.join(path)), 0o755).unwrap();
            write_atomic(&root.join(path), text.as_bytes(), 0o644).unwrap();
        };
        let found = || of_the_original(&root, "/var/lib/etcd2", |_| false);
        assert!(found().is_empty());
        let run = RUNTIME_UNIT_DIR;
        let names = [
            "/opt/bin/etcd2-join",
            "/opt/bin/etcd2-restore",
            &format!("{run}/etcd2-backup.service.d/30-etcd2-backup-restore.conf"),
            &format!("{run}/etcd2-backup.service.d/20-cloudinit.conf"),
            &format!("{run}/etcd2.service.d/40-boostrap-cluster.conf"),
        ];
        for name in names {
            put(name, "the operator's");
        }
        put("/var/lib/etcd2/member/wal/0.wal", "");
        assert!(found().is_empty(), "{:?}", found());
        put(names[0], "#!/bin/sh\netcdctl member add");
        put(names[1], "\u{7f}ELF --force-new-cluster");
        put(names[2], "Environment=\"ETCD_RESTORE_MASTER_ADV_PEER_URLS=x\"");
        put(names[4], "Environment=ETCD_INITIAL_CLUSTER_STATE=existing");
        fs::remove_file(root.join(names[3])).unwrap();
        symlink("/run/systemd/system/etcd2.service.d/20-cloudinit.conf", root.join(names[3])).unwrap();
        assert_eq!(found(), names);
        assert_eq!(of_the_original(&root, "/var/lib/etcd2", |t| t == names[0]), names[1..]);
        let join = "/etc/systemd/system/etcd2.service.d/zz-etcd2-join.conf";
        put(join, "[Service]");
        assert_eq!(of_join(&root, "etcd2.service"), None);
        put(join, "# Written by `etcd2-backup join`, which removes it");
        assert_eq!(of_join(&root, "etcd2.service").as_deref(), Some(join));
        assert_eq!(of_join(&root, "etcd-member.service"), None);
        // A node that is about to join with them.
        assert_eq!(of_the_original(&root, "/var/lib/other", |_| false), names[..4]);
    }
}
