//! Who owns etcd's data directory, and that it is there: etcd's user cannot create it where only root may write.

use anyhow::Result;

use crate::settings::EtcdConfig;
use crate::settings::started::{Started, started};
use crate::sys::folder::{self, Folder};
use crate::sys::{look, systemd};

/// Makes the data directory if it is missing (for etcd's user), and says who is to own everything that is put into it:
/// uid and gid.
///
/// # Errors
/// It cannot be made or looked at, or etcd's user is not known.
pub fn ready(etcd: &EtcdConfig) -> Result<(u32, u32)> {
    if !look::is_there(&etcd.data_dir)? {
        let (uid, gid) = etcd_user(etcd)?;
        folder::create_as(&etcd.data_dir, (uid, gid, 0o700))?;
    }
    match Folder::open(&etcd.data_dir)?.owner_and_mode()? {
        // A new disk's top folder. A wrapper hands that one over to etcd, but not what lies in it.
        (0, _, _) => etcd_user(etcd),
        (uid, gid, _) => Ok((uid, gid)),
    }
}

fn etcd_user(etcd: &EtcdConfig) -> Result<(u32, u32)> {
    if let Some(owner) = etcd.owner.or_else(|| image_user(etcd)) {
        return Ok(owner);
    }
    match etcd.user.as_str() {
        "" => Ok((rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())),
        user => match user.parse() {
            Ok(uid) => Ok((uid, uid)),
            Err(_) => systemd::user_ids(user),
        },
    }
}

/// Whom the unit's image runs etcd as, if it has one and says so.
fn image_user(etcd: &EtcdConfig) -> Option<(u32, u32)> {
    let Started::Image(image) = started(&etcd.command) else { return None };
    let said = image.user();
    said.inspect_err(|e| log::warn!("could not determine as which user {} runs etcd: {e:#}", image.name))
        .ok()?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::tests::in_tree;
    use crate::sys::fs::write_atomic;

    #[test]
    fn who_owned_the_data_counts_more_than_the_units_user() {
        let etcd = EtcdConfig { user: "232".into(), ..in_tree(Path::new("/d")).etcd };
        assert_eq!(etcd_user(&etcd).unwrap(), (232, 232));
        // Its unit runs a container's engine, as root.
        let etcd = EtcdConfig { owner: Some((232, 0)), user: "0".into(), ..etcd };
        assert_eq!(etcd_user(&etcd).unwrap(), (232, 0));
    }

    #[test]
    fn where_nothing_was_seen_the_image_says_whom_it_runs_etcd_as() {
        let dir = tempfile::tempdir().unwrap();
        let engine = dir.path().join("docker");
        write_atomic(&engine, b"#!/bin/sh\n[ \"$6\" = img ] && echo 232:233 || exit 1\n", 0o755).unwrap();
        let of = |image: &str| {
            let command = [engine.to_str().unwrap(), "run", image, "etcd"].map(str::to_owned);
            etcd_user(&EtcdConfig {
                command: command.into(),
                user: "7".into(),
                ..in_tree(Path::new("/d")).etcd
            })
        };
        assert_eq!(of("img").unwrap(), (232, 233));
        // What cannot be asked is left to the unit: a join tries it before it counts.
        assert_eq!(of("other").unwrap(), (7, 7));
    }
}
