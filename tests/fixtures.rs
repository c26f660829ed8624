//! The fixtures: data directories of real etcd 2.3.8 and 3.4.23, restored offline and started under the real etcd of
//! this machine. Every key must be what it was when the copy was made.

use std::path::Path;

use etcd2_backup::etcd::datadir::{Contents, DataDir, Family};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dirs};
use etcd2_backup::etcd::wal::Reading;
use etcd2_backup::exit::{Exit, exit_of};
use testkit::etcd::Member;
use testkit::fixtures::Fixture;
use testkit::keys;
use testkit::tools::{Tools, etcd_version};

fn scan(fixture: &Fixture) -> anyhow::Result<(DataDir, Contents)> {
    let dir = DataDir::open(&fixture.data_dir, None)?;
    let contents = dir.scan(Reading::Still)?;
    Ok((dir, contents))
}

/// Restores a fixture for one new member under the etcd at hand, starts it and compares.
fn restored(name: &str) {
    let Some(tools) = Tools::from_env() else { return };
    let (major, _) = etcd_version(&tools.etcd).unwrap();
    let family = if major == 2 { Family::Two } else { Family::Three };
    if family == Family::Two && name.starts_with("v3") {
        // No way back: 2.x refuses the data of 3.x.
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let fixture = Fixture::unpack(name, work.path()).unwrap();
    let (dir, contents) = scan(&fixture).unwrap();
    let mut member = Member::new(tools, "restored", &work.path().join("new")).unwrap();
    let new = NewMember { id: 0x1234_5678_9abc_def0, peer_urls: vec![member.peer_url.clone()] };
    let path = member.data_dir.join("member");
    let target = Target { member_id: new.id, path: &path };
    let rewrite = Rewrite { cluster_id: 7, purpose: Purpose::Found(vec![new]), up_to: None, family };
    write_member_dirs(&dir, &contents, &rewrite, &[target]).unwrap();
    prove(&contents, &rewrite, target).unwrap();

    member.start().unwrap();
    let listed = member.members().unwrap();
    assert_eq!(listed.len(), 1, "{name}: {listed:?}");
    assert_eq!(
        (listed[0].id.as_str(), &listed[0].peer_urls),
        ("123456789abcdef0", &vec![member.peer_url.clone()])
    );
    let found = keys::dump(&member.client_url).unwrap();
    let differences = keys::compare(&fixture.keys, &found);
    assert!(differences.is_empty(), "{name}: {differences:?}");
    assert!(found.len() > 20, "{name} holds {} keys only", found.len());
}

#[test]
fn a_single_member_of_2_3_without_a_snapshot() {
    restored("v238-single-nosnap");
}

#[test]
fn a_single_member_of_2_3_with_snapshots() {
    restored("v238-single-snap");
}

#[test]
fn a_live_copy_of_a_follower_of_2_3() {
    restored("v238-3node-member");
}

#[test]
fn an_etcdctl_backup_of_2_3() {
    restored("v238-etcdctl-backup");
}

#[test]
fn a_torn_tail_of_2_3() {
    restored("v238-torn-tail");
}

#[test]
fn a_single_member_of_3_4_with_snapshots() {
    restored("v3423-single-snap-trimmed");
}

#[test]
fn a_single_member_of_3_4_without_a_snapshot() {
    restored("v3423-single-nosnap-trimmed");
}

#[test]
fn a_flipped_byte_in_the_middle_of_the_log_is_refused_with_its_place() {
    let work = tempfile::tempdir().unwrap();
    let fixture = Fixture::unpack("v238-flipped-wal", work.path()).unwrap();
    let error = scan(&fixture).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Corrupt);
    assert!(format!("{error:#}").contains("0000000000000000-0000000000000000.wal@57771"), "{error:#}");
}

#[test]
fn what_is_in_them_is_read_right() {
    // Name, written by 3.x, base index, torn.
    let table = [
        ("v238-single-nosnap", Family::Two, false, false),
        ("v238-single-snap", Family::Two, true, false),
        ("v238-torn-tail", Family::Two, true, true),
        ("v3423-single-snap-trimmed", Family::Three, true, false),
    ];
    for (name, family, based, torn) in table {
        let work = tempfile::tempdir().unwrap();
        let (_, contents) = scan(&Fixture::unpack(name, work.path()).unwrap()).unwrap();
        assert_eq!(contents.family, family, "{name}");
        assert_eq!(contents.base.is_some(), based, "{name}");
        assert_eq!(contents.torn().is_some(), torn, "{name}");
        assert_eq!(contents.members().unwrap().len(), 1, "{name}");
        assert_eq!(contents.last().index, contents.base_index() + contents.log.entries, "{name}");
    }
}

#[test]
fn a_data_directory_without_a_log_is_not_found() {
    let work = tempfile::tempdir().unwrap();
    for dir in [work.path(), Path::new("/no/such/dir")] {
        assert_eq!(exit_of(&DataDir::open(dir, None).unwrap_err()), Exit::NotFound);
    }
}
