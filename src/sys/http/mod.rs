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

mod unanswered;

use unanswered::{NoAnswer, Why, why, with_hint, without_certificates, without_curl};
pub use unanswered::{is_silence, is_unasked, unasked};

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
        Self { limit, connect_limit, tls: Tls::default(), login: None, within: None }
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
        let config = self.config(method, url, json);
        let request = format!("{method} {url}");
        let mut curl = match &self.within {
            Some(net) => leash::killed_with_us_in(net, "curl"),
            None => Command::new("curl"),
        };
        // -q: root's ~/.curlrc must not decide. The process limit only catches a curl that ignores its own.
        let output = curl
            .args(["-q", "--config", "-"])
            .run_limited(config.as_bytes(), self.limit + Duration::from_secs(5))
            .map_err(|e| without_curl(e, &request))?;
        if self.within.is_some() && output.status.code() == Some(leash::NOT_STARTED.into()) {
            return Err(without_curl(anyhow!(output.stderr), &request));
        }
        if output.status.success() {
            return parse_response(&output.stdout).context(request);
        }
        let text = format!("{request}: {}", output.stderr.trim_start_matches("curl: "));
        // curl looks for certificates once it is connected: who is down is known to be, whatever they are.
        let why = why(output.status.code(), &output.stderr, url.starts_with("https:"));
        let none = Error::new(NoAnswer { why, text });
        match self.tls.readable() {
            _ if why != Why::Certificates => Err(none),
            Ok(()) => Err(with_hint(none, self.tls.hint())),
            Err(e) => Err(without_certificates(e, &request)),
        }
    }

    fn config(&self, method: &str, url: &str, json: Option<&str>) -> String {
        let mut config = String::from("silent\nshow-error\ngloboff\ninclude\nhttp1.1\n");
        let mut set = |name: &str, value: &str| config.push_str(&format!("{name} = {}\n", quoted(value)));
        set("proto", "=http,https");
        // Members of a cluster reach each other without a proxy, whatever the environment says.
        set("noproxy", "*");
        set("max-time", &seconds(self.limit));
        set("connect-timeout", &seconds(self.connect_limit));
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
        if let Some(Login(login)) = &self.login {
            set("user", login);
        }
        if let Some(json) = json {
            set("header", "Content-Type: application/json");
            set("data-binary", json);
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
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn values_are_quoted_for_curl() {
        let cases = [
            ("plain", r#""plain""#),
            (r#"{"a":"b\c"}"#, r#""{\"a\":\"b\\c\"}""#),
            ("two\nlines", r#""two\nlines""#),
        ];
        for (value, expected) in cases {
            assert_eq!(quoted(value), expected);
        }
        let config = Client::default().config("POST", "http://[::1]:1/x", Some("{}"));
        assert!(config.contains("globoff\n") && config.ends_with("url = \"http://[::1]:1/x\"\n"), "{config}");
    }

    #[test]
    fn certificates_go_by_path_and_a_login_is_shown_to_curl_alone() {
        let path = |p: &str| Some(PathBuf::from(p));
        let client = Client {
            tls: Tls { cert: path("/a:b\\c.pem"), key: path("/k.pem"), ca: path("/ca \"1\".pem") },
            login: Login::new("root:a:b\"c".to_owned()),
            ..Client::default()
        };
        let config = client.config("GET", "https://e1:1/", None);
        for line in [
            r#"cert = "/a\\:b\\\\c.pem""#,
            r#"key = "/k.pem""#,
            r#"cacert = "/ca \"1\".pem""#,
            r#"user = "root:a:b\"c""#,
        ] {
            assert!(config.lines().any(|l| l == line), "no {line} in: {config}");
        }
        assert!(!format!("{client:?}").contains("a:b\"c"));
        for bad in ["", "root", ":password"] {
            assert_eq!(Login::new(bad.to_owned()), None, "{bad:?}");
        }
        let plain = Client::default().config("GET", "http://e1:1/", None);
        assert!(
            !["cert", "key", "cacert", "user"].iter().any(|n| plain.contains(&format!("{n} ="))),
            "{plain}"
        );
    }

    #[test]
    fn answers_are_taken_apart() {
        let raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nX-Etcd-Index: 5\r\nA: b:c\r\n\r\nno\r\n\r\nkey";
        let got = parse_response(raw).unwrap();
        assert_eq!((got.status, got.header("x-etcd-index"), got.header("a")), (404, Some("5"), Some("b:c")));
        assert_eq!(got.body, b"no\r\n\r\nkey");
        assert_eq!(got.header("missing"), None);
        for bad in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"] {
            assert!(parse_response(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    /// Serves one request with a fixed answer; what was asked comes back from the thread.
    fn serve(answer: &'static [u8]) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let n = stream.read(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&asked[..n]).into_owned()
        });
        (url, thread)
    }

    #[test]
    fn a_request_goes_through_curl() {
        let (url, thread) = serve(b"HTTP/1.1 201 Created\r\nX-Raft-Index: 7\r\nContent-Length: 2\r\n\r\nok");
        let got = Client::default().post(&format!("{url}/v2/members"), r#"{"q":"\""}"#).unwrap();
        assert_eq!((got.status, got.header("X-Raft-Index"), &got.body[..]), (201, Some("7"), &b"ok"[..]));
        let asked = thread.join().unwrap();
        assert!(asked.starts_with("POST /v2/members HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("Content-Type: application/json") && asked.ends_with(r#"{"q":"\""}"#),
            "{asked}"
        );
    }

    #[test]
    fn no_answer_is_an_error_that_names_the_url() {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = Client { limit: Duration::from_millis(200), ..Client::default() };
        // It listens, but nobody ever answers.
        let error = client.get(&url).unwrap_err();
        assert!(error.to_string().starts_with(&format!("GET {url}: ")), "{error:#}");
        assert!(is_silence(&error) && !is_unasked(&error), "{error:#}");
        drop(listener);
        let error = client.get(&url).unwrap_err();
        assert!(error.to_string().contains("(7)") && is_silence(&error), "{error:#}");
    }

    #[test]
    fn what_keeps_us_from_asking_is_no_silence() {
        use crate::exit::{Exit, exit_of, hint_of};
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(dir.path().join(name));
        crate::sys::fs::write_atomic(&dir.path().join("odd.pem"), b"no certificate", 0o600).unwrap();
        // It is connected to, and says nothing.
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let mut clients = Vec::new();
        for (tls, said) in [
            (Tls { cert: path("none.pem"), ..Tls::default() }, "opening the certificate "),
            (Tls { cert: path("odd.pem"), key: path("none.key"), ..Tls::default() }, "opening the key "),
            (Tls { ca: path("none.ca"), ..Tls::default() }, "opening the CA certificate "),
            (Tls { ca: path("odd.pem"), ..Tls::default() }, "(77)"),
            (Tls { cert: path("odd.pem"), key: path("odd.pem"), ..Tls::default() }, "(58)"),
        ] {
            let client = Client { tls, ..Client::default() };
            let error = client.get(&url).unwrap_err();
            assert!(is_unasked(&error) && !is_silence(&error), "{error:#}");
            assert!(exit_of(&error) == Exit::Settings && hint_of(&error).is_some(), "{error:#}");
            assert!(format!("{error:#}").contains(said) && format!("{error:#}").contains(&url), "{error:#}");
            clients.push(client);
        }
        // Who is down is, whatever the certificates are.
        drop(listener);
        for client in clients {
            let error = client.get(&url).unwrap_err();
            assert!(is_silence(&error) && !is_unasked(&error), "{error:#}");
        }
        for url in ["http://no-such-host.invalid:1", "ftp://127.0.0.1:1"] {
            let error = Client::default().get(url).unwrap_err();
            assert!(is_unasked(&error) && !is_silence(&error), "{error:#}");
        }
        let (url, thread) = serve(b"SSH-2.0-x\r\n");
        let error = Client::default().get(&url).unwrap_err();
        assert!(!is_unasked(&error) && !is_silence(&error), "{error:#}");
        thread.join().unwrap();
        let error = unasked("GET http://e1: answered 403".into()).context("all");
        assert!(is_unasked(&error) && !is_silence(&error));
    }
}
