//! The remote's secrets, with real rclones, the oldest one at hand and a current one: an encrypted
//! rclone.conf, a crypt remote.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use etcd2_backup::sys::command::CommandRunExt as _;
use testkit::files::{tree, write};
use testkit::keys;
use testkit::node::{Node, Run};
use testkit::tools::{Tools, strace_from_env};

use crate::PROGRAM;

/// `[r] type = local`, encrypted with [`PASSWORD`] by `rclone config` ("Set configuration password").
const ENCRYPTED: &str = "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n\
    GUzzfNEm4UBVyhIR6Z44d3QpB1RVkJrdFDSwd88S/I46ykh6A7gG5viYXS8vomu7pxv+8Ac/DgdhbQ==";
const PASSWORD: &str = "correct horse";
const FILE: &str = "/etc/etcd2-backup/rclone.pass";

/// A node for each rclone, with a running etcd that holds the sample keys.
fn nodes() -> Vec<Node> {
    let Some(tools) = Tools::from_env() else { return Vec::new() };
    let node = |rclone| {
        let mut node = Node::new(PROGRAM, &Tools { rclone, ..tools.clone() });
        node.etcd.start().unwrap();
        keys::write_sample(&node.etcd.client_url).unwrap();
        node
    };
    tools.rclones().into_iter().map(node).collect()
}

fn put_password(node: &Node, text: &str) {
    fs::create_dir_all(node.path("/etc/etcd2-backup")).unwrap();
    write(&node.path(FILE), text);
}

/// Stops etcd, loses all data, restores, starts etcd, compares every key.
fn lose_and_restore(node: &mut Node) {
    let url = node.etcd.client_url.clone();
    let expected = keys::dump(&url).unwrap();
    node.etcd.stop().unwrap();
    fs::remove_dir_all(node.path("/var/lib/etcd2")).unwrap();
    node.ok(&["restore"]);
    node.etcd.start().unwrap();
    let differences = keys::compare(&expected, &keys::dump(&url).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[test]
fn an_encrypted_rclone_conf_is_opened_with_the_password_file() {
    for mut node in nodes() {
        write(&node.path("/etc/rclone.conf"), ENCRYPTED);
        node.refused(&["backup"], 15, &["rclone cannot decrypt ", "without a password", "password_file"]);

        node.environment.insert("ETCD2_BACKUP_RCLONE_PASSWORD_FILE".into(), FILE.into());
        node.refused(&["backup"], 15, &["reading the password of rclone.conf from ", FILE, "No such file"]);
        put_password(&node, "wrong\n");
        node.refused(&["backup"], 15, &["rclone cannot decrypt ", "with the password in ", FILE]);
        assert!(!node.folder().exists());

        put_password(&node, &format!("{PASSWORD}\n"));
        let log = node.ok(&["backup"]);
        assert!(!log.contains(PASSWORD), "{log}");
        assert_eq!(node.objects().len(), 1);
        lose_and_restore(&mut node);
    }
}

/// No program that a backup starts gets the password as an argument: strace has seen them all.
#[test]
fn the_password_is_in_no_command_line_and_in_no_log() {
    let Some(strace) = strace_from_env() else { return };
    for mut node in nodes() {
        write(&node.path("/etc/rclone.conf"), ENCRYPTED);
        node.environment.insert("ETCD2_BACKUP_RCLONE_PASSWORD_FILE".into(), FILE.into());
        put_password(&node, PASSWORD);
        let seen = node.path("/seen");
        let mut traced = Command::new(strace);
        traced.args(["-f", "-e", "trace=execve", "-s", "65536", "-o"]).arg(&seen);
        let run = Run::from(node.command_below(traced, &["--verbose", "backup"]).output().unwrap());
        assert_eq!(run.code, 0, "{}", run.log);
        assert!(!run.log.contains(PASSWORD), "{}", run.log);
        let seen = fs::read_to_string(seen).unwrap();
        assert!(seen.contains("--ask-password=false") && !seen.contains(PASSWORD), "{seen}");
    }
}

fn rclone(node: &Node, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec rclone \"$@\"", "rclone", "--config"]).arg(node.path("/etc/rclone.conf"));
    command.args(arguments).env_clear().env("PATH", &node.environment["PATH"]);
    let output = command.run_limited(input.as_bytes(), Duration::from_secs(60)).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", output.stderr);
    output.text()
}

/// Whether any file below a folder, or its name, has these bytes in it.
fn finds(dir: &Path, bytes: &str) -> bool {
    let has = |content: &[u8]| content.windows(bytes.len()).any(|w| w == bytes.as_bytes());
    tree(dir).iter().any(|(path, content)| {
        has(path.as_os_str().as_encoded_bytes()) || content.as_deref().is_some_and(has)
    })
}

#[test]
fn behind_crypt_the_remote_holds_neither_keys_nor_names_and_all_comes_back() {
    for mut node in nodes() {
        let under = node.folder().ancestors().nth(2).unwrap().join("under");
        let obscured = rclone(&node, &["obscure", "-"], "s3cret");
        let conf =
            format!("[c]\ntype = crypt\nremote = {}\npassword = {}\n", under.display(), obscured.trim());
        write(&node.path("/etc/rclone.conf"), conf);
        node.environment.insert("RCLONE_ENDPOINT".into(), "c:backups".into());
        let url = node.etcd.client_url.clone();
        keys::Client::new(&url).unwrap().put("/plain-key", "plain-value").unwrap();
        node.ok(&["backup"]);
        keys::write_many(&url, "/more", 100).unwrap();
        node.ok(&["backup"]);

        // Parts are compressed; this one thing is not, so that a word in it would be found.
        rclone(&node, &["rcat", "c:backups/note"], "plain-key plain-value");
        // The same in clear, so that the search is known to find what is there.
        let clear = node.path("/clear");
        rclone(&node, &["copy", "c:", &clear.to_string_lossy()], "");
        for (word, anywhere) in
            [("plain-key plain-value", true), ("backups", true), ("00000001-", true), ("no-such-key", false)]
        {
            assert_eq!(finds(&clear, word), anywhere, "{word}");
            assert!(!finds(&under, word), "{word}");
        }
        // The size in a name is the decrypted one, as a listing through crypt says it.
        let listed =
            rclone(&node, &["lsf", "-R", "--files-only", "--format", "sp", "--separator", "|", "c:"], "");
        let parts: Vec<&str> = listed.lines().filter(|l| l.ends_with(".part")).collect();
        assert_eq!(parts.len(), 2, "{listed}");
        for line in parts {
            let (size, path) = line.split_once('|').unwrap();
            assert!(path.split(['-', '.', '/', '_']).any(|field| field == size), "{line}");
        }
        lose_and_restore(&mut node);
    }
}
