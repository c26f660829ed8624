//! What clients write while everything around them is killed, and what a restored member must have of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use etcd2_backup::sys::terminal::table::count;
use serde_json::{Value, json};
use testkit::etcd::Member;
use testkit::http::Connection;
use testkit::keys::{address_of, dump};
use testkit::v3::ledger::{Ledger, Write};
use testkit::v3::{Client, base64};

use super::Random;

/// Down, or without a leader: what was not acknowledged is not promised.
const PAUSE: Duration = Duration::from_millis(50);
/// A client of the v3 store has at most so many keys: each restore reads them all.
const KEPT: usize = 2_000;
const LIVES: Duration = Duration::from_secs(86_400);

/// Clients of one of etcd's stores.
pub(super) trait Clients: Send + Sync {
    /// So many write at once.
    fn number(&self) -> u64;
    /// Writes as client `which` until it is done, wherever a member answers.
    fn write(&self, which: u64, urls: &[String], done: &AtomicBool) -> Result<()>;
    /// Compares what a member was restored to, at this raft index or behind it. Gives how many writes were compared.
    fn compare(&self, member: &Member, index: u64) -> Result<u64>;
    /// How many writes were acknowledged.
    fn acknowledged(&self) -> u64;
}

/// Keys of the v2 store that were written, each with a name of its own, and the raft index that the answer came with, at or
/// behind its own.
#[derive(Debug, Default)]
pub(super) struct V2(Mutex<Vec<(String, u64)>>);

/// Writes of the v3 store.
#[derive(Debug, Default)]
pub(super) struct V3 {
    seed: u64,
    told: Mutex<Ledger>,
}

fn lock<T>(of: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    of.lock().map_err(|_| anyhow!("a client died"))
}

impl Clients for V2 {
    fn number(&self) -> u64 {
        1
    }

    fn write(&self, _: u64, urls: &[String], done: &AtomicBool) -> Result<()> {
        let mut connections: Vec<Connection> =
            urls.iter().filter_map(|url| address_of(url).ok()).map(Connection::new).collect();
        for number in 0u64.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let key = format!("/soak/{}/{number}", number % 50);
            let at = usize::try_from(number).unwrap_or(0) % connections.len();
            let form = format!("value=v{number}");
            match connections[at].request("PUT", &format!("/v2/keys{key}"), Some(&form)) {
                Ok(reply) if reply.status == 201 => {
                    let index = reply.header("x-raft-index").and_then(|index| index.parse().ok());
                    lock(&self.0)?.extend(index.map(|index| (key, index)));
                }
                _ => thread::sleep(PAUSE),
            }
        }
        Ok(())
    }

    fn compare(&self, member: &Member, index: u64) -> Result<u64> {
        let keys = dump(&member.client_url)?;
        let told = lock(&self.0)?;
        let expected: Vec<&String> = told.iter().filter(|(_, at)| *at <= index).map(|(key, _)| key).collect();
        let missing: Vec<_> = expected.iter().filter(|key| !keys.contains_key(**key)).collect();
        refuse(&missing, expected.len())?;
        Ok(expected.len() as u64)
    }

    fn acknowledged(&self) -> u64 {
        lock(&self.0).map_or(0, |told| told.len() as u64)
    }
}

fn refuse(wrong: &[impl std::fmt::Debug], of: usize) -> Result<()> {
    let Some(first) = wrong.first() else { return Ok(()) };
    bail!(
        "{} of {} that were acknowledged are not right, first {first:?}",
        wrong.len(),
        count(of as u64, "write", "writes")
    )
}

impl V3 {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Asks for a write, and notes what was answered. Gives whether it was acknowledged.
    fn ask(&self, v3: &mut Client, write: Write, request: &Value) -> Result<bool> {
        lock(&self.told)?.ask(&write);
        let Ok(answer) = v3.call("kv/txn", request) else {
            thread::sleep(PAUSE);
            return Ok(false);
        };
        if answer["succeeded"] == true {
            let revision = answer["header"]["revision"].as_str().and_then(|revision| revision.parse().ok());
            // The same connection: by another one a member would answer that was killed since, and knows less again.
            let index = v3.committed().ok();
            lock(&self.told)?.acknowledge(write, revision.context("a write without a revision")?, index);
        }
        Ok(true)
    }
}

impl Clients for V3 {
    fn number(&self) -> u64 {
        4
    }

