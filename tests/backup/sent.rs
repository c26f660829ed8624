//! "Sent" is said of what was seen: uploads that end well and do not arrive, a remote that is moved, a token that is renewed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use etcd2_backup::sys::command::CommandRunExt as _;
use serde_json::Value;
use testkit::faults::wrapper::Wrapper;
use testkit::files::{alter_json, tree, write};
use testkit::keys::{self, Keys};
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with a running etcd, and a script in front of its rclone. What is late is waited for no longer than a call may take.
fn running() -> Option<(Node, Wrapper)> {
    let tools = Tools::from_env()?;
    let mut node = Node::new(PROGRAM, tools);
    let wrapper = Wrapper::new(&mut node, tools);
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "20s".into());
    node.etcd.start().unwrap();
    keys::write_sample(&node.etcd.client_url).unwrap();
    Some((node, wrapper))
}

/// The same where nobody waits for what never comes.
fn impatient() -> Option<(Node, Wrapper)> {
    let (mut node, wrapper) = running()?;
    node.environment.insert("ETCD2_BACKUP_RCLONE_TIMEOUT".into(), "5s".into());
    Some((node, wrapper))
}

/// A place for [`point_at`].
fn place(node: &Node, name: &str) -> PathBuf {
    node.root().with_file_name(name)
}

/// Lets the remote lead to a place. The endpoint stays what it is.
fn point_at(node: &mut Node, place: &Path, more: &str) {
    node.environment.insert("RCLONE_ENDPOINT".into(), "there:backups".into());
    let conf = format!("[there]\ntype = alias\nremote = {}\n{more}", place.display());
    write(&node.path("/etc/rclone.conf"), conf);
}

/// The generations of this machine at a place, and how many parts each has.
fn generations(node: &Node, place: &Path) -> Vec<(String, usize)> {
    let mut all: Vec<(String, usize)> = Vec::new();
    let folder = place.join("backups").join(&node.machine_id);
    for path in tree(&folder).into_keys().filter(|p| p.extension().is_some_and(|e| e == "part")) {
        let name = path.to_str().unwrap()[..8].to_owned();
        match all.last_mut().filter(|(last, _)| *last == name) {
            Some((_, parts)) => *parts += 1,
            None => all.push((name, 1)),
        }
    }
    all
}

fn write_one(node: &Node, dir: &str) {
    keys::write_many(&node.etcd.client_url, dir, 1).unwrap();
}

fn cycle(node: &Node, dir: &str) -> String {
    write_one(node, dir);
    node.ok(&["backup"])
}

fn dump(node: &Node) -> Keys {
    keys::dump(&node.etcd.client_url).unwrap()
}

fn status(node: &Node, code: i32) -> Value {
    let run = node.run(&["status", "--json"]);
    assert_eq!(run.code, code, "{} {}", run.log, run.answer);
    serde_json::from_str(&run.answer).unwrap()
}

fn kinds(status: &Value) -> Vec<&str> {
    status["warnings"].as_array().unwrap().iter().map(|w| w["kind"].as_str().unwrap()).collect()
}

fn waiting(node: &Node) -> usize {
    tree(&node.path("/var/lib/etcd2-backup/spool")).values().filter(|content| content.is_some()).count()
}

fn alter_state(node: &Node, alter: impl FnOnce(&mut Value)) {
    alter_json(&node.path("/var/lib/etcd2-backup/state.json"), alter);
}

