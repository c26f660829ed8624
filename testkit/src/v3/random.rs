//! Writes of every kind that a v3 store knows, by one client: the same ones for the same seed.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Client, base64, list, number};

const KEYS: u64 = 40;

/// A client that writes at random. Nobody else may write meanwhile.
#[derive(Debug)]
pub struct Random {
    state: u64,
    /// Makes names that were never used before.
    next: u64,
    leases: Vec<u64>,
    users: Vec<String>,
    roles: Vec<String>,
    compacted: u64,
}

impl Random {
    /// What follows depends on the seed alone.
    pub fn new(seed: u64) -> Self {
        let (leases, users, roles) = (Vec::new(), Vec::new(), Vec::new());
        Self { state: seed | 1, next: 0, leases, users, roles, compacted: 1 }
    }

    /// A number below this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % limit
    }

    /// One write; gives what it was, in words.
    ///
    /// # Errors
    /// etcd refuses it, or carries out what it should have refused.
    pub fn write(&mut self, v3: &mut Client) -> Result<String> {
        self.next += 1;
        let key = self.key();
        match self.below(28) {
            0..=6 => self.put(v3, &key),
            7 | 8 => v3.delete(&key).map(|_| format!("delete {key}")),
            9 => self.delete_range(v3),
            10..=12 => self.swap(v3, &key, true),
            13 | 14 => self.swap(v3, &key, false),
            15 | 16 => self.several(v3),
            17 => self.grant(v3),
            18 | 19 => self.attach(v3, &key),
            20 => self.revoke(v3),
            21 => self.compact(v3),
            22..=24 => self.user(v3),
            25 | 26 => self.role(v3),
            _ => self.refused(v3, &key),
        }
    }

    fn key(&mut self) -> String {
        format!("/registry/some/{:02}", self.below(KEYS))
    }

    fn value(&self) -> String {
        format!("value {}", self.next)
    }

    fn put(&mut self, v3: &mut Client, key: &str) -> Result<String> {
        v3.put(key, &self.value()).map(|_| format!("put {key}"))
    }

    fn delete_range(&mut self, v3: &mut Client) -> Result<String> {
        let from = self.below(KEYS);
        let [from, to] = [from, from + 3].map(|n| format!("/registry/some/{n:02}"));
        v3.call("kv/deleterange", &json!({ "key": base64(&from), "range_end": base64(&to) }))?;
        Ok(format!("delete {from} to {to}"))
    }

    /// As Kubernetes writes: only if the key is as it was seen.
    fn swap(&mut self, v3: &mut Client, key: &str, succeeds: bool) -> Result<String> {
        let seen = v3.call("kv/range", &json!({ "key": base64(key) }))?;
        let (target, field) =
            [("MOD", "mod_revision"), ("VERSION", "version"), ("CREATE", "create_revision")]
                [usize::try_from(self.below(3))?];
        let expected = number(&seen["kvs"][0][field])? + u64::from(!succeeds);
        let other = self.key();
        let request = json!({
            "compare": [{ "target": target, "result": "EQUAL", "key": base64(key), field: expected.to_string() }],
            "success": [{ "requestPut": { "key": base64(key), "value": base64(self.value()) } }],
            "failure": [match self.below(2) {
                0 => json!({ "requestRange": { "key": base64(key) } }),
                _ => json!({ "requestPut": { "key": base64(&other), "value": base64(self.value()) } }),
            }],
        });
        let answer = v3.call("kv/txn", &request)?;
        ensure!((answer["succeeded"] == true) == succeeds, "{request}: {answer}");
        Ok(format!("swap {key} by {field}, succeeded {succeeds}"))
    }

    /// Several keys in one revision, one of them by a transaction inside this one.
    fn several(&mut self, v3: &mut Client) -> Result<String> {
        let at = self.below(KEYS);
        let keys = [0, 1, 2, 3].map(|n| base64(format!("/registry/some/{:02}", (at + n) % KEYS)));
        let put = |key: &str| json!({ "requestPut": { "key": key, "value": base64(self.value()) } });
        let inner = json!({
            "compare": [{ "target": "VERSION", "result": "GREATER", "key": keys[3], "version": "0" }],
            "success": [{ "requestDeleteRange": { "key": keys[3] } }],
            "failure": [put(&keys[3])],
        });
        let all = [
            put(&keys[0]),
            json!({ "requestRange": { "key": keys[1] } }),
            put(&keys[1]),
            json!({ "requestDeleteRange": { "key": keys[2] } }),
            json!({ "requestTxn": inner }),
        ];
        v3.call("kv/txn", &json!({ "success": all }))?;
        Ok(format!("several from {at} on"))
    }

    fn grant(&mut self, v3: &mut Client) -> Result<String> {
        let lease = 7_000 + self.next;
        v3.grant(lease, 86_400 + self.below(1_000))?;
        self.leases.push(lease);
        Ok(format!("grant {lease}"))
    }

    fn attach(&mut self, v3: &mut Client, key: &str) -> Result<String> {
        let Some(lease) = self.one(self.leases.len()).map(|at| self.leases[at]) else {
            return self.grant(v3);
        };
        v3.put_leased(key, &self.value(), lease).map(|_| format!("put {key} with lease {lease}"))
    }

    fn revoke(&mut self, v3: &mut Client) -> Result<String> {
        // One stays, so that there is one to be compared.
        let Some(at) = self.one(self.leases.len().saturating_sub(1)) else { return self.grant(v3) };
        let lease = self.leases.remove(at);
        v3.call("lease/revoke", &json!({ "ID": lease }))?;
        Ok(format!("revoke {lease}"))
    }

    fn compact(&mut self, v3: &mut Client) -> Result<String> {
        let newest = v3.revision()?;
        if newest <= self.compacted {
            return self.grant(v3);
        }
        self.compacted += 1 + self.below(newest - self.compacted);
        v3.compact(self.compacted)?;
        Ok(format!("compact {} of {newest}", self.compacted))
    }

    fn user(&mut self, v3: &mut Client) -> Result<String> {
        let (known, of) = (self.one(self.users.len()), self.one(self.roles.len()));
        match (self.below(5), known, of) {
            (0, Some(at), _) if self.users.len() > 1 => {
                let name = self.users.remove(at);
                v3.call("auth/user/delete", &json!({ "name": name }))?;
                Ok(format!("remove user {name}"))
            }
            (1, Some(at), _) => {
                let change = json!({ "name": self.users[at], "password": self.value() });
                v3.call("auth/user/changepw", &change)?;
                Ok(format!("another password of {}", self.users[at]))
            }
            (2..=3, Some(at), Some(of)) => {
                let (user, role) = (&self.users[at], &self.roles[of]);
                let answer = v3.call("auth/user/get", &json!({ "name": user }))?;
                // What it has, it cannot get again.
                let has = list(&answer["roles"]).iter().any(|one| one == role);
                let what = if has { "revoke" } else { "grant" };
                let named = if has { "name" } else { "user" };
                v3.call(&format!("auth/user/{what}"), &json!({ named: user, "role": role }))?;
                Ok(format!("{what} {role}, {user}"))
            }
            _ => {
                let name = format!("user{}", self.next);
                v3.call("auth/user/add", &json!({ "name": name, "password": self.value() }))?;
                self.users.push(name.clone());
                Ok(format!("add user {name}"))
            }
        }
    }

    fn role(&mut self, v3: &mut Client) -> Result<String> {
        match (self.below(4), self.one(self.roles.len())) {
            (0, Some(at)) if self.roles.len() > 1 => {
                let role = self.roles.remove(at);
                v3.call("auth/role/delete", &json!({ "role": role }))?;
                Ok(format!("remove role {role}"))
            }
            (1..=2, Some(at)) => {
                let kind = ["READ", "WRITE", "READWRITE"][usize::try_from(self.below(3))?];
                let key = self.key();
                let perm =
                    json!({ "permType": kind, "key": base64(&key), "range_end": base64(key.clone() + "0") });
                v3.call("auth/role/grant", &json!({ "name": self.roles[at], "perm": perm }))?;
                Ok(format!("{kind} of {key} to {}", self.roles[at]))
            }
            _ => {
                let name = format!("role{}", self.next);
                v3.call("auth/role/add", &json!({ "name": name }))?;
                self.roles.push(name.clone());
                Ok(format!("add role {name}"))
            }
        }
    }

    /// It is in the log, and writes nothing: there is no such lease.
    fn refused(&mut self, v3: &mut Client, key: &str) -> Result<String> {
        let before = v3.revision()?;
        let answer: Result<Value> =
            v3.call("kv/put", &json!({ "key": base64(key), "value": base64("never"), "lease": 1 }));
        ensure!(answer.is_err() && v3.revision()? == before, "there was a lease 1");
        Ok(format!("no put of {key}"))
    }

    fn one(&mut self, of: usize) -> Option<usize> {
        (of > 0).then(|| self.below(of as u64) as usize)
    }
}
