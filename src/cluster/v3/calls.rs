//! The calls, and what their answers mean. A call goes by gRPC; where the node's curl has no HTTP/2, to the member's JSON
//! gateway.
//!
//! Nobody logs in unless asked to: a token costs etcd an entry in its log, and most questions need none.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::messages::{self, HashKv, Status};
use super::shape::{self, Shape};
use crate::cluster::{Change, Membership};
use crate::exit::{Exit, because};
use crate::sys::http::grpc::Refusal;
use crate::sys::http::{Client, Login, unasked};

/// A method, where the gateway has it below its prefix, and what goes there and back.
#[derive(Debug, Clone, Copy)]
struct Call {
    method: &'static str,
    gateway: &'static [&'static str],
    asks: Shape,
    answers: Shape,
}

const LIST: Call = Call {
    method: "Cluster/MemberList",
    gateway: &["cluster/member/list"],
    asks: messages::LIST,
    answers: messages::MEMBERS,
};
const ADD: Call = Call {
    method: "Cluster/MemberAdd",
    gateway: &["cluster/member/add"],
    asks: messages::ADD,
    answers: messages::ADDED,
};
const REMOVE: Call = Call {
    method: "Cluster/MemberRemove",
    gateway: &["cluster/member/remove"],
    asks: messages::WHICH,
    answers: messages::MEMBERS,
};
const PROMOTE: Call = Call {
    method: "Cluster/MemberPromote",
    gateway: &["cluster/member/promote"],
    asks: messages::WHICH,
    answers: messages::MEMBERS,
};
const STATUS: Call = Call {
    method: "Maintenance/Status",
    gateway: &["maintenance/status"],
    asks: messages::EMPTY,
    answers: messages::STATUS,
};
/// What is under the second name is another call where there is the first one.
const HASH: Call = Call {
    method: "Maintenance/HashKV",
    gateway: &["maintenance/hashkv", "maintenance/hash"],
    asks: messages::AT,
    answers: messages::HASH,
};
const AUTHENTICATE: Call = Call {
    method: "Auth/Authenticate",
    gateway: &["auth/authenticate"],
    asks: messages::LOGIN,
    answers: messages::TOKEN,
};

/// Below which the gateway is: from 3.4 on, in 3.3, and before.
const PREFIXES: [&str; 3] = ["v3", "v3beta", "v3alpha"];

/// gRPC's codes, of which some say for certain that nothing was done.
mod code {
    pub(super) const UNKNOWN: u32 = 2;
    pub(super) const INVALID_ARGUMENT: u32 = 3;
    pub(super) const NOT_FOUND: u32 = 5;
    pub(super) const PERMISSION_DENIED: u32 = 7;
    pub(super) const FAILED_PRECONDITION: u32 = 9;
    pub(super) const OUT_OF_RANGE: u32 = 11;
    pub(super) const UNIMPLEMENTED: u32 = 12;
    pub(super) const UNAUTHENTICATED: u32 = 16;
}

/// What proves for some minutes who asks. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(super) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The members. With `linearizable` a quorum has to say so, which etcd does from 3.5 on.
///
/// # Errors
/// No answer, or not that of a member; it could not be asked where etcd wants to know by whom
/// ([`is_unasked`](crate::sys::http::is_unasked)).
pub fn members(http: &Client, url: &str, linearizable: bool) -> Result<Membership> {
    messages::members(&expect(http, url, LIST, &messages::list(linearizable))?)
}

/// How the member at this URL is.
///
/// # Errors
/// As [`members`].
pub fn status(http: &Client, url: &str) -> Result<Status> {
    messages::status(&expect(http, url, STATUS, &[])?)
}

/// The hash of the keys of the member at this URL, up to a revision; 0 is the newest one. Where authentication is on it is
/// told to root alone.
///
/// # Errors
/// As [`members`], and the revision is compacted or not there yet.
pub fn hash_kv(http: &Client, url: &str, revision: i64) -> Result<HashKv> {
    messages::hash_kv(&expect(http, url, HASH, &messages::at(revision))?)
}

/// A token for this user; nothing where authentication is off.
///
/// # Errors
/// No answer; or it could not be asked, as user and password are wrong.
pub fn authenticate(http: &Client, url: &str, login: &Login) -> Result<Option<Token>> {
    match log_in(http, url, login)? {
        Ok(token) => Ok(Some(token)),
        Err(refused) if is_off(&refused) => Ok(None),
        Err(refused) => Err(unanswered(url, AUTHENTICATE.method, &refused)),
    }
}

/// Asks for a new member, which as a learner has no vote.
///
/// # Errors
/// An answer that is not a member's. Lost ones are [`Change::Unknown`].
pub fn add(http: &Client, url: &str, peer_urls: &[String], as_learner: bool) -> Result<Change> {
    match call(http, url, ADD, &messages::add(peer_urls, as_learner)) {
        Ok(Ok(answer)) => Ok(Change::Done(Some(messages::added(&answer)?))),
        other => Ok(change(other)),
    }
}