/// What stands between rclone and the remote, and says that all went well.
const SABOTAGE: [(&str, &str); 6] = [
    ("drop", "exit 0"),
    ("dry run", r#"exec "$REAL" --dry-run "$@""#),
    ("filter", r#"exec "$REAL" --exclude '*' "$@""#),
    // A folder of the container, which is gone with it.
    ("another place", r#"set -- $(echo "$@" | sed s,/remote/,/container/,); exec "$REAL" "$@""#),
    ("another prefix", r#"exec "$REAL" "$@"/x"#),
    ("truncate", r#""$REAL" "$@" && truncate -s -100 "$(ls -d $REMOTE/*/*.part | tail -1)""#),
];

#[test]
fn the_first_part_of_a_generation_counts_when_it_was_seen() {
    let Some((mut node, wrapper)) = impatient() else { return };
    let expected = dump(&node);
    for (name, sabotage) in SABOTAGE {
        let remote = format!("REMOTE={}\n", node.folder().display());
        wrapper.instead(&format!("{remote}[ $VERB = copy ] || exec \"$REAL\" \"$@\"\n{sabotage}"));
        for _ in 0..if name == "drop" { 2 } else { 1 } {
            let words = ["rclone reported a complete upload to ", " after 5 s 00000001-"];
            node.refused(&["backup"], 13, &words);
            assert_eq!(waiting(&node), 1, "{name}");
        }
        let seen = status(&node, 20);
        assert_eq!((kinds(&seen), &seen["index"]), (vec!["never"], &Value::Null), "{name}");
        assert_eq!(seen["because"], "the last part was not seen to arrive", "{name}");
        let said = node.run(&["status"]).answer;
        assert!(said.starts_with("would lose  all "), "{name}: {said}");
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(" has been seen to arrive in r:"), "{name}: {said}");
        assert!(!said.contains("\nremote "), "{name}: {said}");

        wrapper.honest();
        let log = node.ok(&["backup"]);
        assert!(log.contains("sending part 0 of generation 1 again"), "{name}: {log}");
        assert_eq!(
            (node.objects().len(), waiting(&node)),
            (1 + usize::from(name == "another prefix"), 0),
            "{name}"
        );
        assert_eq!(status(&node, 0)["lost_entries"], 0);
        node.assert_restores(&expected, &[]);

        fs::remove_dir_all(node.folder().parent().unwrap()).unwrap();
        fs::remove_dir_all(node.path("/var/lib/etcd2-backup")).unwrap();
    }
}

#[test]
fn what_a_remote_shows_late_is_waited_for() {
    let Some((mut node, wrapper)) = running() else { return };
    // The first two listings behind each upload are those of before.
    let lagging = format!(
        r#"cd {}
        case $VERB in
            copy) echo xx >lags; exec "$REAL" "$@";;
            lsjson) if grep -q x lags; then sed -i s/x// lags; echo '[]'; exit 0; fi;;
        esac
        exec "$REAL" "$@""#,
        node.root().display()
    );
    write(&node.path("/lags"), "");
    wrapper.instead(&lagging);
    let log = node.ok(&["backup"]);
    assert_eq!(wrapper.calls(), ["lsjson", "copy", "lsjson", "lsjson", "lsjson"]);
    assert!(log.contains(" is not there: checking again for up to 20 s"), "{log}");
    cycle(&node, "/more");
    assert_eq!(wrapper.calls(), ["copy"]);
    let expected = dump(&node);
    wrapper.honest();
    node.assert_restores(&expected, &[]);
}

/// Another account, bucket or password of crypt: the endpoint's words stay the same, and the new place is empty.
#[test]
fn a_remote_that_is_moved_gets_a_generation_of_its_own_at_once() {
    let Some((mut node, wrapper)) = impatient() else { return };
    let places = ["one", "two", "three", "four"].map(|name| place(&node, name));
    point_at(&mut node, &places[0], "");
    node.ok(&["backup"]);
    cycle(&node, "/first");
    wrapper.calls();

    point_at(&mut node, &places[1], "");
    let seen = status(&node, 20);
    assert_eq!((kinds(&seen), &seen["because"]), (vec!["moved"], &"earlier backups may be elsewhere".into()));
    let log = cycle(&node, "/moved");
    assert!(log.contains("warning: part 0 of generation 00000001-"), "{log}");
    assert!(log.contains("generation 2 begins: part 0 of generation 00000001-"), "{log}");
    assert_eq!(wrapper.calls(), ["lsjson", "copy", "lsjson"]);
    assert_eq!(generations(&node, &places[1]), [("00000002".to_owned(), 1)]);
    assert_eq!(status(&node, 0)["lost_entries"], 0);
    cycle(&node, "/ordinary");
    assert_eq!(wrapper.calls(), ["copy"]);

    // With a part that is still to be sent.
    wrapper.instead("exit 1");
    write_one(&node, "/waits");
    assert_eq!((node.run(&["backup"]).code, waiting(&node)), (13, 1));
    point_at(&mut node, &places[2], "");
    assert_eq!((node.run(&["backup"]).code, waiting(&node)), (13, 1), "where it goes cannot be looked at");
    wrapper.honest();
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 3 begins: part 0 of generation 00000002-"), "{log}");
    assert_eq!(generations(&node, &places[2]), [("00000003".to_owned(), 1)]);

    // Nobody writes any more.
    let expected = dump(&node);
    node.etcd.stop().unwrap();
    node.environment.insert("ETCD2_BACKUP_QUIET_INTERVAL".into(), "0".into());
    node.ok(&["backup"]);
    wrapper.calls();
    assert!(node.ok(&["backup"]).contains("nothing new") && wrapper.calls().is_empty());
    point_at(&mut node, &places[3], "");
    let log = node.ok(&["backup"]);
    assert!(log.contains("generation 4 begins: part 0 of generation 00000003-"), "{log}");
    assert_eq!(generations(&node, &places[3]), [("00000004".to_owned(), 1)]);
    node.ok(&["verify"]);
    node.etcd.start().unwrap();
    node.assert_restores(&expected, &[]);
}

/// All of it was copied along: the chain goes on.
#[test]
fn a_remote_that_is_moved_with_all_that_is_in_it_goes_on() {
    let Some((mut node, wrapper)) = impatient() else { return };
    let [one, two] = ["one", "two"].map(|name| place(&node, name));
    point_at(&mut node, &one, "");
    node.ok(&["backup"]);
    cycle(&node, "/first");
    assert!(Command::new("cp").arg("-a").args([&one, &two]).status().unwrap().success());
    point_at(&mut node, &two, "");
    wrapper.calls();
    let log = cycle(&node, "/moved");
    assert!(!log.contains("begins"), "{log}");
    assert_eq!(wrapper.calls(), ["lsjson", "copy", "lsjson"]);
    assert_eq!(generations(&node, &two), [("00000001".to_owned(), 3)]);
    cycle(&node, "/ordinary");
    assert_eq!(wrapper.calls(), ["copy"]);

    // Without the last one: nobody has it, and nothing can come behind it.
    let last = tree(&two).into_keys().rfind(|p| p.extension().is_some_and(|e| e == "part")).unwrap();
    fs::remove_file(two.join(last)).unwrap();
    point_at(&mut node, &two, "description = the same\n");
    let log = cycle(&node, "/behind");
    assert!(log.contains("generation 2 begins: part 3 of generation 00000001-"), "{log}");
    let expected = dump(&node);
    node.assert_restores(&expected, &[]);
}

/// What decides where a part goes, and is not in rclone.conf.
#[test]
fn another_program_or_variable_is_seen_to_send() {
    let Some((mut node, wrapper)) = impatient() else { return };
    node.ok(&["backup"]);
    let drops = "[ $VERB = copy ] && exit 0; exec \"$REAL\" \"$@\"";
    for (at, name) in ["an upgrade", "a variable", "a variable of a backend", "a flag"].iter().enumerate() {
        match at {
            0 => wrapper.upgrade(),
            1 => drop(node.environment.insert("RCLONE_TRANSFERS".into(), "2".into())),
            2 => drop(node.environment.insert("AWS_ENDPOINT_URL".into(), "http://127.0.0.1:9".into())),
            _ => drop(node.environment.insert("ETCD2_BACKUP_RCLONE_FLAGS".into(), "--transfers=3".into())),
        }
        wrapper.calls();
        wrapper.instead(drops);
        write_one(&node, &format!("/{at}"));
        node.refused(&["backup"], 13, &["rclone reported a complete upload to ", " is not there"]);
        assert_eq!(waiting(&node), 1, "{name}");
        let calls = wrapper.calls();
        assert_eq!(calls[..3], ["lsjson", "copy", "lsjson"], "{name}: {calls:?}");
        wrapper.honest();
        let log = node.ok(&["backup"]);
        assert!(log.contains(&format!("sending part {} of generation 1 again", at + 1)), "{name}: {log}");
        assert_eq!(wrapper.calls(), ["copy", "lsjson"], "{name}");
        node.ok(&["backup"]);
        assert!(wrapper.calls().is_empty(), "{name}: nothing is to be sent or seen any more");
    }
    // The state of an older program says nothing of it.
    alter_state(&node, |state| drop(state.as_object_mut().unwrap().remove("seen")));
    let log = cycle(&node, "/older");
    assert!(!log.contains("begins") && wrapper.calls() == ["lsjson", "copy", "lsjson"], "{log}");
    let expected = dump(&node);
    node.assert_restores(&expected, &[]);
}

#[test]
fn a_token_that_is_renewed_costs_nothing() {
    let Some((mut node, wrapper)) = impatient() else { return };
    let one = place(&node, "one");
    point_at(&mut node, &one, "token = {\"access_token\":\"0\"}\n");
    node.ok(&["backup"]);
    wrapper.calls();
    for hour in 1..4 {
        point_at(&mut node, &one, &format!("token = {{\"access_token\":\"{hour}\"}}\nshell_type = unix\n"));
        assert_eq!(kinds(&status(&node, 0)), [""; 0]);
        let log = cycle(&node, &format!("/{hour}"));
        assert_eq!(wrapper.calls(), ["copy"], "{log}");
    }
    assert_eq!(generations(&node, &one), [("00000001".to_owned(), 4)]);
}

/// `[r] type = local`, encrypted with [`PASSWORD`] by `rclone config`.
const ENCRYPTED: &str = "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n\
    GUzzfNEm4UBVyhIR6Z44d3QpB1RVkJrdFDSwd88S/I46ykh6A7gG5viYXS8vomu7pxv+8Ac/DgdhbQ==";
const PASSWORD: &str = "correct horse";

/// Lets an encrypted rclone.conf lead to a place. rclone encrypts it anew each time.
fn seal(node: &mut Node, place: &Path) {
    node.environment.insert("RCLONE_ENDPOINT".into(), "there:backups".into());
    write(&node.path("/etc/rclone.conf"), ENCRYPTED);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec rclone \"$@\"", "rclone", "--config"]).arg(node.path("/etc/rclone.conf"));
    command.args(["config", "create", "there", "alias", "remote"]).arg(place);
    command.env_clear().env("PATH", &node.environment["PATH"]).env("RCLONE_CONFIG_PASS", PASSWORD);
    let output = command.run_limited(&[], Duration::from_secs(60)).unwrap();
    assert!(output.status.success(), "{}", output.stderr);
    let conf = fs::read_to_string(node.path("/etc/rclone.conf")).unwrap();
    assert!(conf.contains("RCLONE_ENCRYPT_V0:") && conf != ENCRYPTED, "{}", output.text());
}

