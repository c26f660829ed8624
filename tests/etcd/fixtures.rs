//! The fixtures: data directories of real etcd 2.0 to 3.5, restored offline and started under the real etcd of this
//! machine and under 3.5. Every key must be what it was when the copy was made.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use etcd2_backup::etcd::datadir::{Contents, DataDir, Family};
use etcd2_backup::etcd::frame::Kind;
use etcd2_backup::etcd::proto::{Entry, LogPosition};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dir};
use etcd2_backup::etcd::snap;
use etcd2_backup::etcd::wal::{self, Place, Reading};
use etcd2_backup::exit::{Exit, exit_of};
use testkit::etcd::Member;
use testkit::fixtures::{Fixture, NAMES};
use testkit::keys::{self, Keys};
use testkit::tools::{Tools, etcd_version};

/// The only one that is not whole.
const DAMAGED: &str = "v238-flipped-wal";
const FOLLOWERS: [&str; 2] = ["v238-follower", "v3423-follower-trimmed"];

fn unpacked(name: &str) -> (tempfile::TempDir, Fixture) {
    let work = tempfile::tempdir().unwrap();
    let fixture = Fixture::unpack(name, work.path()).unwrap();
    (work, fixture)
}

fn scan(data_dir: &Path) -> anyhow::Result<(DataDir, Contents)> {
    let dir = DataDir::open(data_dir, None)?;
    let contents = dir.scan(Reading::Still)?;
    Ok((dir, contents))
}

/// Restores a data directory for one new member, starts an etcd on it and compares.
fn restored(tools: &Tools, name: &str, dir: &DataDir, expected: &Keys) {
    let version = etcd_version(&tools.etcd).unwrap();
    if written_by(name) > version {
        // No way back: an etcd refuses what a later minor version wrote.
        return;
    }
    let family = if version.0 == 2 { Family::Two } else { Family::Three };
    let contents = dir.scan(Reading::Still).unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut member = Member::new(tools, "restored", &work.path().join("new")).unwrap();
    let new = NewMember { id: 0x1234_5678_9abc_def0, peer_urls: vec![member.peer_url.clone()] };
    let path = member.data_dir.join("member");
    let target = Target { member_id: new.id, path: &path };
    let rewrite =
        Rewrite { cluster_id: 7, purpose: Purpose::Found(vec![new]), up_to: None, family, bump: None };
    write_member_dir(dir, &contents, &rewrite, target).unwrap();
    prove(&contents, &rewrite, target).unwrap();

    member.start().unwrap();
    let listed = member.members().unwrap();
    assert_eq!(listed.len(), 1, "{name}: {listed:?}");
    assert_eq!(
        (listed[0].id.as_str(), &listed[0].peer_urls),
        ("123456789abcdef0", &vec![member.peer_url.clone()])
    );
    let found = keys::dump(&member.client_url).unwrap();
    let expected =
        if written_by(name) < (2, 2) && version >= (2, 2) { &with_padded_names(expected) } else { expected };
    let differences = keys::compare(expected, &found);
    assert!(differences.is_empty(), "{name}: {differences:?}");
    assert!(found.len() > 20, "{name} holds {} keys only", found.len());
}

fn each_restored(tools: &Tools) {
    for name in NAMES.iter().filter(|n| **n != DAMAGED) {
        let (_work, fixture) = unpacked(name);
        restored(tools, name, &DataDir::open(&fixture.data_dir, None).unwrap(), &fixture.keys);
    }
}

