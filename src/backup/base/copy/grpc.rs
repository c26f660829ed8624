//! etcd sends its db, asked by the node's curl.

use std::io::{BufWriter, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::asked::Asked;
use super::target::Target;
use crate::cluster::v3::snapshot::snapshot;
use crate::etcd::datadir::DataDir;
use crate::settings::Settings;

/// etcd serves its clients meanwhile: at full speed it takes half a processor, and the disk that its log is synced to. And it keeps
/// what is freed until the end, so slower is not gentler.
const BYTES_A_SECOND: u64 = 50 << 20;
/// The largest stores are some 8 GB, of which at that pace all is there in three minutes; a slow disk takes longer.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Asks for it.
pub(super) fn take(settings: &Settings, dir: &DataDir, target: &Target) -> Result<()> {
    let asked = Asked::find(settings, dir)?;
    target.refuse_if_no_room()?;
    let mut file = BufWriter::with_capacity(1 << 20, target.create()?);
    let http = asked.http.clone().paced(BYTES_A_SECOND, LIMIT);
    snapshot(&http, asked.url, &mut |piece| file.write_all(piece).context("writing the copy"))?;
    file.flush().context("writing the copy")?;
    asked.refuse_another()?;
    target.end_of_snapshot()
}
