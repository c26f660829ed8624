//! HTTP by the node's `curl`: a static program must not resolve names itself, and curl has the node's certificates.
//!
//! Everything, the URL included, goes to curl on stdin: nothing of a request is ever seen in the list of processes.
//!
//! Where there is no answer, either nobody is there ([`is_silence`]) or we could not ask ([`is_unasked`]): a certificate that
//! cannot be read, a name that is not resolved, a curl that is missing say nothing of whom we wanted to ask.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};

use super::command::CommandRunExt;
use super::leash;
use super::private_net::PrivateNet;

mod apart;
pub mod grpc;
mod handed;
mod unanswered;

use unanswered::{NoAnswer, Why, why, with_hint, without_certificates, without_curl};
pub use unanswered::{is_foreign, is_silence, is_unasked, unasked};

/// How long an answer that is paced may stand still.
const STANDSTILL_SECONDS: &str = "60";

/// How requests are made.
#[derive(Debug, Clone)]
pub struct Client {
    /// The longest one request may take, connecting included.
    pub limit: Duration,
    /// The longest connecting may take.
    pub connect_limit: Duration,
    /// The certificates for `https`.
    pub tls: Tls,
    /// Who asks, where that is asked for.
    pub login: Option<Login>,
    /// The network in which they are made, where that is not this node's.
    pub within: Option<Arc<PrivateNet>>,
    /// How many bytes a second an answer may bring; as many as come if there is none.
    pub pace: Option<u64>,
}

/// Who we are for a server that wants a certificate, and whose servers are believed. What is not set is left to curl.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The authorities that servers' certificates must come from; the node's own list if there is none.
    pub ca: Option<PathBuf>,
}

/// `user:password`. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Login(String);

impl Login {
    /// Of a text with a colon in it; `None` without one, or without a user.
    pub fn new(text: String) -> Option<Self> {
        text.find(':').filter(|at| *at > 0)?;
        Some(Self(text))
    }

    /// The user, and the password behind the first colon: for a request's body, and nothing else.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once(':').unwrap_or((&self.0, ""))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login")
    }
}

