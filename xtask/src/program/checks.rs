//! What a program must be before it ships: static, small, for the nodes' machine, and able to say who it is.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{create_dirs, remove_if_there};

use super::elf;

/// The node program is small, so that it goes anywhere quickly. Of glibc alone there are 0.7 MB in it where it is linked
/// with that.
pub(crate) fn max_bytes(target: &str) -> usize {
    if target.split('-').any(|word| word.starts_with("gnu")) { 3 << 20 } else { (2 << 20) + (1 << 19) }
}

/// In a static program these load libraries of the node, which are of another age: names go through curl
/// instead.
const FORBIDDEN: [&str; 6] =
    ["getaddrinfo", "gethostbyname", "gethostbyname_r", "getpwnam_r", "getpwuid_r", "getgrnam_r"];
/// glibc's functions above cannot be linked in without the code that reads this file, and a name of a file
/// outlives strip.
const FORBIDDEN_FILE: &str = "nsswitch.conf";
/// A program that says its version does nothing else.
const LIMIT: Duration = Duration::from_secs(30);

/// Refuses a freshly linked node program that would need anything of the node's libraries.
pub(crate) fn check_linked(program: &[u8]) -> Result<()> {
    let elf = elf::parse_elf(program).context("reading the node program")?;
    if !elf.is_static {
        let hint = "crt-static had no effect: is the target one with a static libc?";
        return Err(fault(Exit::Failed, "the node program is not statically linked", hint));
    }
    if elf.symbols.is_empty() {
        let hint = "nothing may strip it before it is inspected: look at the profile in Cargo.toml";
        return Err(fault(Exit::Failed, "the node program has no symbols to inspect", hint));
    }
    if let Some(found) = FORBIDDEN.iter().find(|f| elf.symbols.iter().any(|name| name == *f)) {
        let hint =
            "something resolves a name or a user in-process; let curl or getent do it (clippy.toml says why)";
        return Err(fault(Exit::Failed, format!("the node program contains {found}"), hint));
    }
    Ok(())
}

/// Refuses a stripped node program that is too big, not static, for another machine, or resolves names.
pub(crate) fn check_stripped(program: &[u8], target: &str) -> Result<(), String> {
    let elf = elf::parse_elf(program).map_err(|e| e.to_string())?;
    if !elf.is_static {
        return Err("it is not statically linked".into());
    }
    if machine_of(target).is_some_and(|machine| machine != elf.machine) {
        return Err(format!("it is for another machine (ELF machine {}) than {target}", elf.machine));
    }
    let max = max_bytes(target);
    if program.len() > max {
        return Err(format!("it has {} bytes, more than {max}", program.len()));
    }
    if program.windows(FORBIDDEN_FILE.len()).any(|w| w == FORBIDDEN_FILE.as_bytes()) {
        return Err(format!("it reads {FORBIDDEN_FILE}, so it resolves names or users in-process"));
    }
    Ok(())
}

/// The ELF number of a target's machine, if it is one we know.
pub(crate) fn machine_of(target: &str) -> Option<u16> {
    match target.split('-').next()? {
        "x86_64" => Some(62),
        "aarch64" => Some(183),
        _ => None,
    }
}

/// Whether this machine runs programs of an ELF machine.
pub(crate) fn runs_here(machine: u16) -> bool {
    machine_of(std::env::consts::ARCH) == Some(machine)
}

/// What the program prints when it is run with `argument`, alone and with an empty environment. It is run
/// from a copy in `scratch`, so that what is asked is what ships.
pub(crate) fn ask(program: &[u8], argument: &str, scratch: &Path) -> Result<String> {
    create_dirs(scratch, 0o700)?;
    let copy = scratch.join(format!("asked.{}", std::process::id()));
    // A leftover of a process that had our number and was killed.
    remove_if_there(&copy)?;
    let write =
        || OpenOptions::new().write(true).create_new(true).mode(0o700).open(&copy)?.write_all(program);
    let said = write()
        .with_context(|| format!("writing {}", copy.display()))
        .and_then(|()| Command::new(&copy).arg(argument).env_clear().current_dir("/").run_ok(LIMIT));
    let removed = fs::remove_file(&copy);
    let said = said?;
    removed.with_context(|| format!("removing {}", copy.display()))?;
    Ok(said.text())
}

#[cfg(test)]
mod tests {
    use super::super::compile::{GNU, MUSL};
    use super::*;
    use etcd2_backup::sys::fs::write_atomic;

    fn this_test() -> Vec<u8> {
        fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_dynamic_program_does_not_ship() {
        let said = check_linked(&this_test()).unwrap_err().to_string();
        assert_eq!(said, "the node program is not statically linked");
        assert_eq!(check_stripped(&this_test(), MUSL).unwrap_err(), "it is not statically linked");
    }

    /// The smallest program: a header and nothing else, so static, of `machine`, with `tail` behind it.
    fn header(machine: u16, tail: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes.extend_from_slice(tail);
        bytes
    }

    #[test]
    fn a_stripped_program_is_static_small_and_of_the_nodes_machine() {
        for (program, target, want) in [
            (header(62, b""), MUSL, Ok(())),
            (header(183, b""), "aarch64-unknown-linux-gnu", Ok(())),
            (header(20, b""), "powerpc64le-unknown-linux-gnu", Ok(())),
            (header(183, b""), MUSL, Err("another machine (ELF machine 183) than x86_64")),
            (header(62, &vec![0; 5 << 19]), MUSL, Err("it has 2621504 bytes, more than 2621440")),
            (header(62, &vec![0; 5 << 19]), GNU, Ok(())),
            (header(62, &vec![0; 3 << 20]), GNU, Err("it has 3145792 bytes, more than 3145728")),
            (header(62, b"\0/etc/nsswitch.conf\0"), MUSL, Err("it reads nsswitch.conf")),
            (b"#!/bin/sh\n".to_vec(), MUSL, Err("not a 64-bit little-endian ELF program")),
            (header(62, b"")[..40].to_vec(), MUSL, Err("the file is cut short")),
            (Vec::new(), MUSL, Err("not a 64-bit")),
        ] {
            match (check_stripped(&program, target), want) {
                (Ok(()), Ok(())) => {}
                (Err(said), Err(want)) => assert!(said.contains(want), "{said}"),
                (got, want) => panic!("{got:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn a_program_is_asked_alone_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let env = fs::read("/usr/bin/env").unwrap();
        write_atomic(&dir.path().join(format!("asked.{}", std::process::id())), b"leftover", 0o600).unwrap();
        // A test that forks while the copy is open for writing keeps it from being run; then it is asked
        // again.
        let said = (0..100).find_map(|_| ask(&env, "--", dir.path()).ok()).unwrap();
        assert_eq!(said, "", "the environment is empty");
        let error = ask(b"#!/bin/sh\nexit 3\n", "version", dir.path()).unwrap_err().to_string();
        assert!(error.contains("ended with") || error.contains("starting"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
