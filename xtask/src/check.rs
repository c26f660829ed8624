//! Checks of the operator's values, each pure: what cannot work on a node is refused here, with what to write instead.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::settings::endpoint;
use etcd2_backup::settings::urls::peer_url_problem;

use crate::rclone_conf::Section;

/// An error about a setting.
pub(crate) fn refuse(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    fault(Exit::Settings, what, hint)
}

/// Longer than any value has a reason to be. Before version 236, systemd reads 2047 bytes of a line and takes the rest
/// for a line of its own.
const MAX_VALUE_BYTES: usize = 1000;

/// No value holds a control character: a newline would start a line of its own in a unit. Nor is it longer than a line.
pub(crate) fn check_one_line(key: &str, value: &str) -> Result<()> {
    if value.len() > MAX_VALUE_BYTES {
        let what = format!("{key} has {} bytes, more than {MAX_VALUE_BYTES}", value.len());
        return Err(refuse(what, "write a shorter value: an old systemd reads no longer lines"));
    }
    match value.chars().find(|c| c.is_control()) {
        None => Ok(()),
        Some(c) => {
            let name = match c {
                '\n' | '\r' => "a line break".to_owned(),
                '\t' => "a tab".to_owned(),
                _ => format!("the control character {}", c.escape_default()),
            };
            Err(refuse(format!("{key} contains {name}"), "write the value on one line, in plain characters"))
        }
    }
}

/// An advertised peer URL as etcd takes it: `http(s)://host:port`.
pub(crate) fn check_peer_url(url: &str) -> Result<()> {
    let Some(why) = peer_url_problem(url) else { return Ok(()) };
    let hint =
        "write the founding member's advertised peer URL, for example founder = \"http://172.17.4.51:2380\"";
    Err(refuse(format!("founder {url:?} is not a peer URL: {why}"), hint))
}

/// The normal form of an rclone path below one of the sections of rclone.conf. No sections are known of an encrypted
/// rclone.conf.
pub(crate) fn check_endpoint(said: &str, known: Option<&[Section]>) -> Result<String> {
    let sections = known.unwrap_or_default();
    let names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
    let look_up = |name: &str| sections.iter().find(|s| s.name == name).cloned();
    let endpoint = endpoint::normal(said, &look_up).map_err(|problem| {
        let hint = problem
            .hint(names.first().copied().unwrap_or("remote"), |endpoint| format!("endpoint = {endpoint:?}"));
        refuse(format!("endpoint {said:?} {}", problem.why()), hint)
    })?;
    let (Some(_), Some((remote, _))) = (known, endpoint.split_once(':')) else {
        return Ok(endpoint);
    };
    let Some(section) = sections.iter().find(|s| s.name == remote) else {
        let what = format!("endpoint {endpoint:?}: rclone.conf has no section [{remote}]");
        let nearest = crate::nearest::nearest(remote, names.iter().copied());
        return Err(refuse(
            what,
            match (nearest, names.is_empty()) {
                (_, true) => {
                    "rclone.conf has no section at all; make one with: rclone config --config rclone.conf"
                        .into()
                }
                (Some(near), _) => format!("did you mean {near}? Its sections are: {}", names.join(", ")),
                (None, _) => format!("its sections are: {}", names.join(", ")),
            },
        ));
    };
    if section.kind.is_empty() {
        let what = format!("the section [{remote}] of rclone.conf has no type");
        return Err(refuse(what, "make the section with: rclone config --config rclone.conf"));
    }
    Ok(endpoint)
}

/// What `remote:s3://bucket/path` is meant to be: `remote:bucket/path`. `None` where there is nothing to mend.
pub(crate) fn without_scheme(endpoint: &str) -> Option<String> {
    let (remote, path) = endpoint.split_once(':').filter(|(_, path)| !path.starts_with("//"))?;
    Some(format!("{remote}:{}", path.split_once("://")?.1.trim_matches('/')))
}

/// A folder on the node, absolute and in its shortest form.
pub(crate) fn check_dir(key: &str, dir: &str) -> Result<PathBuf> {
    check_path(key, dir, &format!("folder on the node, for example {key} = \"/var/lib/etcd2\""))
}

/// A file on the node that the operator puts there, absolute and in its shortest form.
pub(crate) fn check_file(key: &str, file: &str, example: &str) -> Result<PathBuf> {
    check_path(key, file, &format!("file on the node, for example {example}"))
}

