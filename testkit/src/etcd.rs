//! Real etcd members on loopback: they start, stop, die and come back on the same ports.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http::Connection;
use crate::keys::address_of;
use crate::ports::Port;
use crate::process::{POLL, run, tail};
use crate::tools::{Tools, etcd_version};

/// The longest a healthy machine under load needs for anything here.
const LIMIT: Duration = Duration::from_secs(90);

/// One member and its process, if it runs. Dropping it kills that process, and no other.
#[derive(Debug)]
pub struct Member {
    /// Its name in the cluster.
    pub name: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Where its clients reach it.
    pub client_url: String,
    /// Where its peers reach it.
    pub peer_url: String,
    /// Its settings as its unit would give them: `ETCD_NAME` and so on. Changes count from the next start.
    pub environment: BTreeMap<String, String>,
    /// What drop-ins of its unit say over that, from the next start on.
    pub drop_ins: BTreeMap<String, String>,
    /// What etcd prints, over all its starts.
    pub log: PathBuf,
    etcd: PathBuf,
    client: Port,
    process: Option<Child>,
    /// Keeps the peer port ours.
    _peer: Port,
}

/// A member as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its ID, hexadecimal.
    pub id: String,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// Its client URLs; empty until it has started once.
    pub client_urls: Vec<String>,
}

/// What a member's raft knows at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raft {
    /// Its term.
    pub term: u64,
    /// Whether it is the leader of that term.
    pub leads: bool,
}

/// What raft knows on the member whose client URL is `url`.
///
/// # Errors
/// It does not answer, or not with that.
pub fn raft(url: &str) -> Result<Raft> {
    let reply = Connection::new(address_of(url)?).request("GET", "/debug/vars", None)?;
    let value: Value = serde_json::from_str(&reply.body).context("parsing the answer to /debug/vars")?;
    let status = &value["raft.status"];
    let term = status["term"].as_u64().context("no raft.status in /debug/vars")?;
    Ok(Raft { term, leads: status["raftState"] == "StateLeader" })
}

impl Member {
    /// A member with ports of its own, not started. etcd's log goes beside the data directory.
    ///
    /// # Errors
    /// No free port, or etcd does not run.
    pub fn new(tools: &Tools, name: &str, data_dir: &Path) -> Result<Self> {
        let (client, peer) = (Port::reserve()?, Port::reserve()?);
        let (client_url, peer_url) = (client.url(), peer.url());
        let mut log = data_dir.as_os_str().to_owned();
        log.push(".log");
        let mut member = Self {
            name: name.to_owned(),
            data_dir: data_dir.to_owned(),
            environment: BTreeMap::new(),
            drop_ins: BTreeMap::new(),
            log: log.into(),
            etcd: tools.etcd.clone(),
            client,
            process: None,
            _peer: peer,
            client_url: client_url.clone(),
            peer_url: peer_url.clone(),
        };
        member.set("ETCD_NAME", name);
        member.set("ETCD_DATA_DIR", data_dir.to_string_lossy());
        for variable in ["ETCD_LISTEN_CLIENT_URLS", "ETCD_ADVERTISE_CLIENT_URLS"] {
            member.set(variable, &client_url);
        }
        for variable in ["ETCD_LISTEN_PEER_URLS", "ETCD_INITIAL_ADVERTISE_PEER_URLS"] {
            member.set(variable, &peer_url);
        }
        // 3.x derives this from the two above, 2.x does not.
        member.set("ETCD_INITIAL_CLUSTER", format!("{name}={peer_url}"));
        if etcd_version(&tools.etcd)? >= (3, 4) {
            member.set("ETCD_LOGGER", "zap");
        }
        member.run_by(tools)?;
        Ok(member)
    }

    /// Has it run another etcd, from the next start on.
    ///
    /// # Errors
    /// That etcd does not run.
    pub fn run_by(&mut self, tools: &Tools) -> Result<()> {
        self.etcd.clone_from(&tools.etcd);
        match etcd_version(&tools.etcd)? {
            (..3, _) | (3, ..4) => {}
            (3, 4 | 5) => self.set("ETCD_ENABLE_V2", "true"),
            // It is gone in 3.6.
            _ => self.without_v2(),
        }
        Ok(())
    }