/// Major and minor version of the etcd that wrote a fixture last.
fn written_by(name: &str) -> (u32, u32) {
    let digits = name.rsplit("-v").next().unwrap().trim_start_matches('v');
    let mut numbers = digits.chars().map(|c| c.to_digit(10).unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The name of an in-order key is not in the log: whoever replays it gives the name, and 2.2 began to pad it.
fn with_padded_names(keys: &Keys) -> Keys {
    let padded = |key: &str| match key.strip_prefix("/queue/") {
        Some(number) => format!("/queue/{number:0>20}"),
        None => key.to_owned(),
    };
    keys.iter().map(|(key, node)| (padded(key), node.clone())).collect()
}

#[test]
fn each_starts_under_the_etcd_at_hand_with_every_key() {
    each_restored(testkit::tools_or_skip!());
}

#[test]
fn each_starts_under_3_5_with_every_key() {
    let Some(tools) = Tools::etcd_3_5_from_env() else { return };
    each_restored(tools);
}

#[test]
fn a_flipped_byte_in_the_middle_of_the_log_is_refused_with_its_place() {
    let (_work, fixture) = unpacked(DAMAGED);
    let error = scan(&fixture.data_dir).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Corrupt);
    assert!(format!("{error:#}").contains("0000000000000000-0000000000000000.wal@57771"), "{error:#}");
}

#[test]
fn what_is_in_them_is_read_right() {
    use Family::{Three, Two};
    // Name, written by, base, last entry, hard state's commit, members, torn.
    let table = [
        ("v2013-purged", Two, (2, 707), (2, 739), 739, 1, false),
        ("v213-single-snap", Two, (2, 202), (2, 233), 233, 1, false),
        ("v225-single-snap", Two, (2, 202), (2, 233), 233, 1, false),
        ("v238-3node-member", Two, (2, 303), (2, 365), 364, 3, false),
        ("v238-etcdctl-backup", Two, (2, 404), (2, 459), 459, 1, false),
        ("v238-follower", Two, (3, 5656), (3, 5734), 5734, 3, false),
        ("v238-single-nosnap", Two, (0, 0), (2, 95), 95, 1, false),
        ("v238-single-snap", Two, (2, 404), (2, 459), 459, 1, false),
        ("v238-then-v3423", Three, (0, 0), (3, 86), 86, 1, false),
        ("v238-torn-tail", Two, (2, 404), (2, 459), 458, 1, true),
        ("v3017-single-snap-trimmed", Three, (2, 202), (2, 233), 233, 1, false),
        ("v3232-single-snap-trimmed", Three, (2, 202), (2, 232), 232, 1, false),
        ("v3327-single-snap-trimmed", Three, (2, 202), (2, 232), 232, 1, false),
        ("v3423-follower-trimmed", Three, (2, 5720), (2, 5741), 5741, 3, false),
        ("v3423-single-nosnap-trimmed", Three, (0, 0), (2, 95), 95, 1, false),
        ("v3423-single-snap-trimmed", Three, (2, 404), (2, 460), 460, 1, false),
        ("v351-single-snap", Three, (2, 202), (2, 232), 232, 1, false),
    ];
    assert_eq!(
        table.map(|row| row.0).to_vec(),
        NAMES.into_iter().filter(|n| *n != DAMAGED).collect::<Vec<_>>()
    );
    let at = |(term, index)| LogPosition { index, term };
    for (name, family, base, last, commit, members, torn) in table {
        let (_work, fixture) = unpacked(name);
        let (_, contents) = scan(&fixture.data_dir).unwrap();
        assert_eq!(contents.family, family, "{name}");
        assert_eq!(
            contents.base.as_ref().map_or_else(LogPosition::default, |b| b.metadata.position),
            at(base),
            "{name}"
        );
        assert_eq!((contents.last(), contents.log.hard_state.commit), (at(last), commit), "{name}");
        assert_eq!(contents.log.entries, last.1 - base.1, "{name}");
        assert_eq!(contents.members().unwrap().len(), members, "{name}");
        assert_eq!(contents.torn().is_some(), torn, "{name}");
        assert_eq!(contents.passed_over, Vec::<String>::new(), "{name}");
    }
}

/// Indexes of the entries in a log from a place on, each with its segment's place behind it.
fn entries(wal_dir: &Path, from: Place) -> Vec<(u64, Place)> {
    let mut found = Vec::new();
    wal::walk(wal_dir, from, Reading::Still, &mut |segment, record| {
        if record.kind == Kind::Entry {
            let behind = Place { segment, offset: record.end, crc: record.crc };
            found.push((Entry::decode(record.data)?.index, behind));
        }
        Ok(())
    })
    .unwrap();
    found
}

#[test]
fn a_purged_log_is_read_from_its_first_segment() {
    let (_work, fixture) = unpacked("v2013-purged");
    let (dir, contents) = scan(&fixture.data_dir).unwrap();
    let names = wal::segments(&dir.wal).unwrap();
    assert_eq!(names.iter().map(|n| n.sequence).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
    assert_eq!(contents.start.segment.sequence, 6, "the entries behind the base begin at the end of that");

    // The next older snapshot and more of the log, as long as they meet.
    let mut snapshots = snap::list(&dir.snap).unwrap();
    assert_eq!(snapshots.len(), 6);
    let oldest = snapshots.pop().unwrap();
    for name in snapshots {
        fs::remove_file(dir.snap.join(name.to_string())).unwrap();
    }
    let contents = dir.scan(Reading::Still).unwrap();
    assert_eq!((contents.base_index(), contents.log.entries), (oldest.index, 739 - oldest.index));
    fs::remove_file(names[0].path(&dir.wal)).unwrap();
    let error = dir.scan(Reading::Still).unwrap_err();
    assert_eq!(exit_of(&error), Exit::Corrupt);
    assert!(format!("{error:#}").contains("the log has no record of it"), "{error:#}");
}

#[test]
fn the_layout_of_2_0_0_and_a_separate_wal_directory_are_found() {
    let tools = testkit::tools_or_skip!();
    for name in ["v2013-purged", "v238-follower"] {
        let (work, fixture) = unpacked(name);
        let (flat, elsewhere) = (work.path().join("flat"), work.path().join("elsewhere"));
        let (_, expected) = scan(&fixture.data_dir).unwrap();

        fs::rename(fixture.data_dir.join("member"), &flat).unwrap();
        let (dir, found) = scan(&flat).unwrap();
        assert_eq!((found.last(), found.base_index()), (expected.last(), expected.base_index()));
        restored(tools, name, &dir, &fixture.keys);

        fs::rename(flat.join("wal"), &elsewhere).unwrap();
        fs::rename(&flat, fixture.data_dir.join("member")).unwrap();
        assert_eq!(exit_of(&scan(&fixture.data_dir).unwrap_err()), Exit::NotFound);
        let dir = DataDir::open(&fixture.data_dir, Some(&elsewhere)).unwrap();
        restored(tools, name, &dir, &fixture.keys);
    }
}

#[test]
fn a_log_of_two_versions_holds_both_frames() {
    let (_work, fixture) = unpacked("v238-then-v3423");
    let dir = DataDir::open(&fixture.data_dir, None).unwrap();
    let first = wal::segments(&dir.wal).unwrap()[0];
    let mut padded = Vec::new();
    let mut note = |_, record: &etcd2_backup::etcd::frame::Record<'_>| {
        padded.push((record.padded, record.start % 8));
        Ok(())
    };
    wal::walk(&dir.wal, Place::start_of(first), Reading::Still, &mut note).unwrap();
    let split = padded.iter().position(|p| p.0).unwrap();
    assert!(padded[..split].iter().any(|p| p.1 != 0), "2.3.8 aligns nothing");
    assert_eq!(padded.iter().filter(|p| p.0).count(), 104);
    assert!(padded[split].1 != 0, "3.4.23 goes on where 2.3.8 ended");
}

/// The index of the entry before the jump, of the snapshot that was received, and of the last entry.
const JUMPS: [(u64, u64, u64); 2] = [(161, 5656, 5734), (161, 5720, 5741)];

#[test]
fn a_follower_that_received_a_snapshot_begins_behind_the_jump() {
    for (name, (before, received, last)) in FOLLOWERS.into_iter().zip(JUMPS) {
        let (_work, fixture) = unpacked(name);
        let (dir, contents) = scan(&fixture.data_dir).unwrap();
        let all = entries(&dir.wal, Place::start_of(wal::segments(&dir.wal).unwrap()[0]));
        let jump = all.iter().position(|e| e.0 == received + 1).unwrap();
        assert_eq!((all[jump - 1].0, all.last().unwrap().0), (before, last), "{name}");
        assert_eq!((contents.base_index(), contents.start), (received, all[jump - 1].1), "{name}");
        assert_eq!(entries(&dir.wal, contents.start), all[jump..], "{name}");
    }
}

#[test]
fn without_the_snapshot_it_received_a_followers_data_is_refused_and_not_taken_for_older_data() {
    for (name, (_, received, _)) in FOLLOWERS.into_iter().zip(JUMPS) {
        let (_work, fixture) = unpacked(name);
        let (dir, contents) = scan(&fixture.data_dir).unwrap();
        let base = contents.base.unwrap();
        let cuts = [None, Some(end_of_snapshot_record(&dir, received))];
        for cut in cuts {
            if let Some((path, end)) = &cut {
                // It received the snapshot and nothing since.
                File::options().write(true).open(path).unwrap().set_len(*end).unwrap();
                let at = dir.scan(Reading::Still).unwrap();
                assert_eq!((at.base_index(), at.last(), at.log.entries), (received, base.name.position(), 0));
            }
            let aside = base.path.with_extension("aside");
            fs::rename(&base.path, &aside).unwrap();
            assert_eq!(snap::list(&dir.snap).unwrap().len(), 1, "{name}: its own older one is there");
            let error = dir.scan(Reading::Still).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Corrupt, "{name}");
            let missing = format!("index {}", if cut.is_some() { received } else { received + 1 });
            assert!(format!("{error:#}").contains(&missing), "{name}: {error:#}");
            fs::rename(&aside, &base.path).unwrap();
        }
    }
}

/// The segment that knows of a snapshot, and the offset behind that record.
fn end_of_snapshot_record(dir: &DataDir, index: u64) -> (PathBuf, u64) {
    let mut found = None;
    let first = Place::start_of(wal::segments(&dir.wal).unwrap()[0]);
    wal::walk(&dir.wal, first, Reading::Still, &mut |segment, record| {
        if record.kind == Kind::Snapshot && LogPosition::decode(record.data)?.index == index {
            found = Some((segment.path(&dir.wal), record.end));
        }
        Ok(())
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn a_data_directory_without_a_log_is_not_found() {
    let work = tempfile::tempdir().unwrap();
    for dir in [work.path(), Path::new("/no/such/dir")] {
        assert_eq!(exit_of(&DataDir::open(dir, None).unwrap_err()), Exit::NotFound);
    }
}
