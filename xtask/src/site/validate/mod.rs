//! Checks of the operator's values, each pure: what cannot work on a node is refused here, with what to write instead.

use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::settings::endpoint;
use etcd2_backup::settings::names::{etcd_unit_problem, service_problem};
use etcd2_backup::settings::urls::peer_url_problem;

use super::faults::Faults;
use super::rclone_conf::Section;

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
        let nearest = super::nearest::nearest(remote, names.iter().copied());
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
    // Room for the name of the unit that failed; a backslash systemd would read as an escape.
    if service_problem(unit).is_some() || unit.contains('\\') || unit.len() > 200 {
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
    let mut faults = Faults::default();
    for (i, (key, dir)) in dirs.iter().enumerate() {
        for (other_key, other) in &dirs[..i] {
            let how = match (dir == other, dir.starts_with(other), other.starts_with(dir)) {
                (true, ..) => "is the same directory as",
                (_, true, _) => "is inside",
                (.., true) => "contains",
                _ => continue,
            };
            faults.extend([refuse(
                format!("{key} {} {how} {other_key} {}", dir.display(), other.display()),
                format!(
                    "use separate directories for {key} and {other_key}, side by side on the same file system"
                ),
            )]);
        }
    }
    faults.or(())
}

/// A service that systemd can start and that is not one of ours.
pub(crate) fn check_unit(unit: &str) -> Result<()> {
    let no = |why: &str| {
        let hint = "write the name of the service that runs etcd, for example etcd_unit = \"etcd2.service\"";
        Err(refuse(format!("etcd_unit {unit:?} {why}"), hint))
    };
    if unit.contains('\\') {
        return no("contains a character that is not for unit names"); // systemd would read it as an escape
    }
    etcd_unit_problem(unit).map_or(Ok(()), no)
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
mod tests;
