//! Install, upgrade, edit, choose a founder, uninstall, in any order, on any tree: it ends in the tree that a model of
//! what belongs where says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use etcd2_backup::commands::args::{self, Parsed};
use etcd2_backup::exit::{Exit, exit_of};
use etcd2_backup::sys::fs::{create_dirs, parent, write_atomic};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const PAYLOAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/install/payload");
const UNITS: &str = "etc/systemd/system";
const SERVICES: [&str; 7] = [
    "etcd2-backup",
    "etcd2-backup-base",
    "etcd2-backup-verify",
    "etcd2-backup-rehearse",
    "etcd2-backup-doctor",
    "etcd2-restore",
    "etcd2-join",
];
const SETTINGS: &str = "30-etcd2-backup-restore.conf";

/// Content and mode of every file; folders are judged apart.
type Tree = BTreeMap<String, (String, u32)>;

/// One of three versions of the payload: other texts, another etcd unit, with or without rclone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version(u8);

impl Version {
    fn etcd_unit(self) -> &'static str {
        if self.0 == 2 { "etcd-member.service" } else { "etcd2.service" }
    }

    /// Every file of the payload by name.
    fn files(self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(PAYLOAD).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            all.insert(name, fs::read_to_string(&path).unwrap());
        }
        all.insert("etcd2-backup-install".into(), format!("program {}\n", self.0));
        if self.0 != 0 {
            all.insert("rclone".into(), "rclone\n".into());
        }
        if self.0 == 2 {
            let settings = all[SETTINGS].replace("=etcd2.service", "=etcd-member.service");
            all.insert(SETTINGS.into(), settings);
            all.insert("rclone.conf".into(), "[drive]\ntype = drive\ntoken = {\"a\":0}\n".into());
        }
        all
    }

    fn unpack(self, to: &Path) {
        let files = self.files();
        let sum = |(name, text): (&String, &String)| {
            let digest = Sha256::digest(text);
            format!("{}  {name}\n", digest.iter().map(|b| format!("{b:02x}")).collect::<String>())
        };
        let sums: String = files.iter().map(sum).collect();
        for (name, text) in files.iter().chain([(&"SHA256SUMS".to_owned(), &sums)]) {
            put(&to.join(name), text, 0o644);
        }
    }

    /// What it places.
    fn placed(self) -> Tree {
        let files = self.files();
        let mut tree = Tree::new();
        let mut add = |path: String, name: &str, mode| {
            if let Some(text) = files.get(name) {
                tree.insert(path, (text.clone(), mode));
            }
        };
        add("opt/bin/etcd2-backup".into(), "etcd2-backup-install", 0o755);
        add("opt/bin/etcd2-backup-rclone".into(), "rclone", 0o755);
        add("etc/rclone.conf".into(), "rclone.conf", 0o600);
        for service in SERVICES {
            add(format!("{UNITS}/{service}.service.d/{SETTINGS}"), SETTINGS, 0o644);
            add(format!("{UNITS}/{service}.service"), &format!("{service}.service"), 0o644);
        }
        for timer in ["etcd2-backup.timer", "etcd2-backup-verify.timer", "etcd2-backup-rehearse.timer"] {
            add(format!("{UNITS}/{timer}"), timer, 0o644);
        }
        let fence = "30-etcd2-backup-fence.conf";
        add(format!("{UNITS}/{}.d/{fence}", self.etcd_unit()), fence, 0o644);
        tree
    }
}

#[derive(Debug, Clone)]
enum Step {
    Install {
        version: Version,
        force: bool,
    },
    Uninstall {
        force: bool,
    },
    /// Somebody writes into one of the files that are installed.
    Edit(usize),
    /// Somebody removes one.
    Lose(usize),
    /// rclone writes a token.
    Token(u8),
    Founder(u8),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = (0..3u8).prop_map(Version);
    let step = prop_oneof![
        4 => (version, any::<bool>()).prop_map(|(version, force)| Step::Install { version, force }),
        2 => any::<bool>().prop_map(|force| Step::Uninstall { force }),
        2 => any::<usize>().prop_map(Step::Edit),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => (0..3u8).prop_map(Step::Token),
        1 => (2..9u8).prop_map(Step::Founder),
        1 => Just(Step::Reset),
    ];
    prop::collection::vec(step, 1..8)
}

