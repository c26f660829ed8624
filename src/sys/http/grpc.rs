//! gRPC by the node's curl: a message there, one or many back, and at the end a status. Knows no etcd.
//!
//! On the wire (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md) a message has five bytes before it: 0 as it is not compressed, and
//! its length, big-endian. `grpc-status` and `grpc-message` stand in the trailers, or, if there is no message, in the headers.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::Client;
use super::apart::{self, Head, Spoken};
use crate::sys::command::CommandRunExt as _;

/// The longest message that is taken, as of gRPC's own clients.
pub const MAX_MESSAGE: usize = 4 << 20;
const PREFIX: usize = 5;

/// The server answered, and did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as one of gRPC's codes; never 0.
    pub code: u32,
    /// Why, in the server's words.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (gRPC status {})", self.message, self.code)
    }
}

impl Client {
    /// Calls a method that answers with one message: `url` is `http://HOST:PORT/package.Service/Method`.
    ///
    /// # Errors
    /// As [`Client::get`], and an answer that is not one of gRPC, or longer than [`MAX_MESSAGE`].
    pub fn grpc(&self, url: &str, token: Option<&str>, request: &[u8]) -> Result<Result<Vec<u8>, Refusal>> {
        let mut answer = None;
        let refused = self.grpc_stream(url, token, request, &mut |message| {
            ensure!(answer.is_none(), "more than one message");
            answer = Some(message.to_vec());
            Ok(())
        })?;
        if let Err(refused) = refused {
            return Ok(Err(refused));
        }
        answer.with_context(|| format!("POST {url}: neither a message nor an error")).map(Ok)
    }

    /// Calls a method that answers with a stream, as etcd's `Maintenance/Snapshot` does: each message goes to `each` as soon as
    /// it is there, to be written to a file for example. The client's limit holds for all of it. An error of `each` is given
    /// back in the end; until then nothing more goes to it.
    ///
    /// # Errors
    /// As [`Client::grpc`]; of a stream that was cut off, too.
    pub fn grpc_stream(
        &self,
        url: &str,
        token: Option<&str>,
        request: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Result<(), Refusal>> {
        let mut frames = Frames::default();
        let mut went = Ok(());
        let head = self.post_apart(Spoken::Grpc, url, token, &frame(request)?, &mut |piece| {
            if went.is_ok() {
                went = frames.push(piece, each);
            }
        })?;
        let ended = went.and_then(|()| match status(&head)? {
            Some(refused) => Ok(Err(refused)),
            None => frames.end().map(Ok),
        });
        ended.with_context(|| format!("POST {url}"))
    }

    /// Whether the node's curl speaks HTTP/2 at all, which it needs for gRPC. One that does not run is told of by the request.
    pub fn speaks_http2(&self) -> bool {
        static SPEAKS: OnceLock<bool> = OnceLock::new();
        *SPEAKS.get_or_init(|| {
            let said = Command::new("curl").args(["-q", "--version"]).run_ok(Duration::from_secs(10));
            said.map_or(true, |output| has_http2(&output.text()))
        })
    }
}

/// Whether `HTTP2` is among the features that `curl --version` names.
fn has_http2(said: &str) -> bool {
    let features = said.lines().find_map(|line| line.strip_prefix("Features:"));
    features.is_some_and(|features| features.split_ascii_whitespace().any(|feature| feature == "HTTP2"))
}

/// A message as it goes over the wire.
///
/// # Errors
/// It has more than 4 GiB.
pub fn frame(message: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(message.len()).context("a message of more than 4 GiB")?;
    Ok([&[0][..], &length.to_be_bytes(), message].concat())
}

/// Takes messages out of what comes over the wire in pieces of any length.
#[derive(Debug, Default)]
pub struct Frames {
    begun: Vec<u8>,
}

impl Frames {
    /// The next piece; each message that is whole with it goes to `each`.
    ///
    /// # Errors
    /// A message is compressed, or longer than [`MAX_MESSAGE`]; or that of `each`.
    pub fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.begun.extend_from_slice(piece);
        let mut rest = &self.begun[..];
        while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX>() {
            let [compressed, length @ ..] = *prefix;
            ensure!(compressed == 0, "a message is compressed, which was not asked for");
            let length = u32::from_be_bytes(length) as usize;
            ensure!(length <= MAX_MESSAGE, "a message of {length} bytes is longer than {MAX_MESSAGE}");
            let Some((message, next)) = behind.split_at_checked(length) else { break };
            each(message)?;
            rest = next;
        }
        let taken = self.begun.len() - rest.len();
        self.begun.drain(..taken);
        Ok(())
    }

