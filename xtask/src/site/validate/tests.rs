//! Each check, with what it takes and what it refuses.

use super::*;
use crate::site::fragment::OneOrMany;
use etcd2_backup::exit::hint_of;

/// What the operator reads.
fn said<T: std::fmt::Debug>(result: Result<T>) -> String {
    let error = result.unwrap_err();
    assert_eq!(etcd2_backup::exit::exit_of(&error), Exit::Settings);
    format!("{error} | {}", hint_of(&error).unwrap())
}

fn founder(url: &str) -> Result<Vec<String>> {
    crate::site::founder(Some(OneOrMany::One(url.to_owned())))
}

fn dir(text: &str) -> Result<std::path::PathBuf> {
    read("data_dir", Some(text), |text, write| checks::dir(text, write, "/var/lib/etcd2"))
}

#[test]
fn peer_urls() {
    for url in
        ["http://172.17.4.51:2380", "https://e1.example.com:1", "http://[fd00::1]:65535", "http://e_1:7001"]
    {
        assert_eq!(founder(url).unwrap_or_else(|e| panic!("{e}")), [url]);
    }
    assert_eq!(founder("http://e1:2380/").unwrap(), ["http://e1:2380"]);
    assert!(said(founder("http://e1:2380,http://e2:2380")).contains(" holds more than one URL | in a list"));
    for (url, why) in [
        ("172.17.4.51:2380", "it does not begin with http:// or https://"),
        ("ftp://e1:2380", "it does not begin with http:// or https://"),
        ("http://e1", "it has no host and port"),
        ("http://:2380", "it has no host and port"),
        ("http://", "it has no host and port"),
        ("http://e1:", "\"\" is not a port"),
        ("http://e1:0", "\"0\" is not a port"),
        ("http://e1:+1", "\"+1\" is not a port"),
        ("http://e1:65536", "\"65536\" is not a port"),
        ("http://<host>:2380", "\"<host>\" is not a host"),
        ("http://fd00::1:2380", "\"fd00::1\" is not a host"),
        ("http://[fd00::g]:2380", "\"[fd00::g]\" is not a host"),
        ("http://root@e1:2380", "it names a user"),
        ("http://e1:2380//", "etcd takes no path, and \"//\" is one"),
        ("http://e1:2380?x", "etcd takes no path, and \"?x\" is one"),
    ] {
        assert_eq!(
            said(founder(url)),
            format!(
                "founder {url:?} is not a peer URL: {why} | write the founding member's advertised peer URL, for example founder = \"http://172.17.4.51:2380\""
            )
        );
    }
}

fn sections() -> Vec<Section> {
    crate::site::rclone_conf::parse_sections(
        "[s3-conf]\ntype = s3\n[disk]\ntype = local\n[bare]\n[drive]\ntype = drive\n\
         [secret]\ntype = crypt\nremote = s3-conf:\n",
    )
}

#[test]
fn endpoints() {
    for (endpoint, want) in [
        ("s3-conf:bucket/path", "s3-conf:bucket/path"),
        ("s3-conf:bucket//path//", "s3-conf:bucket/path"),
        ("drive:", "drive:"),
        ("disk:/srv//./backups/", "disk:/srv/backups"),
        ("disk:/", "disk:/"),
    ] {
        assert_eq!(check_endpoint(endpoint, Some(&sections())).unwrap(), want);
    }
    for (endpoint, want) in [
        (
            "/srv/backups",
            r#"endpoint "/srv/backups" does not name a remote | write remote:path, where remote is a section of rclone.conf: endpoint = "s3-conf:bucket/path""#,
        ),
        (
            "s3-conf:s3://bucket/backups",
            r#"endpoint "s3-conf:s3://bucket/backups" is not an rclone path: "s3://" has no place in it | write endpoint = "s3-conf:bucket/backups""#,
        ),
        (
            "s3://bucket/backups/",
            r#"endpoint "s3://bucket/backups/" is not an rclone path: "s3://" has no place in it | write endpoint = "s3-conf:bucket/backups""#,
        ),
        (
            "s3conf:bucket",
            r#"endpoint "s3conf:bucket": rclone.conf has no section [s3conf] | did you mean s3-conf? Its sections are: s3-conf, disk, bare, drive, secret"#,
        ),
        (
            "backblaze:bucket",
            r#"endpoint "backblaze:bucket": rclone.conf has no section [backblaze] | its sections are: s3-conf, disk, bare, drive, secret"#,
        ),
        (
            ":s3,env_auth:bucket",
            r#"endpoint ":s3,env_auth:bucket" begins with a colon instead of a remote's name | make a section for it with rclone config, and write its name: endpoint = "remote:path". Every process can read a command line"#,
        ),
        (
            "s3-conf,no_check_bucket=true:bucket/x",
            r#"endpoint "s3-conf,no_check_bucket=true:bucket/x" has options after the name of the remote "s3-conf" | put the options into the section [s3-conf] of rclone.conf, and write endpoint = "s3-conf:bucket/x""#,
        ),
        (
            "s3-conf:",
            r#"endpoint "s3-conf:" names no bucket of "s3-conf": each machine would make one, named by its machine ID | write it after the colon, for example endpoint = "s3-conf:bucket/path""#,
        ),
        (
            "secret:/",
            r#"endpoint "secret:/" names no bucket of "secret": each machine would make one, named by its machine ID | write it after the colon, for example endpoint = "secret:bucket/path""#,
        ),
        (
            "bare:bucket",
            "the section [bare] of rclone.conf has no type | make the section with: rclone config --config rclone.conf",
        ),
        (
            "disk:srv/backups",
            r#"endpoint "disk:srv/backups" leads to the directory "srv/backups", relative to wherever rclone is started | write the whole path: endpoint = "disk:/srv/backups""#,
        ),
    ] {
        assert_eq!(said(check_endpoint(endpoint, Some(&sections()))), want);
    }
    for (endpoint, mended) in [
        ("s3:s3://b/p/", Some("s3:b/p")),
        ("s3://b/p", None),
        ("s3:b/p", None),
        ("b/p", None),
        ("a:b:c", None),
    ] {
        assert_eq!(without_scheme(endpoint).as_deref(), mended, "{endpoint}");
    }
    assert!(said(check_endpoint("a:b", Some(&[]))).contains("rclone.conf has no section at all"));
}