    /// Sets one of its settings, from the next start on.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.environment.insert(variable.to_owned(), value.into());
    }

    /// Has it serve the v3 API alone, as etcd does from 3.4 on by default, from the next start on.
    pub fn without_v2(&mut self) {
        self.set("ETCD_ENABLE_V2", "false");
    }

    /// Starts etcd with its settings and nothing else, and does not wait. A flag must not say what a variable
    /// says too: etcd 3.4 refuses that.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn spawn(&mut self, flags: &[&str]) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        if let Some(parent) = self.data_dir.parent() {
            fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = Command::new(&self.etcd);
        for (name, _) in env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("ETCD_")) {
            command.env_remove(name);
        }
        command.envs(&self.environment).envs(&self.drop_ins).args(flags).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", self.etcd.display()))?;
        self.process = Some(child);
        Ok(())
    }

    /// Starts etcd and waits until it is healthy.
    ///
    /// # Errors
    /// As [`Member::spawn`] and [`Member::wait_healthy`].
    pub fn start(&mut self) -> Result<()> {
        self.spawn(&[])?;
        self.wait_healthy()
    }

    /// Waits until the member takes part in a quorum.
    ///
    /// # Errors
    /// etcd ended, or the time is over; with the end of its log.
    pub fn wait_healthy(&mut self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !self.is_healthy() {
            let state = match &mut self.process {
                None => Some("is not running".to_owned()),
                Some(child) => child.try_wait()?.map(|status| format!("ended with {status}")),
            };
            if let Some(state) = state {
                self.process = None;
                bail!("{}: etcd {state}; its log ends with:\n{}", self.name, tail(&self.log, 8));
            }
            if Instant::now() > deadline {
                let limit = LIMIT.as_secs();
                bail!(
                    "{}: not healthy after {limit} s; its log ends with:\n{}",
                    self.name,
                    tail(&self.log, 8)
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether it says that it takes part in a quorum.
    pub fn is_healthy(&self) -> bool {
        self.get("/health").is_ok_and(|v| v["health"].as_str() == Some("true"))
    }

    /// Waits until etcd ended by itself; gives whether it ended well.
    ///
    /// # Errors
    /// It does not end, or does not run.
    pub fn wait_ended(&mut self) -> Result<bool> {
        let deadline = Instant::now() + LIMIT;
        let child = self.process.as_mut().with_context(|| format!("{} does not run", self.name))?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.process = None;
                return Ok(status.success());
            }
            ensure!(Instant::now() < deadline, "{} did not end within {} s", self.name, LIMIT.as_secs());
            thread::sleep(POLL);
        }
    }

    /// Waits until it has written a snapshot, which it does beside its other work: being due is not being there.
    ///
    /// # Errors
    /// There is none when the time is over.
    pub fn wait_snapshot(&self) -> Result<()> {
        let snap = self.data_dir.join("member/snap");
        let is_snapshot = |e: fs::DirEntry| e.path().extension().is_some_and(|e| e == "snap");
        let deadline = Instant::now() + LIMIT;
        while !fs::read_dir(&snap)?.flatten().any(is_snapshot) {
            ensure!(Instant::now() < deadline, "{}: no snapshot within {} s", self.name, LIMIT.as_secs());
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Stops it as systemd would: SIGTERM, and waits. Nothing to do if it does not run.
    ///
    /// # Errors
    /// It does not end; it is killed then.
    pub fn stop(&mut self) -> Result<()> {
        let Some(child) = &self.process else { return Ok(()) };
        // It may be gone already; then the wait below sees that.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        let ended = self.wait_ended();
        if ended.is_err() {
            self.kill()?;
        }
        ended.map(drop)
    }

    /// Kills it with SIGKILL. Nothing to do if it does not run.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.process.take() {
            child.kill().with_context(|| format!("killing {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// Stops it and starts it on the same ports.
    ///
    /// # Errors
    /// As [`Member::stop`] and [`Member::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Its process ID, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The members of its cluster, as it knows them.
    ///
    /// # Errors
    /// It does not answer, or not with a list.
    pub fn members(&self) -> Result<Vec<Listed>> {
        let by_v2 = self.environment.get("ETCD_ENABLE_V2").is_none_or(|on| on == "true");
        let answer = match by_v2 {
            true => self.get("/v2/members")?,
            false => self.ask_v3("cluster/member/list", "{}")?,
        };
        let members = answer["members"].as_array().context("an answer without members")?;
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let list = |v: &Value| v.as_array().into_iter().flatten().map(text).collect();
        // By v3 the number is a decimal one.
        let id = |v: &Value| match (by_v2, text(v)) {
            (true, id) => Ok(id),
            (false, id) => id.parse::<u64>().map(|id| format!("{id:x}")),
        };
        let listed = members.iter().map(|m| {
            Ok(Listed {
                id: id(if by_v2 { &m["id"] } else { &m["ID"] })?,
                name: text(&m["name"]),
                peer_urls: list(&m["peerURLs"]),
                client_urls: list(&m["clientURLs"]),
            })
        });
        listed.collect()
    }

    /// Turns the authentication of the v3 API on, with a `root` of this password and an `other` who may do nothing.
    ///
    /// # Panics
    /// etcd does not do it.
    pub fn enable_v3_auth(&self, password: &str) {
        for (path, body) in [
            ("auth/user/add", json!({"name": "root", "password": password})),
            ("auth/user/add", json!({"name": "other", "password": "x"})),
            ("auth/role/add", json!({"name": "root"})),
            ("auth/user/grant", json!({"user": "root", "role": "root"})),
            ("auth/enable", json!({})),
        ] {
            let answer = self.ask_v3(path, &body.to_string());
            // It may be there already.
            assert!(answer.is_ok() || path == "auth/role/add", "{path}: {answer:?}");
        }
    }

    /// Asks by the v3 API's JSON, at `/v3/<path>`. Bytes in it are in base64, numbers of 64 bits are texts.
    ///
    /// # Errors
    /// It does not answer, or with an error.
    pub fn ask_v3(&self, path: &str, json: &str) -> Result<Value> {
        self.ask_v3_as("", path, json)
    }

    /// The same with a token that `auth/authenticate` gave.
    ///
    /// # Errors
    /// As [`Member::ask_v3`].
    pub fn ask_v3_as(&self, token: &str, path: &str, json: &str) -> Result<Value> {
        let url = format!("{}/v3/{path}", self.client_url);
        let mut command = Command::new("curl");
        command.args(["-qsS", "--noproxy", "*", "-H", &format!("Authorization: {token}"), "-d", json, &url]);
        let answer: Value = serde_json::from_str(&run(&mut command, LIMIT)?)
            .with_context(|| format!("parsing the answer to {path}"))?;
        ensure!(answer["error"].is_null(), "{path}: {answer}");
        Ok(answer)
    }

    /// The version that its cluster has agreed on, like `3.5.0`.
    ///
    /// # Errors
    /// It does not answer, or the cluster has none yet.
    pub fn cluster_version(&self) -> Result<String> {
        let answer = self.get("/version")?;
        answer["etcdcluster"].as_str().map(str::to_owned).context("no version of the cluster")
    }

    fn get(&self, target: &str) -> Result<Value> {
        let reply = Connection::new(self.client.address()).request("GET", target, None)?;
        serde_json::from_str(&reply.body).with_context(|| format!("parsing the answer to {target}"))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = self.kill();
    }
}

/// Tells each member of all: together they start as a new cluster.
pub fn introduce(members: &mut [&mut Member]) {
    let list: Vec<String> = members.iter().map(|m| format!("{}={}", m.name, m.peer_url)).collect();
    for member in members {
        member.set("ETCD_INITIAL_CLUSTER", list.join(","));
    }
}

/// Members that were started together.
#[derive(Debug)]
pub struct Cluster {
    /// In the order given.
    pub members: Vec<Member>,
}

impl Cluster {
    /// Prepares a new cluster of members by name and data directory; starts nothing.
    ///
    /// # Errors
    /// As [`Member::new`].
    pub fn new<P: AsRef<Path>>(tools: &Tools, places: &[(&str, P)]) -> Result<Self> {
        let mut members = places
            .iter()
            .map(|(name, data_dir)| Member::new(tools, name, data_dir.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        introduce(&mut members.iter_mut().collect::<Vec<_>>());
        Ok(Self { members })
    }

    /// Starts a new cluster of three, `e1` to `e3`, with their data directories below `dir`.
    ///
    /// # Errors
    /// As [`Cluster::new`] and [`Cluster::start`].
    pub fn three(tools: &Tools, dir: &Path) -> Result<Self> {
        let mut cluster = Self::new(tools, &["e1", "e2", "e3"].map(|name| (name, dir.join(name))))?;
        cluster.start()?;
        Ok(cluster)
    }

    /// Sets one setting for every member, for example `ETCD_SNAPSHOT_COUNT`.
    pub fn set(&mut self, variable: &str, value: &str) {
        for member in &mut self.members {
            member.set(variable, value);
        }
    }

    /// Starts every member, then waits until each is healthy.
    ///
    /// # Errors
    /// As [`Member::start`].
    pub fn start(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(|m| m.spawn(&[]))?;
        self.members.iter_mut().try_for_each(Member::wait_healthy)
    }

    /// Stops every member.
    ///
    /// # Errors
    /// As [`Member::stop`].
    pub fn stop(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::stop)
    }

    /// Kills every member.
    ///
    /// # Errors
    /// As [`Member::kill`].
    pub fn kill(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::kill)
    }
}
