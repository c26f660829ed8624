//! Variables to [`Settings`]; pure.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Error, Result};

use super::judge::{set, value};
use super::names::{MachineId, UnitName};
use super::rclone_section::{Section, configured};
use super::table::default;
use super::values::{OURS, absolute, get};
use super::{
    EtcdConfig, RemoteConfig, Runner, Settings, UnitEnvironment, bootstrap, checks, contained, judge,
    retention, tls, urls,
};
use crate::exit::{Exit, fault};
use crate::paths::{AUTH, BUNDLED_RCLONE, RCLONE_CONF};
use crate::sys::root::Root;

/// The unit that runs etcd, which must be known before it can be asked.
pub(super) fn etcd_unit(ours: &BTreeMap<String, String>) -> Result<UnitName> {
    value(ours, "etcd_unit", checks::etcd_unit)
}

/// Puts our variables and those of etcd's unit together.
///
/// # Errors
/// A setting is missing, malformed, or contradicts what etcd's unit says.
pub fn parse(
    ours: &BTreeMap<String, String>,
    unit: &UnitEnvironment,
    machine_id: &str,
    root: &Root,
) -> Result<Settings> {
    let dir = |key: &str| set(ours, key, |text, write| checks::dir(text, write, default(key)));
    let our_data_dir = dir("data_dir")?;
    let etcd_unit = etcd_unit(ours)?;
    let place = contained::Place { unit, service: &etcd_unit, ours: our_data_dir.as_deref() };
    let unit_data_dir = place.folder("data-dir", "etcd's data directory")?;
    // What was seen to run is right, and no reason to back up nothing.
    if let (Some(our), Some(seen)) = (&our_data_dir, unit.seen.get("data-dir"))
        && our != Path::new(seen)
    {
        log::warn!(
            "ETCD_DATA_DIR is {} in {OURS}, but {etcd_unit} was seen to use {seen}. Using the latter: \
             change it in {OURS}",
            our.display()
        );
    } else if let (Some(our), Some(unit)) = (&our_data_dir, &unit_data_dir)
        && our != unit
    {
        return Err(fault(
            Exit::Settings,
            format!("ETCD_DATA_DIR is {} in {OURS}, but {etcd_unit} uses {}", our.display(), unit.display()),
            format!("correct {OURS}: the backups need the directory that etcd uses"),
        ));
    }
    let data_dir =
        unit_data_dir.or_else(|| our_data_dir.clone()).unwrap_or_else(|| default("data_dir").into());
    let dir = |key: &str| Ok::<_, Error>(root.join(dir(key)?.unwrap_or_else(|| default(key).into())));
    let list = |flag: &str| urls::parse_list(&format!("etcd's --{flag}"), unit.get(flag).unwrap_or_default());
    let mut client_urls =
        urls::usable_of("etcd's --advertise-client-urls", unit.get("advertise-client-urls"));
    if client_urls.is_empty() {
        let listening = urls::usable_of("etcd's --listen-client-urls", unit.get("listen-client-urls"));
        client_urls = listening.iter().map(|u| urls::connectable(u)).collect();
    }
    let (keep, prune) = retention::parse(ours)?;
    let (backup_dir, restore_dir) = (dir("backup_dir")?, dir("restore_dir")?);
    let (endpoint, runner) = (endpoint(ours, &[])?, runner(ours)?);
    judge::every_variable(ours)?;
    Ok(Settings {
        etcd: EtcdConfig {
            data_dir: root.join(data_dir),
            wal_dir: contained::Place { ours: None, ..place }
                .folder("wal-dir", "etcd's WAL directory")?
                .map(|d| root.join(d)),
            name: unit.get("name").unwrap_or_default().to_owned(),
            peer_urls: list("initial-advertise-peer-urls")?,
            client_urls,
            peer_tls: tls::peers(unit, root)?,
            client_tls: tls::clients(ours, unit, root)?,
            auth_file: root.join(AUTH),
            initial_cluster: initial_cluster(unit),
            command: unit.command.clone(),
            bootstrap: bootstrap::objection(unit),
            user: unit.user.clone(),
            owner: unit.owner,
            unit: etcd_unit,
        },
        founder_urls: set(ours, "founder", checks::founder)?.unwrap_or_default(),
        machine_id: parse_machine_id(machine_id)?,
        remote: RemoteConfig {
            endpoint,
            runner,
            bundled: root.join(BUNDLED_RCLONE),
            conf: root.join(absolute(
                "RCLONE_CONFIG_PATH",
                get(ours, "RCLONE_CONFIG_PATH").unwrap_or(RCLONE_CONF),
            )?),
            password_file: set(ours, "rclone.password_file", checks::password_file)?
                .map(|path| root.join(path)),
            folders: [backup_dir.clone(), restore_dir.clone()],
            timeout: value(ours, "rclone.timeout", checks::timeout)?,
            // rclone reads it as well, in these spellings.
            checksum: matches!(
                get(ours, "RCLONE_CHECKSUM"),
                Some("1" | "t" | "T" | "true" | "True" | "TRUE")
            ),
            bwlimit: set(ours, "rclone.bwlimit", checks::bwlimit)?,
            flags: set(ours, "rclone.flags", checks::flags)?.unwrap_or_default(),
        },
        backup_dir,
        restore_dir,
        quiet_interval: value(ours, "quiet_interval", checks::wait)?,
        metrics_file: set(ours, "metrics.textfile", checks::textfile)?.map(|path| root.join(path)),
        v2_only: value(ours, "v2_only", checks::switch)?,
        source: value(ours, "source", checks::source)?,
        keep,
        prune,
    })
}

