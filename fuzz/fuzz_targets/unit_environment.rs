//! What systemd says of etcd's unit, its environment files, and the settings that come of it. Lines of the input are the
//! four answers, our own variables, and then an environment file, which is a drop-in too.
#![no_main]

use std::collections::BTreeMap;
use std::path::Component;

use etcd2_backup::settings::{self, UnitEnvironment};
use etcd2_backup::sys::root::Root;
use etcd2_backup::sys::systemd::{ServiceUnit, parse_service_unit};
use etcd2_backup::sys::unit_file::parse_environment;
use libfuzzer_sys::fuzz_target;

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";
const PROPERTIES: [&str; 4] = ["Environment", "EnvironmentFiles", "ExecStart", "User"];

/// A string as busctl prints it.
fn quoted(text: &str) -> String {
    let escaped = text.bytes().map(|b| match b {
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(b).to_string(),
        _ => format!("\\{b:03o}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn answers(unit: &ServiceUnit, property: &str) -> String {
    let list = |all: &[String]| all.iter().map(|t| format!(" {}", quoted(t))).collect::<String>();
    match property {
        "Environment" => format!("as {}{}", unit.environment.len(), list(&unit.environment)),
        "EnvironmentFiles" => {
            let pair =
                |f: &(std::path::PathBuf, bool)| format!(" {} {}", quoted(&f.0.to_string_lossy()), f.1);
            let pairs: String = unit.environment_files.iter().map(pair).collect();
            format!("a(sb) {}{pairs}", unit.environment_files.len())
        }
        "ExecStart" => match unit.command.split_first() {
            Some((program, rest)) => {
                let argv = [quoted(program), list(rest)].concat();
                format!("a(sasbttttuii) 1 {} {} {argv} false 0 0", quoted(program), unit.command.len())
            }
            None => "a(sasbttttuii) 0".into(),
        },
        _ => format!("s {}", quoted(&unit.user)),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(6, '\n');
    let asked: [&str; 4] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    let (ours, file) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());

    for (name, _) in parse_environment(file) {
        assert!(
            !name.is_empty() && !name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_'),
            "{name:?}"
        );
    }
    let answer = |name: &str| {
        let at = PROPERTIES.iter().position(|p| *p == name).expect("one of the four");
        Ok(asked[at].to_owned())
    };
    let Ok(unit) = parse_service_unit(answer) else { return };
    let again = parse_service_unit(|name| Ok(answers(&unit, name))).expect("it was written as busctl does");
    assert_eq!(again, unit);

    let effective = UnitEnvironment::effective(&unit, &[file.to_owned()]);
    assert_eq!(effective.command.is_empty(), unit.command.is_empty());
    for flag in ["data-dir", "wal-dir", "name"] {
        assert_ne!(effective.get(flag), Some(""));
    }
    let mut pairs: BTreeMap<String, String> =
        ours.split('\t').filter_map(|v| v.split_once('=')).map(|(n, v)| (n.into(), v.into())).collect();
    pairs.entry("RCLONE_ENDPOINT".into()).or_insert_with(|| "r:p".into());
    pairs.entry("ETCD2_BACKUP_RCLONE_RUNNER".into()).or_insert_with(|| "host".into());
    let root = Root::new("/tree");
    let Ok(settings) = settings::parse(&pairs, &effective, MACHINE_ID, &root) else { return };
    let paths = [&settings.etcd.data_dir, &settings.backup_dir, &settings.restore_dir, &settings.remote.conf];
    for path in paths.into_iter().chain(&settings.etcd.wal_dir) {
        assert!(
            path.starts_with("/tree") && path.components().all(|c| c != Component::ParentDir),
            "{path:?}"
        );
    }
    for urls in [&settings.etcd.peer_urls, &settings.etcd.client_urls, &settings.founder_urls] {
        assert!(urls.iter().all(|u| u.contains("://") && !u.contains(char::is_control)), "{urls:?}");
    }
    assert!(settings.etcd.unit.ends_with(".service") && !settings.etcd.unit.contains('/'));
});
