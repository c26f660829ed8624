//! The corpus of bad input, `tests/bad-input/cases.toml`: each case is refused with the file, the thing, the reason and the
//! next step, or a node reads exactly what the operator wrote.

mod files;
mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use etcd2_backup::exit::{Exit, exit_of, hint_of};
use etcd2_backup::settings::rclone_section::is_encrypted;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use etcd2_backup::sys::unit_file::{parse_environment, parse_settings};
use serde::Deserialize;

use crate::init::import::import;
use crate::site::faults::Several;
use crate::site::fragment::parse_fragment;
use crate::site::input::Content;
use crate::site::templates::stock;
use crate::site::tests::{CONF, MINIMAL};
use crate::site::{self, Options, RCLONE_CONF, SETTINGS, Site};
use crate::units::judged;
use crate::units::rendered::NodeFile;
use crate::units::rules;

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
fn outcome(case: &Case, dir: &Path) -> Result<(Site, Vec<NodeFile>)> {
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
            let imported = import(dir, include_str!("../init/starter/etcd2-backup.toml"))?;
            site::resolve(parse_fragment(&imported.settings)?, imported.conf, dir)?
        }
    };
    let files = judged(&site)?.files;
    Ok((site, files))
}

/// What the operator reads; every refusal has its code and a hint.
fn words(error: &anyhow::Error, dir: &Path) -> String {
    let each = |error: &anyhow::Error| {
        assert_eq!(exit_of(error), Exit::Settings, "{error:#}");
        let hint = hint_of(error).unwrap_or_else(|| panic!("no hint: {error:#}"));
        let said = format!("{error:#} | {hint}").replace(&dir.display().to_string(), "DIR");
        assert!(!said.contains(|c: char| c.is_control()), "{said:?}");
        said
    };
    match error.downcast_ref::<Several>() {
        Some(Several(all)) => {
            each(error);
            all.iter().map(each).collect::<Vec<_>>().join(" || ")
        }
        None => each(error),
    }
}

/// The text of a rendered file.
fn text<'a>(files: &'a [NodeFile], name: &str) -> &'a str {
    &files.iter().find(|f| f.path.ends_with(name)).unwrap().text
}

/// File, section and name of each setting.
type Skeleton = Vec<(String, String, String)>;

/// Sections and directives without their values: no value may add one.
fn skeleton(files: &[NodeFile]) -> Skeleton {
    let services = files.iter().filter(|f| !f.path.ends_with(".timer"));
    let of = |f: &NodeFile| {
        let settings = parse_settings(&f.text).into_iter();
        settings.map(|s| (f.path.clone(), s.section, s.key)).collect::<Vec<_>>()
    };
    services.flat_map(of).collect()
}

/// The node reads what the site says, and there is no directive that the operator's templates do not have.
fn check_read(site: &Site, files: &[NodeFile], templates: bool) -> BTreeMap<String, String> {
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
        // What is set only where it is asked for; and of folders that not every systemd takes as they are, some directives
        // do not speak.
        static KNOWN: Mutex<BTreeMap<[bool; 9], Skeleton>> = Mutex::new(BTreeMap::new());
        let is_odd = |path: &Path| path.to_string_lossy().contains(['%', '\\', '"', '\'', '$']);
        let odd = is_odd(&site.backup_dir);
        let odd_metrics = site.metrics_file.as_deref().and_then(Path::parent).is_some_and(is_odd);
        let asked = [
            odd,
            site.password_file.is_some(),
            site.bwlimit.is_some(),
            !site.flags.is_empty(),
            site.metrics_file.is_some(),
            site.on_failure.is_some(),
            odd_metrics,
            // rclone may write a token into it.
            is_encrypted(&site.rclone_conf.0),
            is_odd(&site.restore_dir),
        ];
        let mut known = KNOWN.lock().unwrap();
        let plain = || {
            let more = if odd { "backup_dir = \"/srv/%\"\n" } else { "" };
            let more_still = if asked[8] { "restore_dir = \"/var/%\"\n" } else { "" };
            let mut plain = site::tests::load_of(&format!("{MINIMAL}{more}{more_still}"), CONF).unwrap();
            if asked[7] {
                plain.rclone_conf = Content(site.rclone_conf.0.clone());
            }
            plain.password_file = asked[1].then(|| "/p".into());
            plain.bwlimit = asked[2].then(|| "1M".into());
            let metrics = if odd_metrics { "/srv/%/x.prom" } else { "/srv/x.prom" };
            plain.metrics_file = asked[4].then(|| metrics.into());
            plain.on_failure = asked[5].then(|| "tell.service".into());
            plain.flags.extend(asked[3].then(|| "--fast-list".into()));
            skeleton(&judged(&plain).unwrap().files)
        };
        assert_eq!(&skeleton(files), known.entry(asked).or_insert_with(plain));
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
                writeln!(
                    refusals,
                    "{}\n    {}",
                    case.name,
                    said.replace(" || ", "\n    ").replace(" | ", "\n    hint: ")
                )
                .unwrap();
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
    let expected = std::fs::read_to_string(expected).unwrap();
    // The first line that differs says more than both texts.
    for (got, want) in refusals.lines().zip(expected.lines()) {
        assert_eq!(got, want);
    }
    assert_eq!(refusals.len(), expected.len());
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
        "rclone.password_file",
        "rclone.bwlimit",
        "metrics.textfile",
        "on_failure",
        "retention.keep_within",
        "retention.keep_other_clusters",
    ];
    let good = |field: &str| match field {
        "founder" => "http://e1:2380",
        "endpoint" => "s3:bucket",
        "interval" | "boot_delay" | "jitter" | "rclone.timeout" => "30s",
        "retention.keep_within" | "retention.keep_other_clusters" => "30s",
        "calendar" => "hourly",
        "io_class" => "idle",
        "etcd_unit" => "etcd.service",
        "rclone.runner" => "docker",
        "rclone.image" => "rclone/rclone",
        "rclone.bwlimit" => "2M",
        "metrics.textfile" => "/srv/x.prom",
        "on_failure" => "tell.service",
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
        // That key goes with an encrypted one alone.
        let conf = if field == "rclone.password_file" { "RCLONE_ENCRYPT_V0:\nabc\n" } else { CONF };
        for payload in payloads {
            for value in
                [format!("{payload}{}", good(field)), format!("{}{payload}", good(field)), payload.to_owned()]
            {
                let quoted = toml::Value::String(value.clone()).to_string();
                let said = parse_fragment(&settings(&format!("{field} = {quoted}")));
                let site = said.and_then(|said| site::resolve(said, conf.into(), dir.path()));
                match site.and_then(|site| Ok((judged(&site)?.files, site))) {
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