impl Default for Client {
    fn default() -> Self {
        let limit = Duration::from_secs(10);
        let connect_limit = Duration::from_secs(3);
        Self { limit, connect_limit, tls: Tls::default(), login: None, within: None, pace: None }
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header names as they came, and their values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header, its name compared without case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The start of the body as one line, for messages.
    pub fn summary(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Client {
    /// For a long answer: so many bytes of it a second, all of it within `limit`. One that stands still for a minute is cut off long
    /// before that.
    #[must_use]
    pub fn paced(self, bytes: u64, limit: Duration) -> Self {
        Self { pace: Some(bytes), limit, ..self }
    }

    /// `GET url`.
    ///
    /// # Errors
    /// No answer within the limit ([`is_silence`]), or it could not be asked ([`is_unasked`]; [`Exit::Settings`] where that
    /// is for certificates). Any status is an answer.
    pub fn get(&self, url: &str) -> Result<Response> {
        self.request("GET", url, None)
    }

    /// `POST url` with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, url: &str, json: &str) -> Result<Response> {
        self.request("POST", url, Some(json))
    }

    /// `DELETE url`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, url: &str) -> Result<Response> {
        self.request("DELETE", url, None)
    }

    fn request(&self, method: &str, url: &str, json: Option<&str>) -> Result<Response> {
        let request = format!("{method} {url}");
        let mut stdout = Vec::new();
        let config = self.config("include\nhttp1.1\n", method, url, &self.options(json));
        self.curl(&config, &request, url, &mut |bytes| stdout.extend_from_slice(bytes))?;
        // A curl of before 7.66 takes whatever comes for a body.
        parse_response(&stdout)
            .map_err(|e| Error::new(NoAnswer { why: Why::Foreign, text: format!("{request}: {e:#}") }))
    }

    fn options(&self, json: Option<&str>) -> Vec<(&'static str, String)> {
        let login = self.login.iter().map(|Login(login)| ("user", login.clone()));
        let header = json.map(|_| ("header", "Content-Type: application/json".to_owned()));
        let body = json.map(|json| ("data-binary", json.to_owned()));
        login.chain(header).chain(body).collect()
    }

    /// Runs curl with a configuration; what it prints comes in pieces. `request` says in an error what was asked.
    fn curl(&self, config: &str, request: &str, url: &str, read: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut curl = match &self.within {
            Some(net) => leash::killed_with_us_in(net, "curl"),
            None => Command::new("curl"),
        };
        // -q: root's ~/.curlrc must not decide. The process limit only catches a curl that ignores its own.
        let output = curl
            .args(["-q", "--config", "-"])
            .run_read(config.as_bytes(), self.limit + Duration::from_secs(5), read)
            .map_err(|e| without_curl(e, request))?;
        if self.within.is_some() && output.status.code() == Some(leash::NOT_STARTED.into()) {
            return Err(without_curl(anyhow!(output.stderr), request));
        }
        if output.status.success() {
            return Ok(());
        }
        let text = format!("{request}: {}", output.stderr.trim_start_matches("curl: "));
        // curl looks for certificates once it is connected: who is down is known to be, whatever they are.
        let why = why(output.status.code(), &output.stderr, url.starts_with("https:"));
        let none = Error::new(NoAnswer { why, text });
        match self.tls.readable() {
            _ if why != Why::Certificates => Err(none),
            Ok(()) => Err(with_hint(none, self.tls.hint())),
            Err(e) => Err(without_certificates(e, request)),
        }
    }

    /// What curl is told: options without a value, one a line, and those of this request that have one.
    fn config(&self, flags: &str, method: &str, url: &str, options: &[(&str, String)]) -> String {
        let mut config = format!("silent\nshow-error\ngloboff\n{flags}");
        let mut set = |name: &str, value: &str| config.push_str(&format!("{name} = {}\n", quoted(value)));
        set("proto", "=http,https");
        // Members of a cluster reach each other without a proxy, whatever the environment says.
        set("noproxy", "*");
        set("max-time", &seconds(self.limit));
        set("connect-timeout", &seconds(self.connect_limit));
        if let Some(pace) = self.pace {
            set("limit-rate", &pace.to_string());
            set("speed-limit", "1");
            set("speed-time", STANDSTILL_SECONDS);
        }
        set("request", method);
        // Without it curl asks for a "100 Continue" first when a body is long.
        set("header", "Expect:");
        if let Some(cert) = &self.tls.cert {
            // A password may stand behind a colon there.
            set("cert", &cert.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:"));
        }
        for (name, path) in [("key", &self.tls.key), ("cacert", &self.tls.ca)] {
            if let Some(path) = path {
                set(name, &path.to_string_lossy());
            }
        }
        for (name, value) in options {
            set(name, value);
        }
        set("url", url);
        config
    }
}

impl Tls {
    /// Each file that curl will be told of.
    fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let all = [("certificate", &self.cert), ("key", &self.key), ("CA certificate", &self.ca)];
        all.into_iter().filter_map(|(what, path)| Some((what, path.as_ref()?)))
    }

    /// curl says in many ways, or not at all, that it cannot read one.
    fn readable(&self) -> Result<()> {
        for (what, path) in self.files() {
            File::open(path).with_context(|| format!("opening the {what} {}", path.display()))?;
        }
        Ok(())
    }

    fn hint(&self) -> String {
        let files: Vec<String> =
            self.files().map(|(what, path)| format!("the {what} {}", path.display())).collect();
        match files.is_empty() {
            true => "etcd's unit names no certificates here: name those that the server asks for".into(),
            false => format!(
                "the server and this node must accept each other's certificates: {}",
                files.join(", ")
            ),
        }
    }
}

/// As curl takes it. In whole numbers: floating point would come into the program for this alone.
fn seconds(time: Duration) -> String {
    format!("{}.{:03}", time.as_secs(), time.subsec_millis())
}

/// A value in curl's config syntax.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Headers and body of the last answer in `curl --include`; interim 1xx answers come before it.
fn parse_response(mut raw: &[u8]) -> Result<Response> {
    loop {
        let end =
            raw.windows(4).position(|w| w == b"\r\n\r\n").context("the answer has no end of headers")?;
        let head = String::from_utf8_lossy(&raw[..end]);
        let body = &raw[end + 4..];
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status: u16 = first
            .strip_prefix("HTTP/")
            .and_then(|l| l.split(' ').nth(1))
            .and_then(|s| s.parse().ok())
            .with_context(|| format!("not an HTTP answer: {first}"))?;
        if (100..200).contains(&status) {
            raw = body;
            continue;
        }
        let headers = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        return Ok(Response { status, headers, body: body.to_vec() });
    }
}

#[cfg(test)]
mod tests;