/// The file that node_exporter reads, which wants this ending.
pub(crate) fn check_textfile(file: &str) -> Result<PathBuf> {
    let example = "textfile = \"/var/lib/node_exporter/textfile/etcd2-backup.prom\"";
    let path = check_file("metrics.textfile", file, example)?;
    if path.extension().is_none_or(|extension| extension != "prom") {
        let what = format!("metrics.textfile {file:?} does not end in \".prom\"");
        return Err(refuse(what, format!("node_exporter reads no other: write for example {example}")));
    }
    Ok(path)
}

/// Where a restore takes its data from.
pub(crate) fn check_source(name: &str) -> Result<String> {
    if matches!(name, "archive" | "local" | "auto") {
        return Ok(name.to_owned());
    }
    let hint = "write source = \"archive\" (the newest backup), \"local\" (the node's own disk) or \"auto\"";
    Err(refuse(format!("source {name:?} is not known"), hint))
}

/// The unit that is started when a backup fails; a template gets the name of the one that failed.
pub(crate) fn check_on_failure(unit: &str) -> Result<String> {
    let stem = unit.strip_suffix(".service").unwrap_or_default();
    let plain = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.@-".contains(&b));
    if stem.is_empty() || stem.starts_with('@') || !plain || unit.len() > 200 {
        let hint = "write the name of a service, or of a template, which gets the name of the unit that failed: \
                    on_failure = \"tell-ops@.service\"";
        return Err(refuse(format!("on_failure {unit:?} is not the name of a service"), hint));
    }
    Ok(unit.to_owned())
}

fn check_path(key: &str, dir: &str, what: &str) -> Result<PathBuf> {
    let path = Path::new(dir);
    let no = |why: &str| {
        let hint = format!("write the absolute path of a {what}");
        Err(refuse(format!("{key} {dir:?} {why}"), hint))
    };
    if !path.is_absolute() {
        return no("is not an absolute path");
    }
    if path.components().any(|c| c == Component::ParentDir) {
        return no("contains \"..\"");
    }
    if dir.contains([':', ',']) {
        return no("contains a character that no container's volume may have");
    }
    if path.parent().is_none() {
        return no("is the root of the file system");
    }
    Ok(path.components().collect())
}

/// No folder is another one or lies in it: a restore would then move or remove what it works with.
pub(crate) fn check_apart(dirs: &[(&str, &Path)]) -> Result<()> {
    for (i, (key, dir)) in dirs.iter().enumerate() {
        for (other_key, other) in &dirs[..i] {
            let how = match (dir == other, dir.starts_with(other), other.starts_with(dir)) {
                (true, ..) => "is the same folder as",
                (_, true, _) => "lies inside",
                (.., true) => "contains",
                _ => continue,
            };
            return Err(refuse(
                format!("{key} {} {how} {other_key} {}", dir.display(), other.display()),
                format!("give {key} and {other_key} folders side by side, on the same file system"),
            ));
        }
    }
    Ok(())
}

/// A service that systemd can start and that is not one of ours.
pub(crate) fn check_unit(unit: &str) -> Result<()> {
    let no = |why: &str| {
        let hint = "write the name of the service that runs etcd, for example etcd_unit = \"etcd2.service\"";
        Err(refuse(format!("etcd_unit {unit:?} {why}"), hint))
    };
    let Some(stem) = unit.strip_suffix(".service") else {
        return no("does not end in \".service\"");
    };
    if stem.is_empty() || unit.len() > 255 {
        return no("is not a unit name");
    }
    if !stem.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.@-".contains(&b)) {
        return no("contains a character that is not for unit names");
    }
    if stem.starts_with('@') || stem.ends_with('@') {
        return no("is a template, not one of its instances");
    }
    if ["etcd2-backup", "etcd2-backup-verify", "etcd2-backup-doctor", "etcd2-restore", "etcd2-join"]
        .contains(&stem)
    {
        return no("is a service of this program, not of etcd");
    }
    Ok(())
}

