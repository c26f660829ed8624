//! The site as a whole: what its two files become, and how a refusal reads.

use super::*;
use etcd2_backup::exit::{Exit, exit_of, hint_of};
use etcd2_backup::sys::fs::write_atomic;

/// The shortest site there is.
pub(crate) const MINIMAL: &str = "version = 1\nfounder = \"http://e1:2380\"\nendpoint = \"s3:bucket/path\"\n";
pub(crate) const CONF: &str = "[s3]\ntype = s3\nsecret_access_key = \\x \"y\" %z\n";

/// Loads a site of these two files; an empty one is not written.
pub(crate) fn load_of(settings: &str, conf: &str) -> Result<Site> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [(SETTINGS, settings), (RCLONE_CONF, conf)] {
        if !text.is_empty() {
            write_atomic(&dir.path().join(name), text.as_bytes(), 0o600).unwrap();
        }
    }
    let in_dir = dir.path().display().to_string();
    load(&Options::of(dir.path())).map_err(|e| {
        assert_eq!(exit_of(&e), Exit::Settings, "{e:#}");
        let hint = hint_of(&e).expect("every refusal has a hint");
        anyhow::anyhow!("{}", format!("{e:#} | {hint}").replace(&in_dir, "DIR"))
    })
}

#[test]
fn the_defaults_are_the_originals_values() {
    let site = load_of(MINIMAL, CONF).unwrap();
    assert_eq!(site.founder, ["http://e1:2380"]);
    assert_eq!(
        (site.schedule.when.to_string(), site.schedule.boot_delay),
        ("every 30sec".into(), "1min".into())
    );
    assert_eq!(site.data_dir, Path::new("/var/lib/etcd2"));
    assert_eq!(site.backup_dir, Path::new("/var/lib/etcd2-backup"));
    assert_eq!(site.restore_dir, Path::new("/var/lib/etcd2-restore"));
    assert_eq!(site.etcd_unit, "etcd2.service");
    assert!(!site.v2_only);
    assert!(matches!(&site.runner, Runner::Docker(image) if image == "docker.io/rclone/rclone:1.75.2"));
    assert_eq!(site.rclone_timeout, Duration::from_secs(600));
    assert_eq!(site.rclone_conf.0, CONF.as_bytes());
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", load_of(MINIMAL, CONF).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_missing_file_says_how_to_make_it() {
    for (settings, conf, want) in [
        (
            "",
            CONF,
            "there is no DIR/etcd2-backup.toml | make a starter site with: cargo xtask init DIR    or name another folder with --site DIR",
        ),
        (MINIMAL, "", "there is no DIR/rclone.conf | make one with: rclone config --config DIR/rclone.conf"),
    ] {
        assert_eq!(load_of(settings, conf).unwrap_err().to_string(), want);
    }
}

#[test]
fn refusals_name_the_file_the_thing_the_reason_and_the_next_step() {
    for (added, want) in [
        (
            "interval = \"soon\"",
            "interval \"soon\" is no time span: \"soon\" does not begin with a number | write a time span of systemd, for example interval = \"30sec\" or interval = \"1min 30s\"",
        ),
        (
            "interval = \"0\"",
            "interval \"0\" is shorter than 5 s: systemd refuses to start a service more than 5 times in 10 s | write a longer one, for example interval = \"5s\" or interval = \"30sec\"",
        ),
        (
            "boot_delay = \"1min\\nExecStart=/x\"",
            "boot_delay contains a line break | write the value on one line, in plain characters",
        ),
        (
            "data_dir = \"etcd2\"",
            "data_dir \"etcd2\" is not an absolute path | write the absolute path of a directory on the node, for example data_dir = \"/var/lib/etcd2\"",
        ),
        (
            "backup_dir = \"/var/lib/etcd2/backup\"",
            "backup_dir /var/lib/etcd2/backup is inside data_dir /var/lib/etcd2 | use separate directories for backup_dir and data_dir, side by side on the same file system",
        ),
        (
            "etcd_unit = \"etcd2\"",
            "etcd_unit \"etcd2\" does not end in \".service\" | write the full name of the service that runs etcd, for example etcd_unit = \"etcd2.service\"",
        ),
        (
            "rclone.runner = \"rkt\"",
            "rclone.runner \"rkt\" is not known | write docker, podman, host or bundled",
        ),
        (
            "rclone.runner = \"dokcer\"",
            "rclone.runner \"dokcer\" is not known | did you mean docker? It can be: docker, podman, host, bundled",
        ),
        (
            "rclone = { runner = \"host\", image = \"x\" }",
            "rclone.image has no meaning for the runner host | remove image, or choose runner = \"docker\" or \"podman\"",
        ),
        (
            "rclone.bundle = \"rclone\"",
            "rclone.bundle has no meaning for the runner docker | remove bundle, or choose runner = \"bundled\"",
        ),
        (
            "rclone.runner = \"bundled\"",
            "the runner bundled needs a static rclone to put into the tarball | write bundle = \"path/of/rclone\", relative to this file",
        ),
        (
            "rclone = { runner = \"bundled\", bundle = \"none\" }",
            "rclone.bundle: there is no DIR/none | take the static rclone of its own releases; a distribution's is linked against libraries",
        ),
        (
            "rclone.image = \"--privileged\"",
            "rclone.image \"--privileged\" is not the name of an image | write an image whose entry point is rclone, as NAME:TAG or NAME@DIGEST, for example image = \"rclone/rclone:1.60.1\"",
        ),
        (
            "rclone.timeout = \"0s\"",
            "rclone.timeout \"0s\" is shorter than 1 s | write a length of time, for example timeout = \"10m\"",
        ),
        (
            "rclone.timeout = \"ten\"",
            "rclone.timeout \"ten\" is not a length of time: expected number at 0 | write a length of time, for example timeout = \"10m\"",
        ),
    ] {
        let said = load_of(&format!("{MINIMAL}{added}\n"), CONF).unwrap_err().to_string();
        assert_eq!(said, format!("DIR/etcd2-backup.toml: {want}"));
    }
}

