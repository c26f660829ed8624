//! Arguments against the tables.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lexopt::{Arg, Parser};

use super::option::{Does, Opt, VerbTable};
use super::{Cli, GLOBALS, PROGRAM, VERBS, help};
use crate::exit::{Exit, fault};
use crate::nearest::nearest;

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// To run a verb.
    Run(Cli),
    /// To print this text.
    Help(String),
    /// To print [`super::version`].
    Version,
}

/// A command line that was not understood.
#[derive(Debug, PartialEq, Eq)]
pub struct UsageError {
    /// The argument and what is wrong with it.
    pub what: String,
    /// What to write instead, or where to read it.
    pub hint: String,
}

impl UsageError {
    /// The same as the error that every command has.
    pub fn into_fault(self) -> anyhow::Error {
        fault(Exit::Usage, self.what, self.hint)
    }
}

type Table = Option<&'static VerbTable>;

/// Parses the arguments behind the program's name.
///
/// # Errors
/// What is unknown, repeated, missing or too much.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Parsed, UsageError> {
    let mut parser = Parser::from_args(arguments);
    let (mut verb, mut helping): (Table, bool) = (None, false);
    let mut given: Vec<(&Opt, OsString)> = Vec::new();
    while let Some(argument) = parser.next().map_err(|e| malformed(&e, verb))? {
        let option = match argument {
            Arg::Value(word) => {
                match verb {
                    None if word == "help" => helping = true,
                    None => verb = Some(verb_named(&word)?),
                    Some(VerbTable { argument: Some(argument), any_number, .. })
                        if !helping
                            && (*any_number || !given.iter().any(|(o, _)| o.name == argument.name)) =>
                    {
                        given.push((argument, word));
                    }
                    Some(known) => {
                        let what = format!("{} takes no argument {}", known.name, word.display());
                        return Err(error(what, see(verb)));
                    }
                }
                continue;
            }
            Arg::Long(name) => options(verb).find(|o| o.name == name).ok_or_else(|| unknown(name, verb))?,
            Arg::Short(letter) => options(verb)
                .find(|o| o.short == Some(letter))
                .ok_or_else(|| error(format!("there is no option -{letter}"), see(verb)))?,
        };
        match option.does {
            Does::Help => return Ok(Parsed::Help(help::text(verb))),
            Does::Version => return Ok(Parsed::Version),
            Does::Put(_) => {}
        }
        if given.iter().any(|(o, _)| o.name == option.name) {
            return Err(error(format!("--{} is given twice", option.name), "say it once".to_owned()));
        }
        given.push((option, value_of(option, &mut parser, verb)?));
    }
    if helping {
        return Ok(Parsed::Help(help::text(verb)));
    }
    let Some(verb) = verb else {
        return Err(error("there is no verb".to_owned(), format!("one of {}; {}", names(), see(None))));
    };
    fill(verb, &given).map(Parsed::Run)
}

/// The options that may stand here: those of the verb, if it was said already, and those of all.
fn options(verb: Table) -> impl Iterator<Item = &'static Opt> {
    verb.map_or(&[][..], |v| v.options).iter().chain(GLOBALS)
}

/// The value behind an option, or behind its `=`. One that looks like an option is the next option: `./-x` is a path.
fn value_of(option: &Opt, parser: &mut Parser, verb: Table) -> Result<OsString, UsageError> {
    if option.value.is_empty() {
        return Ok(OsString::new());
    }
    let value = parser.optional_value().or_else(|| {
        let dashed = |a: &OsStr| a.as_encoded_bytes().starts_with(b"-");
        // Where the value may be left out, what cannot be it is the next argument.
        let fits =
            |a: &OsStr| !option.may_be_alone() || verb.is_some_and(|v| put(&mut begin(v), option, a).is_ok());
        parser.try_raw_args()?.next_if(|a| !dashed(a) && fits(a))
    });
    if value.is_none() && option.may_be_alone() {
        return Ok(OsString::new());
    }
    value.filter(|v| !v.is_empty()).ok_or_else(|| {
        let choices = if option.choices.is_empty() { String::new() } else { one_of(option) + "; " };
        error(format!("--{} needs a value, {}", option.name, option.value), choices + &see(verb))
    })
}