/// What may lie on a node before: files of our names with other texts, and files of the operator's.
fn trees() -> impl Strategy<Value = Tree> {
    let ours = Version(1).placed().into_keys().chain(Version(2).placed().into_keys());
    let operators = [
        "etc/hostname",
        "opt/bin/other",
        "etc/systemd/system/etcd2.service.d/20-cloudinit.conf",
        "etc/systemd/system/etcd2-backup.service.d/40-mine.conf",
        "etc/systemd/system/etcd2-backup.timer.d/50-mine.conf",
        "etc/etcd2-backup/identity.json",
        "var/lib/etcd2/member/wal/0.wal",
        "var/lib/etcd2-backup/state.json",
    ];
    let paths: Vec<String> =
        ours.chain(operators.map(str::to_owned)).collect::<BTreeSet<_>>().into_iter().collect();
    let file = (0..3u8, prop::sample::select(vec![0o600, 0o644, 0o755]));
    let content = |n: u8| ["", "somebody's\n", "[Service]\nNice=1\n"][usize::from(n)].to_owned();
    let file = file.prop_map(move |(n, mode)| (content(n), mode));
    prop::collection::btree_map(prop::sample::select(paths), file, 0..12)
}

fn put(path: &Path, text: &str, mode: u32) {
    create_dirs(&parent(path), 0o755).unwrap();
    write_atomic(path, text.as_bytes(), mode).unwrap();
}

/// Every file but the record, and every folder.
fn read(top: &Path) -> (Tree, BTreeSet<String>) {
    let (mut files, mut folders) = (Tree::new(), BTreeSet::new());
    let mut open = vec![top.to_path_buf()];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.insert(name);
                open.push(path);
            } else if !name.ends_with("installed.json") {
                let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
                files.insert(name, (fs::read_to_string(&path).unwrap(), mode));
            }
        }
    }
    (files, folders)
}

fn run(root: &Path, line: &str) -> Exit {
    let words = line.split(' ').map(Into::into);
    let words = ["--root".into(), root.into()].into_iter().chain(words);
    let Ok(Parsed::Run(args)) = args::parse(words) else { panic!("{line}") };
    etcd2_backup::commands::run(&args).unwrap_or_else(|e| exit_of(&e))
}

/// What the node should be.
#[derive(Debug, Clone, Default)]
struct Model {
    files: Tree,
    /// What was placed, and is not yet taken away.
    placed: Tree,
}

fn is_founders(path: &str) -> bool {
    path.ends_with("31-etcd2-backup-founder.conf")
}

fn the_operators(text: &str) -> String {
    text.lines().filter(|l| !l.starts_with("token = ")).collect::<Vec<_>>().join("\n")
}

impl Model {
    fn is_edited(&self, path: &str) -> bool {
        let (Some((is, _)), Some((was, _))) = (self.files.get(path), self.placed.get(path)) else {
            return false;
        };
        match path {
            "etc/rclone.conf" => the_operators(is) != the_operators(was),
            _ => is != was,
        }
    }

    /// Takes a file away, keeping it beside if it was edited and somebody forces it.
    fn take(&mut self, path: &str, keep: bool) {
        let edited = self.is_edited(path);
        if let Some(file) = self.files.remove(path)
            && keep
            && edited
        {
            self.files.insert(format!("{path}.edited"), file);
        }
    }

    fn install(&mut self, version: Version, force: bool) -> Exit {
        let new = version.placed();
        let outdated = |p: &&String| !new.contains_key(*p) && !is_founders(p);
        let old: Vec<String> = self.placed.keys().filter(outdated).cloned().collect();
        let lost =
            |p: &String| self.is_edited(p) && new.get(p).map(|f| &f.0) != self.files.get(p).map(|f| &f.0);
        if !force && new.keys().chain(&old).any(lost) {
            return Exit::Refused;
        }
        old.iter().for_each(|path| self.take(path, true));
        for (path, (text, mode)) in &new {
            let mut text = text.clone();
            if path == "etc/rclone.conf"
                && let Some((own, _)) = self.files.get(path)
            {
                let unchanged = self.placed.get(path).is_none_or(|(was, _)| *was == text);
                if unchanged && the_operators(own) == the_operators(&text) {
                    text.clone_from(own);
                }
            }
            if self.files.get(path).is_some_and(|(is, _)| *is != text) {
                self.take(path, true);
            }
            self.files.insert(path.clone(), (text, *mode));
        }
        self.placed.retain(|path, _| is_founders(path));
        self.placed.extend(new);
        Exit::Done
    }

    fn uninstall(&mut self, force: bool) -> Exit {
        if self.placed.is_empty() {
            return Exit::NotFound;
        }
        for path in self.placed.keys().cloned().collect::<Vec<_>>() {
            if force || !self.is_edited(&path) {
                self.files.remove(&path);
                self.placed.remove(&path);
            }
        }
        Exit::Done
    }

