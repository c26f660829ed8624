//! The founding member chosen on the node, over the one of the tarball.

use anyhow::Result;

use super::payload::{Content, Wanted, drop_in};
use super::plan::{Action, Plan, Step};
use super::record::{Entry, Record};
use super::sums::of_bytes;
use crate::paths::FOUNDER_DROP_IN;
use crate::settings::our_units::services;
use crate::sys::look;
use crate::sys::root::Root;

/// The variable it is about.
pub const VARIABLE: &str = "ETCD_RESTORE_MASTER_ADV_PEER_URLS";

/// The plan that makes these URLs the founder's, or with none goes back to the tarball's.
///
/// # Errors
/// Something is in the way, or a file cannot be read.
pub fn plan(root: &Root, old: &Record, urls: &[String]) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut files: Vec<Entry> = old.files.iter().filter(|e| !e.is_founders()).cloned().collect();
    for service in services() {
        let target = drop_in(service, FOUNDER_DROP_IN);
        if urls.is_empty() {
            if look::is_file(&root.join(&target))? {
                plan.steps.push(Step::removal(target, ""));
            }
            continue;
        }
        let content = text(urls).into_bytes();
        let wanted = Wanted { digest: of_bytes(&content), content: Content::Bytes(content), mode: 0o644 };
        files.push(Entry::of(&target, &wanted));
        plan.put(root, target, wanted, None, "")?;
    }
    plan.record = Record { files, ..old.clone() };
    plan.prune_recorded(old);
    Ok(plan)
}

/// The URLs were checked: a host and a port need no quotes.
fn text(urls: &[String]) -> String {
    let urls = urls.join(",").replace('%', "%%");
    format!(
        "# Written by `etcd2-backup set-founder`; `etcd2-backup set-founder --reset` removes it.\n\
         [Service]\nEnvironment=\"{VARIABLE}={urls}\"\n"
    )
}

/// Whether the plan changes anything.
pub fn changes(plan: &Plan) -> bool {
    plan.steps.iter().any(|s| s.action != Action::Same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::unit_file::parse_environment;

    #[test]
    fn systemd_reads_the_urls_that_were_given() {
        let urls = ["http://172.17.4.52:2380".to_owned(), "http://[fd00::1]:2380".to_owned()];
        assert_eq!(parse_environment(&text(&urls)), [(VARIABLE.to_owned(), urls.join(","))]);
    }
}
