//! What a cluster is asked, and what the answers mean: by etcd's v2 API where the node that is asked serves it, else by the v3
//! API. Which of them is seen anew with each answer, as etcd may be started again with other flags.
//!
//! IDs are hex on the client port, decimal on the peer port.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::v3::calls;
use super::{Change, Member, Membership};
use crate::etcd::datadir::Family;
use crate::exit::{Exit, fault};
use crate::sys::http::{Client, Response, is_foreign, is_unasked, unasked};

/// Raft's view of the cluster, from `/debug/vars`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaftStatus {
    /// The highest index known to be committed.
    pub commit: u64,
    /// The leader, 0 if there is none.
    pub lead: u64,
    /// How far each member is; only the leader knows. `None`: the node does not tell it.
    pub progress: Option<BTreeMap<u64, Progress>>,
}

/// How far the leader knows a member to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The highest index the member has acknowledged, 0 if none ever.
    pub matched: u64,
    /// Whether entries flow to it (neither probing nor sending a snapshot).
    pub replicating: bool,
}

impl RaftStatus {
    /// How far this member is, if that is known.
    pub fn progress_of(&self, id: u64) -> Option<&Progress> {
        self.progress.as_ref()?.get(&id)
    }
}

/// How far a member says its own store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The index of the last applied entry.
    Index(u64),
    /// It keeps that behind its authentication; whether it calls itself healthy.
    Healthy(bool),
}

/// The members, asked at a peer URL.
///
/// # Errors
/// No answer, or not that of a member.
pub fn members_by_peer(http: &Client, peer_url: &str) -> Result<Membership> {
    let response = expect(200, http.get(&format!("{peer_url}/members"))?)?;
    parse_members(&response)
}

/// The members, asked at a client URL.
///
/// # Errors
/// No answer, or not that of a member.
pub fn members(http: &Client, client_url: &str) -> Result<Membership> {
    match by_v2(http.get(&format!("{client_url}/v2/members")))? {
        Some(response) => parse_members(&expect(200, response)?),
        None => calls::members(http, client_url, false),
    }
}

/// The answer, unless it is that the node has no v2 API: etcd from 3.4 on has it with `--enable-v2` alone, to 3.5. Of what is
/// not found within that API the answer names the cluster. Nor has it who takes nothing but gRPC there (`--listen-client-http-urls`,
/// from 3.5.10 on).
fn by_v2(answer: Result<Response>) -> Result<Option<Response>> {
    match answer {
        Ok(response) if response.status == 404 && response.header("X-Etcd-Cluster-Id").is_none() => Ok(None),
        Err(e) if is_foreign(&e) => Ok(None),
        answer => answer.map(Some),
    }
}

/// The same of what is served beside the v2 API, as [`Client::get`] gives it.
fn beside_v2(answer: Result<Response>) -> Result<Option<Response>> {
    match answer {
        Ok(response) if response.status == 404 => Ok(None),
        answer => by_v2(answer),
    }
}

/// The members in an answer of either port: a bare list on the peer port, `{"members": …}` on the client port.
///
/// # Errors
/// Not the answer of a member.
pub fn parse_members(response: &Response) -> Result<Membership> {
    let answer = json(response)?;
    let list = answer.get("members").unwrap_or(&answer).as_array();
    let id = response.header("X-Etcd-Cluster-Id").context("the answer names no cluster")?;
    let cluster_id = u64::from_str_radix(id, 16).with_context(|| format!("cluster ID {id}"))?;
    let members = list.context("the answer has no member list")?.iter().map(member).collect::<Result<_>>()?;
    Ok(Membership { cluster_id, members })
}

/// Asks for a new member.
///
/// # Errors
/// The request could not be made at all (nothing listens). Lost answers are [`Change::Unknown`].
pub fn add(http: &Client, client_url: &str, peer_urls: &[String]) -> Result<Change> {
    let body = serde_json::json!({ "peerURLs": peer_urls }).to_string();
    let response = match by_v2(http.post(&format!("{client_url}/v2/members"), &body)) {
        Ok(Some(response)) => response,
        Ok(None) => return calls::add(http, client_url, peer_urls, false),
        // It may have arrived all the same.
        Err(e) => return Ok(Change::Unknown(format!("{e:#}"))),
    };
    if response.status == 201 {
        return Ok(Change::Done(Some(member(&json(&response)?)?.id)));
    }
    Ok(other_change(&response))
}

