//! What etcd2-backup.service may do: as little as the site's runner and remote allow.
//!
//! A remote may lie in a folder of the node itself, or write a new token into rclone.conf: then rclone must be able to.
//! What cannot be told from the site is left open, since a backup that fails is worse than one that could do more.

use std::path::{Component, Path};

use etcd2_backup::paths;
use etcd2_backup::remote::conf::is_encrypted;
use serde::Serialize;

use crate::rclone_conf::{Section, parse_sections};
use crate::runner::Runner;
use crate::site::Site;

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
    /// Whether the service can have a /tmp of its own.
    private_tmp: bool,
}

/// Backends that keep a database in the home folder.
const KEEP_A_CACHE: [&str; 2] = ["cache", "hasher"];

impl Sandbox {
    /// As the site needs it.
    pub(crate) fn of(site: &Site) -> Self {
        let conf = String::from_utf8_lossy(&site.rclone_conf.0);
        let level = match site.runner {
            Runner::Podman(_) => "none",
            Runner::Docker(_) => "socket",
            Runner::Host | Runner::Bundled(_) => "full",
        };
        let remote = match (level, is_encrypted(&site.rclone_conf.0)) {
            ("full", true) => Reach { unclear: true, ..Reach::default() },
            ("full", false) => reach(&site.endpoint, &parse_sections(&conf)),
            // Its folders and tokens are the daemon's affair.
            _ => Reach::default(),
        };
        let backup_dir = site.backup_dir.display().to_string();
        let mut writable = vec![paths::STAMP_DIR.to_owned(), backup_dir.clone()];
        if remote.token {
            // rclone writes a new file beside the old one and exchanges the two.
            writable.push("/etc".to_owned());
        }
        writable.extend(remote.folders.iter().cloned());
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
        Self { level, confined, writable, local: remote.folders, private_tmp }
    }
}

/// Whether every systemd takes a path for itself: an old one does not read `%%` as one `%` everywhere.
fn is_plain(path: &str) -> bool {
    !path.contains(['%', '\\', '"', '\'', '$'])
}

/// What on the node a remote touches.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reach {
    /// Folders it lies in.
    folders: Vec<String>,
    /// Whether rclone writes back into its configuration.
    token: bool,
    /// Whether it may touch anything else.
    unclear: bool,
}

/// Follows the endpoint through all remotes that are laid over others.
fn reach(endpoint: &str, sections: &[Section]) -> Reach {
    let mut reach = Reach::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut next = vec![endpoint.to_owned()];
    while let Some(place) = next.pop() {
        let (name, path) = match place.split_once(':') {
            _ if place.starts_with('/') => ("", place.as_str()),
            Some((name, path)) if !name.is_empty() => (name, path),
            // On the fly (`:s3:…`), relative, or not there.
            _ => {
                reach.unclear = true;
                continue;
            }
        };
        let section = sections.iter().find(|s| !name.is_empty() && s.name == name);
        match section.map(|s| s.kind.as_str()) {
            Some("local") => reach.add(path),
            None if name.is_empty() => reach.add(path),
            // With options (`name,option=…:`), or from the environment.
            None => reach.unclear = true,
            Some(kind) => reach.unclear |= KEEP_A_CACHE.contains(&kind) || climbs(path),
        }
        let Some(section) = section.filter(|s| !seen.contains(&s.name.as_str())) else { continue };
        seen.push(&section.name);
        reach.token |= section.has_token;
        for value in &section.over {
            match value.contains('"') {
                true => reach.unclear = true,
                false => next.extend(places(&section.kind, value)),
            }
        }
    }
    reach.folders.sort();
    reach.folders.dedup();
    reach
}

/// The remotes in a value: one of most kinds; several of a union (`remote:path:ro`) or a combine (`folder=remote:path`).
fn places(kind: &str, value: &str) -> Vec<String> {
    match kind {
        "union" => value
            .split_ascii_whitespace()
            .map(|word| {
                let bare = [":ro", ":nc", ":writeback"].iter().find_map(|suffix| word.strip_suffix(suffix));
                bare.unwrap_or(word).to_owned()
            })
            .collect(),
        "combine" => value
            .split_ascii_whitespace()
            .map(|word| word.split_once('=').map_or("", |(_, place)| place).to_owned())
            .collect(),
        _ => vec![value.to_owned()],
    }
}