    /// To be called when nothing more comes.
    ///
    /// # Errors
    /// A message is cut off.
    pub fn end(self) -> Result<()> {
        ensure!(self.begun.is_empty(), "the last message is cut off after {} bytes", self.begun.len());
        Ok(())
    }
}

/// What the headers and trailers of an answer say, as curl writes them to a file; `None`: all went well.
///
/// # Errors
/// They are not those of an answer in gRPC.
pub fn outcome(head: &[u8]) -> Result<Option<Refusal>> {
    status(&apart::parse_head(head)?)
}

fn status(head: &Head) -> Result<Option<Refusal>> {
    let value = |wanted: &str| {
        head.headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let Some(code) = value("grpc-status") else {
        match head.status {
            200 => bail!("the answer ended without a status"),
            status => bail!("answered {status}, not in gRPC"),
        }
    };
    let code = code.parse().with_context(|| format!("grpc-status: {code}"))?;
    let message = value("grpc-message").map(|message| decoded(message)).unwrap_or_default();
    Ok((code != 0).then_some(Refusal { code, message }))
}

/// A `grpc-message`: percent-encoded UTF-8. What is not is left as it is; for a terminal, control characters are not.
fn decoded(message: &str) -> String {
    let bytes = message.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    let text = String::from_utf8_lossy(&out);
    text.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.push(piece, &mut |message| {
                all.push(message.to_vec());
                Ok(())
            })?;
        }
        frames.end().map(|()| all)
    }

    #[test]
    fn messages_come_out_of_pieces_of_any_length() {
        let wire = [frame(b"one").unwrap(), frame(b"").unwrap(), frame(&[7; 300]).unwrap()].concat();
        assert_eq!(wire[..8], *b"\0\0\0\0\x03one");
        let want = [b"one".to_vec(), vec![], vec![7; 300]];
        for length in [1, 2, 5, 7, 100, wire.len()] {
            assert_eq!(taken(&wire.chunks(length).collect::<Vec<_>>()).unwrap(), want, "{length}");
        }
        assert!(taken(&[]).unwrap().is_empty());
        for (bad, said) in [
            (&wire[..wire.len() - 1], "cut off after 304 bytes"),
            (&wire[..2], "cut off after 2 bytes"),
            (&[1, 0, 0, 0, 0][..], "compressed"),
            (&[0, 0, 0x40, 0, 1], "a message of 4194305 bytes"),
        ] {
            let error = taken(&[bad]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let full = Frames::default().push(&wire, &mut |_| bail!("no room"));
        assert_eq!(full.unwrap_err().to_string(), "no room");
    }

    #[test]
    fn the_status_is_in_the_headers_or_behind_the_messages() {
        let head = |status, headers: &[(&str, &str)]| Head {
            status,
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        };
        let good = head(200, &[("content-type", "application/grpc"), ("Grpc-Status", "0")]);
        assert_eq!(status(&good).unwrap(), None);
        let refused = head(200, &[("grpc-status", "9"), ("grpc-message", "50%25 %e2%98%83%0a%zz%4")]);
        let refused = status(&refused).unwrap().unwrap();
        assert_eq!((refused.code, &*refused.message), (9, "50% \u{2603} %zz%4"));
        for (status_, headers, said) in [
            (200, &[][..], "ended without a status"),
            (404, &[], "answered 404, not in gRPC"),
            (200, &[("grpc-status", "x")], "grpc-status: x"),
        ] {
            let error = status(&head(status_, headers)).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_curl_says_whether_it_speaks_http2() {
        let said = "curl 7.88.1\nProtocols: dict http https\nFeatures: alt-svc HTTP2 HTTPS-proxy\n";
        assert!(has_http2(said) && !has_http2(&said.replace("HTTP2 ", "")) && !has_http2(""));
    }
}
