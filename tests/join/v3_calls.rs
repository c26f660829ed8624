//! The calls to etcd's v3 API against a real etcd that serves no other: 3.4 and newer with default flags. The curl that lacks
//! HTTP/2 is a script in front of the real one.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use etcd2_backup::cluster::access::Access;
use etcd2_backup::cluster::find::Cluster;
use etcd2_backup::cluster::membership::{self, Admission};
use etcd2_backup::cluster::v3::calls;
use etcd2_backup::cluster::{Change, api};
use etcd2_backup::etcd::wire::Fields;
use etcd2_backup::exit::{Exit, exit_of, hint_of};
use etcd2_backup::sys::http::{Client, Login, Tls, is_silence, is_unasked};
use testkit::certificates::{Authority, For};
use testkit::etcd::Member;
use testkit::faults::curl::Curl;
use testkit::files::{tree, write};
use testkit::node::Node;
use testkit::tools::{Tools, etcd_version};

use crate::PROGRAM;

fn tools() -> Option<&'static Tools> {
    Tools::from_env().filter(|tools| etcd_version(&tools.etcd).unwrap() >= (3, 4))
}

/// A node whose etcd serves the v3 API alone, and runs.
fn started(tools: &Tools) -> Node {
    let mut node = Node::named(PROGRAM, tools, "e1");
    node.etcd.without_v2();
    node.etcd.start().unwrap();
    node
}

/// A member that is to come into the cluster of another one.
fn coming(tools: &Tools, name: &str, node: &Node, folder: &tempfile::TempDir) -> Member {
    let mut member = Member::new(tools, name, &folder.path().join(name)).unwrap();
    member.without_v2();
    let list = format!("{}={},{name}={}", node.etcd.name, node.etcd.peer_url, member.peer_url);
    member.set("ETCD_INITIAL_CLUSTER", list);
    member.set("ETCD_INITIAL_CLUSTER_STATE", "existing");
    member
}

