//! What an operator could name as the node program or as rclone, and is none.

use std::fs::File;
use std::path::Path;

use super::files::{folder, link, pipe};
use super::{Case, lay_out, put, words};
use crate::program::compile::MUSL;
use crate::program::prebuilt;
use crate::program::provenance::tests::facts;
use crate::program::rclone::examine_of;
use crate::site::{self, Options};

/// An ELF header and nothing else, of a machine.
fn header(machine: u8) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    bytes[18] = machine;
    bytes
}

/// What lies there, and what is then said of it as rclone and as the node program, after its path.
type Odd = (&'static str, fn(&Path), &'static str, &'static str);

const ELF: &str = ": not a 64-bit little-endian ELF program";
const LARGE: &str = " has 268435457 bytes, more than 268435456: rclone has about 60 MB, a node program 2 MB, and the tarball \
    goes to every node";

const ODD: [Odd; 13] = [
    ("nothing", |_| (), "there is no PATH", "there is no PATH"),
    ("an empty file", |p| put(p, b""), ELF, ELF),
    ("a text", |p| put(p, b"rclone v1.75.2\n"), ELF, ELF),
    ("a script", |p| put(p, b"#!/bin/sh\necho rclone v1.75.2\n"), ELF, ELF),
    ("what is no UTF-8", |p| put(p, b"\xff\xfe\x80"), ELF, ELF),
    ("1 MB of zeros", |p| put(p, &vec![0; 1 << 20]), ELF, ELF),
    ("a program of 32 bits", |p| put(p, b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0"), ELF, ELF),
    ("half a header", |p| put(p, &header(62)[..40]), ": the file is cut short", ": the file is cut short"),
    (
        "a program that needs libraries",
        |p| put(p, &std::fs::read("/bin/sh").unwrap()),
        " is not static",
        ": it is not statically linked",
    ),
    ("a folder", folder, "PATH is a folder, not a file", "PATH is a folder, not a file"),
    ("a pipe", pipe, "PATH is a named pipe, not a file", "PATH is a named pipe, not a file"),
    (
        "a link to nowhere",
        |p| link("none", p),
        "PATH is a symbolic link that leads nowhere",
        "PATH is a symbolic link that leads nowhere",
    ),
    ("more than any program", |p| File::create(p).unwrap().set_len((256 << 20) + 1).unwrap(), LARGE, LARGE),
];

/// What a build does with a site's rclone before it compiles anything.
fn packed(options: &Options) -> anyhow::Result<()> {
    let site = site::load(options)?;
    examine_of(&site.runner, MUSL, &options.dir.join("cache")).map(drop)
}

#[test]
fn no_odd_program_is_packed() {
    for (name, make, as_rclone, as_program) in ODD {
        let dir = tempfile::tempdir().unwrap();
        lay_out(&Case::default(), dir.path());
        let path = dir.path().join("given").join("p");
        put(&dir.path().join("given/p.manifest.json"), facts().manifest(b"", None).unwrap().as_bytes());
        make(&path);
        let said = |error: anyhow::Error| {
            let said = words(&error, dir.path());
            said.split_once(" | ").unwrap().0.replace("DIR/given/p", "PATH")
        };
        let with = Options { bundle_rclone: Some(path.clone()), ..Options::of(dir.path()) };
        let (rclone, program) =
            (said(packed(&with).expect_err(name)), said(prebuilt::load(&path).expect_err(name)));
        assert!(
            rclone.trim_start_matches("DIR/etcd2-backup.toml: ").starts_with("rclone.bundle")
                && rclone.ends_with(as_rclone),
            "{name}: {rclone}"
        );
        assert!(program.starts_with("--prebuilt") && program.ends_with(as_program), "{name}: {program}");
    }
}
