//! Answers whose headers come apart from the body, since there are some behind it: trailers, of gRPC and of what speaks JSON in
//! its place.

use anyhow::{Context as _, Result, ensure};

use super::handed::Handed;
use super::{Client, Response};

/// The longest head that is read; curl itself takes no more than some hundred KiB.
const MAX_HEAD: u64 = 64 << 10;
/// The longest body of an answer in JSON.
const MAX_JSON: usize = 8 << 20;

/// How the body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// HTTP/1.1, as JSON.
    Json,
    /// HTTP/2, as gRPC.
    Grpc,
}

/// Status, headers and trailers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
}

impl Client {
    /// `POST url` with a JSON body, and with a token in place of the login. For servers that answer with trailers.
    ///
    /// # Errors
    /// As [`Client::get`], and an answer of more than some MiB.
    pub fn post_by_token(&self, url: &str, token: Option<&str>, json: &str) -> Result<Response> {
        let mut body = Vec::new();
        let mut all = 0;
        let head = self.post_apart(Spoken::Json, url, token, json.as_bytes(), &mut |piece| {
            all += piece.len();
            if all <= MAX_JSON {
                body.extend_from_slice(piece);
            }
        })?;
        ensure!(all <= MAX_JSON, "POST {url}: the answer has more than {MAX_JSON} bytes");
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// Posts a body of any bytes; the answer's comes in pieces.
    pub(super) fn post_apart(
        &self,
        spoken: Spoken,
        url: &str,
        token: Option<&str>,
        body: &[u8],
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<Head> {
        let (body, head) = (Handed::new(body)?, Handed::new(b"")?);
        let flags = match spoken {
            Spoken::Json => "http1.1\n",
            Spoken::Grpc if url.starts_with("https:") => "http2\n",
            // Nobody is asked there what he speaks.
            Spoken::Grpc => "http2-prior-knowledge\n",
        };
        let headers: &[&str] = match spoken {
            Spoken::Json => &["Content-Type: application/json"],
            Spoken::Grpc => &["Content-Type: application/grpc", "TE: trailers"],
        };
        let mut options: Vec<_> = headers.iter().map(|header| ("header", (*header).to_owned())).collect();
        if let Some(token) = token {
            // gRPC has it under the one name, what speaks JSON passes on the other one.
            let name = if spoken == Spoken::Grpc { "token" } else { "Authorization" };
            options.push(("header", format!("{name}: {token}")));
        }
        options.push(("data-binary", format!("@{}", body.path())));
        options.push(("dump-header", head.path()));
        let request = format!("POST {url}");
        self.curl(&self.config(flags, "POST", url, &options), &request, url, read)?;
        parse_head(&head.read(MAX_HEAD)?).context(request)
    }
}

/// The last head that curl wrote, with the trailers behind it. Of one answer there may be several: interim ones come before it.
pub(super) fn parse_head(raw: &[u8]) -> Result<Head> {
    let text = String::from_utf8_lossy(raw);
    let mut head = None;
    for line in text.split("\r\n") {
        if let Some(rest) = line.strip_prefix("HTTP/") {
            let status = rest.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status = status.with_context(|| format!("not an HTTP answer: {line}"))?;
            head = Some(Head { status, headers: Vec::new() });
        } else if let (Some(head), Some((name, value))) = (&mut head, line.split_once(':')) {
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    head.context("the answer has no headers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_belong_to_the_last_head() {
        let raw =
            b"HTTP/1.1 100 Continue\r\nA: 1\r\n\r\nHTTP/2 200 \r\ncontent-type: application/grpc\r\n\r\n\
            grpc-status: 0\r\ngrpc-message: \r\n";
        let head = parse_head(raw).unwrap();
        let headers = [("content-type", "application/grpc"), ("grpc-status", "0"), ("grpc-message", "")];
        assert_eq!((head.status, head.headers.len()), (200, 3));
        assert_eq!(head.headers, headers.map(|(n, v)| (n.to_owned(), v.to_owned())));
        for bad in [&b""[..], b"\r\n\r\n", b"HTTP/2\r\n", b"HTTP/2 x\r\n", b"a: b\r\n"] {
            assert!(parse_head(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
