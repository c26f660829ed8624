use super::super::state::tests::state;
use super::super::state::{Checked, Seen};
use super::*;
use crate::archive::names::PieceName;

fn route(settings: &str, sealed: Option<&str>) -> Route {
    let text = |text: &str| text.to_owned();
    Route { salt: text("s"), settings: text(settings), process: text("p"), sealed: sealed.map(text) }
}

fn link(sequence: u64) -> String {
    format!("{:016x}{:048}", 100 + sequence, 0)
}

/// The state behind `sequence` parts more than the base, of which `checked` were there at the last look.
fn behind(sequence: u64, checked: u64) -> State {
    State {
        sequence,
        link: link(sequence),
        checked: Checked { sequence: checked, link: link(checked) },
        seen: Some(Seen { route: route("r", None), arrived: true, clock: 1000 }),
        ..state(0)
    }
}

/// The same with the last part still to be sent.
fn sending(sequence: u64, checked: u64) -> State {
    State { pending: Some("x".into()), ..behind(sequence, checked) }
}

fn part(sequence: u64) -> PartName {
    let predecessor = if sequence == 0 { 0 } else { 99 + sequence };
    PartName { sequence, first: 1, last: 9, term: 1, time: 0, size: 10, predecessor, link: 100 + sequence }
}

fn object(part: PartName) -> Object {
    Object { path: format!("{}/{part}", state(0).generation_name()), size: part.size }
}

fn whole(last: u64) -> Vec<Object> {
    (0..=last).map(|s| object(part(s))).collect()
}

fn without(objects: &[Object], at: usize) -> Vec<Object> {
    [&objects[..at], &objects[at + 1..]].concat()
}

fn cut(objects: &[Object], at: usize) -> Vec<Object> {
    let mut all = objects.to_vec();
    all[at].size -= 1;
    all
}

/// The part that is found to be missing, and whether it may still come.
fn missing(result: Result<(), Trouble>) -> Option<(u64, bool)> {
    let (late, finding) = match result {
        Ok(()) => return None,
        Err(Trouble::Found(finding)) => (false, finding),
        Err(Trouble::Late { finding, .. }) => (true, finding.expect("it was sent before")),
    };
    assert_eq!((finding.next, finding.other_writer), (GONE, false));
    let number = finding.what.strip_prefix("part ").unwrap().split(' ').next().unwrap();
    Some((number.parse().unwrap(), late))
}

#[test]
fn it_is_looked_at_every_so_many_parts_and_when_the_way_is_another() {
    let same = route("r", None);
    let sealed = |text| route("r", Some(text));
    let by = |state: State, route: Route| State {
        seen: Some(Seen { route, ..state.seen.clone().unwrap() }),
        ..state
    };
    let (all, last) = (Some(Demand::All), Some(Demand::LastLook));
    let table = [
        (behind(0, 0), same.clone(), 1000, None),
        (behind(19, 0), same.clone(), 1000, None),
        (behind(20, 0), same.clone(), 1000, last),
        (behind(39, 20), same.clone(), 1000, None),
        (behind(40, 20), same.clone(), 1000, last),
        // A part on its way was not sent yet.
        (sending(20, 0), same.clone(), 1000, None),
        (behind(3, 0), route("other", None), 1000, all),
        (behind(20, 0), route("other", None), 1000, all),
        (sending(3, 0), route("other", None), 1000, all),
        (behind(3, 0), Route { process: "q".into(), ..same.clone() }, 1000, all),
        (behind(3, 0), Route { salt: "t".into(), ..same.clone() }, 1000, None),
        // Nothing of it was sent yet.
        (sending(0, 0), route("other", None), 1000, None),
        // What an older program wrote.
        (State { seen: None, ..behind(3, 0) }, same.clone(), 1000, all),
        (State { given_up: Some("why".into()), ..behind(40, 20) }, route("other", None), 1000, None),
        // A token each hour, and what may be one.
        (by(behind(3, 0), sealed("a")), sealed("a"), 9_999_999, None),
        (by(behind(3, 0), sealed("a")), sealed("b"), 1000, None),
        (by(behind(3, 0), sealed("a")), sealed("b"), 1000 + SEALED - 1, None),
        (by(behind(3, 0), sealed("a")), sealed("b"), 1000 + SEALED, all),
        (by(behind(3, 0), sealed("a")), sealed("b"), 999, all),
        (by(behind(20, 0), sealed("a")), sealed("b"), 1000, last),
        (behind(3, 0), sealed("a"), 1000, None),
    ];
    for (at, (state, route, now, want)) in table.into_iter().enumerate() {
        assert_eq!(due(&state, &route, now), want, "row {at}");
    }
}

#[test]
fn a_part_must_be_seen_behind_a_new_generation_and_another_way() {
    let mut state = sending(0, 0);
    state.seen = None;
    assert!(must_arrive(&state));
    state.arrived();
    state.seen_whole(&route("r", None), true, 1);
    assert!(!must_arrive(&state));
    // A token alone is not another way.
    state.seen_whole(&route("r", Some("a")), false, 2);
    assert!(!must_arrive(&state));
    state.seen_whole(&route("other", None), false, 3);
    assert!(must_arrive(&state));
    state.seen_whole(&route("other", None), true, 4);
    assert!(!must_arrive(&state));
}

