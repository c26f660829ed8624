use super::*;
use crate::archive::lineage::Parent;
use crate::etcd::proto::LogPosition;
use crate::exit::exit_of;
use crate::fleet::report::{About, Doubt, PROTOCOL};
use crate::fleet::text::{lines, render};

pub(in crate::fleet) const OLD: u64 = 0xc;
pub(in crate::fleet) const NEW: u64 = 0xd;

pub(in crate::fleet) fn found(cluster_id: u64, index: u64) -> Option<Found> {
    Some(Found {
        cluster_id,
        member_id: 0,
        generation: 0,
        index,
        term: 2,
        parents: Vec::new(),
        members: Vec::new(),
        v3: false,
    })
}

fn parent(for_cluster: u64, cluster_id: u64, instead_of: &[u64]) -> Parent {
    Parent {
        for_cluster,
        cluster_id,
        generation: 0,
        index: 5,
        token: String::new(),
        before: Vec::new(),
        instead_of: instead_of.to_vec(),
    }
}

/// Three nodes with these ends of disk and archive; the first is the founding member.
pub(in crate::fleet) fn nodes(ends: [(Option<Found>, Option<Found>); 3]) -> Vec<Node> {
    let node = |(at, (disk, archive)): (usize, (Option<Found>, Option<Found>))| {
        let url = |n: usize| format!("http://e{n}:2380");
        let report = Report {
            protocol: PROTOCOL,
            program: "1".into(),
            time: 1000,
            machine_id: format!("m{at}"),
            name: format!("e{at}"),
            peer_urls: vec![url(at)],
            founder_urls: vec![url(0)],
            endpoint: "r:".into(),
            etcd_unit: "etcd2.service".into(),
            restore_dir: "/r".into(),
            timer: true,
            running: false,
            healthy: false,
            disk,
            archive: archive.map(|found| Found { generation: 7, ..found }),
            doubts: Vec::new(),
            record: None,
            bootstrap: None,
        };
        Node { target: format!("core@e{at}"), report }
    };
    ends.into_iter().enumerate().map(node).collect()
}

/// The record of a recovery of these nodes that made `NEW` of `OLD`, up to index 50.
pub(in crate::fleet) fn record(nodes: &[Node]) -> Record {
    let member = |(id, n): (u64, &Node)| RecordedMember {
        id,
        name: n.report.name.clone(),
        peer_urls: n.report.peer_urls.clone(),
    };
    Record {
        version: 1,
        token: "t".into(),
        time: 0,
        source: "disk".into(),
        machine_id: "m0".into(),
        generation: 0,
        source_cluster_id: OLD,
        index: 50,
        term: 2,
        source_hash: String::new(),
        appended_term: 2,
        backed_up: None,
        v3: None,
        cluster_id: NEW,
        members: (100..).zip(nodes).map(member).collect(),
    }
}

/// The recovery has reached the disks of these nodes.
pub(in crate::fleet) fn recovered(nodes: &mut [Node], done: &[usize]) {
    let record = record(nodes);
    for at in done {
        let report = &mut nodes[*at].report;
        report.disk = Some(Found {
            member_id: record.members[*at].id,
            parents: vec![parent(NEW, OLD, &[])],
            // Behind the record's index, by what the restore appended.
            ..found(NEW, 55).unwrap()
        });
        report.record = Some(record.clone());
    }
}

fn begin(first: usize, take: Take, index: u64) -> Way {
    Way::Begin { first, take, end: LogPosition { index, term: 2 } }
}

fn of_archive(node: usize) -> Take {
    Take::Archive { machine_id: format!("m{node}"), generation: 7 }
}

#[track_caller]
pub(in crate::fleet) fn refused(nodes: &[Node], wish: Wish, exit: Exit, words: &str) {
    let error = decide(nodes, wish).unwrap_err();
    assert!(exit_of(&error) == exit && format!("{error:#}").contains(words), "{error:#}");
}

#[test]
fn a_founder_that_has_less_is_told_by_entries_or_by_the_term() {
    let older = |index| Some(Found { term: 1, ..found(OLD, index).unwrap() });
    let by_first = || Wish { founder: Some(0), ..Wish::default() };
    for (own, less) in [
        (found(OLD, 7), ", 2 entries fewer"),
        (older(8), ", 1 entry fewer"),
        (older(9), ", of an earlier term"),
        (older(90), ", of an earlier term"),
    ] {
        let all = nodes([(own, None), (found(OLD, 9), None), (None, None)]);
        refused(&all, by_first(), Exit::Refused, less);
    }
}

