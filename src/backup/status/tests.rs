use super::*;
use crate::backup::state::tests::state;
use crate::cluster::own::Own;
use serde_json::Value;

const NOW: u64 = 10_000;

/// Sent up to 50 a minute ago; 7 writes up to 60 came behind.
fn facts() -> Facts {
    let last = LogPosition { index: 50, term: 2 };
    let mut state = State { last, ..state(NOW - 60) };
    state.sync_time = Some(900_000_000_000);
    state.arrived();
    let new = New {
        metadata: state.metadata(),
        last: LogPosition { index: 60, term: 2 },
        writes: 7,
        sync_time: None,
        family: Family::Three,
        begins: None,
    };
    Facts {
        now: NOW,
        max_age: Duration::from_secs(600),
        folder: "r:p/id".into(),
        state: Some(state),
        moved: false,
        new,
        has_parent: false,
        etcd: answered(true, Some(50)),
        open: Open::Here,
        doubt: None,
        in_recovery: false,
        timer: Some(true),
        verified: Some(NOW - 1),
        rehearsed: None,
        rehearse_skipped: Some("there is no etcd".into()),
    }
}

fn answered(is_healthy: bool, applied: Option<u64>) -> Asked {
    Asked::Answered(Own { member_id: 4, is_healthy, applied, holds: Some(true), lags: false })
}

fn judged(change: impl FnOnce(&mut Facts)) -> (u64, Option<u64>, Vec<&'static str>) {
    let mut facts = facts();
    change(&mut facts);
    let Judgement { lost_entries, lost_seconds, because, warnings, .. } = judge(&facts);
    assert_eq!(because.is_some(), lost_entries > 0 || lost_seconds.is_none());
    (lost_entries, lost_seconds, warnings.iter().map(|w| w.kind).collect())
}

#[test]
fn what_would_be_lost() {
    let none = Vec::<&str>::new;
    assert_eq!(judged(|_| {}), (7, Some(60), none()));
    // What is behind the last part writes nothing.
    assert_eq!(judged(|f| f.new.writes = 0), (0, Some(0), none()));
    assert_eq!(judged(|f| f.new = New::nothing_behind(f.state.as_ref().unwrap())), (0, Some(0), none()));
    // The clock was set back.
    assert_eq!(judged(|f| f.now = NOW - 100), (7, Some(1), none()));
    // The leader's clock, where each SYNC has it: it went on by 2.5 s, and etcd stood still since.
    let two = |f: &mut Facts, sync| (f.new.family, f.new.sync_time) = (Family::Two, sync);
    assert_eq!(judged(|f| two(f, Some(902_500_000_000))), (7, Some(3), none()));
    assert_eq!(judged(|f| two(f, None)), (7, Some(1), none()));
    assert_eq!(judged(|f| f.new.sync_time = Some(902_500_000_000)), (7, Some(60), none()));
    // A part was made up to 55, and was not seen to arrive.
    let pending = |f: &mut Facts| {
        let state = f.state.as_mut().unwrap();
        (state.last.index, state.clock, state.pending) = (55, NOW - 30, Some("1/2.part".into()));
    };
    assert_eq!(judged(pending), (5 + 7, Some(60), none()));
    // The next backup begins anew, with all that is behind.
    assert_eq!(judged(|f| f.new.begins = Some("purged".into())), (10, Some(60), none()));
    assert_eq!(judged(|f| f.state = None), (60, None, vec!["never"]));
    assert_eq!(judged(|f| f.state.as_mut().unwrap().sent = None), (60, None, vec!["never"]));
}

