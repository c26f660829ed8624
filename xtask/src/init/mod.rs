//! `cargo xtask init`: a commented starter site. What is there already stays as it is.

pub(crate) mod import;

use std::path::{Path, PathBuf};

use anyhow::Result;
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use etcd2_backup::sys::look;

use crate::site::{RCLONE_CONF, SETTINGS};
use import::import;

/// The starter's files.
const STARTER: [(&str, &str); 2] = [
    (SETTINGS, include_str!("starter/etcd2-backup.toml")),
    ("rclone.conf.example", include_str!("starter/rclone.conf.example")),
];

/// Keeps the secrets out of git, wherever the site lies.
const IGNORED: (&str, &str) = (".gitignore", include_str!("starter/gitignore"));

/// `init`: write a commented starter site.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write it
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Fill it with the settings and the rclone.conf of a folder of etcd2-backup-coreos
    #[arg(long, value_name = "FOLDER")]
    pub(crate) from: Option<PathBuf>,
}

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    let dir = &options.dir;
    if let Some(from) = &options.from {
        return take_over(from, dir);
    }
    create_dirs(dir, 0o700)?;
    for (name, text) in STARTER {
        // A copy of the example has its mode.
        write_new(&dir.join(name), text, 0o600)?;
    }
    write_new(&dir.join(IGNORED.0), IGNORED.1, 0o644)?;
    let dir = dir.display();
    println!(
        "
Next:
  1. fill in founder and endpoint in {dir}/etcd2-backup.toml
  2. make {dir}/rclone.conf:  rclone config --config {dir}/rclone.conf
     (or copy rclone.conf.example and fill it in)
  3. cargo xtask build --site {dir} --bundle-rclone RCLONE
     (recommended: RCLONE is a static rclone, from rclone's own releases; without it the nodes need its image)"
    );
    Ok(())
}

/// Writes a file, unless one is there.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<()> {
    if look::at_name(path)?.is_some() {
        println!("kept     {}", path.display());
    } else {
        write_atomic(path, text.as_bytes(), mode)?;
        println!("written  {}", path.display());
    }
    Ok(())
}