/// Asks for a member to be removed.
///
/// # Errors
/// As [`add`].
pub fn remove(http: &Client, client_url: &str, id: u64) -> Result<Change> {
    match by_v2(http.delete(&format!("{client_url}/v2/members/{id:x}"))) {
        Ok(None) => calls::remove(http, client_url, id),
        Ok(Some(response)) if matches!(response.status, 204 | 404 | 410) => Ok(Change::Done(None)),
        Ok(Some(response)) => Ok(other_change(&response)),
        Err(e) => Ok(Change::Unknown(format!("{e:#}"))),
    }
}

/// Whether members may be changed by whoever asks. It is asked by removing what cannot be a member's ID: etcd looks at
/// the rights first.
///
/// # Errors
/// No answer.
pub fn may_change(http: &Client, client_url: &str) -> Result<bool> {
    match by_v2(http.delete(&format!("{client_url}/v2/members/none")))? {
        Some(response) => Ok(!matches!(response.status, 401 | 403)),
        None => calls::may_change(http, client_url),
    }
}

/// The version that all members of the cluster can speak, as `2.3.0`; nothing before etcd 2.1. Of who says only its own, that.
///
/// # Errors
/// No answer.
pub fn cluster_version(http: &Client, client_url: &str) -> Result<Option<String>> {
    let Some(answer) = beside_v2(http.get(&format!("{client_url}/version")))? else {
        return calls::status(http, client_url).map(|status| Some(status.version));
    };
    // Before, it was a line of text.
    let version = |answer: &Value| Some(answer.get("etcdcluster")?.as_str()?.to_owned());
    Ok(json(&answer).ok().as_ref().and_then(version))
}

/// The ID of the member that answers at a client URL, and of the leader it knows.
///
/// # Errors
/// No answer, or not that of a member.
pub fn self_and_leader(http: &Client, client_url: &str) -> Result<(u64, Option<u64>)> {
    let Some(response) = by_v2(http.get(&format!("{client_url}/v2/stats/self")))? else {
        let status = calls::status(http, client_url)?;
        return Ok((status.header.member_id, Some(status.leader).filter(|id| *id != 0)));
    };
    let answer = json(&expect(200, response)?)?;
    let leader = hex(answer.pointer("/leaderInfo/leader")).ok().filter(|id| *id != 0);
    Ok((hex(answer.get("id")).context("the ID of the member that answers")?, leader))
}

/// Whether a member takes part in a quorum, as its `/health` says; a member that does not answer does not.
///
/// # Errors
/// It could not be asked ([`is_unasked`]).
pub fn is_healthy(http: &Client, client_url: &str) -> Result<bool> {
    let url = format!("{}/health", client_url.trim_end_matches('/'));
    let healthy = match beside_v2(http.get(&url)) {
        Ok(Some(answer)) => says_healthy(&answer).with_context(|| format!("GET {url}")),
        // Only a quorum gives that list.
        Ok(None) => calls::members(http, client_url, true).map(|_| true),
        Err(e) => Err(e),
    };
    match healthy {
        Err(e) if is_unasked(&e) => Err(e),
        healthy => Ok(healthy.unwrap_or(false)),
    }
}

