//! The v3 store of real etcd as we read it, beside what that etcd answered: every key with its revisions, version and lease,
//! HashKV, members, alarms, leases, users and roles. And its db with each page altered.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use etcd2_backup::etcd::bolt::{Db, PageSet, sum};
use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::frame::Kind;
use etcd2_backup::etcd::proto::{Entry, EntryKind};
use etcd2_backup::etcd::v3::alarms::Alarms;
use etcd2_backup::etcd::v3::mvcc::{hash_kv, visit_live};
use etcd2_backup::etcd::v3::requests::Request;
use etcd2_backup::etcd::v3::state::{V3State, consistent_index, last_row};
use etcd2_backup::etcd::wal::{self, Place, Reading};
use serde_json::{Value, json};
use testkit::etcd::Member;
use testkit::fixtures::{V3_NAMES, unpack_v3};
use testkit::tools::{Tools, etcd_version};
use testkit::v3::{self, base64};

/// A number as the gateway writes it: as text, and not at all if it is 0.
fn number(value: &Value) -> u64 {
    value.as_str().map_or_else(|| value.as_u64().unwrap_or(0), |text| text.parse().unwrap())
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// Compares a db that nobody writes with what its etcd answered last.
fn compare(path: &Path, answers: &Value, what: &str) -> V3State {
    let mut db = Db::open(File::open(path).unwrap()).unwrap();
    let state = V3State::read(&mut db).unwrap_or_else(|e| panic!("{what}: {e:#}"));
    let revision = number(&answers["hash"]["header"]["revision"]);
    assert_eq!(state.revision, revision, "{what}");
    assert_eq!(last_row(&mut db).unwrap(), revision, "{what}");
    assert_eq!(consistent_index(&mut db).unwrap(), state.consistent_index, "{what}");
    assert_eq!(state.compacted, Some(number(&answers["hash"]["compact_revision"])), "{what}");
    assert_eq!(state.compacting, state.compacted, "{what}");
    let hash = hash_kv(&mut db, state.compacted).unwrap();
    assert_eq!(u64::from(hash), number(&answers["hash"]["hash"]), "{what}: HashKV");

    let mut found = BTreeMap::new();
    visit_live(&mut db, &mut |key| {
        let told = json!([key.create_revision, key.mod_revision, key.version, key.lease, base64(key.value)]);
        assert!(found.insert(base64(key.key), told).is_none(), "{what}: {key:?} twice");
        Ok(())
    })
    .unwrap();
    let listed: BTreeMap<String, Value> = answers["range"]["kvs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kv| {
            let of = |field: &str| number(&kv[field]);
            let value = kv["value"].as_str().unwrap_or_default();
            let told = json!([of("create_revision"), of("mod_revision"), of("version"), of("lease"), value]);
            (kv["key"].as_str().unwrap().to_owned(), told)
        })
        .collect();
    assert!(listed.len() > 50, "{what}");
    assert_eq!(found, listed, "{what}");

    // 3.5.1 to 3.5.19 changes no member's row (etcd-io/etcd#19557): the clients' URLs come after the member.
    let version = answers["status"]["version"].as_str().unwrap();
    let in_db = version.strip_prefix("3.5.").is_none_or(|patch| number(&json!(patch)) >= 20);
    let members: BTreeMap<u64, Value> = answers["members"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| {
            let name = m["name"].as_str().unwrap_or_default();
            let learner = m["isLearner"].as_bool().unwrap_or(false);
            let clients = if in_db { strings(&m["clientURLs"]) } else { Vec::new() };
            (number(&m["ID"]), json!([name, strings(&m["peerURLs"]), clients, learner]))
        })
        .collect();
    let ours =
        state.members.iter().map(|(id, m)| (*id, json!([m.name, m.peer_urls, m.client_urls, m.is_learner])));
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), members, "{what}");
    let alarms: BTreeSet<(u64, String)> = answers["alarms"]["alarms"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|a| (number(&a["memberID"]), a["alarm"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(state.alarms.0.iter().map(|(id, k)| (*id, k.to_string())).collect::<BTreeSet<_>>(), alarms);
    let count = |list: &Value| list.as_array().map_or(0, Vec::len) as u64;
    assert_eq!(
        (state.leases, state.users, state.roles),
        (
            count(&answers["leases"]["leases"]),
            count(&answers["users"]["users"]),
            count(&answers["roles"]["roles"])
        ),
        "{what}"
    );
    let minor = version.rsplit_once('.').unwrap().0;
    assert_eq!(state.cluster_version, Some(format!("{minor}.0")), "{what}");
    assert_eq!(state.storage_version.is_some(), minor >= "3.6", "{what}");
    assert_eq!(state.term, (minor >= "3.5").then(|| number(&answers["status"]["raftTerm"])), "{what}");
    assert!(state.kubernetes, "{what}");
    state
}

fn db_of(data_dir: &Path) -> std::path::PathBuf {
    data_dir.join("member/snap/db")
}

#[test]
fn the_fixtures_are_read_as_etcd_answered() {
    for (name, index, removed, auth) in
        [("v3423-v3-member-trimmed", 226, 0, false), ("v351-v3-learner-trimmed", 229, 1, true)]
    {
        let work = tempfile::tempdir().unwrap();
        let (data_dir, answers) = unpack_v3(name, work.path()).unwrap();
        let state = compare(&db_of(&data_dir), &answers, name);
        assert_eq!(state.consistent_index, index, "{name}");
        assert_eq!((state.removed.len(), state.auth_enabled), (removed, auth), "{name}");
        assert_eq!(state.auth_revision, Some(8), "{name}");
    }
    assert_eq!(V3_NAMES.len(), 2);
}

/// What the entries of a log say adds up to what the db says.
#[test]
fn the_log_moves_revision_and_alarms_as_the_db_has_them() {
    for name in V3_NAMES {
        let work = tempfile::tempdir().unwrap();
        let (data_dir, _) = unpack_v3(name, work.path()).unwrap();
        let mut db = Db::open(File::open(db_of(&data_dir)).unwrap()).unwrap();
        let state = V3State::read(&mut db).unwrap();
        let dir = DataDir::open(&data_dir, None).unwrap();
        let first = wal::segments(&dir.wal).unwrap()[0];
        let (mut moves, mut alarms, mut names) = (1, Alarms::default(), BTreeMap::<_, u64>::new());
        wal::walk(&dir.wal, Place::start_of(first), Reading::Still, &mut |_, record| {
            if record.kind == Kind::Entry {
                let entry = Entry::decode(record.data)?;
                if entry.kind == EntryKind::Normal && !entry.data.is_empty() && entry.data[..2] != [0x0a, 3] {
                    // v2 requests keep the member list in 3.4.
                    let Ok(request) = Request::of(entry.data) else { return Ok(()) };
                    moves += request.may_move_revision();
                    request.alarm().into_iter().for_each(|alarm| alarms.apply(alarm));
                    *names.entry(request.name()).or_default() += 1;
                }
            }
            Ok(())
        })
        .unwrap();
        // One compare-and-swap fails, one delete finds nothing.
        assert_eq!(moves, state.revision + 2, "{name}: {names:?}");
        assert_eq!(alarms, state.alarms, "{name}");
        for (request, count) in
            [("put", 197), ("delete_range", 4), ("txn", 2), ("compaction", 1), ("lease_revoke", 1)]
        {
            assert!(names.get(request).is_some_and(|n| *n >= count), "{name}: {request} in {names:?}");
        }
    }
}

/// All that is in a db, and which pages it is in.
fn digest(file: &[u8]) -> Result<(u32, V3State, PageSet)> {
    let mut db = Db::open(Cursor::new(file))?;
    let mut sum = 0;
    let reached = db.check(&mut |bucket, key, value| {
        for part in [bucket, &(key.len() as u64).to_le_bytes(), key, value] {
            sum = crc32c::crc32c_append(sum, part);
        }
        Ok(())
    })?;
    Ok((sum, V3State::read(&mut db)?, reached.pages))
}

#[test]
fn each_page_altered_is_an_error_or_another_state() {
    const PAGE: usize = 4096;
    for name in V3_NAMES {
        let work = tempfile::tempdir().unwrap();
        let (data_dir, _) = unpack_v3(name, work.path()).unwrap();
        let mut file = fs::read(db_of(&data_dir)).unwrap();
        let whole = digest(&file).unwrap();
        let pages = file.len() / PAGE;
        let (mut errors, mut others, mut equal) = (0, 0, 0);
        for page in 0..pages {
            let begin = page * PAGE;
            // A value of more than a page has no header in its second one.
            let header = file[begin..begin + 8] == (page as u64).to_le_bytes();
            let count = usize::from(u16::from_le_bytes([file[begin + 10], file[begin + 11]]));
            let table = if header { 16 + 16 * count } else { 0 };
            let is_branch = file[begin + 8] == 1;
            let counts = header && whole.2.contains(page as u64);
            for at in (0..PAGE).filter(|at| *at < table || at % 97 == 0) {
                let flip = if at % 2 == 0 { 0x01 } else { 0x90 };
                file[begin + at] ^= flip;
                match digest(&file) {
                    Err(_) => errors += 1,
                    Ok(found) if (found.0, &found.1) != (whole.0, &whole.1) => others += 1,
                    Ok(_) => {
                        equal += 1;
                        // A branch's last key may be shorter and still lead to the same page.
                        let key = is_branch && (table - 16..table - 8).contains(&at);
                        assert!(!counts || key || at >= table, "{name}: byte {at} of page {page} counts");
                    }
                }
                file[begin + at] ^= flip;
            }
        }
        assert!(errors > 500 && others > 100 && equal > 50, "{name}: {errors} {others} {equal}");
    }
}

/// A member of each etcd is written to, asked and stopped; then its db is read, and what `snapshot save` made of it.
#[test]
fn a_db_of_each_etcd_is_read_as_it_answers() {
    Tools::all_with_v3().into_iter().for_each(live);
}

fn live(tools: &Tools) {
    let work = tempfile::tempdir().unwrap();
    let mut member = Member::new(tools, "e1", &work.path().join("data")).unwrap();
    member.set("ETCD_SNAPSHOT_COUNT", "100");
    member.start().unwrap();
    let url = member.client_url.clone();
    v3::sample::write_sample(&url, "live").unwrap();
    // A physical compaction has ended when it is answered.
    let answers = v3::sample::answers(&url, &tools.etcdctl).unwrap();
    let snapshot = work.path().join("snapshot.db");
    // An older etcdctl may stand in for that of 3.6.
    let saves = etcd_version(&tools.etcd).unwrap() < (3, 6);
    if saves {
        let mut save = Command::new(&tools.etcdctl);
        save.env("ETCDCTL_API", "3").args(["--endpoints", &url, "snapshot", "save"]).arg(&snapshot);
        assert!(save.output().unwrap().status.success());
    }
    member.stop().unwrap();
    let what = answers["status"]["version"].as_str().unwrap().to_owned();
    let state = compare(&db_of(&member.data_dir), &answers, &what);
    if saves {
        let mut file = File::open(&snapshot).unwrap();
        assert_eq!(sum::check(&mut file).unwrap(), Some(true), "{what}");
        let mut saved = compare(&snapshot, &answers, &what);
        saved.consistent_index = state.consistent_index;
        assert_eq!(saved, state, "{what}");
    }
}
