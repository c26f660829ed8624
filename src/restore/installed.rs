//! The etcd that is going to run on restored v3 data: whether it is new enough for it, and whether it was one that may have
//! lost writes.

use anyhow::Result;

use crate::etcd::datadir::Contents;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::node::running::program;
use crate::node::running::version::{self, Version};

/// The first 3.5 that does not save `consistent_index` before the data it stands for (etcd-io/etcd#13766).
const FIRST_GOOD: Version = Version(3, 5, 3);
const FIRST_BAD: Version = Version(3, 5, 0);

/// The version of the etcd on this node, where it can be told.
pub fn version(node: &Node) -> Option<Version> {
    match program::find(node).and_then(|program| version::of(&program)) {
        Ok(version) => version,
        Err(e) => {
            log::debug!("the version of etcd is not known: {e:#}");
            None
        }
    }
}

/// Refuses a v3 store of a later minor version than that of the etcd on this node, which would not start on it.
///
/// # Errors
/// [`Exit::Refused`].
pub fn refuse_if_older(installed: Option<Version>, contents: &Contents) -> Result<()> {
    let written = contents.v3.as_ref().and_then(|v3| v3.state.cluster_version.as_deref());
    let (Some(own), Some(written)) = (installed, written.and_then(Version::parse)) else { return Ok(()) };
    if own.minor() >= written.minor() {
        return Ok(());
    }
    let (major, minor) = written.minor();
    let what = format!(
        "etcd on this node is {own}, but the data is of a cluster of version {major}.{minor}: etcd would not start on it"
    );
    Err(fault(
        Exit::Refused,
        what,
        format!("install etcd {major}.{minor} or later first, then restore again"),
    ))
}

/// Of an etcd whose disk may lack writes without a trace: what has to be known, and what to do.
pub fn lossy(installed: Option<Version>) -> Option<[String; 2]> {
    let own = installed.filter(|own| (FIRST_BAD..FIRST_GOOD).contains(own))?;
    let what = format!(
        "etcd on this node is {own}: etcd 3.5.0 to 3.5.2 may record an entry as applied before its data is on the disk, so that a \
         crash leaves a v3 store without some acknowledged writes, and nothing in it shows that (etcd-io/etcd#13766)"
    );
    let next = "compare this disk with another member's, the HashKV at the same revision: sudo /opt/bin/etcd2-backup rehearse \
                --source local; and upgrade to etcd 3.5.3 or later";
    Some([what, next.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_may_lose_writes_are_3_5_0_to_3_5_2() {
        for (version, is) in [
            (Version(3, 4, 23), false),
            (Version(3, 5, 0), true),
            (Version(3, 5, 2), true),
            (Version(3, 5, 3), false),
            (Version(3, 6, 0), false),
        ] {
            assert_eq!(lossy(Some(version)).is_some(), is, "{version}");
        }
        assert_eq!(lossy(None), None);
    }
}
