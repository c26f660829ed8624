//! rclone in a container: what it is given of the node, and what it writes back. A script stands in for podman: it notes what it
//! is called with and runs the rclone of the node, if the container would have seen its remote.

use std::fs;
use std::path::PathBuf;

use testkit::files::{tree, write, write_program};
use testkit::keys;
use testkit::node::Node;
use testkit::tools::Tools;

use crate::PROGRAM;

/// A node with a few keys, whose rclone runs in a container by a stand-in. `before` runs with `$CONF`, the configuration as
/// the container sees it.
fn node_with(before: &str) -> Option<Node> {
    let tools = Tools::from_env()?;
    let mut node = Node::new(PROGRAM, tools);
    let bin = node.path("/bin");
    fs::create_dir_all(&bin).unwrap();
    let script = format!(
        r#"#!/bin/sh
[ "$1" = run ] || exit 0
echo "$*" >>{calls}
env | grep -i _proxy= | sort >{proxies}
seen=" "
while [ "$1" != image:1 ]; do
  case $1 in --volume) seen="$seen$2 "; shift;; esac
  shift
done
shift
for CONF; do case $CONF in */rclone.conf) break;; esac; done
case "$seen" in *" ${{CONF%/*}}:${{CONF%/*}} "*) ;; *) echo "$CONF is not mounted" >&2; exit 1;; esac
for place; do
  case $place in r:/*) case "$seen" in *" ${{place#r:}}:${{place#r:}} "*|*" {remote}:{remote} "*) ;;
    *) echo "${{place#r:}} goes down with the container" >&2; exit 1;; esac;; esac
done
{before}
exec {rclone} "$@"
"#,
        calls = node.path("/calls").display(),
        proxies = node.path("/proxies").display(),
        remote = remote(&node).display(),
        rclone = tools.rclone.display(),
    );
    write_program(&bin.join("podman"), &script);
    let path = format!("{}:{}", bin.display(), node.environment["PATH"]);
    node.environment.insert("PATH".into(), path);
    node.environment.insert("ETCD2_BACKUP_RCLONE_RUNNER".into(), "podman".into());
    node.environment.insert("ETCD2_BACKUP_RCLONE_IMAGE".into(), "image:1".into());
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/k", 3).unwrap();
    Some(node)
}

/// The folder that the remote lies in.
fn remote(node: &Node) -> PathBuf {
    node.folder().parent().unwrap().to_path_buf()
}

fn calls(node: &Node) -> String {
    fs::read_to_string(node.path("/calls")).unwrap()
}

#[test]
fn a_remote_in_a_folder_of_the_node_is_mounted_and_holds_the_backup() {
    let Some(mut node) = node_with("") else { return };
    node.ok(&["backup"]);
    assert_eq!(node.objects().len(), 1);
    let mount = format!("--volume {0}:{0} ", remote(&node).display());
    assert!(calls(&node).lines().all(|call| call.contains(&mount)), "{}", calls(&node));
    assert!(calls(&node).contains("--security-opt label=disable "), "{}", calls(&node));
    // Nothing of the configuration is left beside it.
    let left = tree(&node.path("/var/lib/etcd2-backup"));
    assert!(
        left.keys().all(|path| !path.to_string_lossy().contains("etcd2-backup-rclone")),
        "{:?}",
        left.keys()
    );
    // One that cannot be given to it is refused before anything is sent.
    node.environment.insert("RCLONE_ENDPOINT".into(), "r:/".into());
    node.refused(
        &["backup"],
        15,
        &["the remote's path on the node is \"/\"", "a container that does not see it"],
    );
}

#[test]
fn keys_are_mounted_read_only_and_one_that_is_not_there_is_named() {
    let Some(mut node) = node_with("") else { return };
    let ca = node.path("/etc/ca.pem");
    node.environment.insert("ETCD2_BACKUP_RCLONE_FLAGS".into(), format!("--ca-cert={}", ca.display()));
    node.refused(&["backup"], 15, &["ca.pem, which rclone's container needs", "put the file there"]);
    let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    write(&ca, pem);
    // Whatever rclone makes of it.
    node.run(&["backup"]);
    let mount = format!("--volume {0}:{0}:ro ", ca.display());
    assert!(calls(&node).contains(&mount), "{}", calls(&node));
}

#[test]
fn proxies_reach_the_container_by_name() {
    let Some(mut node) = node_with("") else { return };
    for name in ["http_proxy", "HTTPS_PROXY", "no_proxy"] {
        node.environment.insert(name.into(), "http://user:secret@127.0.0.1:1".into());
    }
    node.ok(&["backup"]);
    for name in ["http_proxy", "HTTPS_PROXY", "no_proxy"] {
        assert!(calls(&node).contains(&format!("--env {name} ")), "{name}: {}", calls(&node));
    }
    assert!(
        !calls(&node).contains("secret") && !calls(&node).contains("--env https_proxy "),
        "{}",
        calls(&node)
    );
    assert_eq!(fs::read_to_string(node.path("/proxies")).unwrap().lines().count(), 3);
}

/// rclone writes a new file beside the old one and renames it.
#[test]
fn what_rclone_writes_back_is_in_the_nodes_rclone_conf() {
    let renew =
        r#"sed 's/"r1"/"r2"/' "$CONF" >"$CONF.new" && mv "$CONF" "$CONF.old" && mv "$CONF.new" "$CONF""#;
    let Some(node) = node_with(renew) else { return };
    let conf = "[r]\ntype = local\ntoken = {\"refresh_token\":\"r1\",\"expiry\":\"2026-01-01T00:00:00Z\"}\n";
    write(&node.path("/etc/rclone.conf"), conf);
    let log = node.ok(&["backup"]);
    assert_eq!(fs::read_to_string(node.path("/etc/rclone.conf")).unwrap(), conf.replace("r1", "r2"), "{log}");
    assert_eq!(log.matches("rclone wrote new tokens into").count(), 1, "{log}");
    // What a run that was killed left there comes with the next one.
    let folder = node.path("/var/lib/etcd2-backup/etcd2-backup-rclone");
    fs::create_dir(&folder).unwrap();
    let now = conf.replace("r1", "r2");
    write(&folder.with_extension("before"), &now);
    write(&folder.join("rclone.conf"), now.replace("r2", "r3"));
    keys::write_many(&node.etcd.client_url, "/more", 3).unwrap();
    node.ok(&["backup"]);
    assert_eq!(fs::read_to_string(node.path("/etc/rclone.conf")).unwrap(), conf.replace("r1", "r3"));
    assert!(!folder.exists() && !folder.with_extension("before").exists());
}