#[test]
fn a_token_in_an_encrypted_rclone_conf_costs_one_listing_at_most_one_an_hour() {
    let Some((mut node, wrapper)) = impatient() else { return };
    let [one, two] = ["one", "two"].map(|name| place(&node, name));
    let pass = "/etc/etcd2-backup/rclone.pass";
    fs::create_dir_all(node.path("/etc/etcd2-backup")).unwrap();
    write(&node.path(pass), PASSWORD);
    node.environment.insert("ETCD2_BACKUP_RCLONE_PASSWORD_FILE".into(), pass.into());
    let hours_later = |node: &Node| {
        alter_state(node, |state| {
            let clock = state["seen"]["clock"].as_u64().unwrap();
            state["seen"]["clock"] = (clock - 3600).into();
        });
    };
    seal(&mut node, &one);
    node.ok(&["backup"]);
    wrapper.calls();
    cycle(&node, "/same");
    assert_eq!(wrapper.calls(), ["copy"]);
    seal(&mut node, &one);
    wrapper.calls();
    cycle(&node, "/soon");
    assert_eq!(wrapper.calls(), ["copy"]);
    hours_later(&node);
    cycle(&node, "/later");
    assert_eq!(wrapper.calls(), ["lsjson", "copy"]);
    hours_later(&node);
    cycle(&node, "/nothing-changed");
    assert_eq!(wrapper.calls(), ["copy"]);
    assert_eq!(generations(&node, &one), [("00000001".to_owned(), 5)]);

    seal(&mut node, &two);
    let log = cycle(&node, "/moved");
    assert!(log.contains("generation 2 begins: part 0 of generation 00000001-"), "{log}");
    assert_eq!(generations(&node, &two), [("00000002".to_owned(), 1)]);
    let expected = dump(&node);
    node.assert_restores(&expected, &[]);
}

/// The record that tells the joining members what they join.
#[test]
fn a_recovery_record_that_does_not_arrive_waits_for_the_next_backup() {
    let Some((mut node, wrapper)) = impatient() else { return };
    node.ok(&["backup"]);
    let expected = dump(&node);
    node.destroy_data().unwrap();
    wrapper.instead("case \"$*\" in *' copy '*/spool/*) exit 0;; esac\nexec \"$REAL\" \"$@\"");
    let log = node.ok(&["restore"]);
    assert!(
        log.contains("will be uploaded with the next backup: rclone uploaded it, but it is not there"),
        "{log}"
    );
    let records = |node: &Node| node.objects().iter().filter(|p| p.starts_with("recovery")).count();
    assert_eq!((records(&node), waiting(&node)), (0, 1));
    node.etcd.start().unwrap();
    wrapper.honest();
    node.ok(&["backup"]);
    assert_eq!((records(&node), waiting(&node)), (1, 0));
    let differences = keys::compare(&expected, &dump(&node));
    assert!(differences.is_empty(), "{differences:?}");
}