fn done(admission: anyhow::Result<Admission>) -> u64 {
    match admission.unwrap() {
        Admission::Done(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_come_as_learners_get_a_vote_and_go() {
    let Some(tools) = tools() else { return };
    let node = started(tools);
    let (http, url) = (Client::default(), node.etcd.client_url.as_str());
    let listed = api::members(&http, url).unwrap();
    assert_eq!(listed, api::members_by_peer(&http, &node.etcd.peer_url).unwrap());
    assert_eq!((listed.members.len(), listed.members[0].name.as_str()), (1, "e1"));
    let id = listed.members[0].id;

    let status = calls::status(&http, url).unwrap();
    assert_eq!(
        (status.header.cluster_id, status.header.member_id, status.leader),
        (listed.cluster_id, id, id)
    );
    assert!(status.raft_applied_index > 0 && status.raft_index >= status.raft_applied_index, "{status:?}");
    assert!(status.db_size >= status.db_size_in_use && status.version.starts_with("3."), "{status:?}");
    assert_eq!(api::self_and_leader(&http, url).unwrap(), (id, Some(id)));
    let before = api::applied(&http, url).unwrap();
    node.etcd.ask_v3("kv/put", r#"{"key": "YQ==", "value": "MQ=="}"#).unwrap();
    let (api::Applied::Index(before), api::Applied::Index(after)) =
        (before, api::applied(&http, url).unwrap())
    else {
        panic!()
    };
    assert!(after > before, "{before} {after}");

    let hash = calls::hash_kv(&http, url, 0).unwrap();
    assert_eq!((hash.header.revision, hash.compact_revision), (2, -1));
    assert!(hash.hash != calls::hash_kv(&http, url, 1).unwrap().hash);
    let future = calls::hash_kv(&http, url, 99).unwrap_err();
    assert!(format!("{future:#}").contains("future revision") && !is_unasked(&future), "{future:#}");
    assert!(api::may_change(&http, url).unwrap());
    // Nothing of that came into the log.
    assert_eq!(api::applied(&http, url).unwrap(), api::Applied::Index(after));

    // A stream, into a file.
    let mut snapshot = tempfile::tempfile().unwrap();
    let mut digest = Vec::new();
    let place = format!("{url}/etcdserverpb.Maintenance/Snapshot");
    let streamed = http.grpc_stream(&place, None, &[], &mut |message| {
        for field in Fields::new(message) {
            if let (3, blob) = field? {
                snapshot.write_all(&std::mem::replace(&mut digest, blob.bytes()?.to_vec()))?;
            }
        }
        Ok(())
    });
    assert_eq!(streamed.unwrap(), Ok(()));
    assert_eq!(snapshot.metadata().unwrap().len(), calls::status(&http, url).unwrap().db_size);
    assert_eq!(digest.len(), 32, "the last message is the SHA-256 of the others");
    let full = http.grpc_stream(&place, None, &[], &mut |_| anyhow::bail!("no room"));
    assert!(format!("{:#}", full.unwrap_err()).ends_with("no room"));

    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::find(&Access::default(), std::slice::from_ref(&node.etcd.peer_url)).unwrap();
    let mut e2 = coming(tools, "e2", &node, &folder);
    let peer_urls = [e2.peer_url.clone()];
    let learner = done(membership::add_learner(&cluster, &peer_urls));
    assert_eq!(done(membership::add_learner(&cluster, &peer_urls)), learner);
    let is_learner = || cluster.members().unwrap().by_id(learner).unwrap().is_learner;
    assert!(is_learner());
    let early = calls::promote(&http, url, learner).unwrap();
    assert!(matches!(&early, Change::Unknown(why) if why.contains("in sync")), "{early:?}");
    e2.spawn(&[]).unwrap();
    assert_eq!(done(membership::promote(&cluster, learner)), learner);
    e2.wait_healthy().unwrap();
    assert!(!is_learner());
    assert!(matches!(calls::promote(&http, url, learner).unwrap(), Change::No(_)));
    assert_eq!(calls::hash_kv(&http, &e2.client_url, 2).unwrap().hash, hash.hash);
    let of_e2 = calls::status(&http, &e2.client_url).unwrap();
    assert_eq!((of_e2.header.member_id, of_e2.leader, of_e2.is_learner), (learner, id, false));
    assert_eq!(calls::members(&http, &e2.client_url, true).unwrap().members.len(), 2);

    for bad in ["nonsense", "http://127.0.0.1"] {
        assert!(matches!(api::add(&http, url, &[bad.to_owned()]).unwrap(), Change::No(_)), "{bad}");
    }
    // For some seconds behind the last change etcd is not sure of itself, then it says that they are taken.
    let again = api::add(&http, url, &peer_urls).unwrap();
    assert!(matches!(again, Change::No(_) | Change::Unknown(_)), "{again:?}");
    assert_eq!(done(membership::add(&cluster, &peer_urls)), learner);
    // Who is not there needs not be removed.
    assert_eq!(api::remove(&http, url, 7).unwrap(), Change::Done(None));
    assert_eq!(done(membership::remove(&cluster, learner)), learner);
    assert_eq!(cluster.members().unwrap().members.len(), 1);

    // Without its quorum a change may be done or not.
    let e3 = coming(tools, "e3", &node, &folder);
    done(membership::add(&cluster, std::slice::from_ref(&e3.peer_url)));
    let late = api::add(&http, url, &["http://127.0.0.1:9".into()]).unwrap();
    assert!(matches!(late, Change::No(_) | Change::Unknown(_)), "{late:?}");
    drop(node);
    let gone = calls::members(&http, &cluster.via, false).unwrap_err();
    assert!(is_silence(&gone) && !is_unasked(&gone), "{gone:#}");
}

const PASSWORD: &str = "pass:word \"$1\"";
const LOGIN: &str = "root:pass:word \"$1\"";
const AUTH: &str = "/etc/etcd2-backup/auth";

#[test]
fn a_cluster_whose_v3_authentication_is_on() {
    let Some(tools) = tools() else { return };
    let e1 = started(tools);
    let url = e1.etcd.client_url.as_str();
    let client = |login: &str| Client { login: Login::new(login.to_owned()), ..Client::default() };
    let (root, other, wrong, nobody) = (client(LOGIN), client("other:x"), client("root:wrong"), client(""));
    let login = root.login.clone().unwrap();
    assert_eq!(calls::authenticate(&nobody, url, &login).unwrap(), None);
    assert!(api::may_change(&wrong, url).unwrap());
    e1.etcd.enable_v3_auth(PASSWORD);
    let token = calls::authenticate(&nobody, url, &login).unwrap();
    assert_eq!(format!("{token:?}"), "Some(Token)");
    let failed = calls::authenticate(&nobody, url, wrong.login.as_ref().unwrap()).unwrap_err();
    assert!(is_unasked(&failed) && format!("{failed:#}").contains("authentication failed"), "{failed:#}");
    for (http, may) in [(&root, true), (&other, false), (&wrong, false), (&nobody, false)] {
        assert_eq!(api::may_change(http, url).unwrap(), may);
        assert_eq!(calls::hash_kv(http, url, 0).is_ok(), may);
        if !may {
            assert!(is_unasked(&calls::hash_kv(http, url, 0).unwrap_err()));
            for change in [api::add(http, url, &["http://127.0.0.1:9".into()]), api::remove(http, url, 7)] {
                let change = change.unwrap();
                assert!(matches!(&change, Change::No(why) if why.contains("root user")), "{change:?}");
            }
        }
        // The list is everybody's.
        assert_eq!(api::members(http, url).unwrap().members.len(), 1);
    }

    let mut e2 = Node::joining(tools, "e2", &e1);
    e2.etcd.without_v2();
    let curl = Curl::new(&mut e2);
    let hint = "install -m 600 /dev/null /etc/etcd2-backup/auth, then write root:PASSWORD into it";
    let words = ["authentication is enabled on etcd at http://", "no credentials are configured", hint];
    e2.refused(&["join"], 15, &words);
    std::fs::create_dir(e2.path("/etc/etcd2-backup")).unwrap();
    let wrong = "rejected the user and password in /etc/etcd2-backup/auth";
    etcd2_backup::sys::fs::write_atomic(&e2.path(AUTH), b"root:other\n", 0o600).unwrap();
    e2.refused(&["join"], 15, &[wrong, hint]);
    assert!(e1.etcd.members().unwrap().len() == 1 && !e2.is_fenced());
    write(&e2.path(AUTH), format!("{LOGIN}\n"));
    let mut log = e2.ok(&["join"]);
    e2.start_etcd();
    log += &e2.ok(&["join"]);
    assert_eq!(api::members(&nobody, url).unwrap().members.len(), 2);
    for (place, text) in [("the log", log), ("an argument or variable of curl", curl.seen())] {
        assert!(!text.is_empty() && !text.contains("pass:word"), "{place}: {text}");
    }
}

#[test]
fn a_closed_port_is_asked_with_a_certificate() {
    let (Some(tools), Some(authority)) = (tools(), Authority::new()) else { return };
    let mut node = Node::named(PROGRAM, tools, "e1");
    let folder = node.path("/etc/etcd2");
    authority.issue("member", For::Member, &folder);
    authority.issue("asks", For::Client, &folder);
    node.etcd.without_v2();
    let open = node.etcd.client_url.clone();
    let port = testkit::ports::Port::reserve().unwrap();
    let url = port.url().replace("http:", "https:");
    let path = |file: &str| folder.join(file);
    for (variable, value) in [
        ("ETCD_LISTEN_CLIENT_URLS", format!("{url},{open}")),
        ("ETCD_CLIENT_CERT_AUTH", "true".to_owned()),
        ("ETCD_CERT_FILE", path("member.pem").to_string_lossy().into_owned()),
        ("ETCD_KEY_FILE", path("member.key").to_string_lossy().into_owned()),
        ("ETCD_TRUSTED_CA_FILE", path("ca.pem").to_string_lossy().into_owned()),
    ] {
        node.etcd.set(variable, value);
    }
    node.etcd.start().unwrap();
    let file = |name: &str| -> Option<PathBuf> { Some(path(name)) };
    let tls = Tls { cert: file("asks.pem"), key: file("asks.key"), ca: file("ca.pem") };
    let http = Client { tls: tls.clone(), ..Client::default() };
    let id = calls::status(&http, &url).unwrap().header.member_id;
    assert_eq!(api::members(&http, &url).unwrap().members[0].id, id);
    assert!(api::may_change(&http, &url).unwrap() && calls::hash_kv(&http, &url, 0).is_ok());
    let ours = ["http://127.0.0.1:9".to_owned()];
    assert!(matches!(calls::add(&http, &url, &ours, true).unwrap(), Change::Done(Some(_))));
    // Who is not let in has not been told that nobody is there.
    for tls in [Tls { cert: None, key: None, ..tls.clone() }, Tls { ca: None, ..tls }] {
        let error = calls::status(&Client { tls, ..Client::default() }, &url).unwrap_err();
        assert!(is_unasked(&error) && exit_of(&error) == Exit::Settings, "{error:#}");
    }
}

/// Who takes nothing but gRPC is asked for its health so: without a quorum there is no such list.
#[test]
fn only_a_quorum_gives_the_list_that_health_is_told_by() {
    let Some(tools) = Tools::etcd_3_5_from_env() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut cluster =
        testkit::etcd::Cluster::new(tools, &["e1", "e2"].map(|name| (name, folder.path().join(name))))
            .unwrap();
    cluster.members.iter_mut().for_each(Member::without_v2);
    cluster.start().unwrap();
    let http = Client { limit: Duration::from_secs(3), ..Client::default() };
    let url = cluster.members[0].client_url.clone();
    assert_eq!(calls::members(&http, &url, true).unwrap().members.len(), 2);
    assert!(api::may_change(&http, &url).unwrap() && api::is_healthy(&http, &url).unwrap());
    let e1 = calls::hash_kv(&http, &url, 0).unwrap();
    assert_eq!(e1.hash, calls::hash_kv(&http, &cluster.members[1].client_url, 0).unwrap().hash);
    cluster.members[1].kill().unwrap();
    let error = calls::members(&http, &url, true).unwrap_err();
    assert!(!is_unasked(&error), "{error:#}");
    assert_eq!(calls::members(&http, &url, false).unwrap().members.len(), 2);
}

#[test]
fn a_member_that_serves_grpc_alone_lets_a_node_in_and_lives() {
    let Some(tools) = tools() else { return };
    let e1 = started(tools);
    let mut e2 = Node::joining(tools, "e2", &e1);
    e2.etcd.without_v2();
    let curl = Curl::new(&mut e2);
    curl.grpc_alone(&[&e1.etcd.client_url, &e2.etcd.client_url]);
    // Who leads, and how far, it says; how far the others are it keeps to itself.
    e2.ok(&["join"]);
    e2.start_etcd();
    e2.ok(&["join"]);
    assert_eq!(e1.etcd.members().unwrap().len(), 2);

    // What `recover` waits for at last.
    let cluster = api::members(&Client::default(), &e2.etcd.client_url).unwrap().cluster_id.to_string();
    let served = e2.run(&["await", "--cluster", &cluster, "--index", "5", "--wait", "30s"]);
    assert_eq!(served.code, 0, "{}", served.log);
    assert!(served.answer.contains(r#""members":2"#), "{}", served.answer);
    curl.honest();
    e2.ok(&["await", "--cluster", &cluster, "--index", "5", "--wait", "30s"]);
}

/// One that lists no HTTP/2 and knows no option for it.
const OLD: &str = r#"echo "curl: option --http2: the installed libcurl version doesn't support this" >&2
exit 2"#;

#[test]
fn a_curl_without_http2_asks_in_json_or_says_that_it_cannot() {
    let Some(tools) = tools() else { return };
    let mut e1 = started(tools);
    e1.etcd.enable_v3_auth(PASSWORD);
    let mut e2 = Node::joining(tools, "e2", &e1);
    e2.etcd.without_v2();
    let curl = Curl::new(&mut e2);
    curl.instead_of(
        r#"case "$*" in *--version*) echo "curl 7.29.0"; echo "Features: IPv6 SSL"; exit 0;; esac"#,
        "http2",
        OLD,
    );
    let untouched = tree(&e2.path("/etc"));

    // Its gateway is off.
    e1.etcd.set("ETCD_ENABLE_GRPC_GATEWAY", "false");
    e1.etcd.restart().unwrap();
    let words = [
        "could not query the founding member",
        "curl on this node has no HTTP/2",
        "install a curl that lists HTTP2",
    ];
    e2.refused(&["join"], 1, &words);
    assert_eq!(tree(&e2.path("/etc")), untouched);
    e1.etcd.set("ETCD_ENABLE_GRPC_GATEWAY", "true");
    e1.etcd.restart().unwrap();

    e2.refused(&["join"], 15, &["authentication is enabled on etcd at http://"]);
    std::fs::create_dir(e2.path("/etc/etcd2-backup")).unwrap();
    etcd2_backup::sys::fs::write_atomic(&e2.path(AUTH), format!("{LOGIN}\n").as_bytes(), 0o600).unwrap();
    let mut log = e2.ok(&["join"]);
    e2.start_etcd();
    log += &e2.ok(&["join"]);
    let listed = api::members(&Client::default(), &e1.etcd.client_url).unwrap();
    assert_eq!(listed.members.len(), 2);
    for text in [log, curl.seen()] {
        assert!(!text.is_empty() && !text.contains("pass:word"), "{text}");
    }
    let error = calls::status(&Client::default(), "http://127.0.0.1:1").unwrap_err();
    assert!(hint_of(&error).is_none() && is_silence(&error), "{error:#}");
}
