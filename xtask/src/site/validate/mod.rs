//! Checks of the operator's values, each pure: what cannot work on a node is refused here, with what to write instead. What one
//! value may be is in the library, for the node as well; here is what only the build knows.

use std::path::Path;

use anyhow::Result;
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::settings::checks::{self, Read, Write, one_line};
use etcd2_backup::settings::judge::{self, Place};
use etcd2_backup::settings::table::{default, row};

use super::faults::Faults;
use super::rclone_conf::Section;

/// An error about a setting.
pub(crate) fn refuse(what: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    fault(Exit::Settings, what, hint)
}

/// One line, as [`one_line`] says.
pub(crate) fn check_one_line(key: &str, value: &str) -> Result<()> {
    one_line(value).map_err(|problem| refuse(format!("{key} {}", problem.why), problem.hint))
}

/// What the file says of a setting, or its default, as it is read.
///
/// # Panics
/// It says nothing, and there is no default.
pub(crate) fn read<T>(
    key: &str,
    said: Option<&str>,
    reader: impl FnOnce(&str, Write<'_>) -> Read<T>,
) -> Result<T> {
    let text = said.unwrap_or_else(|| default(key));
    judge::read(row(key), Place::Key, text, reader).map_err(|mut refusal| {
        if let Some(near) = super::nearest::nearest(text, refusal.choices.iter().copied()) {
            refusal.hint = format!("did you mean {near}? It can be: {}", refusal.choices.join(", "));
        }
        refusal.into()
    })
}

/// The same as text, which its row was asked about.
pub(crate) fn text(key: &str, said: Option<&str>) -> Result<String> {
    read(key, said, |text, write| (row(key).check)(text, write).map(|()| text.to_owned()))
}

/// The normal form of an rclone path below one of the sections of rclone.conf. No sections are known of an encrypted
/// rclone.conf.
pub(crate) fn check_endpoint(said: &str, known: Option<&[Section]>) -> Result<String> {
    let sections = known.unwrap_or_default();
    let names: Vec<&str> = sections.iter().map(|s| s.name.as_str()).collect();
    let look_up = |name: &str| sections.iter().find(|s| s.name == name).cloned();
    let example = names.first().copied().unwrap_or("remote");
    let endpoint =
        read("endpoint", Some(said), |text, write| checks::endpoint(text, write, example, &look_up))?;
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

#[cfg(test)]
mod tests;
