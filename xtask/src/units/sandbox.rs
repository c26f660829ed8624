//! What etcd2-backup.service may do: as little as the site's runner and remote allow.
//!
//! A remote may lie in a folder of the node itself, or write a new token into rclone.conf: then rclone must be able to.
//! What cannot be told from the site is left open, since a backup that fails is worse than one that could do more.

use std::path::Path;

use etcd2_backup::paths;
use etcd2_backup::settings::rclone_section::{is_encrypted, parse_sections};
use etcd2_backup::settings::reach::{Reach, reach};
use serde::Serialize;

use crate::site::Site;
use crate::site::runner::Runner;

/// What the template of etcd2-backup.service needs to know.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sandbox {
    /// `none` where the program runs the container itself (podman), `socket` where a daemon does (docker), else `full`.
    level: &'static str,
    /// Whether all folders that are written to are known: the rest can be read-only then.
    confined: bool,
    /// They: all of them if `confined`.
    writable: Vec<String>,
    /// Those in which the remote lies.
    local: Vec<String>,
    /// Whether the folder of restores, in which a rehearsal works, can be named to every systemd.
    restore_is_plain: bool,
    /// Whether the service can have a /tmp of its own.
    private_tmp: bool,
}

impl Sandbox {
    /// As the site needs it.
    pub(crate) fn of(site: &Site) -> Self {
        let conf = String::from_utf8_lossy(&site.rclone_conf.0);
        let level = match site.runner {
            Runner::Podman(_) => "none",
            Runner::Docker(_) => "socket",
            Runner::Host | Runner::Bundled(_) => "full",
        };
        let remote = match is_encrypted(&site.rclone_conf.0) {
            true => Reach { unclear: true, token: true, ..Reach::default() },
            false => {
                let sections = parse_sections(&conf);
                reach(&site.endpoint, &|name| sections.iter().find(|s| s.name == name).cloned())
            }
        };
        // Its folders are the daemon's affair. What rclone writes into rclone.conf is taken back by us.
        let remote = match level {
            "full" => remote,
            _ => Reach { token: remote.token && level == "socket", ..Reach::default() },
        };
        let folders: Vec<String> =
            remote.folders.iter().map(|place| place.path.display().to_string()).collect();
        let backup_dir = site.backup_dir.display().to_string();
        let mut writable = vec![paths::STAMP_DIR.to_owned(), backup_dir.clone()];
        if remote.token {
            // rclone writes a new file beside the old one and exchanges the two.
            writable.push("/etc".to_owned());
        }
        writable.extend(folders.iter().cloned());
        // The number's file is exchanged for a new one, so it takes the folder.
        let metrics: Vec<&Path> = site.metrics_file.iter().filter_map(|file| file.parent()).collect();
        writable.extend(metrics.iter().map(|folder| folder.display().to_string()));
        let temporary = |dir: &Path| dir.starts_with("/tmp") || dir.starts_with("/var/tmp");
        let private_tmp = ![&site.data_dir, &site.backup_dir].into_iter().any(|dir| temporary(dir))
            && !metrics.iter().any(|folder| temporary(folder))
            && !remote.unclear
            // A key, a certificate, a remote.
            && !conf.contains("/tmp");
        let confined = !remote.unclear && writable.iter().all(|path| is_plain(path));
        writable.retain(|path| is_plain(path));
        let restore_is_plain = is_plain(&site.restore_dir.display().to_string());
        Self { level, confined, writable, local: folders, restore_is_plain, private_tmp }
    }
}

/// Whether every systemd takes a path for itself: an old one does not read `%%` as one `%` everywhere.
fn is_plain(path: &str) -> bool {
    !path.contains(['%', '\\', '"', '\'', '$'])
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::site::tests::load_of;

    const CONF: &str = "[s3]\ntype = s3\nkey = x\n[disk]\ntype = local\n[drive]\ntype = drive\ntoken = {}\n\
        [gone]\ntype = crypt\nremote = env:x\n";

    fn sandbox(settings: &str, conf: &str) -> Sandbox {
        let site = format!("version = 1\nfounder = \"http://e1:2380\"\n{settings}\n");
        Sandbox::of(&load_of(&site, conf).unwrap())
    }

    #[test]
    fn a_site_gets_what_it_needs() {
        let all = |level, confined, writable: &[&str], local: &[&str], private_tmp| {
            let own = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect();
            let (writable, local) = (own(writable), own(local));
            Sandbox { level, confined, writable, local, restore_is_plain: true, private_tmp }
        };
        let (stamps, spool) = ("/etc/etcd2-backup", "/var/lib/etcd2-backup");
        let host = "rclone.runner = \"host\"";
        for (settings, want) in [
            (format!("endpoint = \"s3:b\"\n{host}"), all("full", true, &[stamps, spool], &[], true)),
            (
                format!("endpoint = \"drive:b\"\n{host}"),
                all("full", true, &[stamps, spool, "/etc"], &[], true),
            ),
            (
                format!("endpoint = \"disk:/home/core/b\"\n{host}"),
                all("full", true, &[stamps, spool, "/home/core/b"], &["/home/core/b"], true),
            ),
            // Systemd might take these paths for others.
            (
                format!("endpoint = \"disk:/srv/100%\"\n{host}"),
                all("full", false, &[stamps, spool], &["/srv/100%"], true),
            ),
            (
                format!("endpoint = \"s3:b\"\nbackup_dir = \"/srv/$x\"\n{host}"),
                all("full", false, &[stamps], &[], true),
            ),
            (format!("endpoint = \"gone:b\"\n{host}"), all("full", false, &[stamps, spool], &[], false)),
            (
                format!("endpoint = \"s3:b\"\ndata_dir = \"/var/tmp/etcd\"\n{host}"),
                all("full", true, &[stamps, spool], &[], false),
            ),
            ("endpoint = \"drive:b\"".into(), all("socket", true, &[stamps, spool, "/etc"], &[], true)),
            // The daemon reads and writes, not we.
            ("endpoint = \"disk:/srv\"".into(), all("socket", true, &[stamps, spool], &[], true)),
            (
                "endpoint = \"drive:b\"\nrclone.runner = \"podman\"".into(),
                all("none", true, &[stamps, spool], &[], true),
            ),
        ] {
            assert_eq!(sandbox(&settings, CONF), want, "{settings}");
        }
        let key = "[s3]\ntype = sftp\nkey_file = /tmp/id\n";
        assert!(!sandbox(&format!("endpoint = \"s3:b\"\n{host}"), key).private_tmp);
        let odd = format!("endpoint = \"s3:b\"\nrestore_dir = \"/srv/100%\"\n{host}");
        assert!(!sandbox(&odd, CONF).restore_is_plain);
    }

    #[test]
    fn nothing_is_known_of_an_encrypted_configuration() {
        let mut site = load_of(
            "version = 1\nfounder = \"http://e1:2380\"\nendpoint = \"s3:b\"\nrclone.runner = \"host\"\n",
            CONF,
        )
        .unwrap();
        assert!(Sandbox::of(&site).confined);
        site.rclone_conf.0 = b"# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc".to_vec();
        let sandbox = Sandbox::of(&site);
        assert!(!sandbox.confined && !sandbox.private_tmp);
    }
}
