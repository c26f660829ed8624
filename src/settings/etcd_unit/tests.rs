use super::*;
use crate::sys::fs::write_atomic;

fn unit(environment: &[&str], command: &[&str], files: &[&str]) -> UnitEnvironment {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let service =
        ServiceUnit { environment: own(environment), command: own(command), ..ServiceUnit::default() };
    UnitEnvironment::effective(&service, &own(files))
}

#[test]
fn flags_win_over_variables_in_every_spelling() {
    let cases: &[(&[&str], Option<&str>)] = &[
        (&["etcd"], Some("variable")),
        (&["etcd", "--name", "e1"], Some("e1")),
        (&["etcd", "-name", "e1", "--x"], Some("e1")),
        (&["etcd", "--name=e1"], Some("e1")),
        (&["etcd", "-name=a=b"], Some("a=b")),
        (&["etcd", "--name=e1", "--name", "e2"], Some("e2")),
        (&["etcd", "--names=e1"], Some("variable")),
        (&["etcd", "--name"], Some("variable")),
        (&["etcd", "--name="], None),
        (&["etcd", "--debug", "--name=${ETCD_NAME}-x"], Some("variable-x")),
        (&["etcd", "$OPTS"], Some("from-opts")),
        (&["etcd", "$QUOTED"], Some("two words")),
        (&["etcd", "--name=$OPTS"], Some("$OPTS")),
        (&["etcd", "--name=a$$b${NO}c"], Some("a$bc")),
    ];
    for (command, expected) in cases {
        let variables = [
            "ETCD_NAME=variable",
            "OPTS=--debug  --name from-opts",
            "QUOTED='--debug' \"--name=two\\ words\" --x=''",
        ];
        let got = unit(&variables, command, &[]);
        assert_eq!(got.get("name"), *expected, "{command:?}");
    }
}

#[test]
fn environment_files_win_over_environment() {
    let file =
        "# c\n; c\nETCD_NAME = \"two words\"\nETCD_DATA_DIR=/a\\\n/b\nX='a\\b'\nY=a\\ b\nnonsense\nE=\n";
    let got = unit(&["ETCD_NAME=x", "KEPT=1"], &["etcd"], &[file]);
    let expected = [
        ("E", ""),
        ("ETCD_DATA_DIR", "/a/b"),
        ("ETCD_NAME", "two words"),
        ("KEPT", "1"),
        ("X", "a\\b"),
        ("Y", "a b"),
    ];
    let got: Vec<(&str, &str)> = got.variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_pattern_of_environment_files_means_those_that_match_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["20-b.env", "10-a.env", ".c.env", "d.env.rpmsave"];
    names.iter().for_each(|name| {
        write_atomic(&dir.path().join(name), name.as_bytes(), 0o644).unwrap();
    });
    std::os::unix::fs::symlink("nowhere", dir.path().join("30-e.env")).unwrap();
    let found = |pattern: &str| -> Vec<String> {
        let all = matching(&dir.path().join(pattern)).unwrap();
        all.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("*.env"), ["10-a.env", "20-b.env"]);
    assert_eq!(found("10-a.env"), ["10-a.env"]);
    assert_eq!(found(".c.env"), [".c.env"]);
    assert_eq!(found("none*"), [""; 0]);
    assert_eq!(found("30-e.env"), [""; 0]);
}

#[test]
fn the_user_is_the_units_or_else_the_wrappers() {
    for (unit, wrapper, expected) in
        [("etcd", "x", "etcd"), ("etcd", "", "etcd"), ("", "etcd", "etcd"), ("", "", "")]
    {
        let service = ServiceUnit {
            environment: vec![format!("ETCD_USER={wrapper}")],
            user: unit.to_owned(),
            ..ServiceUnit::default()
        };
        assert_eq!(UnitEnvironment::effective(&service, &[]).user, expected, "{unit:?} {wrapper:?}");
    }
}

#[test]
fn what_was_seen_counts_as_long_as_the_unit_says_the_same() {
    let mut environment = unit(&["ETCD_WAL_DIR=/stale", "ETCD_NAME=e1"], &["sh", "-c", "exec etcd"], &[]);
    let settings = BTreeMap::from([("data-dir".to_owned(), "/srv/etcd".to_owned())]);
    let setup = |unit: &str| {
        Ok(Some(Setup { unit: unit.into(), file: None, settings: settings.clone(), owner: Some((232, 0)) }))
    };
    environment.see(setup("of another text"));
    assert_eq!((environment.get("data-dir"), environment.get("wal-dir")), (None, Some("/stale")));
    assert_eq!(environment.owner, None);
    environment.see(setup(&environment.digest()));
    // A WAL directory that was not seen is none.
    assert_eq!((environment.get("data-dir"), environment.get("wal-dir")), (Some("/srv/etcd"), None));
    assert_eq!((environment.get("name"), environment.owner), (Some("e1"), Some((232, 0))));
    let other = unit(&["ETCD_WAL_DIR=/stale", "ETCD_NAME=e2"], &["sh", "-c", "exec etcd"], &[]);
    assert_ne!(environment.digest(), other.digest());
}

#[test]
fn an_empty_variable_is_not_set() {
    assert_eq!(unit(&["ETCD_WAL_DIR="], &["etcd"], &[]).get("wal-dir"), None);
}

