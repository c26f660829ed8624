//! Which of xtask's rooms may use which: each only those on floors below its own. And no file is in a circle with another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// The floors from below. Two rooms on one floor do not know each other.
const FLOORS: [&[&str]; 8] = [
    &["checkout"],
    &["site"],
    &["units"],
    &["package"],
    &["program"],
    &["build", "demo", "docs", "fuzz", "init", "lab", "lint", "promise", "release", "soak"],
    &["test"],
    &["main"],
];

/// A file's module path below the crate, `["site", "runner"]`, and what of it is not for tests.
type Files = BTreeMap<Vec<String>, String>;

fn files() -> Files {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Files::new();
    for entry in WalkDir::new(&src) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(&src).unwrap().with_extension("");
        let mut module: Vec<String> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        let for_tests = module.first().is_some_and(|room| room == "bad_input") || path.ends_with("tests");
        if entry.path().extension().is_none_or(|e| e != "rs") || for_tests {
            continue;
        }
        module.pop_if(|last| last == "mod");
        files.insert(module, shipped(&fs::read_to_string(entry.path()).unwrap()));
    }
    files
}

/// The text without comments and without the tests at its end.
fn shipped(text: &str) -> String {
    let code = |line: &&str| !line.trim_start().starts_with("//");
    let lines: Vec<&str> = text.lines().filter(code).collect();
    let tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].contains("mod tests");
    let end = lines.windows(2).position(tests).unwrap_or(lines.len());
    lines[..end].join("\n")
}

/// Every path in `text` that begins with `crate` or `super`, as it is seen from `module`.
fn paths(module: &[String], text: &str) -> BTreeSet<Vec<String>> {
    let mut all = BTreeSet::new();
    for (word, base) in [("crate::", &[][..]), ("super::", &module[..module.len() - 1])] {
        for (at, _) in text.match_indices(word) {
            walk(&text[at + word.len()..], base.to_vec(), &mut all);
        }
    }
    all
}

/// Follows a path to its end, into each branch of a list in braces.
fn walk(text: &str, mut path: Vec<String>, all: &mut BTreeSet<Vec<String>>) {
    let mut rest = text.trim_start();
    if let Some(list) = rest.strip_prefix('{') {
        let (mut depth, mut begin) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    walk(&list[begin..at], path.clone(), all);
                    begin = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    if !word.is_empty() && word != "self" {
        path.push(word.to_owned());
    }
    rest = behind;
    match rest.strip_prefix("::") {
        Some(rest) => walk(rest, path, all),
        None => drop(all.insert(path)),
    }
}

fn floor(room: &str) -> usize {
    FLOORS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| panic!("{room} has no floor"))
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let files = files();
    let rooms: BTreeSet<&str> = files.keys().map(|module| module[0].as_str()).collect();
    assert_eq!(rooms, FLOORS.iter().flat_map(|rooms| rooms.iter().copied()).collect(), "the table of floors");
    for (module, text) in &files {
        for path in paths(module, text) {
            let (from, to) = (module[0].as_str(), path[0].as_str());
            let fine = from == to || (rooms.contains(to) && floor(from) > floor(to));
            assert!(fine, "{} uses {}, which is not below it", module.join("::"), path.join("::"));
        }
    }
}

#[test]
fn no_file_is_in_a_circle() {
    let files = files();
    let uses = |module: &Vec<String>| -> BTreeSet<Vec<String>> {
        let file = |path: Vec<String>| {
            (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|p| files.contains_key(p))
        };
        paths(module, &files[module]).into_iter().filter_map(file).filter(|other| other != module).collect()
    };
    let mut left: BTreeMap<_, _> = files.keys().map(|module| (module.clone(), uses(module))).collect();
    // Whoever uses nothing that is left is in no circle.
    loop {
        let done: Vec<_> = left
            .iter()
            .filter(|(_, uses)| !uses.iter().any(|u| left.contains_key(u)))
            .map(|(m, _)| m.clone())
            .collect();
        if done.is_empty() {
            break;
        }
        done.iter().for_each(|module| drop(left.remove(module)));
    }
    assert!(left.is_empty(), "in a circle, or above one: {left:#?}");
}

#[test]
fn paths_are_read_from_lists_and_tests_are_left_out() {
    let text = "use crate::{a::{b, self}, c};\n// crate::no\nfn f() { super::d::e() }\n#[cfg(test)]\nmod tests {\n    use crate::no;\n}";
    let module = ["x", "y"].map(String::from);
    let got: Vec<String> = paths(&module, &shipped(text)).iter().map(|path| path.join("::")).collect();
    assert_eq!(got, ["a", "a::b", "c", "x::d::e"]);
}
