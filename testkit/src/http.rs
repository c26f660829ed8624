//! Just enough HTTP/1.1 to talk to etcd on loopback: one connection, kept open, so that thousands of keys are quick.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// etcd answers a write without quorum after its own time limit of a few seconds.
const LIMIT: Duration = Duration::from_secs(30);

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, whole.
    pub body: String,
}

impl Reply {
    /// A header's value; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A connection to one server, made when it is first needed.
#[derive(Debug)]
pub struct Connection {
    /// Who asks, as etcd's v3 store said at the login.
    pub token: Option<String>,
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    /// To the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { token: None, address, stream: None }
    }

    /// Sends one request and reads the whole answer. It is never repeated: a write might count twice.
    ///
    /// # Errors
    /// No connection, or not an HTTP answer. Any status is an answer.
    pub fn request(&mut self, method: &str, target: &str, form: Option<&str>) -> Result<Reply> {
        let answer = self.try_request(method, target, form);
        let closing = answer.as_ref().map_or(true, |r| r.header("connection").is_some_and(|v| v == "close"));
        if closing {
            self.stream = None;
        }
        answer.with_context(|| format!("{method} http://{}{target}", self.address))
    }

    fn try_request(&mut self, method: &str, target: &str, form: Option<&str>) -> Result<Reply> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().context("no connection")?;
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(token) = &self.token {
            request += &format!("Authorization: {token}\r\n");
        }
        if let Some(form) = form {
            request += "Content-Type: application/x-www-form-urlencoded\r\n";
            request += &format!("Content-Length: {}\r\n\r\n{form}", form.len());
        } else {
            request += "\r\n";
        }
        stream.get_mut().write_all(request.as_bytes())?;
        read_reply(stream)
    }
}

/// Reads one answer from its status line to the end of its body.
fn read_reply(from: &mut impl BufRead) -> Result<Reply> {
    let first = read_line(from)?;
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not an HTTP answer: {first:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("not a header: {line:?}"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: String::new() };
    let body = if reply.header("transfer-encoding") == Some("chunked") {
        read_chunks(from)?
    } else if let Some(length) = reply.header("content-length") {
        read_exactly(from, length.parse().context("parsing Content-Length")?)?
    } else if status == 204 {
        Vec::new()
    } else {
        bail!("an answer without a length");
    };
    reply.body = String::from_utf8(body).context("reading a body that is not UTF-8")?;
    Ok(reply)
}

fn read_chunks(from: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("not a chunk size: {line:?}"))?;
        if size == 0 {
            // Behind the last chunk the trailer, which etcd's gateway has for errors.
            while !read_line(from)?.is_empty() {}
            return Ok(body);
        }
        body.extend(read_exactly(from, size)?);
        if !read_line(from)?.is_empty() {
            bail!("a chunk is longer than its size says");
        }
    }
}

fn read_exactly(from: &mut impl Read, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Percent-encodes everything but unreserved characters and those in `keep`.
pub fn encode(text: &str, keep: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || (c.is_ascii() && keep.contains(c)) {
            out.push(c);
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_a_length_with_chunks_and_without_a_body() {
        let head = "HTTP/1.1 200 OK\r\nX-Etcd-Index: 7\r\n";
        for (raw, status, body) in [
            (format!("{head}Content-Length: 5\r\n\r\nhellorest"), 200, "hello"),
            (
                format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"),
                200,
                "hello",
            ),
            (
                format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Y: z\r\n\r\n"),
                200,
                "hello",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), 204, ""),
        ] {
            let reply = read_reply(&mut raw.as_bytes()).unwrap();
            assert_eq!((reply.status, reply.body.as_str()), (status, body));
            assert_eq!(reply.header("x-etcd-index"), (status == 200).then_some("7"));
        }
    }

    #[test]
    fn what_is_no_whole_answer_is_an_error() {
        for (raw, reason) in [
            ("", "closed the connection"),
            ("SSH-2.0-x\r\n", "not an HTTP answer"),
            ("HTTP/1.1 200 OK\r\n\r\n", "without a length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "failed to fill whole buffer"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", "longer than its size"),
        ] {
            let error = read_reply(&mut raw.as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{raw:?}: {error:#}");
        }
    }

    #[test]
    fn encoding_keeps_only_what_it_must() {
        assert_eq!(encode("/uni/ключ", "/"), "/uni/%D0%BA%D0%BB%D1%8E%D1%87");
        assert_eq!(encode("a b&c=d%/\n", ""), "a%20b%26c%3Dd%25%2F%0A");
    }
}