/// The endpoint in its normal form; `sections` are those of rclone.conf, as far as they are known.
pub(super) fn endpoint(ours: &BTreeMap<String, String>, sections: &[Section]) -> Result<String> {
    let variables = || ours.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let remote = |name: &str| configured(sections, variables(), name);
    set(ours, "endpoint", |text, write| checks::endpoint(text, write, "remote", &remote))?.ok_or_else(|| {
        fault(
            Exit::Settings,
            "RCLONE_ENDPOINT is not set",
            format!("set it in {OURS}, and start the command by its unit, which passes it on"),
        )
    })
}

fn runner(ours: &BTreeMap<String, String>) -> Result<Runner> {
    let Some(name) = set(ours, "rclone.runner", checks::runner)? else {
        let hint = format!("set ETCD2_BACKUP_RCLONE_RUNNER to docker, podman, host or bundled in {OURS}");
        return Err(fault(Exit::Settings, "ETCD2_BACKUP_RCLONE_RUNNER is not set", hint));
    };
    match name.as_str() {
        "host" => Ok(Runner::Host),
        "bundled" => Ok(Runner::Bundled),
        engine => match set(ours, "rclone.image", checks::image)? {
            Some(image) => Ok(Runner::Container { engine: engine.to_owned(), image }),
            None => Err(fault(
                Exit::Settings,
                format!("ETCD2_BACKUP_RCLONE_IMAGE is not set, but rclone is to be run by {engine}"),
                format!("set it to an image whose entry point is rclone in {OURS}"),
            )),
        },
    }
}

fn parse_machine_id(text: &str) -> Result<MachineId> {
    let id = text.trim();
    id.parse().map_err(|why: &str| {
        fault(
            Exit::Settings,
            format!("{id:?} of /etc/machine-id {why}"),
            "a machine's backups are stored under its ID; create one: sudo systemd-machine-id-setup",
        )
    })
}

