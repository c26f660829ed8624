//! A member with data in the v3 store, restored from its own disk: every key with its revisions and lease, leases, users and roles
//! are as they were, and so is etcd's own sum over them. Each real etcd from 3.4 on, also one after the other.

use std::fs::{self, File};

use etcd2_backup::etcd::bolt::Db;
use etcd2_backup::etcd::v3::state::V3State;
use serde_json::json;
use testkit::files;
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};
use testkit::v3::{Client, Store, base64};

use crate::PROGRAM;

/// That the v3 store may be given up.
const V2_ONLY: &str = "ETCD2_BACKUP_V2_ONLY";

fn client(node: &Node) -> Client {
    Client::new(&node.etcd.client_url).unwrap()
}

/// Puts, transactions as Kubernetes makes them (one that succeeds, one that fails), deletions, leases, a compaction, users and roles.
fn write(v3: &mut Client, dir: &str) {
    for i in 0..40 {
        v3.put(&format!("{dir}/{}", i % 15), &format!("value {i}")).unwrap();
    }
    v3.delete(&format!("{dir}/3")).unwrap();
    let lease = 1000 * dir.bytes().map(u64::from).sum::<u64>();
    v3.grant(lease, 3600).unwrap();
    v3.put_leased(&format!("{dir}/leased"), "x", lease).unwrap();
    v3.grant(lease + 1, 3600).unwrap();
    v3.put_leased(&format!("{dir}/gone with its lease"), "x", lease + 1).unwrap();
    v3.call("lease/revoke", &json!({ "ID": lease + 1 })).unwrap();
    for expected in [0, 1] {
        let key = base64(format!("{dir}/swapped"));
        let request = json!({
            "compare": [{ "target": "MOD", "key": key, "mod_revision": expected }],
            "success": [{ "requestPut": { "key": key, "value": base64("new") } }],
            "failure": [{ "requestRange": { "key": key } }],
        });
        v3.call("kv/txn", &request).unwrap();
    }
    let revision = v3.store().unwrap().revision;
    v3.compact(revision - 10).unwrap();
    v3.call("auth/role/add", &json!({ "name": format!("of {dir}") })).unwrap();
    v3.call("auth/user/add", &json!({ "name": format!("for {dir}"), "password": "secret" })).unwrap();
    v3.call("auth/user/grant", &json!({ "user": format!("for {dir}"), "role": format!("of {dir}") }))
        .unwrap();
}

/// A node whose v3 store has data, with some `.snap`s if the etcd takes one every so many entries.
fn written(tools: &Tools, snapshot_count: &str, dir: &str) -> Node {
    let mut node = Node::new(PROGRAM, tools);
    node.etcd.set("ETCD_SNAPSHOT_COUNT", snapshot_count);
    node.etcd.start().unwrap();
    write(&mut client(&node), dir);
    node
}

/// What the store holds, and etcd's sum over it.
fn seen(tools: &Tools, node: &Node) -> (Store, (u64, u64)) {
    let mut v3 = client(node);
    let store = v3.store().unwrap();
    (store.clone(), v3.hash(&tools.etcdctl, store.revision).unwrap())
}

#[test]
fn every_key_with_its_revisions_and_lease_comes_back_from_the_disk() {
    for tools in Tools::all_with_v3() {
        for (snapshot_count, killed) in [("100000", true), ("10", false), ("10", true)] {
            let mut node = written(tools, snapshot_count, "/some");
            let before = seen(tools, &node);
            if killed { node.etcd.kill() } else { node.etcd.stop() }.unwrap();
            let plan = node.ok(&["restore", "--source", "local", "--plan"]);
            assert!(plan.contains("the v3 store: ") && plan.contains("--bump"), "{plan}");
            let (etcd, sum) = (tools.etcd.to_str().unwrap(), before.1.0);
            let run = node.run(&["rehearse", "--source", "local", "--etcd", etcd]);
            assert!(
                run.code == 0 && run.answer.contains(&format!("HashKV {sum}")),
                "{}{}",
                run.answer,
                run.log
            );
            let log = node.ok(&["restore", "--source", "local"]);
            assert!(!log.contains("only the v2 store"), "{log}");
            node.start_etcd();
            let after = seen(tools, &node);
            assert_eq!(after, before, "{snapshot_count} {killed}");
            // It lives: another member's worth of entries, and once more from its own disk.
            client(&node).put("later", "x").unwrap();
            let before = seen(tools, &node);
            node.etcd.kill().unwrap();
            node.ok(&["restore", "--source", "local"]);
            // Once more, before anything was started on it.
            node.ok(&["restore", "--source", "local"]);
            node.start_etcd();
            assert_eq!(seen(tools, &node), before);
        }
    }
}

/// A restore and an upgrade in one: what one etcd wrote is restored, and a later one starts on it.
#[test]
fn what_is_restored_is_all_there_under_a_later_etcd_too() {
    let all = Tools::all_with_v3();
    for (at, old) in all.iter().enumerate() {
        let (_, minor) = etcd_version(&old.etcd).unwrap();
        for new in &all[at + 1..] {
            // etcd is upgraded by one minor version at a time.
            if etcd_version(&new.etcd).unwrap() <= (3, minor + 1) {
                ["100000", "10"].into_iter().for_each(|count| upgraded(old, new, count));
            }
        }
    }
}

