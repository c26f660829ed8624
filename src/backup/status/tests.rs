use super::around::{Around, Installed, Timer};
use super::*;
use crate::backup::state::tests::state;
use crate::cluster::own::Own;
use crate::node::fence::{By, Fence};
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
        is_freshest: None,
        bases: bases::Bases::default(),
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
    let alone =
        |freshest| move |f: &mut Facts| (f.etcd, f.is_freshest) = (answered(false, None), Some(freshest));
    assert_eq!(judged(alone(true)), (7, Some(60), vec!["alone"]));
    assert_eq!(judged(alone(false)), (7, Some(60), vec!["cut-off"]));
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
    assert_eq!(judged(empty), (6, Some(60), vec!["went-back"]));
}

/// Raft's order: term before index. And what was committed is in every log that goes on from there.
#[test]
fn a_log_went_back_by_its_term_and_by_what_was_committed() {
    let ends = |term, index| {
        move |f: &mut Facts| {
            // Of the 50 that were sent, 45 were known to be committed.
            let state = f.state.as_mut().unwrap();
            state.hard_state.commit = 45;
            state.arrived();
            (f.new.last, f.new.begins) = (LogPosition { index, term }, Some("not as it was".into()));
            f.etcd = answered(true, Some(index));
        }
    };
    // A new leader has replaced five entries by three: they were not sent.
    assert_eq!(judged(ends(3, 48)), (3, Some(60), vec![]));
    assert_eq!(judged(ends(3, 60)), (15, Some(60), vec![]));
    assert_eq!(judged(ends(2, 60)), (10, Some(60), vec![]));
    // An older directory that was written on, and an empty one that was started often.
    assert_eq!(judged(ends(1, 60)), (60, Some(60), vec!["went-back"]));
    assert_eq!(judged(ends(7, 44)), (44, Some(60), vec!["went-back"]));
    // A part that did not arrive has replaced what was sent.
    let pending = |f: &mut Facts| {
        ends(3, 48)(f);
        let state = f.state.as_mut().unwrap();
        (state.last, state.pending) = (f.new.last, Some("1/2.part".into()));
        (f.new.begins, f.new.writes) = (None, 0);
    };
    assert_eq!(judged(pending), (3, Some(60), vec![]));
}

/// Nothing is wrong around it.
fn around() -> Around {
    let timer = |what, runs, next| Timer { what, runs, next };
    Around {
        now: NOW,
        fence: Fence::Down,
        timers: vec![
            timer("backup", true, Some(NOW + 12)),
            timer("verify", true, None),
            timer("rehearse", false, None),
        ],
        program: "etcd2-backup 0.1.0".into(),
        installed: Installed::AsRecorded(15),
        founder: vec!["http://e1:2380".into()],
        is_founder: Some(false),
    }
}

/// What is said, with all warnings.
fn said(around: &Around, facts: &Facts) -> (String, Value) {
    let judgement = judge(facts);
    let warnings = [around.warnings(), judgement.warnings.clone()].concat();
    let data = Ok((facts, &judgement));
    (text(around, data, &warnings, 80), json(around, data, &warnings))
}

#[test]
fn it_is_said_for_people_and_for_programs() {
    let (mut around, mut facts) = (around(), facts());
    around.timers[0].runs = false;
    let (text_of, value) = said(&around, &facts);
    let want = "would lose  at most 7 entries, of the last 60 s: they came after the last backup\n\
                log         up to index 60 of term 2, of member 4 of cluster 3\n\
                remote      up to index 50 of generation 1, in r:p/id\n\
                captured    1970-01-01T02:45:40Z (60 s ago)\n\
                etcd        runs and has a quorum, applied up to index 50\n\
                verified    1970-01-01T02:46:39Z (1 s ago)\n\
                rehearsed   never; the timer cannot rehearse here: there is no etcd\n\
                timers      backup off, verify now, rehearse off\n\
                program     etcd2-backup 0.1.0; 15 files are as installed\n\
                founder     http://e1:2380, another node\n\
                warning     etcd2-backup.timer does not run: automatic backups are off\n\
                \x20           hint: sudo systemctl enable --now etcd2-backup.timer\n\
                next        sudo systemctl enable --now etcd2-backup.timer\n";
    assert_eq!(text_of, want);
    assert_eq!(
        (&value["lost_entries"], &value["lost_seconds"], &value["index"]),
        (&7.into(), &60.into(), &50.into())
    );
    assert_eq!((&value["log_term"], &value["term"]), (&2.into(), &2.into()));
    assert_eq!((&value["warnings"][0]["kind"], &value["timer"]), (&"timer".into(), &false.into()));
    facts.etcd = Asked::Unknown("GET https://e1: (58)".into());
    let (text_of, value) = said(&around, &facts);
    assert!(text_of.contains("etcd        could not be asked: GET https://e1: (58)\n"));
    assert_eq!(value["etcd"], "unknown");
    facts.state = None;
    let (text_of, _) = said(&around, &facts);
    assert!(text_of.starts_with("would lose  all 60 entries: no backup was made\n"));
}