/// Asks for a member to be removed. One that is not there is.
///
/// # Errors
/// None, as it is; lost answers are [`Change::Unknown`].
pub fn remove(http: &Client, url: &str, id: u64) -> Result<Change> {
    match call(http, url, REMOVE, &messages::which(id)) {
        Ok(Ok(_)) => Ok(Change::Done(None)),
        Ok(Err(refused)) if refused.code == code::NOT_FOUND => Ok(Change::Done(None)),
        other => Ok(change(other)),
    }
}

/// Asks for a learner to get a vote. Until it has nearly all entries that is [`Change::Unknown`]: it may be asked again.
///
/// # Errors
/// As [`remove`].
pub fn promote(http: &Client, url: &str, id: u64) -> Result<Change> {
    match call(http, url, PROMOTE, &messages::which(id)) {
        Ok(Ok(_)) => Ok(Change::Done(None)),
        Ok(Err(refused)) if refused.message.contains("in sync with leader") => {
            Ok(Change::Unknown(refused.to_string()))
        }
        other => Ok(change(other)),
    }
}

/// Whether members may be changed by whoever asks. It is asked by wanting the hash of a revision that cannot be: etcd looks
/// first for the rights that a change needs, computes nothing and logs nothing.
///
/// # Errors
/// No answer, or none that says it.
pub fn may_change(http: &Client, url: &str) -> Result<bool> {
    match call(http, url, HASH, &messages::at(i64::MAX))? {
        Ok(_) => Ok(true),
        Err(refused) if refused.code == code::OUT_OF_RANGE => Ok(true),
        Err(refused) if is_denied(&refused) => Ok(false),
        Err(refused) => bail!("{url}: {}: {refused}", HASH.method),
    }
}

/// What an answer other than "done" says of a change.
fn change(answer: Result<Result<Vec<u8>, Refusal>>) -> Change {
    match answer {
        // It may have arrived all the same.
        Err(e) => Change::Unknown(format!("{e:#}")),
        Ok(Ok(_)) => Change::Done(None),
        Ok(Err(refused)) if is_denied(&refused) => {
            Change::No(format!("{refused} (membership changes require etcd's root user)"))
        }
        Ok(Err(refused)) => match refused.code {
            code::INVALID_ARGUMENT
            | code::NOT_FOUND
            | code::FAILED_PRECONDITION
            | code::OUT_OF_RANGE
            | code::UNIMPLEMENTED => Change::No(refused.to_string()),
            // A proposal that timed out may still be committed later.
            _ => Change::Unknown(refused.to_string()),
        },
    }
}

/// Whether etcd wants to know who asks. What it says is not always under the code that is meant for it.
pub(super) fn wants_a_user(refused: &Refusal) -> bool {
    let says = |words: &str| refused.message.contains(words);
    match refused.code {
        code::UNAUTHENTICATED => true,
        code::UNKNOWN | code::INVALID_ARGUMENT => says("user name is empty") || says("invalid auth token"),
        _ => false,
    }
}

/// Whether etcd does that for others only.
fn is_denied(refused: &Refusal) -> bool {
    let says = |words: &str| refused.message.contains(words);
    match refused.code {
        code::PERMISSION_DENIED => true,
        code::UNKNOWN | code::INVALID_ARGUMENT if says("permission denied") => true,
        code::INVALID_ARGUMENT if says("authentication failed") => true,
        _ => wants_a_user(refused),
    }
}

/// Whether authentication is off.
fn is_off(refused: &Refusal) -> bool {
    refused.code == code::FAILED_PRECONDITION && refused.message.contains("authentication is not enabled")
}

fn expect(http: &Client, url: &str, what: Call, request: &[u8]) -> Result<Vec<u8>> {
    call(http, url, what, request)?.map_err(|refused| unanswered(url, what.method, &refused))
}

/// The error for an answer that is a refusal. That etcd says it to others only says nothing of etcd.
pub(super) fn unanswered(url: &str, method: &str, refused: &Refusal) -> anyhow::Error {
    let text = format!("{url}: {method}: {refused}");
    if is_denied(refused) { unasked(text) } else { anyhow::anyhow!(text) }
}

fn call(http: &Client, url: &str, what: Call, request: &[u8]) -> Result<Result<Vec<u8>, Refusal>> {
    let answer = ask(http, url, what, None, request)?;
    match (&answer, &http.login) {
        (Err(refused), Some(login)) if wants_a_user(refused) => match log_in(http, url, login)? {
            Ok(token) => ask(http, url, what, Some(&token), request),
            // It was turned off since; then it is as it was.
            Err(refused) if is_off(&refused) => Ok(answer),
            Err(refused) => Ok(Err(refused)),
        },
        _ => Ok(answer),
    }
}

pub(super) fn log_in(http: &Client, url: &str, login: &Login) -> Result<Result<Token, Refusal>> {
    let (user, password) = login.parts();
    match ask(http, url, AUTHENTICATE, None, &messages::login(user, password))? {
        Ok(answer) => messages::token(&answer).map(|token| Ok(Token(token))),
        Err(refused) => Ok(Err(refused)),
    }
}

