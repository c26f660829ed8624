//! kill -9 at every step of `base` and of the backup that begins a generation with what it brought.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use testkit::faults::kill::{Step, kill_at, steps};
use testkit::files::{tree, trim_log};
use testkit::node::Node;
use testkit::tools::{self, Tools};
use testkit::v3::{Client, Store};

use crate::PROGRAM;

/// After every so many steps the archive is read through.
const READ: usize = 8;

/// A node whose etcd is down: one generation is in the archive, and more is in the log.
struct Case {
    node: Node,
    /// What its v3 store holds.
    store: Store,
    objects: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl Case {
    fn new() -> Option<Self> {
        let mut node = Node::new(PROGRAM, Tools::all_with_v3().into_iter().next()?);
        node.etcd.start().unwrap();
        let mut v3 = Client::new(&node.etcd.client_url).unwrap();
        let mut put = |dir: &str| {
            for n in 0..20 {
                v3.put(&format!("{dir}/{n}"), dir).unwrap();
            }
        };
        put("/first");
        node.ok(&["backup"]);
        put("/second");
        let store = v3.store().unwrap();
        node.etcd.stop().unwrap();
        trim_log(&node.etcd.data_dir);
        let objects = tree(&node.folder());
        Some(Self { node, store, objects })
    }

    fn state(&self) -> Value {
        let path = self.node.path("/var/lib/etcd2-backup/state.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Nothing that was there is altered, nothing is left over, and all that etcd has is in the archive.
    #[track_caller]
    fn assert_whole(&self, step: &Step, last: &Value, read: bool) {
        let now = tree(&self.node.folder());
        assert!(self.objects.iter().all(|(path, content)| now.get(path) == Some(content)), "{step}");
        assert!(!self.node.path("/var/lib/etcd2-backup/base").exists(), "{step}");
        let state = self.state();
        assert!(state["v3_base"].is_u64() && state["pending"].is_null(), "{step}: {state}");
        assert!(state["generation"].as_u64().unwrap() > 1 && &state["last"] == last, "{step}: {state}");
        if read {
            self.node.ok(&["verify"]);
        }
    }

    fn killed_at_every_step(mut self, arguments: &[&str]) {
        let strace = tools::strace_from_env().unwrap();
        self.node.save();
        let all = steps(&self.node, strace, arguments);
        self.node.ok(&["backup"]);
        let last = self.state()["last"].clone();
        let mut went_on = 0;
        for (i, step) in all.iter().enumerate() {
            self.node.reset();
            kill_at(&self.node, strace, arguments, step);
            // Whichever is started next.
            if i % 2 == 0 {
                self.node.ok(&["backup"]);
            }
            let log = self.node.ok(&["base", "--now"]);
            went_on += usize::from(!log.contains("took a base"));
            self.node.ok(&["backup"]);
            self.assert_whole(step, &last, i % READ == 0);
        }
        assert!(went_on > 1, "only {went_on} of {} went on", all.len());
        self.node.destroy_data().unwrap();
        self.node.ok(&["restore", "--no-bump"]);
        self.node.start_etcd();
        let restored = Client::new(&self.node.etcd.client_url).unwrap().store().unwrap();
        assert_eq!(restored, self.store);
    }
}

#[test]
fn a_base_that_is_brought() {
    let Some(case) = Case::new() else { return };
    if tools::strace_from_env().is_some() {
        case.killed_at_every_step(&["base", "--now"]);
    }
}

#[test]
fn a_backup_that_begins_a_generation_with_a_base() {
    let Some(case) = Case::new() else { return };
    if tools::strace_from_env().is_some() {
        case.node.ok(&["base", "--now"]);
        case.killed_at_every_step(&["backup"]);
    }
}