fn says_healthy(answer: &Response) -> Result<bool> {
    refuse_denial(answer)?;
    // 2.3 writes {"health": "true"}, 3.4 {"health":"true"}.
    Ok(answer.status == 200 && answer.summary().replace(' ', "").contains(r#""health":"true""#))
}

/// An answer that says nothing of the member, since we did not ask as it wants to be asked: as plain text at a port for
/// certificates (400, in Go's words), or as nobody.
fn refuse_denial(answer: &Response) -> Result<()> {
    match answer.status {
        400 | 401 | 403 => Err(unasked(format!("answered {} {}", answer.status, answer.summary()))),
        _ => Ok(()),
    }
}

/// Raft's status at a member; `progress` is empty unless it leads. Where etcd does not serve its variables, the v3 API says
/// the rest.
///
/// # Errors
/// No answer, or none that has it.
pub fn raft_status(http: &Client, client_url: &str) -> Result<RaftStatus> {
    let Some(response) = beside_v2(http.get(&format!("{client_url}/debug/vars")))? else {
        let status = calls::status(http, client_url)?;
        return Ok(RaftStatus { commit: status.raft_index, lead: status.leader, progress: None });
    };
    parse_raft_status(&expect(200, response)?)
}

/// Which etcd a member runs.
///
/// # Errors
/// No answer, or not that of a member.
pub fn family(http: &Client, client_url: &str) -> Result<Family> {
    let Some(answer) = beside_v2(http.get(&format!("{client_url}/version")))? else {
        return calls::status(http, client_url).map(|_| Family::Three);
    };
    let version = json(&expect(200, answer)?)?;
    let server =
        version.get("etcdserver").and_then(Value::as_str).context("the answer has no version of etcd")?;
    Ok(if server.starts_with("2.") { Family::Two } else { Family::Three })
}

/// How far a member's own store is.
///
/// # Errors
/// No answer, or not that of a member.
pub fn applied(http: &Client, client_url: &str) -> Result<Applied> {
    let Some(response) = by_v2(http.get(&format!("{client_url}/v2/keys/")))? else {
        return match calls::status(http, client_url)?.raft_applied_index {
            0 => bail!("{client_url}: etcd does not say how far its store is"),
            index => Ok(Applied::Index(index)),
        };
    };
    if let Some(index) = response.header("X-Raft-Index") {
        return Ok(Applied::Index(index.parse().with_context(|| format!("X-Raft-Index: {index}"))?));
    }
    if response.status == 401 {
        return Ok(Applied::Healthy(http.get(&format!("{client_url}/health"))?.status == 200));
    }
    bail!("{client_url}/v2/keys/ answered {} {}", response.status, response.summary())
}

fn expect(status: u16, response: Response) -> Result<Response> {
    refuse_denial(&response)?;
    if response.status != status {
        bail!("answered {} {}", response.status, response.summary());
    }
    Ok(response)
}

fn other_change(response: &Response) -> Change {
    let text = format!("{} {}", response.status, response.summary());
    match response.status {
        // A proposal that timed out may still be committed later.
        500.. => Change::Unknown(text),
        401 | 403 => Change::No(format!("{text} (membership changes require etcd's root user)")),
        _ => Change::No(text),
    }
}

fn json(response: &Response) -> Result<Value> {
    serde_json::from_slice(&response.body).with_context(|| format!("not JSON: {}", response.summary()))
}

fn member(value: &Value) -> Result<Member> {
    let id = match value.get("id") {
        Some(Value::Number(n)) => n.as_u64().context("a member's ID is not a 64-bit number")?,
        other => hex(other).context("a member's ID")?,
    };
    let texts = |name: &str| -> Vec<String> {
        let list = value.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_learner = value.get("isLearner").and_then(Value::as_bool).unwrap_or_default();
    Ok(Member { id, name, peer_urls: texts("peerURLs"), client_urls: texts("clientURLs"), is_learner })
}

fn hex(value: Option<&Value>) -> Result<u64> {
    let text = value.and_then(Value::as_str).context("missing, or not a string")?;
    u64::from_str_radix(text, 16).with_context(|| format!("not hex: {text}"))
}

/// Raft's status in an answer of `/debug/vars`.
///
/// # Errors
/// Not the answer of a member.
pub fn parse_raft_status(response: &Response) -> Result<RaftStatus> {
    let vars = json(response)?;
    let status = vars.get("raft.status").context("/debug/vars has no raft.status")?;
    let mut progress = BTreeMap::new();
    for (id, p) in status.get("progress").and_then(Value::as_object).into_iter().flatten() {
        let id = u64::from_str_radix(id, 16).with_context(|| format!("member ID {id}"))?;
        let matched = p.get("match").and_then(Value::as_u64).context("progress without match")?;
        // ProgressStateReplicate in 2.x, StateReplicate in 3.x.
        let replicating =
            p.get("state").and_then(Value::as_str).is_some_and(|s| s.ends_with("StateReplicate"));
        progress.insert(id, Progress { matched, replicating });
    }
    let commit = status.get("commit").and_then(Value::as_u64).context("raft.status without commit")?;
    let lead = hex(status.get("lead")).context("raft.status: lead")?;
    Ok(RaftStatus { commit, lead, progress: Some(progress) })
}

/// Says how to go on when a cluster does not change its membership.
pub fn not_changed(what: &str, why: &str) -> anyhow::Error {
    fault(
        Exit::Cluster,
        format!("{what}: {why}"),
        "check `etcdctl cluster-health` on the founding member, then run join again; it resumes where it \
         stopped: sudo systemctl start etcd2-join.service",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, header: Option<&str>, body: &str) -> Response {
        let headers = header.map(|v| ("X-Etcd-Cluster-Id".to_owned(), v.to_owned())).into_iter().collect();
        Response { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn both_ports_list_the_same_members() {
        let peer = response(
            200,
            Some("5a535ced1069e3a8"),
            r#"[{"id":2622222016494170645,"peerURLs":["http://127.0.0.1:48010"],"name":"h1","clientURLs":["http://127.0.0.1:48000"]},
                {"id":18446744073709551615,"peerURLs":["http://127.0.0.1:48011"],"name":""}]"#,
        );
        let client = response(
            200,
            Some("5a535ced1069e3a8"),
            r#"{"members":[{"id":"24640107e757f215","name":"h1","peerURLs":["http://127.0.0.1:48010"],"clientURLs":["http://127.0.0.1:48000"]},
                {"id":"ffffffffffffffff","name":"","peerURLs":["http://127.0.0.1:48011"],"clientURLs":[]}]}"#,
        );
        let got = parse_members(&peer).unwrap();
        assert_eq!(got, parse_members(&client).unwrap());
        assert_eq!((got.cluster_id, got.members.len()), (0x5a53_5ced_1069_e3a8, 2));
        assert!(got.members[0].has_started() && !got.members[1].has_started());
        assert_eq!(got.members[1].label(), "ffffffffffffffff (http://127.0.0.1:48011)");
    }

    #[test]
    fn an_answer_that_is_not_a_members_is_refused() {
        for (header, body) in [
            (None, "[]"),
            (Some("xyz"), "[]"),
            (Some("1"), "{}"),
            (Some("1"), r#"[{"id":-1}]"#),
            (Some("1"), r#"[{"id":"no"}]"#),
        ] {
            let r = response(200, header, body);
            assert!(parse_members(&r).is_err(), "{body}");
        }
    }

    #[test]
    fn raft_status_of_2_and_3() {
        let v3 = r#"{"x":1,"raft.status": {"id":"2e1259d415f2a040","term":2,"vote":"2e1259d415f2a040","commit":5,
            "lead":"2e1259d415f2a040","raftState":"StateLeader","applied":5,
            "progress":{"2e1259d415f2a040":{"match":5,"next":6,"state":"StateReplicate"}},"leadtransferee":"0"}}"#;
        let v2 = r#"{"raft.status":{"id":"a","term":2,"vote":"a","commit":9,"lead":"a","raftState":"StateLeader",
            "progress":{"a":{"match":9,"next":10,"state":"ProgressStateReplicate"},"b":{"match":0,"next":1,"state":"ProgressStateProbe"}}}}"#;
        let got = parse_raft_status(&response(200, None, v3)).unwrap();
        let leader = 0x2e12_59d4_15f2_a040;
        assert_eq!((got.commit, got.lead), (5, leader));
        assert_eq!(got.progress_of(leader), Some(&Progress { matched: 5, replicating: true }));
        let got = parse_raft_status(&response(200, None, v2)).unwrap();
        assert_eq!(got.progress_of(10), Some(&Progress { matched: 9, replicating: true }));
        assert_eq!(got.progress_of(11), Some(&Progress { matched: 0, replicating: false }));
        let follower = r#"{"raft.status":{"commit":5,"lead":"0","progress":{}}}"#;
        let got = parse_raft_status(&response(200, None, follower)).unwrap();
        assert!(got.progress.is_some_and(|all| all.is_empty()) && got.lead == 0);
    }

    #[test]
    fn what_serves_no_v2_api_is_told_from_what_it_does_not_find() {
        let found =
            |status, header| by_v2(Ok(response(status, header, "404 page not found"))).unwrap().is_some();
        assert!(found(200, None) && found(404, Some("1")) && found(401, None) && !found(404, None));
        let beside = |status| beside_v2(Ok(response(status, Some("1"), ""))).unwrap().is_some();
        assert!(beside(200) && beside(503) && !beside(404));
        let error = by_v2(Err(unasked("no certificate".to_owned()))).unwrap_err();
        assert!(is_unasked(&error), "{error:#}");
    }

    #[test]
    fn only_500_leaves_a_change_open() {
        for (status, unknown) in [(500, true), (503, true), (409, false), (400, false), (401, false)] {
            let got = other_change(&response(status, None, r#"{"message":"m"}"#));
            assert_eq!(matches!(got, Change::Unknown(_)), unknown, "{status}");
        }
    }
}
