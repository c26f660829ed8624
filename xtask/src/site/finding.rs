//! What is said about a site or its rendered files, by whoever looked at it, and how it is shown.

use std::fmt;

/// Something to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Whether a backup or a recovery would break, so that nothing may ship.
    pub(crate) refused: bool,
    /// The file, the thing and the reason.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: String,
}

impl Finding {
    /// What must not ship.
    pub(crate) fn refusal(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { refused: true, what: what.into(), hint: hint.into() }
    }

    /// What works and is likely to hurt later.
    pub(crate) fn warning(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { refused: false, what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = if self.refused { "refused" } else { "warning" };
        write!(f, "{label}: {}\nhint: {}", self.what, self.hint)
    }
}