#[test]
fn entries_that_change_nothing_are_explained() {
    let (around, mut facts) = (around(), facts());
    facts.new.writes = 0;
    let (text_of, value) = said(&around, &facts);
    assert!(text_of.starts_with("would lose  nothing\n"), "{text_of}");
    let flat = text_of.replace("\n            ", " ");
    assert!(flat.contains("; the last 10 entries change"), "{text_of}");
    assert!(text_of.ends_with("next        nothing has to be done\n"), "{text_of}");
    assert_eq!((&value["idle_entries"], &value["next"]), (&10.into(), &Value::Null));
}

#[test]
fn a_v3_store_that_is_not_in_the_backups_would_be_lost() {
    let (around, mut facts) = (around(), facts());
    facts.bases.left_out_of = Some(1);
    let first = |facts: &Facts| said(&around, facts).0.replace("\n            ", " ");
    let store = "the v3 store, which generation 1 does not have\n";
    let said_first = first(&facts);
    assert!(said_first.starts_with("would lose  at most 7 entries, of the last 60 s: "), "{said_first}");
    assert!(said_first.contains(&format!("after the last backup; and {store}")), "{said_first}");
    facts.new.writes = 0;
    let said_first = first(&facts);
    assert!(
        said_first.starts_with(&format!("would lose  nothing of the v2 store, but {store}")),
        "{said_first}"
    );
    assert!(said_first.ends_with("next        sudo /opt/bin/etcd2-backup base --now\n"), "{said_first}");
}

#[test]
fn what_is_unfinished_comes_first_with_the_command_that_ends_it() {
    let facts = facts();
    for (fence, command) in [
        (Fence::UpBy(By::Restore), "sudo /opt/bin/etcd2-backup restore"),
        (Fence::UpBy(By::Undo), "sudo /opt/bin/etcd2-backup undo"),
        (Fence::UpBy(By::Join), "sudo systemctl start etcd2-join.service"),
        (Fence::UpBy(By::Recover), "etcd2-backup recover NODE…"),
        (Fence::UpByAnother, "cat /etc/etcd2-backup/fence"),
    ] {
        let around =
            Around { fence, installed: Installed::Altered(vec!["/x is missing".into()]), ..around() };
        let (text_of, value) = said(&around, &facts);
        assert!(text_of.starts_with("recovery    ") && text_of.contains("etcd is fenced"), "{text_of}");
        assert!(text_of.contains(&format!("next        {command}")), "{text_of}");
        assert_eq!(text_of.matches("warning     ").count(), 1, "{text_of}");
        let kinds: Vec<&str> = around.warnings().iter().map(|warning| warning.kind).collect();
        assert_eq!(kinds, ["recovery", "altered"]);
        assert!(value["next"].as_str().is_some_and(|next| next.starts_with(command)), "{value}");
        // Nobody could look at the data.
        let text_of = text(&around, Err("it is root's"), &around.warnings(), 80);
        assert!(text_of.contains("would lose  not known: it is root's\n"), "{text_of}");
        assert_eq!(json(&around, Err("it is root's"), &[])["log_index"], Value::Null);
    }
}
