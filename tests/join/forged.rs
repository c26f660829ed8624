//! Recovery records that somebody made up, altered or cut off, and what they then decide: nothing.

use std::fs;
use std::path::PathBuf;

use etcd2_backup::archive::lineage::Record;
use serde_json::Value;
use testkit::files::write;
use testkit::keys::{self, Client};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

const STRANGER: &str = "ffffffffffffffffffffffffffffffff";

/// A founding member with keys, and one who may write below the same endpoint, with a backup of keys of his own.
struct Shared {
    tools: &'static Tools,
    founder: Node,
    stranger: Node,
}

impl Shared {
    fn new() -> Option<Self> {
        let tools = Tools::from_env()?;
        let mut founder = Node::named(PROGRAM, tools, "e1");
        let mut stranger = Node::named(PROGRAM, tools, "stranger");
        stranger.back_up_beside(&founder, 'f');
        for (node, value) in [(&mut founder, "ours"), (&mut stranger, "his")] {
            node.etcd.start().unwrap();
            Client::new(&node.etcd.client_url).unwrap().put("/value", value).unwrap();
        }
        keys::write_many(&founder.etcd.client_url, "/many", 30).unwrap();
        stranger.ok(&["backup"]);
        stranger.etcd.kill().unwrap();
        Some(Self { tools, founder, stranger })
    }

    /// The same, the founding member restored, running, and backed up again; and the record of that.
    fn restored() -> Option<(Self, PathBuf, Record)> {
        let mut shared = Self::new()?;
        let founder = &mut shared.founder;
        founder.ok(&["backup"]);
        founder.etcd.kill().unwrap();
        founder.ok(&["restore"]);
        founder.start_etcd();
        founder.ok(&["backup"]);
        let path = founder.objects().into_iter().find(|p| p.starts_with("recovery")).unwrap();
        let path = founder.folder().join(path);
        let record = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        Some((shared, path, record))
    }

    /// The record of the stranger's own restore, which leads to his data.
    fn his_record(&self) -> Record {
        let output = self.stranger.command(&["restore", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A second member of the founding member's cluster: what its join says, and the value that it serves.
    fn join(&mut self) -> (String, String) {
        let mut second = Node::joining(self.tools, "e2", &self.founder);
        second.back_up_beside(&self.founder, '2');
        let log = second.ok(&["join"]);
        second.start_etcd();
        second.ok(&["join"]);
        let found = Client::new(&second.etcd.client_url).unwrap().dump_local().unwrap();
        (log, found["/value"].value.clone().unwrap())
    }

    fn put(&self, machine: &str, token: &str, bytes: &[u8]) {
        let folder = self.founder.folder().with_file_name(machine).join("recovery");
        fs::create_dir_all(&folder).unwrap();
        write(&folder.join(token), bytes);
    }

    fn report(&self) -> Value {
        serde_json::from_str(&self.founder.run(&["report"]).answer).unwrap()
    }
}

fn json(record: &Record) -> Vec<u8> {
    serde_json::to_vec_pretty(record).unwrap()
}

/// Who may create an object below the endpoint names his own data as that of a living cluster.
#[test]
fn a_record_that_somebody_made_up_is_no_seed() {
    let Some(mut shared) = Shared::new() else { return };
    shared.founder.ok(&["backup"]);
    let cluster_id = shared.report()["disk"]["cluster_id"].as_u64().unwrap();
    let his = shared.his_record();
    shared.put(
        STRANGER,
        &"0".repeat(32),
        &json(&Record { cluster_id, token: "0".repeat(32), ..his.clone() }),
    );
    shared.put(STRANGER, &his.token, &json(&his));
    let (log, value) = shared.join();
    assert_eq!(value, "ours");
    assert!(log.contains("there is no recovery record of that cluster"), "{log}");
    assert!(log.contains("in the remote: not a valid recovery record (truncated, altered"), "{log}");
}

/// The record is the right one, but leads elsewhere.
#[test]
fn a_record_that_was_altered_is_no_seed() {
    let Some((mut shared, path, record)) = Shared::restored() else { return };
    let his = shared.his_record();
    let elsewhere = Record { cluster_id: record.cluster_id, members: record.members.clone(), ..his.clone() };
    write(&path, json(&elsewhere));
    shared.put(STRANGER, &record.token, &json(&Record { token: record.token.clone(), ..elsewhere }));
    let (log, value) = shared.join();
    assert_eq!(value, "ours");
    assert!(log.contains("there is no recovery record of that cluster"), "{log}");
}

/// One of any machine hides no other one, and none says of a cluster what its own record does not.
#[test]
fn a_record_that_is_cut_off_or_altered_hides_no_other_one() {
    let Some((mut shared, path, record)) = Shared::restored() else { return };
    let good = fs::read(&path).unwrap();
    for (machine, token, bytes) in [
        ("0", "1", &good[..200]),
        ("a", "2", &good[..good.len() - 2]),
        ("f", "3", b"{\"version\":1,\"token\":".as_slice()),
        // Under the token of the good one, another parent.
        ("1", &record.token, &json(&Record { source_cluster_id: 9, ..record.clone() })),
        ("e", &record.token, &json(&Record { source_cluster_id: 9, ..record.clone() })),
    ] {
        shared.put(&machine.repeat(32), &format!("{token:0>32}"), bytes);
    }
    let report = shared.report();
    assert_eq!(report["record"], serde_json::to_value(&record).unwrap());
    let parents = report["disk"]["parents"].as_array().unwrap();
    assert!(parents.iter().all(|p| p["cluster_id"] == format!("{:x}", record.source_cluster_id)), "{report}");
    let doubts = report["doubts"].as_array().unwrap();
    let told = doubts.iter().filter(|d| d["about"] == "Records" && d["unasked"] == false);
    let told: Vec<&str> = told.map(|d| d["why"].as_str().unwrap()).collect();
    assert!(
        told.len() == 1 && told[0].contains("and 2 more in the remote: not a valid recovery record"),
        "{told:?}"
    );

    let (log, value) = shared.join();
    assert!(log.contains("will be seeded from what the founding member was restored from"), "{log}");
    assert_eq!(value, "ours");
    // The newest history is told without a question.
    shared.founder.etcd.kill().unwrap();
    shared.founder.ok(&["sources"]);

    // Two that are each whole under one token: nobody guesses.
    let his = shared.his_record();
    let members: Vec<_> = his.members.iter().map(|m| (m.name.clone(), m.peer_urls.clone())).collect();
    let his = Record { token: record.token.clone(), ..his }.with_ids(&members);
    shared.put(STRANGER, &record.token, &json(&his));
    let words = ["several records of recovery", "--recovery-file"];
    shared.founder.refused(&["restore", "--recovery", &record.token], 10, &words);
}
