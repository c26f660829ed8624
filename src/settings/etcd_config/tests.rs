use super::yaml::is_decimal;
use super::*;
use crate::exit::{exit_of, hint_of};
use crate::sys::fs::write_atomic;

/// Names and values as one line.
fn said(text: &str) -> String {
    let all: Vec<String> =
        parse(text.as_bytes()).unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.join(" ")
}

/// etcd's etcd.conf.yml.sample (3.5.1), as it is but for most comments, and filled in as an operator does.
const SAMPLE: &str = "\
# This is the configuration file for the etcd server.

# Human-readable name for this member.
name: 'e1'

# Path to the data directory.
data-dir: /srv/etcd # ours

# Path to the dedicated wal directory.
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
quota-backend-bytes: 0
listen-peer-urls: http://localhost:2380
listen-client-urls: http://0.0.0.0:2379
max-snapshots: 5
cors:
initial-advertise-peer-urls: http://10.0.0.1:2380,http://10.0.0.1:7001
advertise-client-urls: \"http://10.0.0.1:2379\"
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster: e1=http://10.0.0.1:2380
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-v2: true
proxy: 'off'
proxy-read-timeout: 0

client-transport-security:
  # Path to the client server TLS cert file.
  cert-file: /etc/ssl/c.crt
  key-file: /etc/ssl/c.key
  client-cert-auth: true
  trusted-ca-file:
  auto-tls: false

peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file: /etc/ssl/ca.crt
  auto-tls: false

self-signed-cert-validity: 1
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-retention: \"1\"
";

const SAID: &str = "advertise-client-urls=http://10.0.0.1:2379 cert-file=/etc/ssl/c.crt client-cert-auth=true \
    data-dir=/srv/etcd initial-advertise-peer-urls=http://10.0.0.1:2380,http://10.0.0.1:7001 \
    initial-cluster=e1=http://10.0.0.1:2380 initial-cluster-state=new key-file=/etc/ssl/c.key \
    listen-client-urls=http://0.0.0.0:2379 name=e1 peer-trusted-ca-file=/etc/ssl/ca.crt";

#[test]
fn etcds_sample_says_what_it_is_filled_in_with() {
    assert_eq!(said(SAMPLE), SAID);
    assert_eq!(said(&format!("\u{feff}{SAMPLE}")), SAID, "with the mark that editors of Windows put first");
    assert_eq!(said(&SAMPLE.replace('\n', "\r\n")), SAID, "with their ends of lines");
    assert_eq!(said(&format!("---\n{SAMPLE}...\n\tnot read\n")), SAID);
}

#[test]
fn values_are_read_as_etcd_reads_them() {
    for (text, expected) in [
        ("", ""),
        ("# nothing\n", ""),
        ("---\n~\n", ""),
        ("{}", ""),
        ("name: e1", "name=e1"),
        ("{\"name\": \"e1\", \"data-dir\": \"/d\"}", "data-dir=/d name=e1"),
        // The last of equal names; nothing written there is nothing said.
        ("name: a\nname: b\n", "name=b"),
        ("name: a\nname:\n", ""),
        // Go's JSON takes names in any case, in the order of their bytes.
        ("name: a\nNAME: b\nData-Dir: /d\n", "data-dir=/d name=a"),
        ("unknown: [1, {a: b}]\n? [complex]\n: x\nname: e1\n7: x\n", "name=e1"),
        // Without quotes these are no text to YAML, and text to etcd all the same.
        ("name: 1", "name=1"),
        ("name: -12", "name=-12"),
        ("name: yes", "name=true"),
        ("name: Off", "name=false"),
        ("name: 'yes'", "name=yes"),
        ("name: '0x10'", "name=0x10"),
        ("name: !!str 007", "name=007"),
        ("name: ! 007", "name=007"),
        ("name: 2001-01-01", "name=2001-01-01"),
        ("name: 12:30", "name=12:30"),
        ("name: 1a", "name=1a"),
        ("name: null", ""),
        ("name: 'null'", "name=null"),
        ("name: ''", ""),
        ("name: |\n  e1\n", "name=e1\n"),
        ("name: >-\n  a\n  b\n", "name=a b"),
        ("name: \"\\u0065\\x31\"", "name=e1"),
        ("data-dir: /d #not\nwal-dir: /w#ere\n", "data-dir=/d wal-dir=/w#ere"),
        (
            "force-new-cluster: on\nproxy: readonly\ndiscovery-fallback: exit\n",
            "discovery-fallback=exit force-new-cluster=true proxy=readonly",
        ),
        ("force-new-cluster: no\nproxy: \"off\"\n", ""),
        // One section for both ports.
        (
            "client-transport-security: &tls\n  cert-file: &c /c\n  ca-file: /ca\npeer-transport-security: *tls\nname: *c\n",
            "ca-file=/ca cert-file=/c name=/c peer-ca-file=/ca peer-cert-file=/c",
        ),
        ("client-transport-security:\npeer-transport-security: {}\n", ""),
        ("data-dir: /a\n---\ndata-dir: /b\n", "data-dir=/a"),
        ("data-dir:\t/a\n", "data-dir=/a"),
    ] {
        assert_eq!(said(text), expected, "{text:?}");
    }
}