#[test]
fn founder_and_endpoint_are_needed_and_checked() {
    let founder = "founder = \"http://e1:2380\"\n";
    let endpoint = "endpoint = \"s3:b\"\n";
    for (settings, want) in [
        (founder.to_owned(), "there is no endpoint | write endpoint = \"remote:bucket/path\""),
        (
            endpoint.to_owned(),
            "there is no founder | write founder = \"http://host:port\", the founding member's advertised peer URL",
        ),
        (
            format!("{endpoint}founder = []"),
            "there is no founder | write founder = \"http://host:port\", the founding member's advertised peer URL",
        ),
        (
            format!("{endpoint}founder = 1"),
            "line 3: founder must be a URL, or a list of the URLs of one member | see the starter: cargo xtask init DIR",
        ),
        (
            format!("{endpoint}founder = [\"http://e1:1\", \"e2\"]"),
            "founder \"http://e1:1,e2\" names \"e2\", which is not a peer URL: it does not begin with http:// or https:// | write the founding member's advertised peer URL, for example founder = \"http://172.17.4.51:2380\"",
        ),
        (
            format!("{founder}endpoint = \"s3:s3://b/p\""),
            "endpoint \"s3:s3://b/p\" is not an rclone path: \"s3://\" has no place in it | write endpoint = \"s3:b/p\"",
        ),
        (
            format!("{founder}endpoint = \"s4:b\""),
            "endpoint \"s4:b\": rclone.conf has no section [s4] | did you mean s3? Its sections are: s3",
        ),
    ] {
        let said = load_of(&format!("version = 1\n{settings}"), CONF).unwrap_err().to_string();
        assert_eq!(said, format!("DIR/etcd2-backup.toml: {want}"));
    }
}

#[test]
fn an_encrypted_rclone_conf_needs_a_password_file_and_no_other_may_have_one() {
    const ENCRYPTED: &str = "RCLONE_ENCRYPT_V0:\nabc\n";
    let with = |path: &str| format!("{MINIMAL}rclone.password_file = \"{path}\"\n");
    for (settings, conf, want) in [
        (MINIMAL.into(), ENCRYPTED, "rclone.conf is encrypted with a password | write below [rclone] where"),
        (with("/p"), CONF, "rclone.password_file is set, but rclone.conf is not encrypted | remove"),
        (
            with("p"),
            ENCRYPTED,
            "rclone.password_file \"p\" is not an absolute path | write the absolute path of a file on the node",
        ),
        (with("/a/../b"), ENCRYPTED, "rclone.password_file \"/a/../b\" contains \"..\" | "),
        (with(""), ENCRYPTED, "rclone.password_file \"\" is not an absolute path | "),
    ] {
        let said = load_of(&settings, conf).unwrap_err().to_string();
        assert!(said.starts_with(&format!("DIR/etcd2-backup.toml: {want}")), "{said}");
    }
    let site = load_of(&with("/etc/etcd2-backup/rclone.pass"), ENCRYPTED).unwrap();
    assert_eq!(site.password_file.as_deref(), Some(Path::new("/etc/etcd2-backup/rclone.pass")));
    assert_eq!(site.endpoint, "s3:bucket/path");
    let said =
        load_of(&with("/p").replace("s3:bucket", "s3:s3://bucket"), ENCRYPTED).unwrap_err().to_string();
    assert!(said.contains("has no place in it | write endpoint = \"s3:bucket/path\""), "{said}");
}

#[test]
fn v2_only_is_taken_and_warned_of() {
    for (line, warned) in [("", false), ("v2_only = false\n", false), ("v2_only = true\n", true)] {
        let site = load_of(&format!("{MINIMAL}{line}"), CONF).unwrap();
        assert_eq!(site.v2_only, warned);
        let said: Vec<String> = site.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), usize::from(warned), "{said:?}");
        let wanted = "warning: v2_only = true is only used where no base of the v3 store can be had";
        assert!(
            said.iter().all(|said| said.starts_with(wanted) && said.contains("hint: remove it")),
            "{said:?}"
        );
    }
}
