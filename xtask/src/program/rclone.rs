//! The rclone that travels in the tarball: a recovery then needs no registry, no docker and nothing of the
//! node's.

use std::fs;
use std::path::Path;

use anyhow::Result;
use etcd2_backup::exit::{Exit, OrFault};
use etcd2_backup::remote::version::{self, OLDEST};
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use serde::{Deserialize, Serialize};

use super::{checks, elf};
use crate::package::tarball;
use crate::site::runner::{BUNDLE_HINT, Runner};
use crate::site::validate::refuse;

/// What the manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// As it says itself, `v1.75.2`; `unknown` if this machine cannot run it.
    pub(crate) version: String,
    /// Its SHA-256, in hex.
    pub(crate) sha256: String,
}

/// Refuses an rclone that needs anything of the node's, is for another machine than `target`, does not run, or is too old. What it said is
/// kept in `cache` under its checksum, so that the same one is asked once.
pub(crate) fn examine(rclone: &[u8], target: &str, cache: &Path) -> Result<Bundle> {
    let program = elf::parse_elf(rclone).or_fault(Exit::Settings, "rclone.bundle", BUNDLE_HINT)?;
    if program.needs_loader {
        return Err(refuse("rclone.bundle is not static", BUNDLE_HINT));
    }
    let machine = program.machine;
    if checks::machine_of(target).is_some_and(|nodes| nodes != machine) {
        let what = format!("rclone.bundle is for another machine (ELF machine {machine}) than {target}");
        return Err(refuse(what, "take the rclone for the nodes' machine, or name another --target"));
    }
    let sha256 = tarball::sha256(rclone);
    if !checks::runs_here(machine) {
        return Ok(Bundle { version: "unknown".into(), sha256 });
    }
    let known = cache.join(format!("rclone-{sha256}"));
    let said = match fs::read_to_string(&known) {
        Ok(said) => said,
        Err(_) => checks::ask(rclone, "version", cache).or_fault(
            Exit::Settings,
            "running rclone.bundle",
            BUNDLE_HINT,
        )?,
    };
    let version = supported(&said)?.to_owned();
    create_dirs(cache, 0o700)?;
    write_atomic(&known, said.as_bytes(), 0o644)?;
    Ok(Bundle { version, sha256 })
}

/// The same for a runner that may have no rclone with it.
pub(crate) fn examine_of(runner: &Runner, target: &str, cache: &Path) -> Result<Option<Bundle>> {
    match runner {
        Runner::Bundled(rclone) => examine(&rclone.0, target, cache).map(Some),
        _ => Ok(None),
    }
}

/// The version in what `rclone version` printed, if it is one we serve.
fn supported(printed: &str) -> Result<&str> {
    let Some((version, numbers)) = version::parse(printed) else {
        let first = printed.lines().next().unwrap_or_default();
        return Err(refuse(format!("rclone.bundle is no rclone: it says {first:?}"), BUNDLE_HINT));
    };
    if numbers < OLDEST {
        let what = format!("rclone.bundle is rclone {version}, older than v{}.{}", OLDEST.0, OLDEST.1);
        return Err(refuse(what, BUNDLE_HINT));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::exit::hint_of;

    #[test]
    fn what_is_no_static_program_does_not_ship() {
        for (path, want) in [
            ("/bin/sh", "rclone.bundle is not static"),
            ("/etc/passwd", "rclone.bundle: not a 64-bit little-endian ELF program"),
        ] {
            let error = examine(&fs::read(path).unwrap(), "x86_64-unknown-linux-gnu", Path::new("/no/such"));
            let error = error.unwrap_err();
            assert_eq!((format!("{error:#}").as_str(), hint_of(&error)), (want, Some(BUNDLE_HINT)));
        }
    }

    #[test]
    fn another_machines_rclone_does_not_ship() {
        let of = |machine: u16| {
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.resize(64, 0);
            bytes[18..20].copy_from_slice(&machine.to_le_bytes());
            bytes
        };
        let none = Path::new("/no/such");
        for (machine, target) in [(183, "x86_64-unknown-linux-gnu"), (62, "aarch64-unknown-linux-gnu")] {
            let error = examine(&of(machine), target, none).unwrap_err().to_string();
            let want = format!("rclone.bundle is for another machine (ELF machine {machine}) than {target}");
            assert_eq!(error, want);
        }
        // For a machine that is not this one: it cannot be asked.
        assert_eq!(examine(&of(20), "powerpc-unknown-linux", none).unwrap().version, "unknown");
    }

    #[test]
    fn the_version_is_at_least_the_oldest_that_is_tested() {
        for (printed, want) in [
            ("rclone v1.60.1-DEV\n- os/type: linux\n", Ok("v1.60.1-DEV")),
            ("rclone v1.75.2\n", Ok("v1.75.2")),
            ("rclone v1.75.0-beta.8500.abc\n", Ok("v1.75.0-beta.8500.abc")),
            ("rclone v2.0.0", Ok("v2.0.0")),
            ("rclone v1.59.2\n", Err("rclone.bundle is rclone v1.59.2, older than v1.60")),
            ("rclone 1.75\n", Err("rclone.bundle is no rclone: it says \"rclone 1.75\"")),
            ("rclone v1\n", Err("rclone.bundle is no rclone: it says \"rclone v1\"")),
            ("curl 8.0\n", Err("rclone.bundle is no rclone: it says \"curl 8.0\"")),
            ("", Err("rclone.bundle is no rclone: it says \"\"")),
        ] {
            match (supported(printed), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(e), Err(want)) => {
                    assert_eq!((e.to_string().as_str(), hint_of(&e)), (want, Some(BUNDLE_HINT)));
                }
                (got, want) => panic!("{printed:?}: {got:?}, expected {want:?}"),
            }
        }
    }
}