#[test]
fn what_etcd_would_not_take_is_refused_with_its_line() {
    for (text, expected) in [
        (
            "initial-advertise-peer-urls:\n- http://a:1\n- http://b:1\n",
            "line 2: initial-advertise-peer-urls is a list, but etcd takes one string there, with commas in \
             it",
        ),
        ("name: {a: b}", "line 1: name is a map, but etcd takes one string there"),
        ("\nname: 0x10", "line 2: name is a number that YAML would rewrite: put it in quotes"),
        ("name: 007", "line 1: name is a number that YAML would rewrite: put it in quotes"),
        ("name: 1.50", "line 1: name is a number that YAML would rewrite: put it in quotes"),
        ("name: 1_000", "line 1: name is a number that YAML would rewrite: put it in quotes"),
        ("name: .inf", "line 1: name is a number that YAML would rewrite: put it in quotes"),
        (
            "name: !!binary aGk=",
            "line 1: name has a tag, which is not supported here: write the value without it",
        ),
        ("force-new-cluster: 'true'", "line 1: force-new-cluster is neither true nor false"),
        ("force-new-cluster: 1", "line 1: force-new-cluster is neither true nor false"),
        (
            "peer-transport-security:\n  client-cert-auth: maybe\n",
            "line 2: peer-client-cert-auth is neither true nor false",
        ),
        ("peer-transport-security: /c\n", "line 1: peer-transport-security is not a map of names and values"),
        (
            "a: &m {name: x}\n<<: *m\n",
            "line 2: the document has a merge key (<<), which is not supported here: write out what it \
             stands for",
        ),
        ("- name: e1\n", "line 1: the document is not a map of names and values"),
        ("--name=e1\n", "line 1: the document is not a map of names and values"),
        ("a: &a\n  b: *a\nname: *a\n", "line 3: name is a map, but etcd takes one string there"),
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap_err(), expected, "{text:?}");
    }
    for text in [
        "name: e1\n\tdata-dir: /d\n",
        "name: 'e1\n",
        "name: [e1\n",
        "name: *x\n",
        "name: a: b\n",
        "a\nb: c\n",
    ] {
        let why = parse(text.as_bytes()).unwrap_err();
        assert!(why.starts_with("line ") && why.contains(", column "), "{text:?}: {why}");
    }
    assert_eq!(parse(b"name: e\xff").unwrap_err(), "byte 7: it is not UTF-8");
    assert_eq!(parse(b"\xff\xfen\0a\0").unwrap_err(), "byte 0: it is not UTF-8");
}

#[test]
fn what_is_made_to_grow_does_not() {
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for i in 1..30 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","));
    }
    assert_eq!(said(&(bomb + "name: e1\n")), "name=e1");
    let long = "#".repeat(256 << 10);
    assert_eq!(said(&long), "");
    assert_eq!(parse(format!("{long}#").as_bytes()).unwrap_err(), "it has more than 256 KiB");
    let _ = parse("- ".repeat(128 << 10).as_bytes());
}

#[test]
fn a_file_that_is_not_known_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("etcd.yml");
    let load = || ConfigFile::load(Path::new("/etc/etcd.yml"), &place);
    let refused = |file: &ConfigFile| {
        let error = file.refusal(file.values.as_ref().unwrap_err(), "etcd2.service");
        assert_eq!(exit_of(&error), Exit::Settings);
        (error.to_string(), hint_of(&error).unwrap().to_owned())
    };
    let (what, hint) = refused(&load());
    let named = "etcd2.service: reading etcd's configuration file /etc/etcd.yml: ";
    assert_eq!(what, format!("{named}No such file or directory (os error 2)"));
    assert!(
        hint.contains("sudo ls -l /etc/etcd.yml") && hint.contains("sudo /opt/bin/etcd2-backup look"),
        "{hint}"
    );
    std::fs::create_dir(&place).unwrap();
    assert_eq!(refused(&load()).0, format!("{named}it is not a regular file"));
    std::fs::remove_dir(&place).unwrap();
    // Nobody writes to it: whoever waits for that waits for ever.
    rustix::fs::mknodat(rustix::fs::CWD, &place, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(refused(&load()).0, format!("{named}it is not a regular file"));
    std::fs::remove_file(&place).unwrap();
    write_atomic(&place, b"name: [e1]\n", 0o644).unwrap();
    let (what, hint) = refused(&load());
    assert_eq!(
        what,
        format!("{named}line 1: name is a list, but etcd takes one string there, with commas in it")
    );
    assert!(hint.contains("sudoedit /etc/etcd.yml"), "{hint}");
    write_atomic(&place, b"name: e1\n", 0o644).unwrap();
    assert_eq!(load().values, Ok(Values::from([("name".into(), "e1".into())])));
    let relative = ConfigFile::load(Path::new("etcd.yml"), &place);
    assert!(refused(&relative).0.ends_with("etcd.yml: its path is not absolute"));
}

#[test]
fn a_decimal_is_told_as_rust_reads_it() {
    for text in [
        "1",
        "007",
        "1.",
        ".5",
        "1.5",
        "1e3",
        "1E-3",
        "1.5e+30",
        ".",
        "1.2.3",
        "1e",
        "1e+",
        ".e1",
        "1-1",
        "1a",
        "1e1.5",
        "1 ",
        "1e1e1",
        "2016-01-01",
        "10.0.0.1",
    ] {
        assert_eq!(is_decimal(text), text.parse::<f64>().is_ok(), "{text}");
    }
    assert!(!is_decimal("") && !is_decimal("inf") && !is_decimal("-1"));
}