/// A site with the settings of the original in the folder `from`; says what is not in it.
fn take_over(from: &Path, dir: &Path) -> Result<()> {
    let imported = import(from, STARTER[0].1)?;
    let files = [(RCLONE_CONF, &imported.conf[..], 0o600), (SETTINGS, imported.settings.as_bytes(), 0o644)];
    for (name, ..) in files {
        let path = dir.join(name);
        if look::at_name(&path)?.is_some() {
            let hint = "name another folder, or move that file away";
            return Err(fault(Exit::Refused, format!("{} is there already", path.display()), hint));
        }
    }
    create_dirs(dir, 0o700)?;
    for (name, content, mode) in files {
        let path = dir.join(name);
        write_atomic(&path, content, mode)?;
        println!("written  {}", path.display());
    }
    write_new(&dir.join(IGNORED.0), IGNORED.1, 0o644)?;
    let list = |title: &str, lines: &[String]| {
        let lines: String = lines.iter().map(|l| format!("  {l}\n")).collect();
        print!("\n{title}:\n{lines}");
    };
    list("Carried over", &imported.carried);
    if !imported.left.is_empty() {
        list("Not carried over", &imported.left);
    }
    let dir = dir.display();
    println!(
        "
Next:
  1. read {dir}/etcd2-backup.toml; runner = \"bundled\" is recommended there
  2. cargo xtask lint --site {dir}
  3. cargo xtask build --site {dir}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::tests::load_of;
    use std::os::unix::fs::PermissionsExt as _;

    /// What the operator does with the starter.
    fn filled() -> String {
        STARTER[0]
            .1
            .replace("http://<host>:<port>", "http://e1:2380")
            .replace("<remote>:<bucket/path>", "my-s3:bucket/path")
    }

    fn filled_conf() -> String {
        STARTER[1].1.replace("_id = XXXXXXXX", "_id = AKIA").replace("_key = XXXXXXXX", "_key = abc")
    }

    #[test]
    fn the_starter_works_once_its_placeholders_are_filled_in() {
        let site = load_of(&filled(), &filled_conf()).unwrap();
        assert_eq!(
            (site.founder.as_slice(), site.endpoint.as_str()),
            (["http://e1:2380".into()].as_slice(), "my-s3:bucket/path")
        );
    }

    #[test]
    fn the_starter_as_it_is_says_what_to_fill_in() {
        let said = load_of(STARTER[0].1, STARTER[1].1).unwrap_err().to_string();
        for wanted in [
            r#"4 things must be changed: (1) DIR/etcd2-backup.toml: line 8: founder "http://<host>:<port>" still is"#,
            r#"(2) DIR/etcd2-backup.toml: line 12: endpoint "<remote>:<bucket/path>" still is"#,
            r#"(3) DIR/rclone.conf: line 7: access_key_id "XXXXXXXX" still is"#,
            r#"(4) DIR/rclone.conf: line 8: secret_access_key "XXXXXXXX" still is"#,
        ] {
            assert!(said.contains(wanted), "{said}");
        }
        let said = load_of(&filled().replace("my-s3:", "other:"), &filled_conf()).unwrap_err().to_string();
        assert!(said.contains("its sections are: my-s3"), "{said}");
    }

    /// Each setting stands in the starter as a comment with its default, so all of them uncommented change nothing.
    #[test]
    fn every_commented_setting_is_known() {
        let uncommented: String = filled()
            .lines()
            .map(|l| l.strip_prefix("#").filter(|l| l.starts_with(char::is_alphabetic)).unwrap_or(l))
            // The keys without a default: files of the operator's, and what would exclude `interval`.
            .filter(|l| {
                !["bundle", "calendar", "password_file", "on_failure", "textfile"]
                    .iter()
                    .any(|key| l.starts_with(key))
            })
            .map(|l| format!("{l}\n"))
            .collect();
        let (all, defaults) =
            (load_of(&uncommented, &filled_conf()).unwrap(), load_of(&filled(), &filled_conf()).unwrap());
        assert_eq!(format!("{all:?}"), format!("{defaults:?}"));
        for key in [
            "interval",
            "boot_delay",
            "jitter",
            "nice",
            "io_class",
            "data_dir",
            "backup_dir",
            "restore_dir",
            "etcd_unit",
            "runner",
            "image",
            "timeout",
            "bwlimit",
            "flags",
        ] {
            assert!(uncommented.lines().any(|l| l.starts_with(&format!("{key} = "))), "{key}");
        }
    }

    #[test]
    fn a_site_that_is_there_is_not_taken_over() {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/01-readme/original");
        let dir = tempfile::tempdir().unwrap();
        for name in [SETTINGS, RCLONE_CONF] {
            let (site, path) = (dir.path().join(name), dir.path().join(name).join(name));
            create_dirs(&site, 0o700).unwrap();
            write_atomic(&path, b"mine", 0o644).unwrap();
            let options = Options { dir: site.clone(), from: Some(original.clone()) };
            let error = main(&options).unwrap_err();
            assert_eq!(error.to_string(), format!("{} is there already", path.display()));
            assert_eq!(etcd2_backup::exit::exit_of(&error), Exit::Refused);
            assert_eq!(std::fs::read_dir(&site).unwrap().count(), 1);
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(crate::site::SETTINGS);
        write_atomic(&path, b"mine", 0o600).unwrap();
        main(&Options { dir: dir.path().into(), from: None }).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let example = dir.path().join("rclone.conf.example");
        assert_eq!(std::fs::read_to_string(&example).unwrap(), STARTER[1].1);
        assert_eq!(example.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    }

    /// By git itself, in a site of each kind; a `.gitignore` that is there stays.
    #[test]
    fn git_takes_no_secret_of_a_site() {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/01-readme/original");
        for from in [None, Some(original)] {
            let dir = tempfile::tempdir().unwrap();
            main(&Options { dir: dir.path().into(), from: from.clone() }).unwrap();
            // Beside them what rclone and editors leave, and what a build makes.
            for name in ["rclone.conf", "rclone.conf.old1", "rclone.conf~", "etcd2-backup.tgz", "templates"] {
                write_atomic(&dir.path().join(name), b"", 0o600).unwrap();
            }
            let git = |arguments: &[&str]| {
                let output = std::process::Command::new("git")
                    .arg("-C")
                    .arg(dir.path())
                    .args(arguments)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            git(&["init", "--quiet"]);
            git(&["add", "--all"]);
            let mut expected = vec![".gitignore", SETTINGS, "rclone.conf.example", "templates"];
            expected.retain(|name| from.is_none() || *name != "rclone.conf.example");
            assert_eq!(git(&["ls-files"]).lines().collect::<Vec<_>>(), expected);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(IGNORED.0);
        write_atomic(&path, b"mine", 0o644).unwrap();
        main(&Options { dir: dir.path().into(), from: None }).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