/// The name of a container image.
pub(crate) fn check_image(image: &str) -> Result<()> {
    let good = image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:@".contains(&b));
    if good {
        return Ok(());
    }
    let hint = "write an image whose entry point is rclone, for example image = \"rclone/rclone:1.60.1\"";
    Err(refuse(format!("rclone.image {image:?} is not the name of an image"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::hint_of;

    /// What the operator reads.
    fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
        let error = result.unwrap_err();
        assert_eq!(etcd2_backup::exit::exit_of(&error), Exit::Settings);
        format!("{error} | {}", hint_of(&error).unwrap())
    }

    #[test]
    fn peer_urls() {
        for url in [
            "http://172.17.4.51:2380",
            "https://e1.example.com:1",
            "http://[fd00::1]:65535",
            "http://e_1:7001",
        ] {
            check_peer_url(url).unwrap_or_else(|e| panic!("{e}"));
        }
        for (url, why) in [
            ("172.17.4.51:2380", "it does not begin with http:// or https://"),
            ("ftp://e1:2380", "it does not begin with http:// or https://"),
            ("http://e1", "it has no host and port"),
            ("http://:2380", "it has no host and port"),
            ("http://", "it has no host and port"),
            ("http://e1:", "\"\" is not a port"),
            ("http://e1:0", "\"0\" is not a port"),
            ("http://e1:+1", "\"+1\" is not a port"),
            ("http://e1:65536", "\"65536\" is not a port"),
            ("http://<host>:2380", "\"<host>\" is not a host"),
            (
                "http://e1:2380,http://e2:2380",
                "it is several, with commas between them: a list has each in quotes of its own",
            ),
            ("http://fd00::1:2380", "\"fd00::1\" is not a host"),
            ("http://[fd00::g]:2380", "\"[fd00::g]\" is not a host"),
            ("http://root@e1:2380", "it names a user"),
            ("http://e1:2380/", "it ends with a slash: leave that out"),
            ("http://e1:2380?x", "etcd takes no path, and \"?x\" is one"),
        ] {
            assert_eq!(
                said(check_peer_url(url)),
                format!(
                    "founder {url:?} is not a peer URL: {why} | write the founding member's advertised peer URL, for example founder = \"http://172.17.4.51:2380\""
                )
            );
        }
    }

    fn sections() -> Vec<Section> {
        crate::rclone_conf::parse_sections(
            "[s3-conf]\ntype = s3\n[disk]\ntype = local\n[bare]\n[drive]\ntype = drive\n\
             [secret]\ntype = crypt\nremote = s3-conf:\n",
        )
    }

    #[test]
    fn endpoints() {
        for (endpoint, want) in [
            ("s3-conf:bucket/path", "s3-conf:bucket/path"),
            ("s3-conf:bucket//path//", "s3-conf:bucket/path"),
            ("drive:", "drive:"),
            ("disk:/srv//./backups/", "disk:/srv/backups"),
            ("disk:/", "disk:/"),
        ] {
            assert_eq!(check_endpoint(endpoint, Some(&sections())).unwrap(), want);
        }
        for (endpoint, want) in [
            (
                "/srv/backups",
                r#"endpoint "/srv/backups" does not name a remote | write remote:path, where remote is a section of rclone.conf: endpoint = "s3-conf:bucket/path""#,
            ),
            (
                "s3-conf:s3://bucket/backups",
                r#"endpoint "s3-conf:s3://bucket/backups" is not an rclone path: "s3://" has no place in it | write endpoint = "s3-conf:bucket/backups""#,
            ),
            (
                "s3://bucket/backups/",
                r#"endpoint "s3://bucket/backups/" is not an rclone path: "s3://" has no place in it | write endpoint = "s3-conf:bucket/backups""#,
            ),
            (
                "s3conf:bucket",
                r#"endpoint "s3conf:bucket": rclone.conf has no section [s3conf] | did you mean s3-conf? Its sections are: s3-conf, disk, bare, drive, secret"#,
            ),
            (
                "backblaze:bucket",
                r#"endpoint "backblaze:bucket": rclone.conf has no section [backblaze] | its sections are: s3-conf, disk, bare, drive, secret"#,
            ),
            (
                ":s3,env_auth:bucket",
                r#"endpoint ":s3,env_auth:bucket" begins with a colon instead of a remote's name | make a section for it with rclone config, and write its name: endpoint = "remote:path". Every process can read a command line"#,
            ),
            (
                "s3-conf,no_check_bucket=true:bucket/x",
                r#"endpoint "s3-conf,no_check_bucket=true:bucket/x" has options behind the name of the remote "s3-conf" | put the options into the section [s3-conf] of rclone.conf, and write endpoint = "s3-conf:bucket/x""#,
            ),
            (
                "s3-conf:",
                r#"endpoint "s3-conf:" names no bucket of "s3-conf": each machine would make one, named by its machine ID | write it behind the colon, for example endpoint = "s3-conf:bucket/path""#,
            ),
            (
                "secret:/",
                r#"endpoint "secret:/" names no bucket of "secret": each machine would make one, named by its machine ID | write it behind the colon, for example endpoint = "secret:bucket/path""#,
            ),
            (
                "bare:bucket",
                "the section [bare] of rclone.conf has no type | make the section with: rclone config --config rclone.conf",
            ),
            (
                "disk:srv/backups",
                r#"endpoint "disk:srv/backups" leads to the folder "srv/backups", relative to wherever rclone is started | write the whole path: endpoint = "disk:/srv/backups""#,
            ),
        ] {
            assert_eq!(said(check_endpoint(endpoint, Some(&sections()))), want);
        }
        for (endpoint, mended) in [
            ("s3:s3://b/p/", Some("s3:b/p")),
            ("s3://b/p", None),
            ("s3:b/p", None),
            ("b/p", None),
            ("a:b:c", None),
        ] {
            assert_eq!(without_scheme(endpoint).as_deref(), mended, "{endpoint}");
        }
        assert!(said(check_endpoint("a:b", Some(&[]))).contains("rclone.conf has no section at all"));
    }

    #[test]
    fn folders() {
        assert_eq!(check_dir("data_dir", "/var//lib/./etcd2/").unwrap(), Path::new("/var/lib/etcd2"));
        for (dir, why) in [
            ("var/lib", "is not an absolute path"),
            ("", "is not an absolute path"),
            ("/var/../etc", "contains \"..\""),
            ("/", "is the root of the file system"),
            ("/a:b", "contains a character that no container's volume may have"),
        ] {
            assert_eq!(
                check_dir("data_dir", dir).unwrap_err().to_string(),
                format!("data_dir {dir:?} {why}")
            );
        }
        let apart =
            |a: &str, b: &str| check_apart(&[("data_dir", Path::new(a)), ("backup_dir", Path::new(b))]);
        apart("/var/lib/etcd2", "/var/lib/etcd2-backup").unwrap();
        for (a, b, how) in
            [("/a", "/a", "is the same folder as"), ("/a", "/a/b", "lies inside"), ("/a/b", "/a", "contains")]
        {
            assert_eq!(
                said(apart(a, b)),
                format!(
                    "backup_dir {b} {how} data_dir {a} | give backup_dir and data_dir folders side by side, on the same file system"
                )
            );
        }
    }

    #[test]
    fn units_and_images() {
        for unit in ["etcd2.service", "etcd-member.service", "etcd@e1.service"] {
            check_unit(unit).unwrap();
        }
        for (unit, why) in [
            ("etcd2", "does not end in \".service\""),
            ("etcd2.timer", "does not end in \".service\""),
            (".service", "is not a unit name"),
            ("../etcd2.service", "contains a character that is not for unit names"),
            ("etcd%m.service", "contains a character that is not for unit names"),
            ("etcd2 b.service", "contains a character that is not for unit names"),
            ("etcd@.service", "is a template, not one of its instances"),
            ("etcd2-backup.service", "is a service of this program, not of etcd"),
        ] {
            assert_eq!(check_unit(unit).unwrap_err().to_string(), format!("etcd_unit {unit:?} {why}"));
        }
        check_image("quay.io/coreos/rclone:latest").unwrap();
        check_image("rclone/rclone@sha256:0123").unwrap();
        for image in ["", "--privileged", "a b", "a;b", "$(x)"] {
            let error = check_image(image).unwrap_err().to_string();
            assert_eq!(error, format!("rclone.image {image:?} is not the name of an image"));
        }
    }

    #[test]
    fn control_characters_are_named() {
        check_one_line("endpoint", "a b \u{e9}").unwrap();
        for (value, name) in [
            ("a\nExecStart=/x", "a line break"),
            ("a\r", "a line break"),
            ("a\tb", "a tab"),
            ("\0", "the control character \\u{0}"),
            ("\u{1b}[2J", "the control character \\u{1b}"),
            ("\u{85}", "the control character \\u{85}"),
        ] {
            assert_eq!(
                said(check_one_line("endpoint", value)),
                format!("endpoint contains {name} | write the value on one line, in plain characters")
            );
        }
    }
}