fn ask(
    http: &Client,
    url: &str,
    what: Call,
    token: Option<&Token>,
    request: &[u8],
) -> Result<Result<Vec<u8>, Refusal>> {
    let (url, token) = (url.trim_end_matches('/'), token.map(|Token(token)| token.as_str()));
    match http.speaks_http2() {
        true => http.grpc(&format!("{url}/etcdserverpb.{}", what.method), token, request),
        false => by_gateway(http, url, what, token, request),
    }
}

fn by_gateway(
    http: &Client,
    url: &str,
    what: Call,
    token: Option<&str>,
    request: &[u8],
) -> Result<Result<Vec<u8>, Refusal>> {
    let request = shape::to_json(what.asks, request)?.to_string();
    for prefix in PREFIXES {
        for path in what.gateway {
            let place = format!("{url}/{prefix}/{path}");
            let response = http.post_by_token(&place, token, &request)?;
            let said = serde_json::from_slice(&response.body);
            match said {
                Ok(said) if response.status == 200 => {
                    return shape::from_json(what.answers, &said).context(place).map(Ok);
                }
                Ok(said) if said.get("error").is_some() => return Ok(Err(refusal(&said))),
                // Another version has it elsewhere.
                _ if response.status == 404 => {}
                _ => bail!("POST {place}: answered {} {}", response.status, response.summary()),
            }
        }
    }
    let text = format!("{url} serves neither the v2 API nor, by JSON, the v3 API");
    Err(because(
        unasked(text),
        Exit::Failed,
        "curl on this node has no HTTP/2, by which etcd is asked where it serves no v2 API",
        "install a curl that lists HTTP2 (curl --version), or start etcd there with --enable-grpc-gateway=true",
    ))
}

/// What the gateway says in place of an answer.
fn refusal(said: &Value) -> Refusal {
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let message = text("message").or_else(|| text("error")).unwrap_or("no reason given");
    let message = message.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let code = said.get("code").and_then(Value::as_u64).and_then(|code| u32::try_from(code).ok());
    Refusal { code: code.filter(|code| *code != 0).unwrap_or(code::UNKNOWN), message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sys::http::is_unasked;

    fn refused(code: u32, message: &str) -> Refusal {
        Refusal { code, message: message.to_owned() }
    }

    #[test]
    fn a_refusal_says_whether_a_change_may_still_come() {
        for (code, message, unknown) in [
            (14, "etcdserver: request timed out", true),
            (14, "etcdserver: unhealthy cluster", true),
            (4, "context deadline exceeded", true),
            (2, "etcdserver: something else", true),
            (13, "transport: ...", true),
            (8, "etcdserver: too many requests", true),
            (9, "etcdserver: Peer URLs already exists", false),
            (9, "etcdserver: re-configuration failed due to not enough started members", false),
            (3, "etcdserver: given member URLs are invalid", false),
            (3, "etcdserver: user name is empty", false),
            (16, "etcdserver: invalid auth token", false),
            (7, "etcdserver: permission denied", false),
            (12, "unknown method", false),
        ] {
            let got = change(Ok(Err(refused(code, message))));
            assert_eq!(matches!(got, Change::Unknown(_)), unknown, "{code} {message}: {got:?}");
            let root = matches!(&got, Change::No(why) if why.contains("require etcd's root user"));
            assert_eq!(root, is_denied(&refused(code, message)), "{got:?}");
        }
        assert!(matches!(change(Err(anyhow::anyhow!("cut off"))), Change::Unknown(_)));
    }

    #[test]
    fn who_is_not_known_is_told_from_who_may_not() {
        for (code, message, wants, denied) in [
            (3, "etcdserver: user name is empty", true, true),
            (2, "auth: user name is empty", true, true),
            (2, "auth: invalid auth token", true, true),
            (16, "etcdserver: invalid auth token", true, true),
            (7, "etcdserver: permission denied", false, true),
            (2, "auth: permission denied", false, true),
            (3, "etcdserver: authentication failed, invalid user ID or password", false, true),
            (9, "etcdserver: authentication is not enabled", false, false),
            (14, "etcdserver: no leader", false, false),
        ] {
            let refused = refused(code, message);
            assert_eq!((wants_a_user(&refused), is_denied(&refused)), (wants, denied), "{refused}");
            assert_eq!(is_unasked(&unanswered("http://e1", LIST.method, &refused)), denied, "{refused}");
            assert_eq!(is_off(&refused), code == 9, "{refused}");
        }
    }

    #[test]
    fn the_gateway_refuses_as_grpc_does() {
        for (said, want) in [
            (json!({"error": "a", "message": "b", "code": 5}), refused(5, "b")),
            (json!({"error": "a\nb", "code": 9}), refused(9, "a b")),
            (json!({"error": "a", "code": -1}), refused(2, "a")),
            (json!({"error": {}, "code": 0}), refused(2, "no reason given")),
        ] {
            assert_eq!(refusal(&said), want, "{said}");
        }
        assert_eq!(format!("{:?}", Token("abc".into())), "Token");
    }
}
