//! What can lie in a site's folder instead of a file, or be one that nobody can have meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use etcd2_backup::sys::fs::create_dirs;

use super::{Case, UNITS, lay_out, put, settings, text, words};
use crate::init::import::import;
use crate::site::tests::CONF;
use crate::site::warn::about_mode;
use crate::site::{self, Options, RCLONE_CONF, SETTINGS};
use crate::units::judged;

/// A change to the folder of a good site, and what is then said.
type Change = (&'static str, fn(&Path), &'static str);

const CHANGES: [Change; 24] = [
    (
        "no settings",
        |d| std::fs::remove_file(d.join(SETTINGS)).unwrap(),
        "there is no DIR/etcd2-backup.toml | make a starter site with: cargo xtask init DIR    or name another folder with --site DIR",
    ),
    (
        "no rclone.conf",
        |d| std::fs::remove_file(d.join(RCLONE_CONF)).unwrap(),
        "there is no DIR/rclone.conf | make one with: rclone config --config DIR/rclone.conf",
    ),
    (
        "a folder for settings",
        |d| folder(&d.join(SETTINGS)),
        "DIR/etcd2-backup.toml is a folder, not a file | put the file itself there",
    ),
    (
        "a folder for rclone.conf",
        |d| folder(&d.join(RCLONE_CONF)),
        "DIR/rclone.conf is a folder, not a file | put the file itself there",
    ),
    (
        "a pipe for settings",
        |d| pipe(&d.join(SETTINGS)),
        "DIR/etcd2-backup.toml is a named pipe, not a file | put the file itself there",
    ),
    (
        "a pipe for rclone.conf",
        |d| pipe(&d.join(RCLONE_CONF)),
        "DIR/rclone.conf is a named pipe, not a file | put the file itself there",
    ),
    (
        "a socket for rclone.conf",
        |d| socket(&d.join(RCLONE_CONF)),
        "DIR/rclone.conf is a socket, not a file | put the file itself there",
    ),
    (
        "a device for settings",
        |d| link("/dev/zero", &d.join(SETTINGS)),
        "DIR/etcd2-backup.toml is a symbolic link out of its folder, to /dev/zero | copy the file into DIR",
    ),
    (
        "settings of 1 MB",
        |d| long(&d.join(SETTINGS)),
        "DIR/etcd2-backup.toml has 1048576 bytes, more than 65536: such a file has a few kilobytes | look at what is in it",
    ),
    (
        "an rclone.conf of 1 MB",
        |d| long(&d.join(RCLONE_CONF)),
        "DIR/rclone.conf has 1048576 bytes, more than 262144: an rclone.conf has some hundred bytes for each remote | look at what is in it",
    ),
    (
        "settings in Latin-1",
        |d| put(&d.join(SETTINGS), b"version = 1\n# gr\xfc\xdfe\n"),
        "DIR/etcd2-backup.toml is not UTF-8: line 2, byte 16 | save it as UTF-8",
    ),
    (
        "settings that link out",
        |d| link("/etc/hostname", &d.join(SETTINGS)),
        "DIR/etcd2-backup.toml is a symbolic link out of its folder, to /etc/hostname | copy the file into DIR",
    ),
    (
        "an rclone.conf that links out",
        |d| link("/etc/passwd", &d.join(RCLONE_CONF)),
        "DIR/rclone.conf is a symbolic link out of its folder, to /etc/passwd | copy the file into DIR",
    ),
    (
        "an rclone.conf that climbs out",
        |d| link("../../../../../../../etc/passwd", &d.join(RCLONE_CONF)),
        "DIR/rclone.conf is a symbolic link out of its folder, to /etc/passwd | copy the file into DIR",
    ),
    (
        "an rclone.conf that leads nowhere",
        |d| link("none", &d.join(RCLONE_CONF)),
        "DIR/rclone.conf is a symbolic link that leads nowhere | make one with: rclone config --config DIR/rclone.conf",
    ),
    (
        "a bundle that links out",
        |d| {
            bundle(d);
            link("/bin/true", &d.join("rclone"));
        },
        "DIR/etcd2-backup.toml: rclone.bundle: DIR/rclone is a symbolic link out of its folder, to TRUE | copy the file into DIR",
    ),
    (
        "a bundle that is a folder",
        |d| {
            bundle(d);
            folder(&d.join("rclone"));
        },
        "DIR/etcd2-backup.toml: rclone.bundle: DIR/rclone is a folder, not a file | put the file itself there",
    ),
    (
        "a bundle that is a pipe",
        |d| {
            bundle(d);
            pipe(&d.join("rclone"));
        },
        "DIR/etcd2-backup.toml: rclone.bundle: DIR/rclone is a named pipe, not a file | put the file itself there",
    ),
    (
        "a file for the folder of templates",
        |d| put(&d.join("templates"), b""),
        "DIR/templates is not a directory | remove it, or make it a folder laid out like templates/ of the \
         checkout",
    ),
    (
        "a folder of templates that links out",
        |d| link("/etc", &d.join("templates")),
        "DIR/templates is a symbolic link out of its folder, to /etc | copy the file into DIR",
    ),
    (
        "a template that links out",
        |d| {
            folder(&d.join(TEMPLATES));
            link("/etc/passwd", &d.join(TEMPLATES).join(TIMER));
        },
        "DIR/templates/etc/systemd/system/etcd2-backup.timer.tera is a symbolic link out of its folder, to /etc/passwd | copy the file into DIR/templates",
    ),
    (
        "a template that is a pipe",
        |d| {
            folder(&d.join(TEMPLATES));
            pipe(&d.join(TEMPLATES).join(TIMER));
        },
        "DIR/templates/etc/systemd/system/etcd2-backup.timer.tera is a named pipe, not a file | put the file itself there",
    ),
    (
        "a template of 1 MB",
        |d| {
            folder(&d.join(TEMPLATES));
            long(&d.join(TEMPLATES).join(TIMER));
        },
        "DIR/templates/etc/systemd/system/etcd2-backup.timer.tera has 1048576 bytes, more than 65536: such a file has a few kilobytes | look at what is in it",
    ),
    (
        "a template whose name is no text",
        |d| put(&d.join(TEMPLATES).join(OsStr::from_bytes(b"etcd2-backup.timer\xff")), b""),
        "DIR/templates/etc/systemd/system/etcd2-backup.timer\u{fffd} takes the place of no template | did you mean etc/systemd/system/etcd2-backup.timer.tera?",
    ),
];
const TEMPLATES: &str = "templates/etc/systemd/system";
const TIMER: &str = "etcd2-backup.timer.tera";