/// The command line of a verb: the defaults first, then what was given.
fn fill(verb: &'static VerbTable, given: &[(&Opt, OsString)]) -> Result<Cli, UsageError> {
    let missing = |a: &&Opt| !verb.any_number && !given.iter().any(|(o, _)| o.name == a.name);
    if let Some(argument) = verb.argument.as_ref().filter(missing) {
        return Err(error(format!("{} needs a {}", verb.name, argument.value), see(Some(verb))));
    }
    let mut cli = begin(verb);
    let defaults = options(Some(verb)).filter_map(|o| Some((o, OsStr::new(o.default?))));
    for (option, value) in defaults.chain(given.iter().map(|(o, v)| (*o, v.as_os_str()))) {
        put(&mut cli, option, value).map_err(|wanted| {
            let near = nearest(&value.to_string_lossy(), option.choices.iter().map(|(name, _)| *name));
            let is_argument = verb.argument.as_ref().is_some_and(|a| a.name == option.name);
            let dashes = if is_argument { "" } else { "--" };
            let what = format!("{dashes}{} {} is not {wanted}", option.name, value.display());
            error(what, is_it("", near) + &see(Some(verb)))
        })?;
    }
    Ok(cli)
}

/// The command line before any option or default.
fn begin(verb: &VerbTable) -> Cli {
    Cli { root: PathBuf::new(), verbose: false, verb: (verb.begin)() }
}

/// Puts a value into its field; the error is what it is not.
fn put(cli: &mut Cli, option: &Opt, value: &OsStr) -> Result<(), String> {
    let listed = option.choices.is_empty() || option.choices.iter().any(|(name, _)| value == *name);
    match option.does {
        Does::Put(put) if listed => put(cli, value).map_err(str::to_owned),
        _ => Err(one_of(option)),
    }
}

fn verb_named(word: &OsStr) -> Result<&'static VerbTable, UsageError> {
    VERBS.iter().find(|v| word == v.name).ok_or_else(|| {
        let word = word.to_string_lossy();
        let near = nearest(&word, shown().chain(["help"]));
        let known = near.map_or(format!("one of {}; ", names()), |n| is_it("", Some(n)));
        error(format!("there is no verb {word}"), known + &see(None))
    })
}

fn shown() -> impl Iterator<Item = &'static str> {
    VERBS.iter().filter(|v| !v.hidden).map(|v| v.name)
}

fn names() -> String {
    shown().collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str, verb: Table) -> UsageError {
    let near = nearest(name, options(verb).map(|o| o.name));
    let of_a_verb = || VERBS.iter().any(|v| v.options.iter().any(|o| o.name == name));
    let hint = match verb {
        None if near.is_none() && of_a_verb() => "a verb's own options stand behind the verb; ".to_owned(),
        _ => is_it("--", near),
    };
    error(format!("there is no option --{name}"), hint + &see(verb))
}

/// What lexopt itself refuses: a value where there is none to take.
fn malformed(e: &lexopt::Error, verb: Table) -> UsageError {
    match e {
        lexopt::Error::UnexpectedValue { option, .. } => error(format!("{option} takes no value"), see(verb)),
        e => error(e.to_string(), see(verb)),
    }
}

fn one_of(option: &Opt) -> String {
    let names: Vec<&str> = option.choices.iter().map(|(name, _)| *name).collect();
    format!("one of {}", names.join(", "))
}

/// The start of a hint; nothing if nothing is near.
fn is_it(dashes: &str, near: Option<&str>) -> String {
    near.map_or(String::new(), |near| format!("is it {dashes}{near}? "))
}

fn see(verb: Table) -> String {
    let verb = verb.map_or(String::new(), |v| format!(" {}", v.name));
    format!("see {PROGRAM}{verb} --help")
}

fn error(what: String, hint: String) -> UsageError {
    UsageError { what, hint }
}