#[test]
fn a_configuration_file_takes_the_place_of_flags_and_variables() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let put = |name: &str, text: &str| write_atomic(&dir.path().join(name), text.as_bytes(), 0o644).unwrap();
    put("a.yml", "name: of-a\ndata-dir: /a\n");
    put("b.yml", "name: of-b\n");
    let get = |environment: &[&str], command: &[&str], flag: &str| {
        let unit = unit(environment, command, &[]).with_file(&root);
        unit.refuse_unknown_file("etcd2.service").unwrap();
        unit.get(flag).map(str::to_owned)
    };
    let some = |value: &str| Some(value.to_owned());
    let stale = ["ETCD_NAME=stale", "ETCD_WAL_DIR=/stale", "ETCD_CONFIG_FILE=/b.yml"];
    let command = ["etcd", "--name=stale", "--config-file", "/a.yml"];
    for (environment, command, name, data_dir) in [
        (&stale[..], &command[..], some("of-a"), some("/a")),
        // etcd looks at the variable where the flag is empty or absent.
        (&stale, &command[..2], some("of-b"), None),
        (&stale, &["etcd", "-config-file="], some("of-b"), None),
        (&stale[..2], &command[..2], some("stale"), None),
        (&["ETCD_CONFIG_FILE=", "ETCD_NAME=e1"], &command[..1], some("e1"), None),
        (&[], &["etcd", "$OPTS"], None, None),
        (&["OPTS=--config-file /a.yml"], &["etcd", "$OPTS"], some("of-a"), some("/a")),
    ] {
        assert_eq!(get(environment, command, "name"), name, "{environment:?} {command:?}");
        assert_eq!(get(environment, command, "data-dir"), data_dir, "{environment:?} {command:?}");
    }
    assert_eq!(get(&stale, &command, "wal-dir"), None);
}

#[test]
fn a_configuration_file_that_is_not_known_is_refused_unless_etcd_was_seen_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let load = || unit(&["ETCD_NAME=stale"], &["etcd", "--config-file=/c.yml"], &[]).with_file(&root);
    let refused = |unit: &UnitEnvironment| unit.refuse_unknown_file("x.service").map_err(|e| e.to_string());
    let named = "x.service: reading etcd's configuration file /c.yml: ";
    let mut absent = load();
    assert_eq!(refused(&absent), Err(format!("{named}No such file or directory (os error 2)")));
    assert_eq!(absent.get("name"), None);
    let setup = |environment: &UnitEnvironment, settings: &[(&str, &str)]| {
        let settings =
            settings.iter().map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())).collect();
        Ok(Some(Setup { unit: environment.digest(), file: environment.file_digest(), settings, owner: None }))
    };
    let seen = [("config-file", "/c.yml"), ("data-dir", "/d"), ("name", "e1")];
    absent.see(setup(&absent.clone(), &seen));
    assert_eq!(refused(&absent), Ok(()));
    let got =
        |unit: &UnitEnvironment| ["name", "data-dir", "cert-file"].map(|f| unit.get(f).map(str::to_owned));
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(got(&absent), [some("e1"), some("/d"), None]);

    write_atomic(&dir.path().join("c.yml"), b"name: e1\ndata-dir: /link\ncert-file: none\n", 0o644).unwrap();
    let mut there = load();
    let then = setup(&there, &seen);
    there.see(setup(&absent, &seen));
    assert_eq!(got(&there), [some("e1"), some("/link"), None], "it was not here when etcd was seen");
    there.see(then);
    assert_eq!(got(&there), [some("e1"), some("/d"), None]);
    // What etcd will do when it is started again.
    write_atomic(&dir.path().join("c.yml"), b"name: e1\ndata-dir: /other\n", 0o644).unwrap();
    let mut changed = load();
    changed.see(setup(&there, &seen));
    assert_eq!(got(&changed)[1], some("/other"));
    // A sandbox keeps it from us.
    std::fs::remove_file(dir.path().join("c.yml")).unwrap();
    let mut hidden = load();
    hidden.see(setup(&there, &seen));
    assert_eq!((refused(&hidden), &got(&hidden)[1]), (Ok(()), &some("/d")));
    write_atomic(&dir.path().join("c.yml"), b"name: [e1]\n", 0o644).unwrap();
    let mut wrong = load();
    wrong.see(setup(&there, &seen));
    assert!(refused(&wrong).unwrap_err().contains("line 1: name is a list"), "nothing takes its place");
}

#[test]
fn a_file_that_only_the_process_names_keeps_the_units_variables_out() {
    let mut environment =
        unit(&["ETCD_CERT_FILE=/stale"], &["sh", "-c", "exec etcd --config-file=/c.yml"], &[]);
    assert_eq!(environment.get("cert-file"), Some("/stale"));
    let seen = [("config-file", "/c.yml"), ("data-dir", "/d")];
    let settings = seen.map(|(flag, value)| (flag.to_owned(), value.to_owned())).into();
    environment.see(Ok(Some(Setup { unit: environment.digest(), file: None, settings, owner: None })));
    assert_eq!((environment.get("cert-file"), environment.get("data-dir")), (None, Some("/d")));
}
