//! Three members with a filled v3 store, on a disk that is told or on one that is made for it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{major, minor};
use serde_json::{Value, json};
use testkit::etcd::{Cluster, Member, raft};
use testkit::faults::disk;
use testkit::tools::Tools;
use testkit::v3::{Client, base64};
use testkit::wait;

use super::Options;
use super::kubernetes::{key, object};

/// In one transaction; etcd takes 128.
const AT_ONCE: usize = 100;
const IN_MEMORY: &str = "/dev/shm";
const NAMES: [&str; 3] = ["e1", "e2", "e3"];

pub(crate) struct Place {
    cluster: Cluster,
    leader: usize,
    filled: u64,
    work: tempfile::TempDir,
    remote: tempfile::TempDir,
    /// One for each member.
    data: Vec<PathBuf>,
    /// What is removed at the end, behind the members.
    _folders: Vec<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn filled(tools: &Tools, options: &Options) -> Self {
        // Not in /tmp, which may be memory.
        let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut given = options.data.clone();
        if given.is_empty() {
            given.push(work.path().to_owned());
        }
        assert!(given.len() == 1 || given.len() == NAMES.len(), "one folder, or one for each of {NAMES:?}");
        let folders: Vec<tempfile::TempDir> =
            given.iter().map(|folder| tempfile::tempdir_in(folder).unwrap()).collect();
        let place = |folder: &tempfile::TempDir| match &options.on {
            Some(kind) => mounted(folder.path(), kind, options.objects / given.len() as u64),
            None => folder.path().to_owned(),
        };
        let data: Vec<PathBuf> =
            folders.iter().map(place).collect::<Vec<_>>().into_iter().cycle().take(NAMES.len()).collect();
        let in_memory = Path::new(IN_MEMORY).is_dir().then(|| IN_MEMORY.into());
        let remote = options.remote.clone().or(in_memory).unwrap_or_else(|| work.path().to_owned());
        let remote = tempfile::tempdir_in(remote).unwrap();
        fs::create_dir_all(work.path().join("root/etc")).unwrap();

        let places: Vec<(&str, PathBuf)> =
            NAMES.iter().zip(&data).map(|(name, folder)| (*name, folder.join(name))).collect();
        let mut cluster = Cluster::new(tools, &places).unwrap();
        cluster.members.iter_mut().for_each(Member::without_v2);
        cluster.start().unwrap();
        fill(&cluster.members[0].client_url, options.objects);
        let leader = leader(&cluster);
        let mut place = Self { cluster, leader, filled: 0, work, remote, data, _folders: folders };
        place.filled = place.db_bytes();
        place
    }

    /// The member that led when all was filled: of it the bases are taken, as what slows it down slows each put down.
    pub(crate) fn leader(&self) -> &Member {
        &self.cluster.members[self.leader]
    }

    /// Its term, as long as it leads.
    pub(crate) fn term(&self) -> Option<u64> {
        raft(&self.leader().client_url).ok().filter(|raft| raft.leads).map(|raft| raft.term)
    }

    /// Beside its data: a file can be cloned there.
    pub(crate) fn backup_dir(&self) -> PathBuf {
        self.data[self.leader].join("backup")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.work.path().join("root")
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.remote.path().join("remote")
    }

    /// What a window has left to be written is written before the next one.
    pub(crate) fn sync(&self) {
        rustix::fs::syncfs(File::open(&self.data[self.leader]).unwrap()).unwrap();
    }

    pub(crate) fn describe(&self) -> String {
        format!(
            "three members on {}; the remote on {}",
            described(&self.data[self.leader]),
            described(self.remote.path())
        )
    }

    pub(crate) fn grown(&self) -> String {
        format!("{:.1} MB at first, {:.1} MB at the end", megabytes(self.filled), megabytes(self.db_bytes()))
    }

    fn db_bytes(&self) -> u64 {
        fs::metadata(self.leader().data_dir.join("member/snap/db")).unwrap().len()
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A file system on blocks that are there: those of an empty file would be looked for at etcd's writes.
fn mounted(folder: &Path, kind: &str, objects: u64) -> PathBuf {
    let bytes = (1 << 30) + objects * 15_000;
    let mut image = File::create(folder.join("image")).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        image.write_all(&zeros).unwrap();
    }
    image.sync_all().unwrap();
    let place =
        disk::in_a_file(folder, kind, bytes).unwrap_or_else(|| panic!("{kind} cannot be mounted here"));
    // What is written goes to the disk, not to the memory in front of the file too. Some file systems cannot; it is said which.
    let _ = Command::new("losetup").arg("--direct-io=on").arg(df("source", &place)).status();
    place
}

fn fill(url: &str, objects: u64) {
    let mut client = Client::new(url).unwrap();
    let numbers: Vec<u64> = (0..objects).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let put = |n: &u64| json!({"requestPut": {"key": base64(key(*n)), "value": base64(object(*n, 0))}});
        let puts: Vec<Value> = numbers.iter().map(put).collect();
        client.call("kv/txn", &json!({ "success": puts })).unwrap();
    }
}

fn leader(cluster: &Cluster) -> usize {
    let mut leader = None;
    wait::until("no member leads", Duration::from_secs(30), || {
        let leads = |m: &Member| raft(&m.client_url).is_ok_and(|raft| raft.leads);
        leader = cluster.members.iter().position(leads);
        leader.is_some()
    });
    leader.unwrap()
}

/// What df says of the file system of a folder.
fn df(what: &str, folder: &Path) -> String {
    let output = Command::new("df").arg(format!("--output={what}")).arg(folder).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    printed.lines().last().unwrap_or_default().trim().to_owned()
}

/// The file system of a folder, and the disk's I/O scheduler: not every one of them knows classes. Of one in a file that of the disk
/// below it, too.
fn described(folder: &Path) -> String {
    let kind = df("fstype", folder);
    let device = fs::metadata(folder).unwrap().dev();
    let of = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    if let Ok(image) = fs::read_to_string(format!("{of}/loop/backing_file")) {
        let direct = fs::read_to_string(format!("{of}/loop/dio")).is_ok_and(|direct| direct.trim() == "1");
        let through = if direct { "direct" } else { "buffered" };
        let below = Path::new(image.trim()).parent().map(described).unwrap_or_default();
        return format!("{kind} in a file ({through} I/O) on {below}");
    }
    let queues = ["queue", "../queue"].map(|queue| format!("{of}/{queue}/scheduler"));
    let text = queues.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    chosen.map_or_else(|| kind.clone(), |(name, _)| format!("{kind} (I/O scheduler {name})"))
}
