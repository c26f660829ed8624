//! The operator's own values for the templates: `[vars]` in the settings, and `--set key=value`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::faults::Faults;
use super::validate::{check_one_line, refuse};

/// All of them by name; a template writes `vars.NAME`.
pub(crate) type Vars = BTreeMap<String, Var>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "a value below [vars] must be text in quotes, a whole number, true or false")]
pub(crate) enum Var {
    /// For conditions.
    Flag(bool),
    /// As it is written.
    Number(i64),
    /// One line; escaped where it is put into a unit.
    Text(String),
}

/// The values of the command line, checked.
pub(crate) fn parse_set(words: &[String]) -> Result<Vars> {
    let mut all = Vars::new();
    for word in words {
        let Some((name, value)) = word.split_once('=') else {
            return Err(refuse(format!("--set {word:?} has no \"=\""), "write --set name=value"));
        };
        all.insert(name.to_owned(), parse_var(value));
    }
    check_vars(&all).context("--set")?;
    Ok(all)
}

/// Each has a name that a template can write, and is one line.
pub(crate) fn check_vars(vars: &Vars) -> Result<()> {
    let mut faults = Faults::default();
    for (name, value) in vars {
        faults.take(check_name(name).and_then(|()| match value {
            Var::Text(text) => check_one_line(&format!("vars.{name}"), text),
            Var::Flag(_) | Var::Number(_) => Ok(()),
        }));
    }
    faults.or(())
}

/// A value of the command line: `true`, `false` and whole numbers are what they look like, all else is text.
fn parse_var(text: &str) -> Var {
    match (text, text.parse::<i64>()) {
        ("true", _) => Var::Flag(true),
        ("false", _) => Var::Flag(false),
        // "007" and "+1" would not come out as they went in.
        (_, Ok(number)) if number.to_string() == text => Var::Number(number),
        _ => Var::Text(text.to_owned()),
    }
}

/// A template could not write another name as `vars.NAME`.
fn check_name(name: &str) -> Result<()> {
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Ok(());
    }
    let what = format!("{name:?} is not the name of a variable");
    Err(refuse(what, "use letters, digits and _, and no digit at the beginning: templates write vars.NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::hint_of;

    #[test]
    fn the_command_line_says_numbers_and_flags_as_they_are() {
        let set = ["a=no=w", "c=-7", "d=true", "e=007", "f=", "g=false", "h=+1", "g=1.5"].map(String::from);
        let text = |t: &str| Var::Text(t.into());
        let want = [
            ("a", text("no=w")),
            ("c", Var::Number(-7)),
            ("d", Var::Flag(true)),
            ("e", text("007")),
            ("f", text("")),
            ("g", text("1.5")),
            ("h", text("+1")),
        ];
        assert_eq!(parse_set(&set).unwrap(), want.map(|(n, v)| (n.to_owned(), v)).into());
    }

    #[test]
    fn refusals() {
        let name = "use letters, digits and _, and no digit at the beginning: templates write vars.NAME";
        for (set, want) in [
            ("a", "--set \"a\" has no \"=\" | write --set name=value".to_owned()),
            ("=x", format!("--set: \"\" is not the name of a variable | {name}")),
            ("a-b=x", format!("--set: \"a-b\" is not the name of a variable | {name}")),
            ("1a=x", format!("--set: \"1a\" is not the name of a variable | {name}")),
            (
                "a=x\ny",
                "--set: vars.a contains a line break | write the value on one line, in plain characters"
                    .into(),
            ),
        ] {
            let error = parse_set(&[set.to_owned()]).unwrap_err();
            assert_eq!(format!("{error:#} | {}", hint_of(&error).unwrap()), want);
        }
    }
}
