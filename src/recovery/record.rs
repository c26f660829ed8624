//! What a recovery record names, brought and proven to be that: for everyone who was not there.

use anyhow::Result;

use super::fetch;
use super::source::{self, Source};
use crate::archive::chain;
use crate::archive::lineage::Record;
use crate::etcd::proto::LogPosition;
use crate::exit::{Exit, fault};
use crate::remote::Remote;
use crate::settings::Settings;

/// Brings the source of a recovery from the remote.
///
/// # Errors
/// [`Exit::NotFound`] if it was a disk, or is not there any more; [`Exit::Corrupt`] if it is not what the record says;
/// [`Exit::Remote`].
pub fn source(settings: &Settings, remote: &dyn Remote, record: &Record) -> Result<Source> {
    let folder = &record.machine_id;
    let objects = remote.list(folder)?;
    let incoming = settings.restore_dir.join("incoming");
    let source = if record.generation > 0 {
        let wanted = (record.generation, record.source_hash.as_str());
        source::opened(fetch::recorded(remote, folder, &objects, wanted, &incoming)?)?
    } else if chain::is_original(&objects) {
        source::old_layout(remote, folder, &objects, &incoming)?
    } else {
        let what = format!("the source of recovery {} was a disk, and is not in the archive", record.token);
        return Err(fault(
            Exit::NotFound,
            what,
            "on the founding member: etcd2-backup export --recovery-file FILE > PART; here restore --recovery-file \
             FILE --source-file PART",
        ));
    };
    agreed(source, record)
}

/// The source, if it is the very data that the record names.
fn agreed(source: Source, record: &Record) -> Result<Source> {
    let point = LogPosition { index: record.index, term: record.term };
    let cluster = source.contents.metadata.cluster_id;
    if source.hash == record.source_hash
        && cluster == record.source_cluster_id
        && source.contents.at(point.index) == Some(point)
    {
        return Ok(Source { point, ..source });
    }
    let what = format!(
        "{} is not what recovery {} was made of (cluster {:x}, index {} of term {})",
        source.origin.describe(),
        record.token,
        record.source_cluster_id,
        point.index,
        point.term
    );
    Err(fault(Exit::Corrupt, what, "was the record edited, or another one's data given?"))
}