#[test]
fn no_backup_without_v3_data_takes_the_place_of_what_has_it() {
    let with_v3 = |index| Some(Found { v3: true, ..found(OLD, index).unwrap() });
    let all = nodes([(None, found(OLD, 9)), (with_v3(7), None), (found(OLD, 5), None)]);
    refused(&all, Wish::default(), Exit::Refused, "the disk of core@e1 has data in the v3 store");
    let of_one = Wish { source: Some(1), ..Wish::default() };
    assert_eq!(decide(&all, of_one).unwrap(), begin(1, Take::Disk, 7));
    // One that has it is as good as a disk, and what says nothing of it is not.
    let all = nodes([(None, with_v3(9)), (with_v3(7), None), (found(OLD, 5), None)]);
    assert_eq!(decide(&all, Wish::default()).unwrap(), begin(0, of_archive(0), 9));
    let all = nodes([(None, with_v3(7)), (None, found(OLD, 9)), (None, None)]);
    refused(&all, Wish::default(), Exit::Refused, "the backup of core@e0 has data in the v3 store");
    // As fresh as any backup.
    let all = nodes([(None, found(OLD, 9)), (with_v3(9), None), (None, None)]);
    assert_eq!(decide(&all, Wish::default()).unwrap(), begin(1, Take::Disk, 9));
}

#[test]
fn the_freshest_data_of_one_lineage_is_taken() {
    let any = Wish::default;
    let by = |founder| Wish { founder: Some(founder), ..any() };
    let of = |source| Wish { source: Some(source), ..any() };
    let older = Some(Found { term: 1, ..found(OLD, 90).unwrap() });
    for (ends, wish, expected) in [
        (
            [(found(OLD, 5), None), (found(OLD, 9), None), (found(OLD, 7), None)],
            any(),
            begin(1, Take::Disk, 9),
        ),
        ([(found(OLD, 9), None), (found(OLD, 9), None), (None, None)], any(), begin(0, Take::Disk, 9)),
        ([(older, None), (found(OLD, 9), None), (None, None)], any(), begin(1, Take::Disk, 9)),
        // Of a disk of another node only that node can begin; a backup is everybody's.
        ([(None, None), (found(OLD, 8), found(OLD, 9)), (None, None)], any(), begin(0, of_archive(1), 9)),
        ([(None, None), (None, found(OLD, 9)), (None, None)], by(2), begin(2, of_archive(1), 9)),
        ([(found(OLD, 9), None), (found(OLD, 9), None), (None, None)], by(1), begin(1, Take::Disk, 9)),
        (
            [(found(OLD, 9), found(OLD, 8)), (found(OLD, 7), None), (None, None)],
            of(1),
            begin(1, Take::Disk, 7),
        ),
    ] {
        let nodes = nodes(ends);
        assert_eq!(decide(&nodes, wish).unwrap(), expected, "{:#?}", lines(&nodes, &expected, false));
    }
    // What a recovery made is newer than what it was made of, whatever the indexes say.
    let mut all = nodes([(found(OLD, 90), found(OLD, 80)), (found(NEW, 9), None), (None, None)]);
    refused(&all, any(), Exit::Refused, "neither of which continues the other");
    all[1].report.disk.as_mut().unwrap().parents = vec![parent(NEW, OLD, &[])];
    assert_eq!(decide(&all, any()).unwrap(), begin(1, Take::Disk, 9));
    assert_eq!(decide(&all, of(0)).unwrap(), begin(0, Take::Disk, 90));
    // Unless it was undone.
    all[0].report.disk.as_mut().unwrap().parents = vec![parent(OLD, OLD, &[NEW])];
    assert_eq!(decide(&all, any()).unwrap(), begin(0, Take::Disk, 90));
    let two = nodes([(found(OLD, 5), None), (found(OLD, 9), found(OLD, 7)), (None, None)]);
    refused(
        &two,
        by(0),
        Exit::Refused,
        "core@e0 has generation 7 of core@e1 (cluster c, index 7 of term 2), 2",
    );
    refused(&nodes([(None, None), (None, None), (None, None)]), any(), Exit::NotFound, "no node has data");
}

