//! What the tables of verbs and options are made of.

use std::ffi::OsStr;

use super::{Cli, Verb};

/// Puts a value into its field, or says what it is not.
pub(super) type Put = fn(&mut Cli, &OsStr) -> Result<(), &'static str>;

/// One option: all that parsing and help know of it.
pub(super) struct Opt {
    pub(super) name: &'static str,
    pub(super) short: Option<char>,
    /// What its value is called; empty when it takes none, in brackets when it may be left out.
    pub(super) value: &'static str,
    pub(super) help: &'static str,
    /// The only values there are, with their help; empty when there are too many to list.
    pub(super) choices: &'static [(&'static str, &'static str)],
    /// The value it has when it is not given.
    pub(super) default: Option<&'static str>,
    pub(super) does: Does,
}

/// What an option does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    Put(Put),
    Help,
    Version,
}

/// An option without a value.
pub(super) const fn flag(name: &'static str, help: &'static str, does: Does) -> Opt {
    valued(name, "", help, does)
}

/// An option with a value.
pub(super) const fn valued(name: &'static str, value: &'static str, help: &'static str, does: Does) -> Opt {
    Opt { name, short: None, value, help, choices: &[], default: None, does }
}

impl Opt {
    pub(super) fn may_be_alone(&self) -> bool {
        self.value.starts_with('[')
    }

    pub(super) const fn short(self, letter: char) -> Self {
        Self { short: Some(letter), ..self }
    }

    pub(super) const fn choices(self, choices: &'static [(&'static str, &'static str)]) -> Self {
        Self { choices, ..self }
    }

    pub(super) const fn default(self, value: &'static str) -> Self {
        Self { default: Some(value), ..self }
    }
}

/// The field an option goes to: `into!(field)` of [`Cli`], `into!(Verb.field)` of that verb's options.
macro_rules! into {
    ($field:ident) => {
        Does::Put(|cli, given| crate::cli::value::put(&mut cli.$field, given))
    };
    ($verb:ident.$field:ident) => {
        Does::Put(|cli, given| match &mut cli.verb {
            Verb::$verb(options) => crate::cli::value::put(&mut options.$field, given),
            _ => Err("an option of this verb"),
        })
    };
}
pub(super) use into;

/// One verb and its options.
pub(super) struct VerbTable {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Not for people: left out of help and hints.
    pub(super) hidden: bool,
    pub(super) options: &'static [Opt],
    /// What stands behind the verb without dashes, exactly once.
    pub(super) argument: Option<Opt>,
    /// Or rather as often as one likes.
    pub(super) any_number: bool,
    /// The verb before any option or default.
    pub(super) begin: fn() -> Verb,
}

/// A verb without options or argument.
pub(super) const fn verb(name: &'static str, summary: &'static str, begin: fn() -> Verb) -> VerbTable {
    VerbTable { name, summary, hidden: false, options: &[], argument: None, any_number: false, begin }
}

impl VerbTable {
    pub(super) const fn options(self, options: &'static [Opt]) -> Self {
        Self { options, ..self }
    }

    pub(super) const fn argument(self, argument: Opt) -> Self {
        Self { argument: Some(argument), ..self }
    }

    pub(super) const fn arguments(self, argument: Opt) -> Self {
        Self { argument: Some(argument), any_number: true, ..self }
    }

    pub(super) const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}
