//! Which of xtask's rooms may use which: each only those on floors below its own. And no file is in a circle with another.

use std::collections::BTreeSet;
use std::path::Path;

use testkit::modules::Modules;

/// The floors from below. Two rooms on one floor do not know each other.
const FLOORS: [&[&str]; 8] = [
    &["checkout"],
    &["site"],
    &["units"],
    &["package"],
    &["program"],
    &["build", "demo", "docs", "fuzz", "init", "lab", "lint", "picture", "promise", "release", "soak"],
    &["test"],
    &["main"],
];

/// The tasks, without what is there for tests alone.
fn xtask() -> Modules {
    let mut all = Modules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    all.0.retain(|module, _| module[0] != "bad_input");
    all
}

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} has no floor"))
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let files = xtask().0;
    let rooms: BTreeSet<&str> = files.keys().map(|module| module[0].as_str()).collect();
    assert_eq!(rooms, FLOORS.iter().flat_map(|rooms| rooms.iter().copied()).collect(), "the table of floors");
    for (module, named) in &files {
        for path in named {
            let (from, to) = (module[0].as_str(), path[0].as_str());
            let fine = from == to || (rooms.contains(to) && floor(from) > floor(to));
            assert!(fine, "{} uses {}, which is not below it", module.join("::"), path.join("::"));
        }
    }
}

#[test]
fn no_file_is_in_a_circle() {
    let circles = xtask().in_circles();
    assert!(circles.is_empty(), "these are in a circle: {circles:#?}");
}
