//! What a verb that reads etcd's log says where there is none.

use anyhow::Result;

use crate::backup::state::State;
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::sys::{look, systemd};

/// A node without a member is no failure, and nothing to be told of every 30 s; a member whose data is gone is.
pub fn no_member(node: &Node, no_log: anyhow::Error) -> Result<Exit> {
    let (root, settings) = (&node.root, &node.settings);
    let data_dir = settings.etcd.data_dir.display();
    let stamp = root.join(crate::paths::IDENTITY);
    if look::is_there(&stamp)? || look::is_there(&State::path(&settings.backup_dir))? {
        let hint = format!(
            "restore or join this node (docs/recovery.md); or, if it should no longer be a member: sudo rm -f {} {}",
            stamp.display(),
            State::path(&settings.backup_dir).display()
        );
        let what = format!("this node was a member, but its data is gone: {no_log}");
        return Err(fault(Exit::NotFound, what, hint));
    }
    let why = match look::is_there(&settings.etcd.data_dir)? {
        true if look::is_dir(&settings.etcd.data_dir.join("proxy"))? => {
            format!("in {data_dir} etcd is only a proxy")
        }
        // Its data lies elsewhere then: the settings are wrong.
        _ if root.is_live() && systemd::is_active(&settings.etcd.unit)? => return Err(no_log),
        false => format!("{data_dir} does not exist"),
        true => format!("etcd never ran as a member in {data_dir}"),
    };
    log::info!("nothing to back up on this node: {why}");
    Ok(Exit::NoMember)
}
