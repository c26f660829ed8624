//! What the site takes for a variable, the node takes, and the other way round; and it means the same to both.

use std::collections::BTreeMap;
use std::path::Path;

use etcd2_backup::settings::table::{Kind, Lands, SETTINGS, Setting, of_variable};
use etcd2_backup::settings::{Settings, UnitEnvironment, parse};
use etcd2_backup::sys::fs::write_atomic;
use etcd2_backup::sys::root::Root;

use super::fragment::parse_fragment;
use super::*;

/// For each row that lands in a variable: what is good, and what is not.
const VALUES: [(&str, &[&str], &[&str]); 22] = [
    (
        "founder",
        &[
            "http://e1:2380",
            "https://e1.x:1/",
            "http://a:1,http://b:2",
            "http://a:1, http://b:2,",
            "http://[fd00::1]:1",
        ],
        &[
            "e1:2380",
            "http://e1",
            "http://a:1,b",
            "http://u@a:1",
            ",",
            "http://a:1//",
            "http://a:1/x",
            "unix://a:1",
        ],
    ),
    (
        "endpoint",
        &["s3:bucket/path", "s3:b//x/./y/", "disk:/srv/backups", "s3:b/ü \"x\" 100% $HOME"],
        &["bucket", "s3:", "s3:/", "s3:s3://b/p", ":s3:b", "s3,x=y:b", "s3:b/../c", "disk:srv", "./a:b"],
    ),
    ("quiet_interval", &["10min", "0", "90s", "1h 1s"], &["soon", "10", "-1s", "1year 1x"]),
    ("data_dir", &["/d", "/srv//x/./y/", "/srv/ü x"], &["d", "/d/../e", "/a:b", "/a,b", "//", "/."]),
    ("backup_dir", &["/d", "/srv/100%"], &["d", "..", "/..", "~/x"]),
    ("restore_dir", &["/d", "/srv/$x"], &["d", "./d", "C:\\d"]),
    (
        "etcd_unit",
        &["etcd.service", "etcd-member.service", "etcd@m1.service"],
        &[
            "etcd",
            "etcd2.timer",
            "etcd@.service",
            "etcd2-backup.service",
            "etcd2-join.service",
            "-x.service",
            "a/b.service",
            "a\\x2db.service",
            "é.service",
        ],
    ),
    ("v2_only", &["true", "false"], &["yes", "True", "1"]),
    ("source", &["archive", "local", "auto"], &["locla", "Archive", "archive,local"]),
    ("rclone.runner", &["docker", "podman", "host", "bundled"], &["rkt", "Docker", "docker podman"]),
    (
        "rclone.image",
        &["rclone/rclone", "localhost:5000/r:1.60", "r@sha256:0123"],
        &["--privileged", "a b", "a;b", "$(x)", "ümlaut", ".x"],
    ),
    ("rclone.timeout", &["10m", "1s", "1h 5m"], &["0s", "999ms", "5", "never"]),
    (
        "rclone.bwlimit",
        &["off", "2M", "2M:10M", "08:00,1M 19:00,off"],
        &["fast", "-1", "2X", "8:00,1M", "2M --x"],
    ),
    (
        "rclone.flags",
        &["--fast-list", "--transfers=2 --checkers=8", "--user-agent=x/1"],
        &[
            "-v",
            "fast-list",
            "--config=/x",
            "--bwlimit=1M",
            "--retries=0",
            "--user-agent=me:secret@x",
            "--fast-list -v",
        ],
    ),
    ("rclone.password_file", &["/etc/pass", "/srv//pass"], &["pass", "/etc/../pass", "/a:b"]),
    (
        "metrics.textfile",
        &["/srv/x.prom", "/srv//x y.prom"],
        &["/srv/x.txt", "x.prom", "/srv/.prom", "/a,b.prom"],
    ),
    ("retention.prune", &["true", "false"], &["on", "TRUE", "0"]),
    ("retention.keep_last", &["0", "3", "100000", "007", "+5"], &["-1", "100001", "3.0", "three", "1e3"]),
    ("retention.keep_within", &["7days", "36h", "0s", "100years"], &["7", "101years", "-1d", "forever"]),
    ("retention.keep_daily", &["0", "7"], &["-1", "18446744073709551616", "9223372036854775808"]),
    ("retention.keep_weekly", &["4"], &["4w", "٤"]),
    ("retention.keep_other_clusters", &["30days", "1M"], &["30", "101years", "month"]),
];

