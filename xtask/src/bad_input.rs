//! The corpus of bad input, `tests/bad-input/cases.toml`: each case is refused with the file, the thing, the reason and the
//! next step, or a node reads exactly what the operator wrote. What lies in folders (links, pipes, sizes) is here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::Result;
use etcd2_backup::exit::{Exit, exit_of, hint_of};
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use etcd2_backup::sys::unit_file::{parse_environment, parse_settings};
use serde::Deserialize;

use crate::fragment::parse_fragment;
use crate::import::import;
use crate::render::{Rendered, render};
use crate::rules;
use crate::site::tests::{CONF, MINIMAL};
use crate::site::{self, Options, RCLONE_CONF, SETTINGS, Site};
use crate::templates::stock;

#[derive(Debug, Deserialize)]
struct Corpus {
    case: Vec<Case>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    toml: String,
    repeat: Option<Repeat>,
    conf: Option<String>,
    drop_in: Option<String>,
    timer: Option<String>,
    #[serde(default)]
    templates: BTreeMap<String, String>,
    #[serde(default)]
    set: Vec<String>,
    reads: Option<BTreeMap<String, String>>,
    times: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
struct Repeat {
    key: String,
    value: String,
    times: usize,
}

const UNITS: &str = "etc/systemd/system";

fn put(path: &Path, text: &[u8]) {
    create_dirs(path.parent().unwrap(), 0o700).unwrap();
    write_atomic(path, text, 0o600).unwrap();
}

/// The shortest site, with these lines in the place of its own of the same keys.
fn settings(toml: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let ours: BTreeSet<String> = toml.lines().map(key).collect();
    let kept: String =
        MINIMAL.lines().filter(|l| !ours.contains(&key(l))).map(|l| format!("{l}\n")).collect();
    format!("{kept}{toml}\n")
}

/// Writes the site of a case into a folder.
fn lay_out(case: &Case, dir: &Path) {
    let mut toml = case.toml.clone();
    if let Some(Repeat { key, value, times }) = &case.repeat {
        writeln!(toml, "{key} = {:?}", vec![value; *times]).unwrap();
    }
    put(&dir.join(SETTINGS), settings(&toml).as_bytes());
    put(&dir.join(RCLONE_CONF), case.conf.as_deref().unwrap_or(CONF).as_bytes());
    for (name, text) in &case.templates {
        // A plus adds to the built-in one.
        let text = match text.strip_prefix('+') {
            Some(line) => format!("{}{line}\n", stock()[&format!("{UNITS}/{name}")]),
            None => text.clone(),
        };
        put(&dir.join("templates").join(UNITS).join(name), text.as_bytes());
    }
}

/// Loads and renders the case.
fn outcome(case: &Case, dir: &Path) -> Result<(Site, Vec<Rendered>)> {
    let site = match &case.drop_in {
        None => {
            lay_out(case, dir);
            site::load(&Options { dir: dir.into(), set: case.set.clone(), ..Options::default() })?
        }
        Some(line) => {
            let founder = "Environment=\"ETCD_RESTORE_MASTER_ADV_PEER_URLS=http://e1:2380\"";
            let drop_in = format!("[Service]\n{founder}\n{line}\n");
            put(&dir.join("30-etcd2-backup-restore.conf"), drop_in.as_bytes());
            put(&dir.join(RCLONE_CONF), case.conf.as_deref().unwrap_or(CONF).as_bytes());
            if let Some(timer) = &case.timer {
                put(&dir.join("etcd2-backup.timer"), timer.as_bytes());
            }
            let imported = import(dir, include_str!("starter/etcd2-backup.toml"))?;
            site::resolve(parse_fragment(&imported.settings)?, imported.conf, dir)?
        }
    };
    let files = render(&site)?;
    Ok((site, files))
}

/// What the operator reads; every refusal has its code and a hint.
fn words(error: &anyhow::Error, dir: &Path) -> String {
    assert_eq!(exit_of(error), Exit::Settings, "{error:#}");
    let hint = hint_of(error).unwrap_or_else(|| panic!("no hint: {error:#}"));
    let said = format!("{error:#} | {hint}").replace(&dir.display().to_string(), "DIR");
    assert!(!said.contains(|c: char| c.is_control()), "{said:?}");
    said
}

/// The text of a rendered file.
fn text<'a>(files: &'a [Rendered], name: &str) -> &'a str {
    &files.iter().find(|f| f.path.ends_with(name)).unwrap().text
}

