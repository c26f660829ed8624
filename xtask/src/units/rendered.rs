//! What a site's templates became, and what there is to say about it.

use anyhow::Result;

use crate::site::faults::Faults;
use crate::site::finding::Finding;
use crate::site::validate::refuse;

/// A file of the node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NodeFile {
    /// Where it lands when nothing is renamed, relative to `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// A site's files, judged. Who has one need not render or judge again.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// Sorted by path.
    pub(crate) files: Vec<NodeFile>,
    /// The site's warnings, then those about the files; of these the worst come first.
    pub(crate) findings: Vec<Finding>,
}

impl Rendered {
    /// Refuses files that would break a backup or a recovery.
    pub(super) fn or_refuse(self) -> Result<Self> {
        let mut faults = Faults::default();
        faults.extend(self.findings.iter().filter(|f| f.refused).map(|f| refuse(&f.what, &f.hint)));
        faults.or(self)
    }
}
