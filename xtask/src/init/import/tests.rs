//! Folders of the original and what becomes of them: `tests/import/NN-name/{original,expected}`.

use std::fs::read_to_string;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use etcd2_backup::exit::hint_of;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};

use super::*;
use crate::site::{Options, SETTINGS};
use crate::units::judged;

const STARTER: &str = include_str!("../starter/etcd2-backup.toml");

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut all: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    assert!(all.len() >= 3);
    all
}

/// The changed lines of the starter, and what was said; or the refusal.
fn outcome(original: &Path) -> String {
    let said = match import(original, STARTER) {
        Ok(imported) => {
            let new = imported.settings.lines().filter(|l| !STARTER.lines().any(|s| s == *l));
            let lines = |title: &str, lines: &[String]| format!("\n{title}:\n{}\n", lines.join("\n"));
            let new: Vec<&str> = new.collect();
            format!(
                "{}\n{}{}",
                new.join("\n"),
                lines("carried over", &imported.carried),
                lines("not carried over", &imported.left)
            )
        }
        Err(e) => format!("error: {e:#}\nhint: {}\n", hint_of(&e).unwrap()),
    };
    said.replace(&original.display().to_string(), "ORIGINAL")
}

/// `UPDATE_GOLDEN=1` writes what came out.
#[test]
fn every_folder_becomes_what_is_expected() {
    for case in cases() {
        let (got, expected) = (outcome(&case.join("original")), case.join("expected.txt"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            write_atomic(&expected, got.as_bytes(), 0o644).unwrap();
        }
        assert_eq!(got, read_to_string(&expected).unwrap(), "{}", case.display());
    }
}

/// What `init --from` writes is a site like any other: it is loaded, rendered and packed.
#[test]
fn what_was_imported_builds() {
    let mut built = 0;
    for case in cases() {
        let original = case.join("original");
        if import(&original, STARTER).is_err() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("site");
        let task = crate::init::Options { dir: site.clone(), from: Some(original.clone()) };
        crate::init::main(&task).unwrap();
        let conf = site.join(RCLONE_CONF);
        assert_eq!(std::fs::read(&conf).unwrap(), std::fs::read(original.join(RCLONE_CONF)).unwrap());
        assert_eq!(conf.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // The original's README has no keys of anybody's.
        let text = std::fs::read_to_string(&conf).unwrap();
        write_atomic(&conf, text.replace("= xxxxxx", "= abc").as_bytes(), 0o600).unwrap();
        assert_eq!(site.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert!(site.join(SETTINGS).is_file());
        let loaded = site::load(&Options::of(&site)).unwrap();
        let rendered = judged(&loaded).unwrap();
        let path = |name: &str| dir.path().join(name);
        crate::package::tarball::write(
            &loaded,
            &rendered,
            b"program",
            "{}",
            0,
            &path("x.tgz"),
            &path("cache"),
        )
        .unwrap();
        built += 1;
    }
    assert!(built >= 3);
}

/// A drop-in that our own build made, on a node or in a tarball, brings its site back.
#[test]
fn our_own_drop_in_is_read_back() {
    for case in ["02-everything-set", "06-encrypted"] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("site");
        let site = site::load(&Options::of(&golden)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        create_dirs(dir.path(), 0o700).unwrap();
        for file in judged(&site).unwrap().files {
            let name = file.path.rsplit('/').next().unwrap();
            write_atomic(&dir.path().join(name), file.text.as_bytes(), 0o644).unwrap();
        }
        write_atomic(&dir.path().join(RCLONE_CONF), &site.rclone_conf.0, 0o600).unwrap();
        let imported = import(dir.path(), STARTER).unwrap();
        let back =
            site::resolve(parse_fragment(&imported.settings).unwrap(), imported.conf, dir.path()).unwrap();
        // Priorities are the service's, which is not read, nor are the timers of verification and drill; modes are the folder's.
        let mut want = site;
        (want.schedule.nice, want.schedule.io_class) = (10, "best-effort".into());
        want.verify = back.verify.clone();
        want.rehearse = back.rehearse.clone();
        want.warnings.clone_from(&back.warnings);
        assert_eq!(format!("{back:?}"), format!("{want:?}"));
    }
}
