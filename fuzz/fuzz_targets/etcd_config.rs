//! etcd's configuration file: its bytes, and the settings that come of them.
#![no_main]

use std::collections::BTreeMap;
use std::path::Component;

use etcd2_backup::settings::etcd_config::{self, ConfigFile};
use etcd2_backup::settings::{self, UnitEnvironment};
use etcd2_backup::sys::root::Root;
use libfuzzer_sys::fuzz_target;

const MACHINE_ID: &str = "0123456789abcdef0123456789abcdef";
const SWITCHES: [&str; 3] = ["force-new-cluster", "client-cert-auth", "peer-client-cert-auth"];
const SECTIONED: [&str; 5] = ["cert-file", "key-file", "trusted-ca-file", "ca-file", "client-cert-auth"];

/// The values as a file of JSON, which is YAML too.
fn written(values: &etcd_config::Values) -> String {
    let mut all = serde_json::Map::new();
    for (flag, value) in values {
        let value = match SWITCHES.contains(&flag.as_str()) {
            true => serde_json::Value::Bool(true),
            false => serde_json::Value::String(value.clone()),
        };
        let (section, name) = match flag.strip_prefix("peer-") {
            Some(name) => ("peer-transport-security", name),
            None => ("client-transport-security", flag.as_str()),
        };
        let map = match SECTIONED.contains(&name) {
            true => all.entry(section).or_insert_with(|| serde_json::json!({})),
            false => {
                all.insert(flag.clone(), value);
                continue;
            }
        };
        map.as_object_mut().expect("a section").insert(name.to_owned(), value);
    }
    serde_json::to_string(&all).expect("text")
}

fuzz_target!(|data: &[u8]| {
    let Ok(values) = etcd_config::parse(data) else { return };
    assert!(values.iter().all(|(flag, value)| {
        !value.is_empty() && (!SWITCHES.contains(&flag.as_str()) || value == "true")
    }));
    let again = written(&values);
    // Written so, a control character of two bytes needs six.
    if data.len() < 32 << 10 {
        assert_eq!(etcd_config::parse(again.as_bytes()).as_ref(), Ok(&values), "{again}");
    }
    let file = Some(ConfigFile { path: "/etc/etcd.yml".into(), values: Ok(values) });
    let unit = UnitEnvironment { file, ..UnitEnvironment::default() };
    let pairs = [("RCLONE_ENDPOINT", "r:p"), ("ETCD2_BACKUP_RCLONE_RUNNER", "host")];
    let pairs: BTreeMap<String, String> = pairs.map(|(n, v)| (n.into(), v.into())).into();
    let Ok(settings) = settings::parse(&pairs, &unit, MACHINE_ID, &Root::new("/tree")) else { return };
    let tls = [&settings.etcd.peer_tls, &settings.etcd.client_tls];
    let paths = tls.into_iter().flat_map(|tls| [&tls.cert, &tls.key, &tls.ca]).flatten();
    for path in paths.chain([&settings.etcd.data_dir]).chain(&settings.etcd.wal_dir) {
        assert!(
            path.starts_with("/tree") && path.components().all(|c| c != Component::ParentDir),
            "{path:?}"
        );
    }
    for urls in [&settings.etcd.peer_urls, &settings.etcd.client_urls] {
        assert!(urls.iter().all(|u| u.contains("://") && !u.contains(char::is_control)), "{urls:?}");
    }
});