fn upgraded(old: &Tools, new: &Tools, snapshot_count: &str) {
    let what = format!("{} to {}, {snapshot_count}", old.etcd.display(), new.etcd.display());
    let mut node = written(old, snapshot_count, "/some");
    let before = seen(old, &node);
    assert!(before.0.keys.len() > 10 && before.0.leases.len() == 1, "{what}: {before:?}");
    assert!(before.0.users.len() == 1 && before.0.roles.len() == 1, "{what}: {before:?}");
    node.etcd.kill().unwrap();
    node.ok(&["restore", "--source", "local"]);
    node.etcd.run_by(new).unwrap();
    node.start_etcd();
    assert_eq!(seen(new, &node), before, "{what}");
    write(&mut client(&node), "/more");
    let before = seen(new, &node);
    node.etcd.kill().unwrap();
    node.ok(&["restore", "--source", "local"]);
    node.start_etcd();
    assert_eq!(seen(new, &node), before, "{what}");
}

/// 3.5.1 to 3.5.19 carries no Update of a member into the db (etcd-io/etcd#19557), and 3.6 reads members there alone.
#[test]
fn the_db_has_the_new_member_alone_with_its_own_peer_url() {
    for tools in Tools::all_with_v3() {
        for snapshot_count in ["100000", "10"] {
            let what = format!("{}, {snapshot_count}", tools.etcd.display());
            let mut node = written(tools, snapshot_count, "/some");
            let old = node.etcd.members().unwrap();
            node.etcd.kill().unwrap();
            // The same port under a name that the old member did not have.
            let url = node.etcd.peer_url.replace("127.0.0.1", "localhost");
            assert!(!old[0].peer_urls.contains(&url));
            for variable in ["ETCD_RESTORE_MASTER_ADV_PEER_URLS", "ETCD_INITIAL_ADVERTISE_PEER_URLS"] {
                node.environment.insert(variable.into(), url.clone());
            }
            node.etcd.set("ETCD_INITIAL_ADVERTISE_PEER_URLS", &url);
            node.etcd.set("ETCD_INITIAL_CLUSTER", format!("{}={url}", node.etcd.name));
            node.ok(&["restore", "--source", "local"]);
            node.start_etcd();
            let listed = node.etcd.members().unwrap();
            node.etcd.stop().unwrap();

            let db = File::open(node.path("/var/lib/etcd2/member/snap/db")).unwrap();
            let state = V3State::read(&mut Db::open(db).unwrap()).unwrap();
            let stored: Vec<_> =
                state.members.iter().map(|(id, member)| (format!("{id:x}"), &member.peer_urls[..])).collect();
            assert_eq!(stored, [(listed[0].id.clone(), &[url][..])], "{what}");
            assert!(listed.len() == 1 && listed[0].id != old[0].id, "{what}: {listed:?}");
            let gone: Vec<_> = state.removed.iter().map(|id| format!("{id:x}")).collect();
            assert!(gone.contains(&old[0].id), "{what}: {gone:?}");
        }
    }
}

#[test]
fn the_revision_of_kubernetes_moves_beyond_what_was_seen() {
    for tools in Tools::all_with_v3() {
        let mut node = written(tools, "100", "/registry/pods");
        let (before, _) = seen(tools, &node);
        node.etcd.kill().unwrap();
        let log = node.ok(&["restore", "--source", "local"]);
        assert!(log.contains("kube-apiserver"), "{log}");
        node.start_etcd();
        let mut v3 = client(&node);
        let after = v3.store().unwrap();
        let (_, compacted) = v3.hash(&tools.etcdctl, 0).unwrap();
        assert!(
            compacted > before.revision + 100_000 && after.revision >= compacted,
            "{compacted} {}",
            after.revision
        );
        assert_eq!(Store { revision: before.revision, ..after }, before);
        assert!(v3.put("new", "x").unwrap() > compacted);
        // Whoever watched the last revision there was is told.
        let watch =
            v3.call("kv/range", &json!({ "key": base64("/registry/pods/1"), "revision": before.revision }));
        let told = format!("{:#}", watch.unwrap_err());
        assert!(told.contains("compacted"), "{told}");

        node.etcd.kill().unwrap();
        let log = node.ok(&["restore", "--source", "local", "--no-bump"]);
        assert!(log.contains("restart every client"), "{log}");
    }
}

