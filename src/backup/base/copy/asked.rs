//! Whom a snapshot is asked for: the member whose log lies here, at one of its client URLs. Whoever else answers there has a
//! store of its own.

use anyhow::{Context as _, Result, bail, ensure};

use crate::cluster::access::Access;
use crate::cluster::v3::calls;
use crate::etcd::datadir::{self, DataDir};
use crate::settings::Settings;
use crate::sys::http::Client;

/// The member, which answers.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// How it is asked.
    pub(super) http: Client,
    /// Where.
    pub(super) url: &'a str,
    member_id: u64,
}

impl<'a> Asked<'a> {
    /// The first of this node's client URLs where the member of the log answers.
    pub(super) fn find(settings: &'a Settings, dir: &DataDir) -> Result<Self> {
        let member_id = datadir::ids(&dir.wal)?.member_id;
        let http = Access::of(settings)?.clients;
        let urls = &settings.etcd.client_urls;
        ensure!(!urls.is_empty(), "this member's client URLs are not known (ETCD_ADVERTISE_CLIENT_URLS)");
        let mut asked = Self { http, url: "", member_id };
        let mut reasons = Vec::new();
        for url in urls {
            asked.url = url;
            match asked.refuse_another() {
                Ok(()) => return Ok(asked),
                Err(e) => reasons.push(format!("{e:#}")),
            }
        }
        bail!("{}", reasons.join("; "))
    }

    /// To be asked once more behind the snapshot: whose it is, that itself does not say.
    pub(super) fn refuse_another(&self) -> Result<()> {
        let Self { http, url, member_id } = self;
        let status = calls::status(http, url).with_context(|| format!("asking who answers at {url}"))?;
        let found = status.header.member_id;
        ensure!(
            found == *member_id,
            "member {found:x} answers at {url}, and the log here is of member {member_id:x}"
        );
        Ok(())
    }
}
