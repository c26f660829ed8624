//! The order of the rooms in src/lib.rs: what stands above uses what stands below, and no two files use each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use testkit::modules::{Module, Modules};

/// The library; the program around it uses its top alone.
fn library() -> Modules {
    let mut all = Modules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    all.0.remove(["main".to_owned()].as_slice());
    all
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let listed = text.lines().filter_map(|line| line.strip_prefix("//! - [`")?.split('`').next());
    let order: Vec<&str> = listed.collect();
    let modules: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), modules, "src/lib.rs lists every room");
    let floor = |module: &Module| order.iter().position(|room| module.first().is_some_and(|m| m == room));
    let mut uses = 0;
    let mut up = Vec::new();
    for (module, named) in &library().0 {
        for other in named.iter().filter(|other| other.first() != module.first()) {
            let (Some(from), Some(to)) = (floor(module), floor(other)) else { continue };
            uses += 1;
            if from > to {
                up.push(format!("{} uses {}", module.join("::"), other.join("::")));
            }
        }
    }
    assert!(uses > 500, "only {uses} uses between rooms were found");
    assert!(up.is_empty(), "{up:#?}");
}

#[test]
fn no_two_files_use_each_other() {
    let circles = library().in_circles();
    assert!(circles.is_empty(), "these are in a circle: {circles:#?}");
}
