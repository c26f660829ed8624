//! `set-founder`: another founding member, chosen on the node instead of built into the tarball.

use anyhow::Result;

use super::{args, installed};
use crate::exit::{Exit, fault};
use crate::install::{founder, post_install, transaction};
use crate::settings::our_units::RESTORE;
use crate::settings::urls::{founder_doubt, peer_url_problem};
use crate::sys::root::Root;
use crate::sys::systemd;

pub(super) fn run(root: &Root, options: &args::SetFounder) -> Result<Exit> {
    check(options)?;
    let _lock = transaction::begin(root)?;
    let record = installed(root)?;
    let plan = founder::plan(root, &record, &options.urls)?;
    transaction::apply(root, &plan)?;
    if founder::changes(&plan) {
        post_install::settle(root, &plan)?;
    }
    let urls = options.urls.join(",");
    if root.is_live() {
        let effective = effective()?;
        if !options.reset && effective != urls {
            let what = format!(
                "the founding member was set, but another drop-in of {RESTORE} overrides it: {}={effective}",
                founder::VARIABLE
            );
            return Err(fault(Exit::Settings, what, format!("see: systemctl cat {RESTORE}")));
        }
        log::info!("on this node, the founding member is now {effective}");
    } else if options.reset {
        log::info!("on this node, the founding member is now the one in the installed settings");
    } else {
        log::info!("on this node, the founding member is now {urls}");
    }
    log::info!("all nodes must name the same one: run this on each of them");
    Ok(Exit::Done)
}

fn check(options: &args::SetFounder) -> Result<()> {
    let hint = "see /opt/bin/etcd2-backup set-founder --help";
    if options.reset != options.urls.is_empty() {
        let what = match options.reset {
            true => "--reset takes no URL",
            false => "set-founder needs the founding member's peer URL, or --reset",
        };
        return Err(fault(Exit::Usage, what, hint));
    }
    for url in &options.urls {
        if let Some(why) = peer_url_problem(url) {
            let what = format!("{url:?} is not a peer URL: {why}");
            let hint = "write the founding member's advertised peer URL, for example http://172.17.4.51:2380";
            return Err(fault(Exit::Settings, what, hint));
        }
        if let Some((what, hint)) = founder_doubt(url) {
            log::warn!("{what}");
            log::info!("hint: {hint}");
        }
    }
    Ok(())
}

/// What systemd would tell the services.
fn effective() -> Result<String> {
    let environment = systemd::service_unit(RESTORE)?.environment;
    let value = |v: &String| v.strip_prefix(founder::VARIABLE)?.strip_prefix('=').map(str::to_owned);
    Ok(environment.iter().rev().find_map(value).unwrap_or_default())
}