    fn founder(&mut self, url: Option<&str>) -> Exit {
        if self.placed.is_empty() {
            return Exit::NotFound;
        }
        for service in SERVICES {
            let path = format!("{UNITS}/{service}.service.d/31-etcd2-backup-founder.conf");
            match url {
                Some(url) => {
                    let text = format!(
                        "# Written by `etcd2-backup set-founder`; `etcd2-backup set-founder --reset` removes it.\n\
                         [Service]\nEnvironment=\"ETCD_RESTORE_MASTER_ADV_PEER_URLS={url}\"\n"
                    );
                    self.files.insert(path.clone(), (text.clone(), 0o644));
                    self.placed.insert(path, (text, 0o644));
                }
                None => {
                    self.files.remove(&path);
                    self.placed.remove(&path);
                }
            }
        }
        Exit::Done
    }
}

/// Does a step to the model and to the node.
fn act(model: &mut Model, root: &Path, payloads: &Path, step: &Step) -> (Exit, Exit) {
    let forced = |force: bool| if force { " --force" } else { "" };
    let nth = |model: &Model, n: usize| {
        let installed: Vec<&String> = model.placed.keys().filter(|p| model.files.contains_key(*p)).collect();
        (!installed.is_empty()).then(|| installed[n % installed.len()].clone())
    };
    let write = |model: &mut Model, path: String, text: String| {
        let mode = model.files[&path].1;
        put(&root.join(&path), &text, mode);
        model.files.insert(path, (text, mode));
        (Exit::Done, Exit::Done)
    };
    match step {
        Step::Install { version, force } => {
            let from = payloads.join(version.0.to_string());
            let line = format!("install{} --from {}", forced(*force), from.display());
            // A node without a record, on which our own version left the operator's work: nothing to tell it by.
            (model.install(*version, *force), run(root, &line))
        }
        Step::Uninstall { force } => {
            (model.uninstall(*force), run(root, &format!("uninstall --yes{}", forced(*force))))
        }
        Step::Founder(n) => {
            let url = format!("http://172.17.4.5{n}:2380");
            (model.founder(Some(&url)), run(root, &format!("set-founder {url}")))
        }
        Step::Reset => (model.founder(None), run(root, "set-founder --reset")),
        Step::Edit(n) => match nth(model, *n) {
            Some(path) => write(model, path, "edited\n".into()),
            None => (Exit::Done, Exit::Done),
        },
        Step::Lose(n) => {
            if let Some(path) = nth(model, *n) {
                fs::remove_file(root.join(&path)).unwrap();
                model.files.remove(&path);
            }
            (Exit::Done, Exit::Done)
        }
        Step::Token(n) => match model.files.get("etc/rclone.conf") {
            Some((text, _)) => {
                let text = format!("{}\ntoken = {{\"a\":{n}}}\n", the_operators(text));
                write(model, "etc/rclone.conf".into(), text)
            }
            None => (Exit::Done, Exit::Done),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_way_ends_in_the_tree_of_the_model(before in trees(), steps in steps()) {
        ends_in_the_tree_of_the_model(&before, &steps)?;
    }
}

/// A run of the property: `set-founder` made folders that the record forgot when it was reset.
#[test]
fn a_founder_that_is_set_and_reset_leaves_no_folder() {
    let install = Step::Install { version: Version(0), force: false };
    let steps = [install, Step::Edit(0), Step::Uninstall { force: false }, Step::Founder(2), Step::Reset];
    ends_in_the_tree_of_the_model(&BTreeMap::new(), &steps).unwrap();
}

fn ends_in_the_tree_of_the_model(before: &Tree, steps: &[Step]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    (0..3).for_each(|n| Version(n).unpack(&dir.path().join(n.to_string())));
    put(&root.join("etc/os-release"), "ID=flatcar\n", 0o644);
    before.iter().for_each(|(path, (text, mode))| put(&root.join(path), text, *mode));
    let folders = read(&root).1;
    let mut model = Model { files: read(&root).0, ..Model::default() };
    for step in steps {
        let was = read(&root);
        let (expected, got) = act(&mut model, &root, dir.path(), step);
        prop_assert_eq!(expected, got, "{:?}", step);
        let now = read(&root);
        prop_assert_eq!(&now.0, &model.files, "{:?}", step);
        if got != Exit::Done {
            prop_assert_eq!(now, was, "{:?} was refused", step);
        }
    }
    // At the end nothing but the operator's is left, and no folder that was not there.
    run(&root, "uninstall --yes --force");
    let files = read(&root).0;
    prop_assert!(files.keys().all(|p| !model.placed.contains_key(p)), "{:?}", files);
    for folder in read(&root).1.difference(&folders) {
        prop_assert!(files.keys().any(|f| f.starts_with(&format!("{folder}/"))), "{folder} is left over");
    }
    prop_assert!(folders.iter().all(|f| root.join(f).is_dir()), "{:?} of {folders:?}", read(&root).1);
    Ok(())
}
