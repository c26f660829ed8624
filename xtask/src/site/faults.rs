//! All faults of a site, told at once: who mends one should not meet the next one at the next build.

use std::fmt;

use anyhow::Result;
use etcd2_backup::exit::{Exit, OrFault, hint_of};

/// The faults that were found so far. In place of what was refused stands an empty value, with which nothing goes on: see
/// [`Faults::or`].
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<anyhow::Error>);

/// Several faults as one error. Each has its own hint.
#[derive(Debug)]
pub(crate) struct Several(pub(crate) Vec<anyhow::Error>);

impl Faults {
    /// The value; an empty one if it was refused.
    pub(crate) fn take<T: Default>(&mut self, checked: Result<T>) -> T {
        self.take_or(checked, T::default())
    }

    /// The value; another one if it was refused.
    pub(crate) fn take_or<T>(&mut self, checked: Result<T>, otherwise: T) -> T {
        checked.unwrap_or_else(|e| {
            match e.downcast::<Several>() {
                Ok(Several(all)) => self.0.extend(all),
                Err(one) => self.0.push(one),
            }
            otherwise
        })
    }

    /// Adds faults.
    pub(crate) fn extend(&mut self, more: impl IntoIterator<Item = anyhow::Error>) {
        self.0.extend(more);
    }

    /// Whether there is none yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Without those that follow from another one.
    pub(crate) fn retain(&mut self, stays: impl FnMut(&anyhow::Error) -> bool) {
        self.0.retain(stays);
    }

    /// The faults, each with its place before it: a file.
    pub(crate) fn within(self, place: &str) -> Self {
        Self(self.0.into_iter().map(|e| e.context(place.to_owned())).collect())
    }

    /// The end: the value if there was no fault.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T> {
        match self.0.len() {
            0 => Ok(value),
            1 => Err(self.0.remove(0)),
            count => {
                let what = format!("{count} things must be changed");
                Err(Several(self.0)).or_fault(
                    Exit::Settings,
                    what,
                    "do what the hint below each of them says",
                )
            }
        }
    }
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let hint = hint_of(error).unwrap_or_default();
            write!(f, "{}({}) {error:#} | {hint}", if number == 0 { "" } else { " " }, number + 1)?;
        }
        Ok(())
    }
}

impl std::error::Error for Several {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::validate::refuse;
    use etcd2_backup::exit::exit_of;

    #[test]
    fn none_is_none_one_is_itself_and_more_are_told_in_their_order() {
        assert_eq!(Faults::default().or(7).unwrap(), 7);
        let one = || -> Result<String> { Err(refuse("a", "do a")) };
        let mut faults = Faults::default();
        assert_eq!((faults.take(one()), faults.take(Ok(1))), (String::new(), 1));
        let error = faults.or(()).unwrap_err();
        assert_eq!((error.to_string().as_str(), hint_of(&error)), ("a", Some("do a")));

        let mut inner = Faults::default();
        inner.take(one());
        inner.take(Err::<u64, _>(refuse("b", "do b")));
        let mut all = Faults::default();
        all.take(inner.or(()));
        all.take(Err::<(), _>(refuse("c", "do c")));
        let error = all.within("file").or(()).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), exit_of(&error)),
            ("3 things must be changed", Exit::Settings)
        );
        let Several(each) = error.downcast_ref().unwrap();
        let said: Vec<String> = each.iter().map(|e| format!("{e:#} | {}", hint_of(e).unwrap())).collect();
        assert_eq!(said, ["file: a | do a", "file: b | do b", "file: c | do c"]);
        assert!(format!("{error:#}").ends_with("(1) file: a | do a (2) file: b | do b (3) file: c | do c"));
    }
}
