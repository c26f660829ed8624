//! The data that a recovery took from a disk, as one part, for nodes that cannot get it from the remote.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::source;
use crate::archive::lineage::Record;
use crate::archive::part;
use crate::backup::capture;
use crate::etcd::datadir::DataDir;
use crate::etcd::v3::base::Base as V3Base;
use crate::etcd::wal::Reading;
use crate::exit::{Exit, fault};
use crate::node::member_dir::places::Places;
use crate::node::member_dir::{aside, kept};
use crate::settings::Settings;
use crate::sys::{look, time};

/// Writes it to `out`; any number of nodes may ask for it at the same time.
///
/// # Errors
/// [`Exit::NotFound`] if this node's disk does not have it any more; it cannot be read, or nobody takes it to its end.
pub fn write(settings: &Settings, record: &Record, out: impl Write) -> Result<()> {
    let Some(dir) = disk(settings, record)? else { return Err(not_here(record)) };
    let looked = time::now();
    let capture = match record.v3 {
        Some(_) => capture::with_v3(&dir, "an export")?,
        None => capture::anew(&dir, "an export")?,
    };
    let head = capture.head(&settings.etcd, looked);
    let applied = capture.v3.as_ref().map(V3Base::applied);
    if head.link() != record.source_hash || applied != record.v3.map(|v3| v3.applied) {
        return Err(not_here(record));
    }
    let stream = || -> Result<()> {
        let (mut out, _) = part::stream(out, &head, |out| capture.write_payload(out))?;
        // What stdout still holds back at the end of the process would be lost in silence.
        Ok(out.flush()?)
    };
    stream().context("writing the data of the recovery")
}

/// Where the data is that the record names: in its place, or kept.
fn disk(settings: &Settings, record: &Record) -> Result<Option<DataDir>> {
    let places = Places::of(&settings.etcd)?;
    let kept = kept::list(&places)?;
    let suffixes = kept.iter().rev().map(|kept| kept.suffix.as_str());
    for suffix in [""].into_iter().chain(suffixes) {
        let of = |place: &PathBuf| aside::with_suffix(place, suffix);
        let member = of(&places.member);
        let dir = DataDir {
            wal: places.wal.as_ref().map_or_else(|| member.join("wal"), of),
            snap: member.join("snap"),
        };
        let contents = match dir.scan(Reading::Still) {
            Err(e) if look::is_unread(&e) => return Err(e),
            // A damaged one is not what was restored.
            Err(_) => continue,
            Ok(contents) => contents,
        };
        if source::hash(&contents) == record.source_hash {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

fn not_here(record: &Record) -> anyhow::Error {
    let what = format!("the data that recovery {} was made of is not on this node's disk", record.token);
    fault(
        Exit::NotFound,
        what,
        "run it on the node that was restored from its own disk, before clean removes old data",
    )
}