fn clear(path: &Path) {
    create_dirs(path.parent().unwrap(), 0o700).unwrap();
    let _ = std::fs::remove_file(path);
}

pub(super) fn folder(path: &Path) {
    clear(path);
    create_dirs(path, 0o700).unwrap();
}

/// Nobody writes into it: whoever opens it waits for ever.
pub(super) fn pipe(path: &Path) {
    clear(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn socket(path: &Path) {
    clear(path);
    UnixListener::bind(path).unwrap();
}

pub(super) fn link(to: &str, path: &Path) {
    clear(path);
    symlink(to, path).unwrap();
}

fn long(path: &Path) {
    put(path, &vec![b'#'; 1 << 20]);
}

fn bundle(dir: &Path) {
    put(&dir.join(SETTINGS), settings("rclone = { runner = \"bundled\", bundle = \"rclone\" }").as_bytes());
}

#[test]
fn every_odd_file_is_refused_and_none_is_waited_for() {
    for (name, change, want) in CHANGES {
        let dir = tempfile::tempdir().unwrap();
        lay_out(&Case::default(), dir.path());
        change(dir.path());
        let error = site::load(&Options::of(dir.path())).expect_err(name);
        let shell = Path::new("/bin/true").canonicalize().unwrap().display().to_string();
        assert_eq!(words(&error, dir.path()).replace(&shell, "TRUE"), want, "{name}");
    }
}

#[test]
fn a_folder_of_the_original_is_read_with_the_same_care() {
    let hint = "name the folder of the original, with 30-etcd2-backup-restore.conf, etcd2-backup.timer and rclone.conf";
    let drop_in = "30-etcd2-backup-restore.conf";
    type Case = (&'static str, fn(&Path), String);
    let cases: [Case; 6] = [
        (drop_in, clear, format!("there is no DIR/{drop_in} | {hint}")),
        (drop_in, pipe, format!("DIR/{drop_in} is a named pipe, not a file | put the file itself there")),
        (drop_in, |p| put(p, b"[Service]\n\xff"), format!("DIR/{drop_in} is not UTF-8: line 2, byte 10 | save it as UTF-8")),
        (RCLONE_CONF, |p| link("/etc/passwd", p), "DIR/rclone.conf is a symbolic link out of its folder, to /etc/passwd | copy the file into DIR".into()),
        ("etcd2-backup.timer", folder, "DIR/etcd2-backup.timer is a folder, not a file | put the file itself there".into()),
        ("etcd2-backup.service", long, "DIR/etcd2-backup.service has 1048576 bytes, more than 65536: such a file has a few kilobytes | look at what is in it".into()),
    ];
    for (name, change, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let good = "[Service]\nEnvironment=\"ETCD_RESTORE_MASTER_ADV_PEER_URLS=http://e1:2380\" RCLONE_ENDPOINT=s3:b\n";
        put(&dir.path().join(drop_in), good.as_bytes());
        put(&dir.path().join(RCLONE_CONF), CONF.as_bytes());
        import(dir.path(), include_str!("../init/starter/etcd2-backup.toml")).unwrap();
        change(&dir.path().join(name));
        let error = import(dir.path(), include_str!("../init/starter/etcd2-backup.toml")).expect_err(name);
        assert_eq!(words(&error, dir.path()), want);
    }
}

/// Links inside the site are the operator's own order; secrets that others can read are worth a word.
#[test]
fn what_is_odd_and_fine() {
    let dir = tempfile::tempdir().unwrap();
    lay_out(&Case::default(), dir.path());
    put(&dir.path().join("secrets/conf"), CONF.as_bytes());
    link("secrets/conf", &dir.path().join(RCLONE_CONF));
    let load = || site::load(&Options::of(dir.path())).unwrap();
    assert_eq!(load().rclone_conf.0, CONF.as_bytes());
    let conf = dir.path().join(RCLONE_CONF);
    assert!(load().warnings.is_empty());
    assert!(Command::new("chmod").arg("644").arg(&conf).status().unwrap().success());
    let warned = load().warnings;
    assert_eq!(warned, Vec::from_iter(about_mode(&conf)));
    assert_eq!(warned.len(), 1);
}

#[test]
fn a_folder_of_templates_that_is_named_wins() {
    let dir = tempfile::tempdir().unwrap();
    let timer = |wanted: &str| format!("[Timer]\nOnCalendar={wanted}\n[Install]\nWantedBy=timers.target\n");
    let templates = [(TIMER.to_owned(), timer("daily"))].into();
    lay_out(&Case { templates, ..Case::default() }, dir.path());
    let named = dir.path().join("named");
    put(&named.join(UNITS).join(TIMER), timer("weekly").as_bytes());
    let with = |templates: Option<&Path>| {
        let options = Options { templates: templates.map(Into::into), ..Options::of(dir.path()) };
        let files = judged(&site::load(&options)?)?.files;
        Ok(text(&files, "etcd2-backup.timer").to_owned())
    };
    assert_eq!(with(None).unwrap(), timer("daily"));
    assert_eq!(with(Some(&named)).unwrap(), timer("weekly"));
    let error: anyhow::Error = with(Some(&dir.path().join("none"))).unwrap_err();
    assert_eq!(
        words(&error, dir.path()),
        "--templates DIR/none is not a directory | name a folder laid out like templates/ of the checkout"
    );
    put(&named.join(UNITS).join("etcd2-backup.timer"), timer("yearly").as_bytes());
    let error = with(Some(&named)).unwrap_err();
    assert_eq!(
        words(&error, &named),
        "DIR/etc/systemd/system/etcd2-backup.timer is there twice, as it is and as DIR/etc/systemd/system/etcd2-backup.timer.tera | remove one: what ends in .tera is rendered, the other is not"
    );
}