/// Sections and directives without their values: no value may add one.
fn skeleton(files: &[Rendered]) -> Vec<(String, String, String)> {
    let services = files.iter().filter(|f| !f.path.ends_with(".timer"));
    let of = |f: &Rendered| {
        let settings = parse_settings(&f.text).into_iter();
        settings.map(|s| (f.path.clone(), s.section, s.key)).collect::<Vec<_>>()
    };
    services.flat_map(of).collect()
}

/// The node reads what the site says, and there is no directive that the operator's templates do not have.
fn check_read(site: &Site, files: &[Rendered], templates: bool) -> BTreeMap<String, String> {
    let read: BTreeMap<_, _> =
        parse_environment(text(files, "30-etcd2-backup-restore.conf")).into_iter().collect();
    for (variable, value) in rules::expected(site) {
        assert_eq!(read.get(variable), Some(&value), "{variable}");
    }
    // The parser leaves specifiers as they are; systemd would not.
    for setting in files.iter().flat_map(|f| parse_settings(&f.text)) {
        assert!(!setting.value.replace("%%", "").contains('%'), "{setting:?}");
    }
    if !templates {
        static PLAIN: LazyLock<Vec<(String, String, String)>> =
            LazyLock::new(|| skeleton(&render(&site::tests::load_of(MINIMAL, CONF).unwrap()).unwrap()));
        assert_eq!(skeleton(files), *PLAIN);
    }
    read
}

/// `UPDATE_GOLDEN=1` writes the words of the refusals.
#[test]
fn every_case_is_refused_or_read_exactly() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad-input");
    let corpus = std::fs::read_to_string(folder.join("cases.toml")).unwrap();
    let Corpus { case: cases } = toml::from_str(&corpus).unwrap();
    assert!(cases.len() >= 90, "{}", cases.len());
    let mut refusals = String::new();
    for case in &cases {
        let dir = tempfile::tempdir().unwrap();
        let outcome = outcome(case, dir.path());
        let accepted = case.reads.is_some() || case.times.is_some();
        match outcome {
            Err(error) => {
                let said = words(&error, dir.path());
                assert!(!accepted, "{}: {said}", case.name);
                writeln!(refusals, "{}\n    {}", case.name, said.replace(" | ", "\n    hint: ")).unwrap();
            }
            Ok((site, files)) => {
                assert!(accepted, "{} is not refused", case.name);
                let all = check_read(&site, &files, !case.templates.is_empty());
                for (variable, want) in case.reads.iter().flatten() {
                    assert_eq!(all.get(variable), Some(want), "{}: {variable}", case.name);
                }
                if let Some(want) = &case.times {
                    let timer = parse_settings(text(&files, "etcd2-backup.timer")).into_iter();
                    let times: BTreeMap<_, _> =
                        timer.filter(|s| s.section == "Timer").map(|s| (s.key, s.value)).collect();
                    assert_eq!(&times, want, "{}", case.name);
                }
            }
        }
    }
    let expected = folder.join("expected.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_atomic(&expected, refusals.as_bytes(), 0o644).unwrap();
    }
    assert_eq!(refusals, std::fs::read_to_string(expected).unwrap());
}