#[test]
fn what_was_there_must_stay_and_what_lags_is_waited_for() {
    let (objects, state) = (whole(40), behind(40, 20));
    for demand in [Demand::LastLook, Demand::All] {
        assert_eq!(look(&objects, &state, &[], demand), Ok(()));
        let table = [
            (objects[..20].to_vec(), 20),
            (without(&objects, 20), 20),
            (without(&objects, 0), 0),
            (without(&objects, 7), 7),
            (cut(&objects, 20), 20),
            (cut(&objects, 3), 3),
            // Elsewhere: the last one alone, or nothing at all.
            (objects[40..].to_vec(), 0),
            (Vec::new(), 0),
        ];
        for (objects, number) in table {
            assert_eq!(missing(look(&objects, &state, &[], demand)), Some((number, false)));
        }
    }
    for at in 21..=40 {
        for objects in [without(&objects, at), cut(&objects, at)] {
            assert_eq!(missing(look(&objects, &state, &[], Demand::LastLook)), None, "{at}");
            let late = missing(look(&objects, &state, &[], Demand::All));
            assert_eq!(late, Some((at as u64, true)), "{at}");
        }
    }
}

#[test]
fn what_is_on_its_way_is_waited_for_whatever_it_is() {
    let state = sending(3, 0);
    let record = Object { path: "recovery/token".into(), size: 7 };
    let sent = [object(part(3)), record.clone()];
    let there = |objects: &[Object]| [objects, std::slice::from_ref(&record)].concat();
    let all = there(&whole(3));
    assert_eq!(look(&all, &state, &sent, Demand::All), Ok(()));
    // What is not sent yet is missed by nobody.
    assert_eq!(look(&whole(2), &state, &[], Demand::All), Ok(()));
    let unknown = |objects: &[Object]| {
        let mut all = objects.to_vec();
        all[3].size = Object::UNKNOWN_SIZE;
        all
    };
    for (objects, words) in [
        (there(&whole(2)), "-0000000000000067.part is not there"),
        (cut(&all, 3), "-0000000000000067.part has 9 bytes there, not 10"),
        (unknown(&all), "-0000000000000067.part there is unknown"),
        (whole(3), "recovery/token is not there"),
    ] {
        match look(&objects, &state, &sent, Demand::All) {
            Err(Trouble::Late { what, finding: None }) => assert!(what.contains(words), "{what}"),
            other => panic!("{words}: {other:?}"),
        }
    }
    // Without its base, or with a hole before it, it is none, wherever it is.
    assert_eq!(missing(look(&there(&[object(part(3))]), &state, &sent, Demand::All)), Some((0, false)));
    assert_eq!(missing(look(&without(&all, 2), &state, &sent, Demand::All)), Some((2, true)));
    // The base itself.
    let base = sending(0, 0);
    assert!(matches!(
        look(&[], &base, &[object(part(0))], Demand::All),
        Err(Trouble::Late { finding: None, .. })
    ));
    assert_eq!(look(&whole(0), &base, &[object(part(0))], Demand::All), Ok(()));
}

#[test]
fn a_base_is_there_with_all_pieces_of_its_store() {
    let piece = |number: u64, predecessor, link| {
        let name = PieceName { number, applied: 5, size: 10, predecessor, link };
        Object { path: format!("{}/{name}", state(0).generation_name()), size: 10 }
    };
    let base = object(PartName { predecessor: 8, ..part(0) });
    let all = [piece(0, 0, 7), piece(1, 7, 8), base.clone()];
    let sending = State { v3_base: Some(20), ..sending(0, 0) };
    let on_its_way = [base];
    assert_eq!(look(&all, &sending, &on_its_way, Demand::All), Ok(()));
    for lacking in [without(&all, 0), without(&all, 1), cut(&all, 1), all[2..].to_vec()] {
        match look(&lacking, &sending, &on_its_way, Demand::All) {
            Err(Trouble::Late { what, finding: Some(finding) }) => {
                assert!(what.starts_with("not all pieces") && finding.next == GONE, "{what}");
            }
            other => panic!("{lacking:?}: {other:?}"),
        }
        let sent = State { v3_base: Some(20), ..behind(0, 0) };
        assert_eq!(missing(look(&lacking, &sent, &[], Demand::All)), Some((0, false)));
    }
}

#[test]
fn what_somebody_else_wrote_is_seen() {
    let whole = whole(5);
    let own = state(0).generation_name();
    let folder = |name: GenerationName| Object { path: format!("{name}/{}", part(0)), size: 10 };
    let beside = GenerationName { writer: own.writer + 1, ..own };
    let later = GenerationName { number: own.number + 1, cluster_id: 9, ..own };
    let earlier = GenerationName { number: own.number - 1, ..beside };
    let cut_off = Object { size: 3, ..object(PartName { link: 7, ..part(6) }) };
    let table = [
        (vec![folder(earlier)], None),
        // Nothing in it has a part's name: it is no generation.
        (vec![Object { path: format!("{later}/junk"), size: 10 }], None),
        (vec![folder(beside)], Some(format!("the generation {beside} "))),
        (vec![folder(beside), folder(later)], Some(format!("the generation {later} "))),
        (vec![object(part(6))], Some(format!("{own}/{} ", part(6)))),
        (vec![cut_off], Some(format!("{own}/00000006-"))),
        (vec![object(PartName { link: 7, ..part(5) })], Some(format!("{own}/00000005-"))),
        (vec![object(PartName { link: 7, ..part(2) })], Some(format!("{own}/00000002-"))),
    ];
    for demand in [Demand::LastLook, Demand::All] {
        for (added, expected) in &table {
            let found = look(&[&whole[..], added].concat(), &behind(5, 5), &[], demand).err();
            let fits = match (&found, expected) {
                (Some(Trouble::Found(found)), Some(start)) => {
                    found.what.starts_with(start) && found.next == TWO_MACHINES && found.other_writer
                }
                (None, None) => true,
                _ => false,
            };
            assert!(fits, "{found:?}, not {expected:?}");
        }
    }
}
