//! The etcd that is to run on v3 data is not the one that fits: older than the data, or one that may have lost writes. Which etcd is
//! on a node its unit says, which a tree has none of: so what becomes of a version is asked of the library.

use std::fs;
use std::time::Duration;

use etcd2_backup::exit::{Exit, exit_of, hint_of};
use etcd2_backup::node::running::program::Program;
use etcd2_backup::node::running::version::{self, Version};
use etcd2_backup::restore::installed;
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::wait;

use super::v3_faults::{client, on_disk};
use crate::PROGRAM;

fn version(tools: &Tools) -> Version {
    version::of(&Program::Here(tools.etcd.clone())).unwrap().unwrap()
}

#[test]
fn an_etcd_that_may_have_lost_writes_is_named_with_what_to_do() {
    for tools in Tools::all_with_v3() {
        let own = version(tools);
        let Some(said) = installed::lossy(Some(own)) else {
            assert!(own != Version(3, 5, 1));
            continue;
        };
        assert_eq!(own, Version(3, 5, 1));
        let said = said.join(" ");
        for word in ["is 3.5.1:", "etcd-io/etcd#13766", "rehearse --source local", "3.5.3 or later"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
fn an_etcd_older_than_the_data_is_refused_and_would_not_start() {
    let all = Tools::all_with_v3();
    let mut refused = 0;
    for new in &all {
        let (major, minor) = version(new).minor();
        let mut node = Node::new(PROGRAM, new);
        node.etcd.start().unwrap();
        client(&node).put("/a", "x").unwrap();
        // The leader decides on it a moment after its election.
        let written = format!("{major}.{minor}.0");
        wait::until("the cluster's version", Duration::from_secs(60), || {
            node.etcd.cluster_version().is_ok_and(|version| version == written)
        });
        node.etcd.stop().unwrap();
        let contents = on_disk(&node);
        for other in &all {
            let own = version(other);
            let judged = installed::refuse_if_older(Some(own), &contents);
            if own.minor() >= (major, minor) {
                judged.unwrap();
                continue;
            }
            let error = judged.unwrap_err();
            let says = format!("{own}, but the data is of a cluster of version {major}.{minor}");
            assert!(exit_of(&error) == Exit::Refused && error.to_string().contains(&says), "{error}");
            let hint = format!("install etcd {major}.{minor} or later");
            assert!(hint_of(&error).is_some_and(|said| said.contains(&hint)), "{error:?}");
            // It is right to: this is what etcd says.
            node.ok(&["restore", "--source", "local"]);
            node.etcd.run_by(other).unwrap();
            let error = node.try_start_etcd().unwrap_err();
            let log = fs::read_to_string(&node.etcd.log).unwrap();
            assert!(log.contains("lower than determined cluster version"), "{error:#}");
            refused += 1;
        }
    }
    assert!(refused > 1, "there is no older etcd at hand");
}