/// Every field that takes text, with everything that means something to systemd, a shell, a template or TOML.
#[test]
fn no_field_lets_anything_through() {
    let fields = [
        "founder",
        "endpoint",
        "interval",
        "calendar",
        "boot_delay",
        "jitter",
        "io_class",
        "data_dir",
        "backup_dir",
        "restore_dir",
        "etcd_unit",
        "rclone.runner",
        "rclone.image",
        "rclone.bundle",
        "rclone.timeout",
    ];
    let good = |field: &str| match field {
        "founder" => "http://e1:2380",
        "endpoint" => "s3:bucket",
        "interval" | "boot_delay" | "jitter" | "rclone.timeout" => "30s",
        "calendar" => "hourly",
        "io_class" => "idle",
        "etcd_unit" => "etcd.service",
        "rclone.runner" => "docker",
        "rclone.image" => "rclone/rclone",
        _ => "/srv/x",
    };
    let payloads = [
        "",
        "\n",
        "\nExecStart=/bin/sh",
        "\r\n[Service]\nUser=root",
        "\0",
        "\u{85}",
        "\t",
        " ",
        "%",
        "%m",
        "%%",
        "\"",
        "'",
        "\" \"A=b",
        "\\",
        "\\n",
        "\\x0aA=b",
        "$",
        "$A",
        "${A}",
        "$(id)",
        "`id`",
        ";",
        "; id",
        "#",
        "-",
        "--x",
        "{{ program }}",
        "{% raw %}",
        "é\u{2028}",
        "/../../etc",
        "=",
        ",",
    ];
    let dir = tempfile::tempdir().unwrap();
    let (mut refused, mut read) = (0, 0);
    for field in fields {
        for payload in payloads {
            for value in
                [format!("{payload}{}", good(field)), format!("{}{payload}", good(field)), payload.to_owned()]
            {
                let quoted = toml::Value::String(value.clone()).to_string();
                let said = parse_fragment(&settings(&format!("{field} = {quoted}")));
                let site = said.and_then(|said| site::resolve(said, CONF.into(), dir.path()));
                match site.and_then(|site| Ok((render(&site)?, site))) {
                    Err(error) => {
                        words(&error, dir.path());
                        refused += 1;
                    }
                    Ok((files, site)) => {
                        check_read(&site, &files, false);
                        read += 1;
                    }
                }
            }
        }
    }
    // Neither side may come to nothing by a change elsewhere.
    assert!(refused > 1200 && read > 120, "{refused} refused, {read} read");
}

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
        "DIR/templates is not a folder | remove it, or make it a folder laid out like templates/ of the checkout",
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

fn folder(path: &Path) {
    clear(path);
    create_dirs(path, 0o700).unwrap();
}

/// Nobody writes into it: whoever opens it waits for ever.
fn pipe(path: &Path) {
    clear(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn socket(path: &Path) {
    clear(path);
    UnixListener::bind(path).unwrap();
}

fn link(to: &str, path: &Path) {
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
        import(dir.path(), include_str!("starter/etcd2-backup.toml")).unwrap();
        change(&dir.path().join(name));
        let error = import(dir.path(), include_str!("starter/etcd2-backup.toml")).expect_err(name);
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
    let shown = conf.display();
    for (mode, want) in [
        ("600", None),
        ("400", None),
        ("640", Some("mode 0640: its group can read its secrets")),
        ("644", Some("mode 0644: everybody on this machine can read its secrets")),
        ("604", Some("mode 0604: everybody on this machine can read its secrets")),
    ] {
        assert!(Command::new("chmod").arg(mode).arg(&conf).status().unwrap().success());
        let want: Vec<_> =
            want.map(|w| (format!("{shown} has {w}"), format!("chmod 600 {shown}"))).into_iter().collect();
        assert_eq!(load().warnings, want, "{mode}");
    }
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
        let files = render(&site::load(&options)?)?;
        Ok(text(&files, "etcd2-backup.timer").to_owned())
    };
    assert_eq!(with(None).unwrap(), timer("daily"));
    assert_eq!(with(Some(&named)).unwrap(), timer("weekly"));
    let error: anyhow::Error = with(Some(&dir.path().join("none"))).unwrap_err();
    assert_eq!(
        words(&error, dir.path()),
        "--templates DIR/none is not a folder | name a folder laid out like templates/ of the checkout"
    );
    put(&named.join(UNITS).join("etcd2-backup.timer"), timer("yearly").as_bytes());
    let error = with(Some(&named)).unwrap_err();
    assert_eq!(
        words(&error, &named),
        "DIR/etc/systemd/system/etcd2-backup.timer is there twice, as it is and as DIR/etc/systemd/system/etcd2-backup.timer.tera | remove one: what ends in .tera is rendered, the other is not"
    );
}