#[test]
fn folders() {
    assert_eq!(dir("/var//lib/./etcd2/").unwrap(), Path::new("/var/lib/etcd2"));
    for (path, why) in [
        ("var/lib", "is not an absolute path"),
        ("", "is not an absolute path"),
        ("/var/../etc", "contains \"..\""),
        ("/", "is the root of the file system"),
        ("/a:b", "contains a character that no container's volume may have"),
    ] {
        assert_eq!(dir(path).unwrap_err().to_string(), format!("data_dir {path:?} {why}"));
    }
    let apart = |a: &str, b: &str| check_apart(&[("data_dir", Path::new(a)), ("backup_dir", Path::new(b))]);
    apart("/var/lib/etcd2", "/var/lib/etcd2-backup").unwrap();
    for (a, b, how) in
        [("/a", "/a", "is the same directory as"), ("/a", "/a/b", "is inside"), ("/a/b", "/a", "contains")]
    {
        assert_eq!(
            said(apart(a, b)),
            format!(
                "backup_dir {b} {how} data_dir {a} | use separate directories for backup_dir and data_dir, side by side on the same file system"
            )
        );
    }
}

#[test]
fn units_and_images() {
    for unit in ["etcd2.service", "etcd-member.service", "etcd@e1.service"] {
        text("etcd_unit", Some(unit)).unwrap();
    }
    for (unit, why) in [
        ("etcd2", "does not end in \".service\""),
        ("etcd2.timer", "does not end in \".service\""),
        (".service", "is not a unit name"),
        ("../etcd2.service", "contains a character that is not for unit names"),
        ("etcd%m.service", "contains a character that is not for unit names"),
        ("etcd2 b.service", "contains a character that is not for unit names"),
        ("etcd@.service", "is a template, not one of its instances"),
        ("etcd2-backup.service", "is a service of this program, not of etcd"),
    ] {
        assert_eq!(
            text("etcd_unit", Some(unit)).unwrap_err().to_string(),
            format!("etcd_unit {unit:?} {why}")
        );
    }
    let check_image = |image| text("rclone.image", Some(image));
    check_image("quay.io/coreos/rclone:latest").unwrap();
    check_image("rclone/rclone@sha256:0123").unwrap();
    for image in ["", "--privileged", "a b", "a;b", "$(x)"] {
        let error = check_image(image).unwrap_err().to_string();
        assert_eq!(error, format!("rclone.image {image:?} is not the name of an image"));
    }
}

#[test]
fn control_characters_are_named() {
    check_one_line("endpoint", "a b \u{e9}").unwrap();
    for (value, name) in [
        ("a\nExecStart=/x", "a line break"),
        ("a\r", "a line break"),
        ("a\tb", "a tab"),
        ("\0", "the control character \\u{0}"),
        ("\u{1b}[2J", "the control character \\u{1b}"),
        ("\u{85}", "the control character \\u{85}"),
    ] {
        assert_eq!(
            said(check_one_line("endpoint", value)),
            format!("endpoint contains {name} | write the value on one line, in plain characters")
        );
    }
}