/// What is good for none, or for few; and what is put behind a good one.
const STRANGE: [&str; 24] = [
    "\n",
    "x\ny",
    "\r",
    "\t",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{1b}[2J",
    "é",
    "\u{202e}",
    "\u{2028}",
    "%n",
    "\"",
    "'",
    "\\",
    "\\n",
    "$(id)",
    ";",
    "#",
    "--x",
    "=",
    ",",
    "{{ program }}",
    "../..",
];

const CONF: &str = "[s3]\ntype = s3\n[disk]\ntype = local\n";

/// The value as the file has it: what is no number or no switch is text, which is refused there.
fn in_toml(row: &Setting, value: &str) -> toml::Value {
    let text = |text: &str| toml::Value::String(text.to_owned());
    let plain = if value.contains(|c: char| c.is_control()) { value } else { value.trim() };
    match row.kind {
        Kind::List(_) if value.contains(|c: char| c.is_control()) => toml::Value::Array(vec![text(value)]),
        Kind::List(' ') => toml::Value::Array(value.trim().split_ascii_whitespace().map(text).collect()),
        Kind::List(between) => toml::Value::Array(value.split(between).map(text).collect()),
        Kind::Number => plain.parse().map_or_else(|_| text(value), toml::Value::Integer),
        Kind::Switch => plain.parse().map_or_else(|_| text(value), toml::Value::Boolean),
        Kind::Text => text(value),
    }
}

fn of_site(row: &Setting, value: &str, dir: &Path) -> Result<Site> {
    let mut file: toml::Table = toml::from_str(tests::MINIMAL).unwrap();
    let mut put = |key: &str, value| match key.split_once('.') {
        None => drop(file.insert(key.to_owned(), value)),
        Some((table, key)) => {
            let table = file.entry(table).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            table.as_table_mut().unwrap().insert(key.to_owned(), value);
        }
    };
    put(row.key, in_toml(row, value));
    if row.key == "rclone.runner" && value.trim() == "bundled" {
        put("rclone.bundle", toml::Value::String("rclone".into()));
    }
    let conf = if row.key == "rclone.password_file" { "RCLONE_ENCRYPT_V0:\nabc\n" } else { CONF };
    resolve(parse_fragment(&toml::to_string(&file).unwrap())?, conf.into(), dir)
}

fn of_node(changes: &BTreeMap<String, String>) -> Result<Settings> {
    let base = [
        ("RCLONE_ENDPOINT", "s3:bucket/path"),
        ("RCLONE_CONFIG_S3_TYPE", "s3"),
        ("RCLONE_CONFIG_DISK_TYPE", "local"),
        ("ETCD2_BACKUP_RCLONE_RUNNER", "docker"),
        ("ETCD2_BACKUP_RCLONE_IMAGE", "r:1"),
    ];
    let mut ours: BTreeMap<String, String> = base.map(|(name, value)| (name.into(), value.into())).into();
    ours.extend(changes.clone());
    parse(&ours, &UnitEnvironment::default(), &"0f".repeat(16), &Root::new("/"))
}

#[test]
fn site_and_node_take_the_same() {
    let dir = tempfile::tempdir().unwrap();
    write_atomic(&dir.path().join("rclone"), b"x", 0o755).unwrap();
    let rows = SETTINGS.iter().filter(|row| matches!(row.lands, Lands::Variable(_)));
    assert_eq!(rows.map(|row| row.key).collect::<Vec<_>>().len(), VALUES.len());
    let (mut taken, mut refused) = (0, 0);
    for (key, good, bad) in VALUES {
        let row = SETTINGS.iter().find(|row| row.key == key).unwrap();
        let Lands::Variable(name) = row.lands else { panic!("{key}") };
        assert_eq!(of_variable(name).map(|row| row.key), Some(key));
        let long = [format!("/{}", "x".repeat(1000)), "1".repeat(1001), "ü".repeat(501)];
        let spaced = good.iter().flat_map(|value| [format!(" {value} "), format!("{value}  ")]);
        let odd = good.iter().flat_map(|value| {
            STRANGE
                .iter()
                .flat_map(move |odd| [(*odd).to_owned(), format!("{value}{odd}"), format!("{odd}{value}")])
        });
        let told =
            |list: &[&str], good| list.iter().map(|v| ((*v).to_owned(), Some(good))).collect::<Vec<_>>();
        let told = [told(good, true), told(bad, false)].concat().into_iter();
        let told =
            told.chain(spaced.map(|value| (value, Some(true)))).chain(long.map(|value| (value, Some(false))));
        for (value, expected) in told.chain(odd.map(|value| (value, None))) {
            // Set to nothing is not set, to the node; a key is there or not.
            if value.trim().is_empty() {
                continue;
            }
            // Only the build knows that rclone.conf has no such section.
            let remote = value.trim().split_once(':').map_or("s3", |(remote, _)| remote);
            if key == "endpoint" && !["s3", "disk"].contains(&remote) && expected.is_none() {
                continue;
            }
            let (site, node) =
                (of_site(row, &value, dir.path()), of_node(&[(name.into(), value.clone())].into()));
            let said = || format!("{key} = {value:?}: {:?}, {:?}", site.as_ref().err(), node.as_ref().err());
            assert_eq!(site.is_ok(), node.is_ok(), "{}", said());
            assert!(expected.is_none_or(|good| good == site.is_ok()), "{}", said());
            let (Ok(site), Ok(node)) = (site, node) else {
                refused += 1;
                continue;
            };
            taken += 1;
            // What the drop-in says instead means the same.
            let written = site.variables().into_iter().find(|set| set.name == name);
            let written = written.map(|set| (set.name.to_owned(), set.value));
            let mut again = of_node(&written.clone().into_iter().collect()).unwrap();
            if written.is_none() && key == "rclone.bwlimit" {
                again.remote.bwlimit = Some("off".into());
            }
            assert_eq!(again, node, "{key} = {value:?}, written as {written:?}");
        }
    }
    assert!(taken > 150 && refused > 2000, "{taken} taken, {refused} refused");
}