#[test]
fn a_recovery_that_was_cut_off_goes_on() {
    let disks = || nodes([(found(OLD, 50), None), (found(OLD, 49), None), (found(OLD, 50), None)]);
    let go_on = |nodes: &[Node], left: &[usize]| Way::GoOn {
        record: Box::new(record(nodes)),
        first: 0,
        left: left.to_vec(),
    };
    for (done, left) in [(&[0][..], &[1, 2][..]), (&[0, 1], &[2]), (&[1, 2], &[0]), (&[0, 1, 2], &[])] {
        let mut all = disks();
        recovered(&mut all, done);
        assert_eq!(decide(&all, Wish::default()).unwrap(), go_on(&all, left), "{done:?}");
        // It serves already: who is missing writes its part all the same.
        all[done[0]].report.healthy = true;
        assert_eq!(decide(&all, Wish::default()).unwrap(), go_on(&all, left), "{done:?}");
    }
    // A member has acknowledged more: who comes back from the recovery's point would forget it.
    let mut all = disks();
    recovered(&mut all, &[0, 1]);
    let disk = all[1].report.disk.as_mut().unwrap();
    (disk.term, disk.index) = (3, 56);
    let anew = Way::Begin { first: 1, take: Take::Disk, end: LogPosition { index: 56, term: 3 } };
    assert_eq!(decide(&all, Wish::default()).unwrap(), anew);
    // So says the backup of one that lost its disk.
    let mut all = disks();
    recovered(&mut all, &[0, 1]);
    (all[2].report.disk, all[2].report.archive) = (None, Some(Found { term: 3, ..found(NEW, 56).unwrap() }));
    assert_eq!(
        decide(&all, Wish::default()).unwrap(),
        Way::Begin {
            first: 0,
            take: Take::Archive { machine_id: "m2".into(), generation: 0 },
            end: LogPosition { index: 56, term: 3 }
        }
    );
    // Long ago: who has neither disk nor backup may have been one of a quorum.
    let mut all = disks();
    recovered(&mut all, &[0, 1]);
    all.iter_mut().for_each(|n| n.report.time += 3700);
    assert_eq!(decide(&all, Wish::default()).unwrap(), begin(0, Take::Disk, 55));
    // A recovery of other nodes.
    let mut all = disks();
    recovered(&mut all, &[0]);
    all[0].report.record.as_mut().unwrap().members.pop();
    assert_eq!(decide(&all, Wish::default()).unwrap(), begin(0, Take::Disk, 55));
}

#[test]
fn what_lives_is_healed() {
    let mut all = nodes([(found(OLD, 5), None), (found(OLD, 5), None), (found(OLD, 5), None)]);
    let one_by_one = Wish { one_by_one: true, ..Wish::default() };
    all[1].report.healthy = true;
    refused(&all, Wish::default(), Exit::Refused, "not healthy: core@e0, core@e2");
    assert_eq!(decide(&all, one_by_one).unwrap(), Way::Join { first: 1, left: vec![0, 2] });
    all.iter_mut().for_each(|n| n.report.healthy = true);
    assert_eq!(decide(&all, Wish::default()).unwrap(), Way::Nothing);
    all[2].report.disk.as_mut().unwrap().cluster_id = NEW;
    refused(&all, one_by_one, Exit::Refused, "serves as a member of cluster c, core@e2 of cluster d");
}

