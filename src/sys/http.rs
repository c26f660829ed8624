//! HTTP by the node's `curl`: a static program must not resolve names itself, and curl has the node's certificates.
//!
//! Everything, the URL included, goes to curl on stdin: nothing of a request is ever seen in the list of processes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::command::CommandRunExt;
use crate::exit::{Exit, OrFault};

/// How requests are made. More fields come with TLS and passwords.
#[derive(Debug, Clone)]
pub struct Client {
    /// The longest one request may take, connecting included.
    pub limit: Duration,
    /// The longest connecting may take.
    pub connect_limit: Duration,
}

impl Default for Client {
    fn default() -> Self {
        Self { limit: Duration::from_secs(10), connect_limit: Duration::from_secs(3) }
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
    /// No answer within the limit. Any status is an answer.
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
        // -q: root's ~/.curlrc must not decide. The process limit only catches a curl that ignores its own.
        let output = Command::new("curl")
            .args(["-q", "--config", "-"])
            .run_limited(config.as_bytes(), self.limit + Duration::from_secs(5))
            .or_fault(
                Exit::Failed,
                "asking etcd through curl",
                "install curl on this node; etcd2-backup makes every HTTP request with it",
            )?;
        if !output.status.success() {
            bail!("{method} {url}: {}", output.stderr.trim_start_matches("curl: "));
        }
        parse_response(&output.stdout).with_context(|| format!("{method} {url}"))
    }

    fn config(&self, method: &str, url: &str, json: Option<&str>) -> String {
        let mut config = String::from("silent\nshow-error\ngloboff\ninclude\n");
        let mut set = |name: &str, value: &str| config.push_str(&format!("{name} = {}\n", quoted(value)));
        set("proto", "=http,https");
        // Members of a cluster reach each other without a proxy, whatever the environment says.
        set("noproxy", "*");
        set("max-time", &format!("{:.3}", self.limit.as_secs_f64()));
        set("connect-timeout", &format!("{:.3}", self.connect_limit.as_secs_f64()));
        set("request", method);
        // Without it curl asks for a "100 Continue" first when a body is long.
        set("header", "Expect:");
        if let Some(json) = json {
            set("header", "Content-Type: application/json");
            set("data-binary", json);
        }
        set("url", url);
        config
    }
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
        drop(listener);
        let error = client.get(&url).unwrap_err();
        assert!(error.to_string().contains("(7)"), "{error:#}");
    }
}
