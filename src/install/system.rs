//! Which systems this is made for.

use std::{fs, io};

use anyhow::Result;

use crate::exit::{Exit, OrFault, fault};
use crate::paths::{OS_RELEASE, OS_RELEASE_VENDOR};
use crate::sys::look;
use crate::sys::os_release::{self, OsRelease};
use crate::sys::root::Root;

/// Refuses a system that is none of those this is made for, unless `force` is given.
///
/// # Errors
/// [`Exit::NotFound`]: there is no such root. [`Exit::Refused`]: it is another system, or does not say which one it is.
pub fn check(root: &Root, force: bool) -> Result<()> {
    let top = root.join("/");
    if !look::is_dir(&top)? {
        let what = format!("{} is not a directory", top.display());
        return Err(fault(
            Exit::NotFound,
            what,
            "name an existing directory tree to install into with --root",
        ));
    }
    let hint = "to install anyway, add --force; etcd2-backup needs systemd, and writable /etc and /opt";
    let made_for = "this is made for CoreOS Container Linux, Flatcar and Fedora CoreOS";
    let what = match load(root) {
        Ok(system) if is_supported(&system) => return Ok(()),
        Ok(system) => format!("{made_for}, not for {}", describe(&system)),
        Err(e) if force => format!("{made_for}, and this system cannot be determined ({e:#})"),
        Err(e) => return Err(e).or_fault(Exit::Refused, "finding out which system this is", hint),
    };
    if !force {
        return Err(fault(Exit::Refused, what, hint));
    }
    log::warn!("{what}: installing anyway because of --force");
    Ok(())
}

fn load(root: &Root) -> Result<OsRelease> {
    let read = |path: &str| {
        let path = root.join(path);
        fs::read(&path).map_err(|e| (e, path))
    };
    let found = match read(OS_RELEASE) {
        Err((e, _)) if e.kind() == io::ErrorKind::NotFound => {
            read(OS_RELEASE_VENDOR).map_err(|(e, _)| (e, root.join(OS_RELEASE)))
        }
        found => found,
    };
    let text =
        found.map_err(|(e, path)| anyhow::Error::new(e).context(format!("reading {}", path.display())))?;
    Ok(os_release::parse(&String::from_utf8_lossy(&text)))
}

fn is_supported(system: &OsRelease) -> bool {
    match system.id.as_str() {
        "coreos" | "flatcar" => true,
        "fedora" => system.variant_id == "coreos",
        _ => false,
    }
}

fn describe(system: &OsRelease) -> String {
    let of = |text: &str| if text.is_empty() { "?".to_owned() } else { text.escape_debug().to_string() };
    if system.pretty_name.is_empty() {
        return format!("ID={}", of(&system.id));
    }
    format!("{} (ID={})", of(&system.pretty_name), of(&system.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let error = check(&Root::new(dir.path().join("none")), true).unwrap_err();
        assert_eq!(crate::exit::exit_of(&error), Exit::NotFound);
        assert!(check(&Root::new(dir.path()), true).is_ok());
    }

    #[test]
    fn only_the_coreos_family_is_supported() {
        let cases = [
            ("coreos", "", true),
            ("flatcar", "", true),
            ("fedora", "coreos", true),
            ("fedora", "workstation", false),
            ("fedora", "", false),
            ("rhcos", "coreos", false),
            ("debian", "", false),
            ("", "", false),
        ];
        for (id, variant_id, expected) in cases {
            let system =
                OsRelease { id: id.into(), variant_id: variant_id.into(), pretty_name: String::new() };
            assert_eq!(is_supported(&system), expected, "{id} {variant_id}");
        }
    }
}