#[test]
fn what_a_node_could_not_find_out_is_no_answer() {
    let doubt =
        |about, exit: Exit, unasked| Doubt { about, why: "it is down".into(), code: exit as u8, unasked };
    let any = Wish::default;
    let of = |source| Wish { source: Some(source), ..any() };
    let remote = || doubt(About::Archive, Exit::Remote, true);
    let unread = || doubt(About::Disk, Exit::Failed, true);
    let damaged = || doubt(About::Disk, Exit::Corrupt, false);
    let ends = |first, second| nodes([(first, None), (second, None), (found(OLD, 5), None)]);
    let nothing = || nodes([(None, None), (None, None), (None, None)]);
    let with = |mut all: Vec<Node>, doubts: &[(usize, Doubt)]| {
        doubts.iter().for_each(|(n, doubt)| all[*n].report.doubts.push(doubt.clone()));
        all
    };
    // Nobody has anything: only if everybody could look.
    refused(&with(nothing(), &[(0, damaged())]), any(), Exit::NotFound, "no node has data");
    let down = with(nothing(), &[(0, remote()), (1, remote()), (2, remote())]);
    refused(&down, any(), Exit::Remote, "core@e0: the archive: it is down; core@e1: the archive: it is down");
    refused(
        &down,
        of(1),
        Exit::Remote,
        "could not determine which data is the freshest: core@e1: the archive: it is down",
    );
    // A disk has what its machine has in the remote.
    let all = with(ends(found(OLD, 9), found(OLD, 7)), &[(0, remote()), (1, remote()), (2, remote())]);
    assert_eq!(decide(&all, any()).unwrap(), begin(0, Take::Disk, 9));
    // One that could not be looked at may be the freshest; one that is damaged is not.
    let all = with(ends(found(OLD, 9), None), &[(1, remote())]);
    refused(&all, any(), Exit::Remote, "core@e1: the archive: it is down");
    assert_eq!(decide(&all, of(0)).unwrap(), begin(0, Take::Disk, 9));
    let all = with(ends(found(OLD, 9), None), &[(1, unread())]);
    refused(&all, any(), Exit::Failed, "core@e1: the disk: it is down");
    let all = with(ends(found(OLD, 9), None), &[(1, damaged())]);
    assert_eq!(decide(&all, any()).unwrap(), begin(0, Take::Disk, 9));
    // Whoever lives must not be stopped, whatever is wished.
    let health = doubt(About::Health, Exit::Settings, true);
    let mut all = with(ends(found(OLD, 9), found(OLD, 9)), &[(1, health)]);
    for (healthy, wish) in [(false, any()), (false, of(0)), (true, Wish { one_by_one: true, ..any() })] {
        all[0].report.healthy = healthy;
        refused(
            &all,
            wish,
            Exit::Settings,
            "could not determine whether etcd on core@e1 has a quorum: it is down",
        );
    }
    let text = render(&down, &Way::Nothing, false, 80);
    for line in [
        "disk         -     -  nothing",
        "archive      -     -  not known",
        "core@e0 (e0): warning: the archive: it is down",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn nodes_that_do_not_belong_together_are_refused() {
    type Change = fn(&mut Report);
    let changes: [(Change, &str); 5] = [
        (|r| r.machine_id = "m0".into(), "the same machine ID: m0"),
        (|r| r.name = "e0".into(), "the same member name: e0"),
        (|r| r.peer_urls = vec!["http://E0:2380".into()], "the same peer URL"),
        (|r| r.endpoint = "other:".into(), "backs up to"),
        (|r| r.time += 7200, "2 h apart"),
    ];
    for (change, words) in changes {
        let mut all = nodes([(found(OLD, 5), None), (None, None), (None, None)]);
        change(&mut all[2].report);
        refused(&all, Wish::default(), Exit::Refused, words);
    }
}

#[test]
fn an_etcd_that_would_make_another_cluster_is_refused_where_it_would_be_started() {
    let mut all = nodes([(found(OLD, 5), None), (found(OLD, 5), None), (found(OLD, 5), None)]);
    all[2].report.bootstrap = Some("etcd is given force-new-cluster".into());
    refused(&all, Wish::default(), Exit::Refused, "core@e2: etcd is given force-new-cluster");
    // It serves, and nothing is done to it.
    let one_by_one = Wish { one_by_one: true, ..Wish::default() };
    all[2].report.healthy = true;
    assert_eq!(decide(&all, one_by_one).unwrap(), Way::Join { first: 2, left: vec![0, 1] });
}

#[test]
fn a_member_that_is_not_named_is_told_of() {
    let member = |at: u64| RecordedMember {
        id: at,
        name: format!("e{at}"),
        peer_urls: vec![format!("http://e{at}:2380")],
    };
    let with = |found: Option<Found>, ids: &[u64]| {
        found.map(|found| Found { members: ids.iter().map(|id| member(*id)).collect(), ..found })
    };
    let told = |all: &[Node]| {
        let way = decide(all, Wish::default()).unwrap();
        let lines = lines(all, &way, false);
        lines.into_iter().filter(|line| line.contains("not one of these nodes")).collect::<Vec<_>>()
    };
    let mut all = nodes([(with(found(OLD, 9), &[0, 1, 2]), None), (None, None), (None, None)]);
    assert_eq!(told(&all), Vec::<String>::new());
    // Two are named of the three that the newest list has; an older one, or another cluster's, says nothing.
    all[1].report.disk = with(found(OLD, 8), &[0, 1, 2, 3]);
    assert_eq!(told(&all), Vec::<String>::new());
    all.truncate(2);
    let lines = told(&all);
    assert!(
        lines.len() == 1
            && lines[0].contains("warning: e2 (http://e2:2380) is a member in the WAL of core@e0"),
        "{lines:?}"
    );
    // Of a backup the disks of its cluster know.
    all[1].report.archive = found(OLD, 10);
    assert!(told(&all)[0].contains("in the WAL of core@e0"));
    all[0].report.disk.as_mut().unwrap().cluster_id = NEW;
    all[1].report.disk = None;
    all[0].report.disk = None;
    assert_eq!(told(&all), Vec::<String>::new());
}