/// A base may be older than the first key: what the log brings counts.
#[test]
fn kubernetes_is_seen_in_the_log_behind_a_store_that_was_empty() {
    for tools in Tools::all_with_v3() {
        for (dir, bumps) in [("/registry/pods", true), ("/some", false)] {
            let mut node = Node::new(PROGRAM, tools);
            node.etcd.start().unwrap();
            node.etcd.stop().unwrap();
            let db = node.path("/var/lib/etcd2/member/snap/db");
            let empty = fs::read(&db).unwrap();
            node.etcd.start().unwrap();
            write(&mut client(&node), dir);
            node.etcd.kill().unwrap();
            files::write(&db, empty);
            let plan = node.ok(&["restore", "--source", "local", "--plan"]);
            assert_eq!(plan.contains("kube-apiserver"), bumps, "{dir}: {plan}");
        }
    }
}

#[test]
fn with_authentication_on_everything_is_applied_and_the_passwords_stay() {
    for tools in Tools::all_with_v3() {
        let mut node = written(tools, "100000", "/registry/secrets");
        let mut v3 = client(&node);
        v3.call("auth/user/add", &json!({ "name": "root", "password": "r00t" })).unwrap();
        v3.call("auth/user/grant", &json!({ "user": "root", "role": "root" })).unwrap();
        v3.call("auth/enable", &json!({})).unwrap();
        v3.log_in("root", "r00t").unwrap();
        v3.put("by root", "x").unwrap();
        let before = v3.store().unwrap();
        node.etcd.kill().unwrap();
        node.ok(&["restore", "--source", "local"]);
        node.start_etcd();
        let mut v3 = client(&node);
        assert!(v3.store().is_err(), "nobody is let in without a password");
        v3.log_in("root", "r00t").unwrap();
        let after = v3.store().unwrap();
        assert!(after.revision > before.revision + 100_000, "{}", after.revision);
        assert_eq!(Store { revision: before.revision, ..after }, before);
    }
}

#[test]
fn an_alarm_of_the_old_cluster_is_disarmed() {
    for tools in Tools::all_with_v3() {
        let mut node = written(tools, "100000", "/some");
        let mut v3 = client(&node);
        let member = v3.call("maintenance/status", &json!({})).unwrap()["header"]["member_id"].clone();
        let alarm = json!({ "action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE" });
        v3.call("maintenance/alarm", &alarm).unwrap();
        assert!(v3.put("no", "x").is_err(), "there is an alarm");
        node.etcd.kill().unwrap();
        let log = node.ok(&["restore", "--source", "local"]);
        assert!(log.contains("NOSPACE"), "{log}");
        node.start_etcd();
        let mut v3 = client(&node);
        assert!(v3.call("maintenance/alarm", &json!({ "action": "GET" })).unwrap()["alarms"].is_null());
        v3.put("yes", "x").unwrap();
    }
}

#[test]
fn a_db_that_the_log_does_not_go_on_from_is_refused_by_name() {
    for tools in Tools::all_with_v3() {
        let mut node = written(tools, "10", "/some");
        node.etcd.stop().unwrap();
        let old = fs::read(node.path("/var/lib/etcd2/member/snap/db")).unwrap();
        let wal = node.path("/var/lib/etcd2/member/wal");
        files::copy(&[&wal], &node.path("/old"));
        node.etcd.start().unwrap();
        write(&mut client(&node), "/more");
        node.etcd.stop().unwrap();
        let db = node.path("/var/lib/etcd2/member/snap/db");
        let good = fs::read(&db).unwrap();
        let mut other = written(tools, "10", "/some");
        other.etcd.stop().unwrap();
        let foreign = fs::read(other.path("/var/lib/etcd2/member/snap/db")).unwrap();
        let mut no_root = good.clone();
        // Both meta pages: the root bucket's page.
        for meta in [0, 4096] {
            no_root[meta + 16 + 16] ^= 0x55;
        }
        for (bytes, code, says) in [
            (None, 11, ["is missing", V2_ONLY]),
            (Some(&b""[..]), 11, ["reading the v3 store", V2_ONLY]),
            (Some(&no_root), 11, ["reading the v3 store", V2_ONLY]),
            (Some(&foreign), 11, ["of another cluster", "take another"]),
        ] {
            match bytes {
                Some(bytes) => files::write(&db, bytes),
                None => fs::remove_file(&db).unwrap(),
            }
            node.refused(&["restore", "--source", "local"], code, &says);
        }
        files::write(&db, &good);
        // The log of a moment before, which etcd would start on and lose what it writes.
        fs::rename(&wal, node.path("/new-wal")).unwrap();
        fs::rename(node.path("/old/wal"), &wal).unwrap();
        node.refused(&["restore", "--source", "local"], 10, &["but the WAL ends at", V2_ONLY]);
        node.environment.insert(V2_ONLY.into(), "true".into());
        let log = node.ok(&["restore", "--source", "local", "--plan"]);
        assert!(log.contains("but the WAL ends at") && log.contains("only the v2 store"), "{log}");
        node.environment.remove(V2_ONLY);
        fs::remove_dir_all(&wal).unwrap();
        fs::rename(node.path("/new-wal"), &wal).unwrap();
        // An older one that this log still has the entries behind is an ordinary restart.
        files::write(&db, &old);
        let log = node.ok(&["restore", "--source", "local", "--plan"]);
        assert!(log.contains("the v3 store"), "{log}");
    }
}
