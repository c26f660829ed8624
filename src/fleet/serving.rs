//! Until etcd on this node serves as a member of a cluster, with all the entries that it must have.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::report::Serving;
use crate::cluster::access::Access;
use crate::cluster::api::{self, Applied};
use crate::exit::{Exit, fault, hint_of};
use crate::settings::Settings;
use crate::sys::http::{Client, is_foreign, is_unasked};

/// Between two looks; etcd's own start takes seconds.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the member serves as one of this cluster and has applied this index.
///
/// # Errors
/// [`Exit::Cluster`] after `limit`, with what was still missing; at once if it could not be asked for a reason of this node.
pub fn serving(settings: &Settings, cluster_id: u64, index: u64, limit: Duration) -> Result<Serving> {
    let http = Access::of(settings)?.clients;
    let deadline = Instant::now() + limit;
    loop {
        let looks = settings.etcd.client_urls.iter().map(|url| look(&http, url, cluster_id, index));
        let missing = match looks.reduce(Result::or) {
            Some(Ok(serving)) => return Ok(serving),
            // No waiting puts right what keeps us from asking.
            Some(Err(e)) if is_unasked(&e) && hint_of(&e).is_some() => return Err(e),
            Some(Err(missing)) => format!("{missing:#}"),
            None => "ETCD_ADVERTISE_CLIENT_URLS is not set".to_owned(),
        };
        if Instant::now() >= deadline {
            let unit = &settings.etcd.unit;
            let what =
                format!("{unit} does not serve after {}: {missing}", humantime::format_duration(limit));
            return Err(fault(Exit::Cluster, what, format!("look at journalctl -u {unit}")));
        }
        thread::sleep(PAUSE);
    }
}

fn look(http: &Client, url: &str, cluster_id: u64, index: u64) -> Result<Serving> {
    let members = api::members(http, url)?;
    if members.cluster_id != cluster_id {
        bail!("it is a member of cluster {:x}", members.cluster_id);
    }
    if !api::is_healthy(http, url)? {
        bail!("it knows no leader yet");
    }
    let applied = match api::applied(http, url)? {
        Applied::Index(applied) if applied < index => bail!("it has applied index {applied} of {index}"),
        Applied::Index(applied) => applied,
        Applied::Healthy(_) => index,
    };
    let keys = match http.get(&format!("{url}/v2/keys/?recursive=true")) {
        Ok(keys) => (keys.status == 200).then(|| count(&keys.body)),
        // Nothing but gRPC is spoken there.
        Err(e) if is_foreign(&e) => None,
        Err(e) => return Err(e.context("asking for the keys")),
    };
    Ok(Serving { members: members.members.len(), index: applied, keys })
}

/// The keys in etcd's answer. In a JSON string these quotes would have a backslash; folders have an index too, but for the
/// outermost.
fn count(answer: &[u8]) -> u64 {
    let all = |what: &[u8]| memchr::memmem::find_iter(answer, what).count() as u64;
    (all(b"\"createdIndex\":") + 1).saturating_sub(all(b"\"dir\":true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_folders_are_not() {
        for (answer, expected) in [
            (r#"{"action":"get","node":{"dir":true}}"#, 0),
            (
                r#"{"node":{"dir":true,"nodes":[{"key":"/a","value":"v","modifiedIndex":4,"createdIndex":4}]}}"#,
                1,
            ),
            (
                r#"{"node":{"dir":true,"nodes":[{"key":"/d","dir":true,"nodes":[{"key":"/d/a","value":"\"createdIndex\":","createdIndex":5}],"createdIndex":5}]}}"#,
                1,
            ),
        ] {
            assert_eq!(count(answer.as_bytes()), expected, "{answer}");
        }
    }
}
