//! A node program that was built elsewhere: what a release publishes, or another workstation's `dist`. No
//! compiler, cargo or git is asked; the manifest that came with the program says how it was made.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault};

use super::provenance::{Facts, Manifest, parse_manifest};
use super::{checks, elf};
use crate::checkout;
use crate::package::tarball;
use crate::site::input;
use crate::site::validate::refuse;

const HINT: &str =
    "take the node program and its manifest from one release, and the checkout of the same tag";

/// Reads and checks the program at `path`, and the facts of its build.
pub(crate) fn load(path: &Path) -> Result<(Vec<u8>, Facts)> {
    let what = format!("--prebuilt {}", path.display());
    // Wherever it is, it was named.
    let path = &std::path::absolute(path).with_context(|| what.clone())?;
    let program = input::read(Path::new("/"), path, input::PROGRAM, HINT).context("--prebuilt")?;
    let manifest = beside(path);
    let said = format!("{}, the manifest of {}", manifest.display(), path.display());
    let text = input::read_text(Path::new("/"), &manifest, input::TEXT, HINT).context("--prebuilt")?;
    let manifest = parse_manifest(&text).or_fault(Exit::Settings, said, HINT)?;
    check(&program, &manifest).map_err(|why| refuse(format!("{what}: {why}"), HINT))?;
    let facts = manifest.facts;
    let machine = elf::parse_elf(&program)?.machine;
    if checks::runs_here(machine) {
        let printed = checks::ask(&program, "--version", &checkout::cache()).or_fault(
            Exit::Settings,
            what.clone(),
            HINT,
        )?;
        let wanted = format!("etcd2-backup {} (commit {}, {})", facts.version, facts.commit, facts.target);
        if printed.trim_end() != wanted {
            let why = format!("it calls itself {:?}, and its manifest {wanted:?}", printed.trim_end());
            return Err(refuse(format!("{what}: {why}"), HINT));
        }
    } else {
        println!("note: {} is for another machine and was not run here", path.display());
    }
    Ok((program, facts))
}

/// The manifest's place: the program's name with `.manifest.json` as in a release, else `manifest.json` as in
/// an unpacked tarball.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".manifest.json");
    let own = PathBuf::from(name);
    if own.exists() { own } else { path.with_file_name("manifest.json") }
}

/// What can be told without running it. The symbols, and so the names of what is linked in, are stripped from
/// it.
fn check(program: &[u8], manifest: &Manifest) -> Result<(), String> {
    checks::check_stripped(program, &manifest.facts.target)?;
    let sha256 = tarball::sha256(program);
    if sha256 != manifest.program_sha256 {
        return Err(format!("its SHA-256 is {sha256}, and its manifest's {}", manifest.program_sha256));
    }
    let ours = env!("CARGO_PKG_VERSION");
    if manifest.facts.version != ours {
        let theirs = &manifest.facts.version;
        return Err(format!("it is version {theirs}, and the units and settings here are of {ours}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::provenance::tests::facts;
    use etcd2_backup::exit::{exit_of, hint_of};
    use etcd2_backup::sys::fs::write_atomic;

    /// A header of a program for a machine that is nowhere, so that it is not run.
    fn alien() -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18] = 20;
        bytes
    }

    fn manifest(program: &[u8], facts: &Facts) -> String {
        facts.manifest(program, None).unwrap()
    }

    #[test]
    fn the_manifest_lies_beside_the_program_and_fits_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let good = Facts { target: "ppc-unknown".into(), ..facts() };
        let put =
            |name: &str, text: &str| write_atomic(&dir.path().join(name), text.as_bytes(), 0o644).unwrap();
        write_atomic(&path, &alien(), 0o755).unwrap();
        put("manifest.json", &manifest(&alien(), &good));
        assert_eq!(load(&path).unwrap(), (alien(), good.clone()));
        // The one with the program's own name wins.
        let other = Facts { gcc: "other".into(), ..good.clone() };
        put("p.manifest.json", &manifest(&alien(), &other));
        assert_eq!(load(&path).unwrap().1, other);

        let old = Facts { version: "0.0.9".into(), ..good.clone() };
        let x86 = Facts { target: "x86_64-unknown-linux-gnu".into(), ..good.clone() };
        let good = manifest(&alien(), &good);
        for (text, want) in [
            ("", "EOF while parsing"),
            ("[]", "invalid type"),
            ("{}", "missing field"),
            ("\u{0}", "expected value"),
            (&good.replace("ppc-unknown", "p\\nq"), "target contains a line break"),
            (&good.replace("\"target\": \"ppc-unknown\"", "\"target\": 1"), "invalid type: integer"),
            (&manifest(b"other", &other), "its SHA-256 is "),
            (&manifest(&alien(), &old), "it is version 0.0.9, and the units and settings here are of "),
            (&manifest(&alien(), &x86), "it is for another machine (ELF machine 20)"),
        ] {
            put("p.manifest.json", text);
            let error = load(&path).unwrap_err();
            assert!(format!("{error:#}").contains(want), "{text}: {error:#}");
            assert_eq!((exit_of(&error), hint_of(&error)), (Exit::Settings, Some(HINT)));
        }
    }

    #[test]
    fn what_is_not_there_or_no_program_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let said = |path: &Path| format!("{:#}", load(path).unwrap_err());
        assert!(said(&path).starts_with("--prebuilt: there is no "));
        write_atomic(&path, b"#!/bin/sh\n", 0o755).unwrap();
        assert!(said(&path).contains("manifest.json"), "{}", said(&path));
        write_atomic(&dir.path().join("manifest.json"), manifest(b"", &facts()).as_bytes(), 0o644).unwrap();
        assert!(said(&path).ends_with("not a 64-bit little-endian ELF program"), "{}", said(&path));
        // It says that it is static and for here, but it does not run.
        let mut broken = alien();
        broken[18] = 62;
        write_atomic(&path, &broken, 0o755).unwrap();
        let x86 = Facts { target: "x86_64-unknown-linux-gnu".into(), ..facts() };
        write_atomic(&dir.path().join("manifest.json"), manifest(&broken, &x86).as_bytes(), 0o644).unwrap();
        if checks::runs_here(62) {
            assert!(said(&path).contains("starting "), "{}", said(&path));
        }
    }
}
