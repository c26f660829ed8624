//! The order of the rooms in src/lib.rs: what stands above uses what stands below, and no two files use each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

type Module = Vec<String>;

/// Every module of the library with the modules, or what is in them, that its code names outside tests.
fn library() -> BTreeMap<Module, BTreeSet<Module>> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = WalkDir::new(&src).into_iter().map(|e| e.unwrap().into_path());
    let code = files.filter(|p| p.extension().is_some_and(|e| e == "rs") && !p.ends_with("tests.rs"));
    code.filter(|path| !path.ends_with("main.rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let module = module_of(path.strip_prefix(&src).unwrap());
            let named = named_in(&text, &module);
            (module, named)
        })
        .collect()
}

fn module_of(path: &Path) -> Module {
    let mut parts: Module = path.with_extension("").iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

/// Whole paths of all that begins with `crate` or `super`.
fn named_in(text: &str, module: &Module) -> BTreeSet<Module> {
    let tests = ["\n#[cfg(test)]\nmod tests {", "\n#[cfg(test)]\npub(crate) mod tests {"];
    let code = tests.iter().fold(text, |text, start| text.split(start).next().unwrap());
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut named = BTreeSet::new();
    for (at, word) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let mut leaves = Vec::new();
        read_tree(&code[at..], &mut Vec::new(), &mut leaves);
        for leaf in leaves {
            let up = leaf.iter().take_while(|segment| *segment == "super").count();
            let base = if word == "crate::" { &[][..] } else { &module[..module.len().saturating_sub(up)] };
            let rest = leaf.iter().filter(|segment| !["crate", "super", "self"].contains(&segment.as_str()));
            named.insert(base.iter().chain(rest).cloned().collect());
        }
    }
    named
}

/// Reads `a::b::{c, d::e}`; gives how many bytes that were.
fn read_tree(text: &str, before: &mut Module, leaves: &mut Vec<Module>) -> usize {
    let length = text.len() - text.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len();
    let (word, rest) = text.split_at(length);
    before.push(word.to_owned());
    let mut at = length;
    if rest.starts_with("::{") {
        at += 3;
        while !text[at..].starts_with('}') {
            at += text[at..].len() - text[at..].trim_start_matches([' ', ',']).len();
            match text[at..].starts_with('}') {
                true => break,
                false => at += read_tree(&text[at..], before, leaves),
            }
            let alias = text[at..].split([',', '}']).next().unwrap();
            at += alias.len();
        }
        at += 1;
    } else if rest.starts_with("::") && rest[2..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        at += 2 + read_tree(&rest[2..], before, leaves);
    } else {
        leaves.push(before.clone());
    }
    before.pop();
    at
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
    for (module, named) in &library() {
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
    let library = library();
    let file_of = |named: &Module| (0..=named.len()).rev().find_map(|n| library.get_key_value(&named[..n]));
    let uses: BTreeMap<&Module, BTreeSet<&Module>> = library
        .iter()
        .map(|(module, named)| {
            let files = named.iter().filter_map(file_of).map(|(file, _)| file);
            (module, files.filter(|file| *file != module && !file.is_empty()).collect())
        })
        .collect();
    let circles: Vec<String> = uses
        .keys()
        .filter(|module| {
            let mut reached: BTreeSet<&Module> = BTreeSet::new();
            let mut next: Vec<&Module> = uses[*module].iter().copied().collect();
            while let Some(file) = next.pop() {
                if reached.insert(file) {
                    next.extend(uses[file].iter().copied());
                }
            }
            reached.contains(*module)
        })
        .map(|module| module.join("::"))
        .collect();
    assert!(circles.is_empty(), "these are in a circle: {circles:#?}");
}
