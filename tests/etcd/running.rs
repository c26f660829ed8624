//! What is seen of an etcd that runs: which log it has open, where that is, and that it holds it.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use etcd2_backup::etcd::in_use;
use etcd2_backup::node::running::member::Member as Seen;
use etcd2_backup::node::running::which::{Found, Sought};
use etcd2_backup::node::running::{mounts, process, theirs};
use testkit::etcd::Member;
use testkit::files::write;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

fn ours() -> Vec<mounts::Mount> {
    mounts::parse(&fs::read_to_string("/proc/self/mountinfo").unwrap())
}

fn is_held(wal_dir: &Path) -> bool {
    in_use::is_held(wal_dir).unwrap()
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
        assert_eq!(theirs::config_file(&seen), None);
        let member = Seen::of(&seen, &ours(), None).unwrap();
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

/// What etcd is given as flag or variable beside it is stale on purpose.
#[test]
fn a_running_etcd_says_what_its_configuration_file_gave_it() {
    let Some(tools) = Tools::from_env() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("of the file");
    let mut etcd = Member::new(tools, "stale", &dir.path().join("stale")).unwrap();
    etcd.set("ETCD_WAL_DIR", dir.path().join("stale-wal").to_str().unwrap());
    let file = dir.path().join("etcd.yml");
    let (peer, client) = (etcd.peer_url.clone(), etcd.client_url.clone());
    let (other, another) = ("http://127.0.0.1:9", "http://127.0.0.1:10");
    let text = format!(
        "# etcd.conf.yml.sample, filled in\nname: 'e9'\nname: \"e1\" # the last one counts\nData-Dir: {}\nwal-dir:\n\
         enable-v2: true\nlogger: zap\nlog-outputs: [stderr]\nlisten-peer-urls: {peer}\nlisten-client-urls: {client}\n\
         initial-advertise-peer-urls: {peer},{other}\nadvertise-client-urls: {client},{another}\n\
         initial-cluster: e1={peer},e1={other}\ninitial-cluster-state: 'new'\nproxy: 'off'\n\
         client-transport-security: &none\n  cert-file:\n  client-cert-auth: no\npeer-transport-security: *none\n",
        data_dir.display()
    );
    write(&file, &text);
    etcd.spawn(&["--config-file", file.to_str().unwrap()]).unwrap();
    etcd.wait_healthy().unwrap();
    let seen = process::of(etcd.pid().unwrap()).unwrap().unwrap();
    let said = || {
        let member = Seen::of(&seen, &ours(), theirs::config_file(&seen)).unwrap();
        assert_eq!(member.wal_dir, data_dir.join("member/wal"));
        member.settings
    };
    let (advertised, clients) = (format!("{peer},{other}"), format!("{client},{another}"));
    let expected = [
        ("advertise-client-urls", clients.as_str()),
        ("config-file", file.to_str().unwrap()),
        ("data-dir", data_dir.to_str().unwrap()),
        ("initial-advertise-peer-urls", &advertised),
        ("listen-client-urls", &client.clone()),
        ("name", "e1"),
    ];
    assert_eq!(said(), expected.map(|(flag, value)| (flag.to_owned(), value.to_owned())).into());
    // etcd says the same of itself, with its URLs sorted.
    let sorted = |urls: &[String]| urls.iter().cloned().collect::<BTreeSet<_>>();
    let listed = etcd.members().unwrap();
    let urls = sorted(&[client, another.to_owned()]);
    assert_eq!((listed[0].name.as_str(), sorted(&listed[0].client_urls)), ("e1", urls));
    // Written anew, or gone: what etcd has open is where its data is.
    write(&file, text.replace("of the file", "elsewhere"));
    assert_eq!(said()["data-dir"], data_dir.to_str().unwrap());
    fs::remove_file(&file).unwrap();
    let only = [expected[1], expected[2]].map(|(flag, value)| (flag.to_owned(), value.to_owned()));
    assert_eq!(said(), only.into());
}

#[test]
fn a_configuration_file_decides_and_one_that_is_not_understood_is_refused() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.start().unwrap();
    let file = node.path("/etc/etcd.yml");
    for (name, value) in [("ETCD_CONFIG_FILE", "/etc/etcd.yml"), ("ETCD_WAL_DIR", "/stale")] {
        node.environment.insert(name.into(), value.into());
    }
    node.refused(
        &["backup"],
        15,
        &["etcd2.service: reading etcd's configuration file /etc/etcd.yml: No such file"],
    );
    for (text, words) in [
        (
            "data-dir: /var/lib/etcd2\n\tname: e1\n",
            "/etc/etcd.yml: line 1, column 11: while scanning a plain scalar, found a tab",
        ),
        ("initial-advertise-peer-urls: [http://a:1]\n", "line 1: initial-advertise-peer-urls is a list"),
        ("data-dir: etcd2\n", "\"etcd2\" is not an absolute path"),
    ] {
        write(&file, text);
        node.refused(&["backup"], 15, &[words]);
        assert!(node.objects().is_empty());
        // Whatever is wrong there, a member that has its log is not kept down.
        node.ok(&["guard"]);
    }
    write(&file, "name: e1\ndata-dir: /var/lib/etcd2\n");
    node.ok(&["backup"]);
    assert!(!node.objects().is_empty());
    write(&file, "name: [e1\n");
    node.ok(&["guard"]);
}
