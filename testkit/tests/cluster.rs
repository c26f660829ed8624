//! A real cluster: keys written through one member are on all, and stay over stops, kills and restarts.

use std::net::TcpListener;

use testkit::etcd::{Cluster, Member};
use testkit::keys::{Client, How, address_of, compare, dump, write_many, write_sample};
use testkit::tools_or_skip;

#[test]
fn keys_are_the_same_on_all_members_and_after_restarts() {
    let tools = tools_or_skip!();
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::three(tools, dir.path()).unwrap();
    write_sample(&cluster.members[0].client_url).unwrap();
    write_many(&cluster.members[1].client_url, "/many", 1000).unwrap();

    let expected = dump(&cluster.members[0].client_url).unwrap();
    assert_eq!(expected.keys().filter(|k| k.starts_with("/many/")).count(), 1000);
    assert_eq!(expected["/uni/ключ"].value.as_deref(), Some("quotes \" ' \\ <&> newline\n snowman \u{2603}"));
    assert!(!expected.contains_key("/_hidden/secret"));
    for member in &cluster.members {
        assert_eq!(compare(&expected, &dump(&member.client_url).unwrap()), [], "{}", member.name);
    }

    let urls: Vec<String> = cluster.members.iter().map(|m| m.client_url.clone()).collect();
    cluster.members[2].kill().unwrap();
    cluster.stop().unwrap();
    for member in &cluster.members {
        assert!(
            TcpListener::bind(address_of(&member.client_url).unwrap()).is_ok(),
            "{} runs on",
            member.name
        );
    }
    cluster.start().unwrap();
    assert_eq!(cluster.members.iter().map(|m| m.client_url.clone()).collect::<Vec<_>>(), urls);
    for member in &cluster.members {
        assert_eq!(compare(&expected, &dump(&member.client_url).unwrap()), [], "{}", member.name);
        assert_eq!(member.members().unwrap().len(), 3);
    }

    // A lost write, a changed index: both have to show.
    let mut client = Client::new(&cluster.members[0].client_url).unwrap();
    client.put("/svc/d1/k4", "value-4").unwrap();
    client.delete("/empty").unwrap();
    let texts: Vec<String> =
        compare(&expected, &client.dump().unwrap()).iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert_eq!(texts[0], "/empty: missing");
    assert!(texts[1].starts_with("/svc/d1/k4: createdIndex is "), "{texts:?}");
    assert!(texts[2].starts_with("/svc/d1/k4: modifiedIndex is "), "{texts:?}");
}

#[test]
fn conditions_are_kept_and_hidden_keys_can_be_read() {
    let tools = tools_or_skip!();
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::new(tools, "solo", &dir.path().join("solo")).unwrap();
    member.set("ETCD_INITIAL_CLUSTER", format!("solo={}", member.peer_url));
    member.set("ETCD_SNAPSHOT_COUNT", "20");
    member.start().unwrap();
    let mut client = Client::new(&member.client_url).unwrap();

    let first = client.put("/a", "1").unwrap();
    assert_eq!(first.created, first.modified);
    let wrong = How { prev_index: Some(first.modified + 1), ..How::default() };
    let error = client.put_how("/a", "2", &wrong).unwrap_err();
    assert!(format!("{error:#}").contains("412"), "{error:#}");
    assert!(client.put_how("/a", "2", &How { prev_exist: Some(false), ..How::default() }).is_err());
    let right = How { prev_index: Some(first.modified), ..How::default() };
    let second = client.put_how("/a", "2", &right).unwrap();
    assert_eq!((second.created, second.value.as_deref()), (first.created, Some("2")));

    write_sample(&member.client_url).unwrap();
    assert_eq!(client.get("/_hidden/secret").unwrap().unwrap().value.as_deref(), Some("not listed"));
    assert_eq!(client.get("/nothing").unwrap(), None);
    let snapshots = member.data_dir.join("member/snap");
    let is_snapshot =
        |e: std::io::Result<std::fs::DirEntry>| e.unwrap().path().extension().is_some_and(|x| x == "snap");
    assert!(std::fs::read_dir(snapshots).unwrap().any(is_snapshot), "the snapshot count is not taken");

    assert_eq!(client.dump_local().unwrap(), client.dump().unwrap());
    let pid = member.pid().unwrap();
    drop(member);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "dropped, but runs on");
}

#[test]
fn an_etcd_that_cannot_start_shows_why() {
    let tools = tools_or_skip!();
    let dir = tempfile::tempdir().unwrap();
    let mut member = Member::new(tools, "x", &dir.path().join("x")).unwrap();
    member.set("ETCD_INITIAL_CLUSTER", "y=http://127.0.0.1:1");
    let error = member.start().unwrap_err().to_string();
    assert!(error.contains("etcd ended with") && error.contains("initial"), "{error}");
}