    fn write(&self, which: u64, urls: &[String], done: &AtomicBool) -> Result<()> {
        let mut random = Random((self.seed ^ which.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        let mut members = urls.iter().map(|url| Client::new(url)).collect::<Result<Vec<_>>>()?;
        let (mut own, mut lease) = (Vec::new(), None);
        for number in 0u64.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let at = random.below(members.len());
            let v3 = &mut members[at];
            let key = format!("/soak/{which}/{number}");
            let write: Write = match random.below(10) {
                0 => match seen(v3, &format!("/soak/counter{}", random.below(3))) {
                    Some((counter, revision)) => {
                        let write = vec![(counter, Some(key))];
                        self.ask(v3, write.clone(), &request(&write, Some(revision), None))?;
                        continue;
                    }
                    None => continue,
                },
                _ if own.len() > KEPT => {
                    let gone = own.swap_remove(random.below(own.len()));
                    vec![(gone, None)]
                }
                1 | 2 if !own.is_empty() => {
                    vec![(own.swap_remove(random.below(own.len())), None), (key.clone(), Some(key.clone()))]
                }
                3 | 4 => ["a", "b", "c"]
                    .map(|part| (format!("{key}/{part}"), Some(format!("{part} of {number}"))))
                    .into(),
                5 => {
                    lease = lease.or_else(|| granted(v3, 1 + which));
                    vec![(key.clone(), Some(key.clone()))]
                }
                _ => vec![(key.clone(), Some(format!("value {number}")))],
            };
            let leased = lease.filter(|_| random.below(5) == 0);
            if self.ask(v3, write.clone(), &request(&write, None, leased))? {
                own.extend(write.into_iter().filter_map(|(key, value)| value.map(|_| key)));
            }
        }
        Ok(())
    }

    fn compare(&self, member: &Member, index: u64) -> Result<u64> {
        let store = Client::new(&member.client_url)?.store()?;
        let (compared, wrong) = lock(&self.told)?.compare(&store, index);
        refuse(&wrong, compared)?;
        Ok(compared as u64)
    }

    fn acknowledged(&self) -> u64 {
        lock(&self.told).map_or(0, |told| told.len() as u64)
    }
}

/// One transaction: all of the write, if its first key was changed last at this revision.
fn request(write: &Write, seen: Option<u64>, lease: Option<u64>) -> Value {
    let all = write.iter().map(|(key, value)| match value {
        Some(value) => {
            let lease = lease.unwrap_or(0).to_string();
            json!({ "requestPut": { "key": base64(key), "value": base64(value), "lease": lease } })
        }
        None => json!({ "requestDeleteRange": { "key": base64(key) } }),
    });
    let compare = seen.iter().zip(write).map(|(revision, (key, _))| {
        json!({ "target": "MOD", "result": "EQUAL", "key": base64(key), "mod_revision": revision.to_string() })
    });
    json!({ "compare": compare.collect::<Vec<_>>(), "success": all.collect::<Vec<_>>() })
}

/// A key, and the revision of its last change, 0 if it is not there. `None`: the member does not answer.
fn seen(v3: &mut Client, key: &str) -> Option<(String, u64)> {
    let Ok(answer) = v3.call("kv/range", &json!({ "key": base64(key) })) else {
        thread::sleep(PAUSE);
        return None;
    };
    let revision = answer["kvs"][0]["mod_revision"].as_str().and_then(|revision| revision.parse().ok());
    Some((key.to_owned(), revision.unwrap_or(0)))
}

/// A lease that lives longer than the soak, if it can be had.
fn granted(v3: &mut Client, id: u64) -> Option<u64> {
    v3.grant(id, LIVES.as_secs()).ok().map(|()| id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use testkit::tools::{Tools, etcd_version};
    use testkit::wait::until;

    use super::*;

    /// Before and behind a kill in the middle of the writes, etcd has what it acknowledged; and what it is then robbed of is missed.
    #[test]
    fn clients_of_the_v3_store_are_told_what_is_kept_and_miss_what_is_not() {
        let Some(tools) = Tools::from_env() else { return };
        if etcd_version(&tools.etcd).unwrap() < (3, 4) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut member = Member::new(tools, "e1", &dir.path().join("data")).unwrap();
        member.without_v2();
        member.start().unwrap();
        let (clients, done) = (Arc::new(V3::new(17)), Arc::new(AtomicBool::new(false)));
        let writers: Vec<_> = (0..clients.number())
            .map(|which| {
                let (clients, done) = (Arc::clone(&clients), Arc::clone(&done));
                let urls = vec![member.client_url.clone()];
                thread::spawn(move || clients.write(which, &urls, &done))
            })
            .collect();
        let limit = Duration::from_secs(60);
        for _ in 0..2 {
            let wanted = clients.acknowledged() + 300;
            until("nothing is acknowledged", limit, || clients.acknowledged() >= wanted);
            member.kill().unwrap();
            member.start().unwrap();
            let index = Client::new(&member.client_url).unwrap().committed().unwrap();
            assert!(clients.compare(&member, index).unwrap() > 100);
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        let mut v3 = Client::new(&member.client_url).unwrap();
        let index = v3.raft_index().unwrap();
        assert!(clients.compare(&member, index).unwrap() > 100);
        assert_eq!(clients.compare(&member, 0).unwrap(), 0);
        let all = v3.store().unwrap();
        assert_eq!(all.leases.len(), 4, "{:?}", all.leases);
        // What a client put and never touched again; the newest one is not among what is removed later.
        let counter = base64("/soak/counter0");
        assert!(all.keys[&counter].version > 1, "{:?}", all.keys[&counter]);
        let last = all.keys.iter().filter(|(key, _)| **key != counter).max_by_key(|(_, key)| key.modified);
        v3.call("kv/deleterange", &json!({ "key": last.unwrap().0 })).unwrap();
        let error = format!("{:#}", clients.compare(&member, index).unwrap_err());
        assert!(error.starts_with("1 of ") && error.contains("it is missing"), "{error}");
    }
}
