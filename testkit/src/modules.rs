//! What the modules of a crate name of each other, read from its sources: for the tests that keep the order of its rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use walkdir::WalkDir;

/// A module's path below the crate: `["restore", "plan"]`; that of `lib.rs` is empty.
pub type Module = Vec<String>;

/// The modules of a crate, each with all that its code names with `crate` or `super`, outside tests.
#[derive(Debug)]
pub struct Modules(pub BTreeMap<Module, BTreeSet<Module>>);

impl Modules {
    /// Reads the files below `src`, but for those named `tests.rs`.
    ///
    /// # Panics
    /// One of them cannot be read.
    pub fn read(src: &Path) -> Self {
        let files = WalkDir::new(src).into_iter().map(|e| e.unwrap().into_path());
        let code = files.filter(|p| p.extension().is_some_and(|e| e == "rs") && !p.ends_with("tests.rs"));
        let read = |path: std::path::PathBuf| {
            let module = module_of(path.strip_prefix(src).unwrap());
            let named = named_in(&fs::read_to_string(&path).unwrap(), &module);
            (module, named)
        };
        Self(code.map(read).collect())
    }

    /// The modules that use one that uses them, themselves or through others. `lib.rs` counts as used by nobody.
    pub fn in_circles(&self) -> Vec<String> {
        let file_of =
            |named: &Module| (0..=named.len()).rev().find_map(|n| self.0.get_key_value(&named[..n]));
        let uses: BTreeMap<&Module, BTreeSet<&Module>> = self
            .0
            .iter()
            .map(|(module, named)| {
                let files = named.iter().filter_map(file_of).map(|(file, _)| file);
                (module, files.filter(|file| *file != module && !file.is_empty()).collect())
            })
            .collect();
        let is_in_one = |module: &&&Module| {
            let mut reached: BTreeSet<&Module> = BTreeSet::new();
            let mut next: Vec<&Module> = uses[**module].iter().copied().collect();
            while let Some(file) = next.pop() {
                if reached.insert(file) {
                    next.extend(uses[file].iter().copied());
                }
            }
            reached.contains(**module)
        };
        uses.keys().filter(is_in_one).map(|module| module.join("::")).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_lists_and_tests_are_left_out() {
        let text = "use crate::{a::{b, self}, c};\n// crate::no\nfn f() { super::d::e() }\n#[cfg(test)]\nmod tests {\n    use crate::no;\n}";
        let module = ["x", "y"].map(String::from).to_vec();
        let got: Vec<String> = named_in(text, &module).iter().map(|path| path.join("::")).collect();
        assert_eq!(got, ["a", "a::b", "c", "x::d::e"]);
    }

    #[test]
    fn a_circle_is_found_through_others() {
        let module = |name: &str| vec![name.to_owned()];
        let uses = |from: &str, to: &[&str]| (module(from), to.iter().map(|to| module(to)).collect());
        let all = [uses("a", &["b"]), uses("b", &["c"]), uses("c", &["b"]), uses("d", &[])];
        assert_eq!(Modules(all.into_iter().collect()).in_circles(), ["b", "c"]);
    }
}