#[test]
fn what_somebody_has_to_look_at() {
    assert_eq!(judged(|f| f.now = NOW + 541), (7, Some(601), vec!["old"]));
    assert_eq!(judged(|f| f.now = NOW + 540), (7, Some(600), vec![]));
    assert_eq!(judged(|f| f.etcd = answered(false, None)), (7, Some(60), vec!["cut-off"]));
    assert_eq!(judged(|f| f.etcd = Asked::Silent), (7, Some(60), vec![]));
    let unknown = |f: &mut Facts| f.etcd = Asked::Unknown("GET https://e1: (58)".into());
    assert_eq!(judged(unknown), (7, Some(60), vec![]));
    // etcd knows of more than its log seems to have, or is somebody else.
    let ahead = |f: &mut Facts| f.etcd = answered(true, Some(70));
    assert_eq!(judged(ahead), (17, Some(60), vec!["ends-early"]));
    let idle = |f: &mut Facts| {
        f.new = New::nothing_behind(f.state.as_ref().unwrap());
        f.etcd = answered(true, Some(51));
    };
    assert_eq!(judged(idle), (1, Some(60), vec!["ends-early"]));
    // It writes to another log: all that it has is lost, whatever was sent.
    let own = |change: fn(&mut Own)| {
        move |f: &mut Facts| {
            let Asked::Answered(own) = &mut f.etcd else { panic!() };
            change(own);
        }
    };
    assert_eq!(judged(own(|own| own.member_id = 5)), (50, None, vec!["other-log"]));
    assert_eq!(judged(own(|own| own.holds = Some(false))), (50, None, vec!["unheld"]));
    let unheld = |own: &mut Own| (own.holds, own.applied) = (Some(false), None);
    assert_eq!(judged(own(unheld)), (60, None, vec!["unheld"]));
    let empty = |own: &mut Own| (own.holds, own.applied) = (Some(false), Some(0));
    assert_eq!(judged(own(empty)), (0, None, vec!["unheld"]));
    assert_eq!(judged(own(|own| own.lags = true)), (50, None, vec!["unapplied"]));
    assert_eq!(judged(own(|own| own.holds = None)), (7, Some(60), vec![]));
    // What the look saw.
    let open = |open: fn(String) -> Open| move |f: &mut Facts| f.open = open("it writes to /x".into());
    assert_eq!(judged(open(Open::Elsewhere)), (50, None, vec!["elsewhere"]));
    assert_eq!(judged(open(Open::Untold)), (7, Some(60), vec!["untold"]));
    assert_eq!(judged(open(Open::Unknown)), (7, Some(60), vec![]));
    assert_eq!(judged(|f| f.doubt = Some("it was elsewhere".into())), (7, Some(60), vec!["other-place"]));
    assert_eq!(judged(|f| f.in_recovery = true), (7, Some(60), vec!["recovery"]));
    assert_eq!(judged(|f| f.timer = Some(false)), (7, Some(60), vec!["timer"]));
    assert_eq!(judged(|f| f.timer = None), (7, Some(60), vec![]));
    let other = |f: &mut Facts| (f.new.metadata.cluster_id, f.new.begins) = (9, Some("another".into()));
    assert_eq!(judged(other), (60, None, vec!["other-cluster", "never"]));
    let restored = |f: &mut Facts| {
        other(f);
        f.has_parent = true;
    };
    assert_eq!(judged(restored), (60, None, vec!["never"]));
    assert_eq!(judged(|f| f.moved = true), (60, None, vec!["moved"]));
    assert_eq!(judged(|f| f.state.as_mut().unwrap().give_up("why")), (60, None, vec!["gone"]));
    let empty = |f: &mut Facts| {
        (f.new.last.index, f.new.begins) = (6, Some("not as it was".into()));
        f.etcd = answered(true, Some(6));
    };
    assert_eq!(judged(empty), (0, Some(0), vec!["went-back"]));
}

#[test]
fn it_is_said_for_people_and_for_programs() {
    let mut facts = facts();
    facts.timer = Some(false);
    let judgement = judge(&facts);
    let said = text(&facts, &judgement, 80);
    let want = "would lose  at most 7 entries, of the last 60 s: they came after the last backup\n\
                log         up to index 60, of member 4 of cluster 3\n\
                remote      up to index 50 of generation 1, in r:p/id\n\
                captured    1970-01-01T02:45:40Z (60 s ago)\n\
                etcd        runs and has a quorum, applied up to index 50\n\
                 verified    1970-01-01T02:46:39Z (1 s ago)\n\
                 rehearsed   never; the timer cannot rehearse here: there is no etcd\n\
                warning     etcd2-backup.timer does not run: automatic backups are off\n\
                \x20           hint: sudo systemctl enable --now etcd2-backup.timer\n";
    assert_eq!(said, want);
    let value = json(&facts, &judgement);
    assert_eq!(
        (&value["lost_entries"], &value["lost_seconds"], &value["index"]),
        (&7.into(), &60.into(), &50.into())
    );
    assert_eq!(value["warnings"][0]["kind"], "timer");
    facts.etcd = Asked::Unknown("GET https://e1: (58)".into());
    assert!(text(&facts, &judgement, 80).contains("etcd        could not be asked: GET https://e1: (58)\n"));
    assert_eq!(json(&facts, &judgement)["etcd"], "unknown");
    facts.state = None;
    let judgement = judge(&facts);
    assert!(text(&facts, &judgement, 80).starts_with("would lose  all 60 entries: no backup was made\n"));
    assert_eq!(json(&facts, &judgement)["lost_seconds"], Value::Null);
}