fn climbs(path: &str) -> bool {
    Path::new(path).components().any(|c| c == Component::ParentDir)
}

impl Reach {
    fn add(&mut self, path: &str) {
        let path: std::path::PathBuf = Path::new(path).components().collect();
        match path.to_str() {
            Some(path) if path.starts_with('/') && path != "/" && !climbs(path) => {
                self.folders.push(path.to_owned());
            }
            _ => self.unclear = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::site::tests::load_of;

    const CONF: &str = "[s3]\ntype = s3\nkey = x\n[disk]\ntype = local\n[drive]\ntype = drive\ntoken = {}\n\
        [crypt]\ntype = crypt\nremote = disk:/srv/secret\npassword = x\n[bare]\ntype = crypt\nremote = /srv/a b/\n\
        [over-s3]\ntype = crypt\nremote = s3:bucket\n[over-drive]\ntype = chunker\nremote = drive:x\n\
        [alias]\ntype = alias\nremote = disk:\n[home]\ntype = alias\nremote = ~/x\n[up]\ntype = alias\nremote = s3:../x\n\
        [union]\ntype = union\nupstreams = crypt:a /mnt/b:ro disk:/srv/c:nc\n\
        [combine]\ntype = combine\nupstreams = a=s3:x b=disk:/srv/d\n\
        [quoted]\ntype = combine\nupstreams = \"a b=s3:x\"\n\
        [loop]\ntype = alias\nremote = loop:/x\n[fly]\ntype = alias\nremote = :local:/srv\n\
        [gone]\ntype = crypt\nremote = env:x\n[hash]\ntype = hasher\nremote = s3:x\n";

    #[test]
    fn the_remote_is_followed_to_the_node_itself() {
        let clear = |folders: &[&str], token| Reach {
            folders: folders.iter().map(|f| (*f).to_owned()).collect(),
            token,
            unclear: false,
        };
        let sections = parse_sections(CONF);
        for (endpoint, want) in [
            ("s3:bucket/path", clear(&[], false)),
            ("disk:/srv//backups/./", clear(&["/srv/backups"], false)),
            ("drive:backups", clear(&[], true)),
            ("crypt:x", clear(&["/srv/secret"], false)),
            ("bare:", clear(&["/srv/a b"], false)),
            ("over-s3:", clear(&[], false)),
            ("over-drive:", clear(&[], true)),
            ("union:x", clear(&["/mnt/b", "/srv/c", "/srv/secret"], false)),
            ("combine:a", clear(&["/srv/d"], false)),
            ("loop:", clear(&[], false)),
        ] {
            assert_eq!(reach(endpoint, &sections), want, "{endpoint}");
        }
        for endpoint in [
            "disk:/",
            "disk:",
            "disk:x",
            "disk:/srv/../etc",
            "alias:srv",
            "home:",
            "up:",
            "quoted:a",
            "fly:x",
            "gone:",
            "hash:",
            "disk,copy_links:/srv",
            ":local:/srv",
            "nowhere",
            "",
        ] {
            assert!(reach(endpoint, &sections).unclear, "{endpoint}");
        }
    }

    fn sandbox(settings: &str, conf: &str) -> Sandbox {
        let site = format!("version = 1\nfounder = \"http://e1:2380\"\n{settings}\n");
        Sandbox::of(&load_of(&site, conf).unwrap())
    }

    #[test]
    fn a_site_gets_what_it_needs() {
        let all = |level, confined, writable: &[&str], local: &[&str], private_tmp| {
            let own = |list: &[&str]| list.iter().map(|p| (*p).to_owned()).collect();
            Sandbox { level, confined, writable: own(writable), local: own(local), private_tmp }
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
