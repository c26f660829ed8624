//! Three members under writes of every kind with authentication on, killed at random moments, at last all of them. The freshest disk
//! is restored: nothing that was acknowledged is missing, and all is as the old cluster itself has it on that disk.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testkit::node::Node;
use testkit::tools::Tools;
use testkit::v3::{Client, Store, base64};
use testkit::wait;

use super::points::random;
use super::v3_faults::{client, each, kill, on_disk, start, three};

const LIMIT: Duration = Duration::from_secs(60);
const PASSWORD: &str = "r00t";
const WRITERS: u64 = 4;
/// How often members are killed before all are.
const ROUNDS: u64 = 5;

/// What was acknowledged.
#[derive(Default)]
struct Acknowledged {
    keys: BTreeMap<String, String>,
    leases: Vec<u64>,
    users: Vec<String>,
}

/// One of the writers, whose keys are its own, each written once.
struct Writer<'a> {
    number: u64,
    urls: &'a [String],
    at: usize,
    v3: Client,
    acknowledged: Acknowledged,
}

impl<'a> Writer<'a> {
    fn new(number: u64, urls: &'a [String]) -> Self {
        let v3 = Client::new(&urls[0]).unwrap();
        Self { number, urls, at: 0, v3, acknowledged: Acknowledged::default() }
    }

    /// Writes until it is told to stop; `count` is of all.
    fn write(mut self, stop: &AtomicBool, count: &AtomicU64) -> Acknowledged {
        let mut seed = self.number;
        for i in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            match self.one(i, random(&mut seed, 40)) {
                Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
                // Whether it counts nobody knows. Another member, and who asks is known to none that was restarted.
                Err(_) => {
                    self.at += 1;
                    self.v3 = Client::new(&self.urls[self.at % self.urls.len()]).unwrap();
                    let _ = self.v3.log_in("root", PASSWORD);
                }
            }
        }
        self.acknowledged
    }

    /// One write of a kind.
    fn one(&mut self, i: u64, kind: u64) -> Result<()> {
        let (key, hot) = (format!("/{}/{i}", self.number), format!("/hot/{}", i % 7));
        let (id, value) = (1_000_000 * (self.number + 1) + i, format!("value {i}"));
        match kind {
            0..4 => drop(self.v3.delete(&hot)?),
            4..12 => {
                self.v3.call("kv/txn", &swap(&hot, &key, &value))?;
                self.acknowledged.keys.insert(key, value);
            }
            12..18 => {
                self.v3.grant(id, 3600)?;
                self.acknowledged.leases.push(id);
                self.v3.put_leased(&key, &value, id)?;
                self.acknowledged.keys.insert(key, value);
            }
            18 => {
                self.v3.call("auth/user/add", &json!({ "name": key, "password": "p" }))?;
                self.acknowledged.users.push(key);
            }
            19 => {
                let revision = self.v3.revision()?;
                self.v3.compact(revision.saturating_sub(20))?;
            }
            _ => {
                self.v3.put(&hot, &value)?;
                self.v3.put(&key, &value)?;
                self.acknowledged.keys.insert(key, value);
            }
        }
        Ok(())
    }
}

/// Writes `key` in any case, and `hot` if it is there.
fn swap(hot: &str, key: &str, value: &str) -> Value {
    let put = |key: &str| json!({ "requestPut": { "key": base64(key), "value": base64(value) } });
    json!({
        "compare": [{ "target": "VERSION", "result": "GREATER", "key": base64(hot), "version": 0 }],
        "success": [put(hot), put(key)],
        "failure": [put(key)],
    })
}

/// Under writes, members of a cluster are killed and started again; then all die.
fn killed_under_writes(nodes: &mut [Node], mut seed: u64) -> Vec<Acknowledged> {
    let urls: Vec<String> = nodes.iter().map(|node| node.etcd.client_url.clone()).collect();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                scope.spawn({
                    let (urls, stop, count) = (&urls, &stop, &count);
                    move || Writer::new(number, urls).write(stop, count)
                })
            })
            .collect();
        let mut some_writes = || {
            let target = count.load(Ordering::Relaxed) + 10 + random(&mut seed, 150);
            wait::until("writes", LIMIT, || count.load(Ordering::Relaxed) >= target);
            random(&mut seed, 6) as usize
        };
        for _ in 0..ROUNDS {
            let moment = some_writes();
            let (first, second) = (moment % 3, (moment + 1) % 3);
            nodes[first].etcd.kill().unwrap();
            if moment < 3 {
                // The others go on.
                some_writes();
            } else {
                nodes[second].etcd.kill().unwrap();
                nodes[second].etcd.start().unwrap();
            }
            nodes[first].etcd.start().unwrap();
        }
        nodes.rotate_left(some_writes() % 3);
        kill(nodes);
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// What a member holds, asked as root, and etcd's sum over it; authentication is off afterwards.
fn seen(tools: &Tools, node: &Node) -> (Store, (u64, u64)) {
    let mut v3 = client(node);
    v3.log_in("root", PASSWORD).unwrap();
    let store = v3.store().unwrap();
    v3.call("auth/disable", &json!({})).unwrap();
    (store.clone(), v3.hash(&tools.etcdctl, store.revision).unwrap())
}

#[test]
fn nothing_acknowledged_is_missing_on_the_freshest_disk_of_killed_members() {
    each(|tools| {
        let mut nodes = three(tools, "60");
        for node in &mut nodes {
            // A leader is there soon.
            node.etcd.set("ETCD_HEARTBEAT_INTERVAL", "30");
            node.etcd.set("ETCD_ELECTION_TIMEOUT", "300");
        }
        start(&mut nodes);
        let mut v3 = client(&nodes[0]);
        v3.call("auth/user/add", &json!({ "name": "root", "password": PASSWORD })).unwrap();
        v3.call("auth/user/grant", &json!({ "user": "root", "role": "root" })).unwrap();
        v3.call("auth/enable", &json!({})).unwrap();
        let all = killed_under_writes(&mut nodes, 11);

        nodes.sort_by_key(|node| on_disk(node).last());
        let [_, other, node] = &mut nodes[..] else { unreachable!() };
        node.save();
        // Of two the less fresh one is not elected, so this is what the old cluster makes of all that is on the freshest disk.
        for member in [&mut *other, &mut *node] {
            member.etcd.spawn(&[]).unwrap();
        }
        node.etcd.wait_healthy().unwrap();
        let old = seen(tools, node);
        kill(&mut nodes);
        let node = &mut nodes[2];
        node.reset();

        node.ok(&["restore", "--source", "local"]);
        node.start_etcd();
        let new = seen(tools, node);
        assert!(new == old, "{}: {new:?} is not {old:?}", tools.etcd.display());
        let (mut keys, mut leases, mut users) = (0, 0, 0);
        for Acknowledged { keys: k, leases: l, users: u } in &all {
            for (key, value) in k {
                let found = new.0.keys.get(&base64(key)).map(|found| &found.value);
                assert_eq!(found, Some(&base64(value)), "{key}");
            }
            assert!(l.iter().all(|id| new.0.leases.contains_key(&id.to_string())), "{l:?}");
            assert!(u.iter().all(|name| new.0.users.contains_key(name)), "{u:?}");
            (keys, leases, users) = (keys + k.len(), leases + l.len(), users + u.len());
        }
        assert!(keys > 100 && leases > 10 && users > 2, "{keys} {leases} {users}");
    });
}
