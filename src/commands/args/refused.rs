//! A command line that was not understood, in the form of every other error: what is wrong, and the next step.

use std::error::Error as _;
use std::ffi::OsString;

use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use super::{Args, command};
use crate::exit::{Exit, fault};

/// What clap refused, as a fault.
pub(super) fn fault_of(error: &Error, arguments: &[OsString]) -> anyhow::Error {
    let (what, first) = said(error);
    fault(Exit::Usage, what, first + &see(arguments))
}

/// What is wrong, and the start of the hint.
fn said(error: &Error) -> (String, String) {
    let argument = text(error, ContextKind::InvalidArg);
    let value = text(error, ContextKind::InvalidValue);
    let (name, value_name) = names(&argument);
    let choices = text(error, ContextKind::ValidValue);
    match error.kind() {
        ErrorKind::MissingSubcommand => ("no command is given".to_owned(), one_of(&commands().join(", "))),
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand);
            let known = nearest_command(&word);
            let hint = known.map_or_else(|| one_of(&commands().join(", ")), |near| did_you_mean(&near));
            (format!("there is no command {word}"), hint)
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let near = text(error, ContextKind::SuggestedArg);
            let hint = match error.get(ContextKind::Suggested) {
                _ if !near.is_empty() => did_you_mean(&near),
                Some(ContextValue::StyledStrs(there))
                    if there.iter().any(|t| t.to_string().ends_with("exists")) =>
                {
                    "a command's own options go after the command; ".to_owned()
                }
                _ => String::new(),
            };
            (format!("there is no option {argument}"), hint)
        }
        ErrorKind::UnknownArgument => (format!("unexpected argument {argument}"), String::new()),
        ErrorKind::TooManyValues => (format!("{name} takes no value"), String::new()),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if value.is_empty() => {
            let hint = if choices.is_empty() { String::new() } else { one_of(&choices) };
            (format!("{name} needs a value, {value_name}"), hint)
        }
        ErrorKind::InvalidValue => {
            let near = text(error, ContextKind::SuggestedValue);
            let hint = if near.is_empty() { near } else { did_you_mean(&near) };
            (format!("{name} {value} is not one of {choices}"), hint)
        }
        ErrorKind::ValueValidation => {
            let wanted = error.source().map_or("what it takes".to_owned(), ToString::to_string);
            (format!("{name} {value} is not {wanted}"), String::new())
        }
        ErrorKind::MissingRequiredArgument => (format!("{name} is missing"), String::new()),
        ErrorKind::ArgumentConflict if argument == text(error, ContextKind::PriorArg) => {
            (format!("{name} is given twice"), "give it once; ".to_owned())
        }
        ErrorKind::InvalidUtf8 => {
            ("an argument is not UTF-8".to_owned(), "only paths may be non-UTF-8; ".to_owned())
        }
        kind => (kind.as_str().unwrap_or("the command line was not understood").to_owned(), String::new()),
    }
}

fn text(error: &Error, kind: ContextKind) -> String {
    error.get(kind).map(ToString::to_string).unwrap_or_default()
}

/// What an argument and its value are called, of `--root <DIR>`, `--entries[=<FROM..TO>]` or `<PATH>`.
fn names(argument: &str) -> (&str, &str) {
    match argument.find([' ', '=', '[', '<']).filter(|_| argument.starts_with('-')) {
        Some(end) => (&argument[..end], argument[end..].trim_matches([' ', '=', '[', ']', '<', '>'])),
        None => (argument.trim_matches(['[', ']', '<', '>', '.']), ""),
    }
}

/// The command that somebody probably meant; `help` has no suggestions of its own. What people do not type is not among them.
fn nearest_command(word: &str) -> Option<String> {
    let error = Args::try_parse_from([word]).err()?;
    let Some(ContextValue::Strings(near)) = error.get(ContextKind::SuggestedSubcommand) else { return None };
    let shown = commands();
    let is_shown = |name: &&String| *name == "help" || shown.contains(name);
    near.iter().rfind(is_shown).cloned()
}

/// The commands of the help.
fn commands() -> Vec<String> {
    let command = command();
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set());
    shown.map(|c| c.get_name().to_owned()).collect()
}

fn one_of(names: &str) -> String {
    format!("one of {names}; ")
}

fn did_you_mean(near: &str) -> String {
    format!("did you mean {near}? ")
}

/// Which help to read: that of the command, as far as it was understood.
fn see(arguments: &[OsString]) -> String {
    let understood = command().ignore_errors(true).try_get_matches_from(arguments);
    let name = understood.ok().and_then(|m| Some(format!(" {}", m.subcommand_name()?)));
    format!("see etcd2-backup{} --help", name.unwrap_or_default())
}