/// What is no list of members names none: etcd heeds it at a first start alone.
fn initial_cluster(unit: &UnitEnvironment) -> Vec<String> {
    let pairs = unit.get("initial-cluster").unwrap_or_default().split(',');
    let urls = pairs.filter_map(|pair| Some(pair.trim().split_once('=')?.1));
    urls.filter(|url| urls::host_port(url).is_some()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::settings::retention::Rules;
    use crate::settings::source::Choice;

    const ID: &str = "0123456789abcdef0123456789abcdef\n";

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn ours(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all = map(&[("RCLONE_ENDPOINT", "r:b/p/"), ("ETCD2_BACKUP_RCLONE_RUNNER", "bundled")]);
        all.extend(map(changes));
        all
    }

    fn unit(pairs: &[(&str, &str)], command: &[&str]) -> UnitEnvironment {
        let command = command.iter().map(|s| (*s).to_owned()).collect();
        UnitEnvironment { variables: map(pairs), command, user: "etcd".into(), ..UnitEnvironment::default() }
    }

    #[test]
    fn the_defaults_are_those_of_the_original() {
        let got = parse(&ours(&[]), &unit(&[], &[]), ID, &Root::new("/t")).unwrap();
        assert_eq!(got.etcd.unit, "etcd2.service");
        assert_eq!(got.etcd.data_dir, Path::new("/t/var/lib/etcd2"));
        assert_eq!(got.etcd.wal_dir, None);
        assert_eq!(got.backup_dir, Path::new("/t/var/lib/etcd2-backup"));
        assert_eq!(got.restore_dir, Path::new("/t/var/lib/etcd2-restore"));
        assert_eq!(got.remote.conf, Path::new("/t/etc/rclone.conf"));
        assert_eq!(got.remote.password_file, None);
        assert_eq!((got.remote.endpoint.as_str(), got.machine_id.len()), ("r:b/p", 32));
        assert_eq!((got.remote.runner, got.remote.timeout), (Runner::Bundled, Duration::from_secs(600)));
        assert_eq!((got.etcd.name.as_str(), got.etcd.peer_urls.len(), got.founder_urls.len()), ("", 0, 0));
        for (text, expected) in [("", 600), ("90s", 90), ("1h 1s", 3601), ("0", 0), ("0s", 0)] {
            let set = ours(&[("ETCD2_BACKUP_QUIET_INTERVAL", text)]);
            let got = parse(&set, &unit(&[], &[]), ID, &Root::new("/")).unwrap();
            assert_eq!(got.quiet_interval, Duration::from_secs(expected));
        }
        assert_eq!((got.keep, got.prune), (Rules::DEFAULT, true));
        let keep = [
            ("ETCD2_BACKUP_KEEP_WITHIN", "36h"),
            ("ETCD2_BACKUP_KEEP_LAST", "0"),
            ("ETCD2_BACKUP_PRUNE", "false"),
        ];
        let got = parse(&ours(&keep), &unit(&[], &[]), ID, &Root::new("/")).unwrap();
        let rules = Rules { last: 0, within: Duration::from_secs(36 * 3600), ..Rules::DEFAULT };
        assert_eq!((got.keep, got.prune), (rules, false));
        for (text, expected) in [("", Choice::Archive), ("archive", Choice::Archive), ("auto", Choice::Auto)]
        {
            let set = ours(&[("ETCD2_BACKUP_SOURCE", text)]);
            assert_eq!(parse(&set, &unit(&[], &[]), ID, &Root::new("/")).unwrap().source, expected);
        }
        for (text, expected) in [(None, false), (Some("false"), false), (Some("true"), true)] {
            let set = ours(&[("ETCD2_BACKUP_V2_ONLY", text.unwrap_or(""))]);
            assert_eq!(parse(&set, &unit(&[], &[]), ID, &Root::new("/")).unwrap().v2_only, expected);
        }
    }

    #[test]
    fn what_etcd_gets_decides_on_etcds_own() {
        let environment = unit(
            &[
                ("ETCD_NAME", "e1"),
                ("ETCD_LISTEN_CLIENT_URLS", "http://0.0.0.0:2379"),
                ("ETCD_WAL_DIR", "/wal/"),
            ],
            &["etcd", "--data-dir=/d/", "--initial-advertise-peer-urls", "http://a:1,http://b:2"],
        );
        let ours = ours(&[("ETCD_DATA_DIR", "/d"), ("ETCD_NAME", "other")]);
        let got = parse(&ours, &environment, ID, &Root::new("/")).unwrap();
        assert_eq!((got.etcd.data_dir, got.etcd.wal_dir), ("/d".into(), Some("/wal".into())));
        assert_eq!(
            (got.etcd.name.as_str(), got.etcd.peer_urls),
            ("e1", vec!["http://a:1".into(), "http://b:2".into()])
        );
        assert_eq!(got.etcd.client_urls, ["http://127.0.0.1:2379"]);
    }

    #[test]
    fn a_different_data_dir_of_ours_is_no_shadow() {
        let etcd = unit(&[("ETCD_DATA_DIR", "/etcd's")], &[]);
        let error = parse(&ours(&[("ETCD_DATA_DIR", "/ours")]), &etcd, ID, &Root::new("/")).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Settings);
        assert!(error.to_string().contains("/ours") && error.to_string().contains("/etcd's"), "{error}");
    }

    #[test]
    fn every_bad_setting_is_refused_by_name_with_a_next_step() {
        let cases: &[(&str, &str, &str, &str)] = &[
            ("RCLONE_ENDPOINT", "", "not set", "30-etcd2-backup-restore.conf"),
            (
                "RCLONE_ENDPOINT",
                "bucket/path",
                "does not name a remote",
                "RCLONE_ENDPOINT=remote:bucket/path",
            ),
            ("RCLONE_ENDPOINT", "./a:b", "does not name a remote", "a section of rclone.conf"),
            ("RCLONE_ENDPOINT", ":path", "begins with a colon", "RCLONE_ENDPOINT=remote:path"),
            ("RCLONE_ENDPOINT", "r:s3://b/p", "has no place in it", "RCLONE_ENDPOINT=r:b/p"),
            ("RCLONE_ENDPOINT", "r,a=b:p", "has options", "the section [r] of rclone.conf"),
            ("RCLONE_ENDPOINT", "r:b/../c", "\"..\" in its path", "without \"..\""),
            ("RCLONE_ENDPOINT", "r:a\nb", "contains a line break", "one line"),
            ("ETCD2_BACKUP_RCLONE_RUNNER", "", "not set", "bundled"),
            ("ETCD2_BACKUP_RCLONE_RUNNER", "rkt", "not known", "podman"),
            ("ETCD2_BACKUP_RCLONE_RUNNER", "docker", "ETCD2_BACKUP_RCLONE_IMAGE is not set", "entry point"),
            ("ETCD2_BACKUP_RCLONE_TIMEOUT", "soon", "ETCD2_BACKUP_RCLONE_TIMEOUT", "10m"),
            ("ETCD2_BACKUP_RCLONE_TIMEOUT", "0s", "is shorter than 1 s", "10m"),
            ("ETCD2_BACKUP_QUIET_INTERVAL", "never", "ETCD2_BACKUP_QUIET_INTERVAL", "10m"),
            (
                "ETCD2_BACKUP_RCLONE_FLAGS",
                "--fast-list --s3-key=x",
                "\"--s3-key\" is not a flag",
                "rclone.conf",
            ),
            ("ETCD2_BACKUP_PRUNE", "off", "neither true nor false", "30-etcd2-backup-restore.conf"),
            ("ETCD2_BACKUP_KEEP_LAST", "-1", "ETCD2_BACKUP_KEEP_LAST=\"-1\"", "newest two"),
            ("ETCD2_BACKUP_KEEP_WITHIN", "7", "ETCD2_BACKUP_KEEP_WITHIN=\"7\" is not a length", "7days"),
            ("ETCD2_BACKUP_SOURCE", "locla", "ETCD2_BACKUP_SOURCE=\"locla\" is not known", "local or auto"),
            ("ETCD2_BACKUP_V2_ONLY", "yes", "neither true nor false", "30-etcd2-backup-restore.conf"),
            ("ETCD2_BACKUP_ETCD_UNIT", "etcd2", "does not end in", "etcd2.service"),
            ("ETCD2_BACKUP_ETCD_UNIT", "a/b.service", "contains a character", "etcd2.service"),
            ("ETCD_BACKUP_DIR", "var/x", "not an absolute path", "=/var/lib/etcd2-backup (in 30-etcd2"),
            ("ETCD_RESTORE_DIR", "/a/../b", "contains \"..\"", "absolute path of a directory"),
            ("ETCD_DATA_DIR", "/", "is the root of the file system", "ETCD_DATA_DIR=/var/lib/etcd2 "),
            ("ETCD2_BACKUP_RCLONE_PASSWORD_FILE", "pass", "not an absolute path", "absolute path of a file"),
            ("ETCD2_BACKUP_METRICS_FILE", "x.prom", "not an absolute path", "absolute path of a file"),
            ("ETCD2_BACKUP_METRICS_FILE", "/x.txt", "does not end in \".prom\"", "node_exporter"),
            ("RCLONE_CONFIG_PATH", "rclone.conf", "not an absolute path", "full path"),
            ("ETCD_RESTORE_MASTER_ADV_PEER_URLS", "e1:2380", "is not a peer URL", "http://172.17.4.51:2380"),
            ("ETCD_RESTORE_MASTER_ADV_PEER_URLS", "http://a:1,b", "names \"b\", which", "for example"),
            ("ETCD2_BACKUP_RCLONE_BWLIMIT", "fast", "no limit of bandwidth", "08:00,1M"),
            ("ETCD2_BACKUP_RCLONE_IMAGE", "--privileged", "not the name of an image", "NAME@DIGEST"),
            ("ETCD2_BACKUP_SOURCE", "auto\n", "contains a line break", "on one line"),
        ];
        for (name, value, reason, hint) in cases {
            let error = parse(&ours(&[(name, value)]), &unit(&[], &[]), ID, &Root::new("/")).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Settings, "{name}={value}");
            assert!(format!("{error:#}").contains(reason), "{name}={value}: {error:#}");
            assert!(
                hint_of(&error).unwrap_or_default().contains(hint),
                "{name}={value}: {:?}",
                hint_of(&error)
            );
        }
        for id in ["", "0123", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(parse(&ours(&[]), &unit(&[], &[]), id, &Root::new("/")).is_err(), "{id}");
        }
    }

    #[test]
    fn what_is_said_of_rclone_reaches_it() {
        let of = |name, value| parse(&ours(&[(name, value)]), &unit(&[], &[]), ID, &Root::new("/")).unwrap();
        let got = of("ETCD2_BACKUP_RCLONE_FLAGS", " --fast-list  --transfers=2 ");
        assert_eq!(got.remote.flags, ["--fast-list", "--transfers=2"]);
        assert_eq!((got.remote.bwlimit, got.remote.checksum), (None, false));
        assert_eq!(of("ETCD2_BACKUP_RCLONE_BWLIMIT", "2M:1M").remote.bwlimit.as_deref(), Some("2M:1M"));
        for (value, on) in [("true", true), ("1", true), ("false", false), ("", false)] {
            assert_eq!(of("RCLONE_CHECKSUM", value).remote.checksum, on, "{value}");
        }
    }

    #[test]
    fn a_container_needs_an_image() {
        let with =
            |image| ours(&[("ETCD2_BACKUP_RCLONE_RUNNER", "podman"), ("ETCD2_BACKUP_RCLONE_IMAGE", image)]);
        let got = parse(&with("rclone:1"), &unit(&[], &[]), ID, &Root::new("/")).unwrap();
        assert_eq!(
            got.remote.runner,
            Runner::Container { engine: "podman".into(), image: "rclone:1".into() }
        );
        assert!(parse(&with("--privileged"), &unit(&[], &[]), ID, &Root::new("/")).is_err());
    }
}
