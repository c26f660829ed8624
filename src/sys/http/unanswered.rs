//! Why a request has no answer: nobody is there, or we could not ask.

use std::fmt;

use anyhow::Error;

use crate::exit::{Exit, because};
use crate::sys::look;

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nobody is there: refused, unreachable, not within the limit, hung up.
    Silent,
    /// We could not ask.
    Unasked,
    /// The same, since the certificates do not do.
    Certificates,
    /// Nobody who speaks HTTP can be there: another protocol is spoken, or it is no place at all.
    Foreign,
}

/// A request without an answer, `GET url: reason`.
#[derive(Debug)]
pub(super) struct NoAnswer {
    pub(super) why: Why,
    pub(super) text: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NoAnswer {}

/// Whether an error is that nobody answers there.
pub fn is_silence(error: &Error) -> bool {
    error.downcast_ref::<NoAnswer>().is_some_and(|none| none.why == Why::Silent)
}

/// Whether an error is that we could not ask, so that nothing is known of whom we wanted to ask.
pub fn is_unasked(error: &Error) -> bool {
    let ours = |none: &NoAnswer| matches!(none.why, Why::Unasked | Why::Certificates);
    error.downcast_ref::<NoAnswer>().is_some_and(ours)
}

/// Whether an error is that whoever answers there speaks another protocol.
pub fn is_foreign(error: &Error) -> bool {
    error.downcast_ref::<NoAnswer>().is_some_and(|none| none.why == Why::Foreign)
}

/// An error that is [`is_unasked`], for an answer that only says that we did not ask as we should have.
pub fn unasked(text: String) -> Error {
    Error::new(NoAnswer { why: Why::Unasked, text })
}

/// What curl's exit status says of a request by http or https; `None` if a signal ended it.
pub(super) fn why(status: Option<i32>, stderr: &str, https: bool) -> Why {
    match status {
        // Who does not like our certificate may hang up only when it is read from, and the reason be lost on the way.
        Some(52 | 55 | 56) if https => Why::Certificates,
        Some(7 | 28 | 52 | 55 | 56) => Why::Silent,
        Some(1) if stderr.contains("HTTP/0.9") => Why::Foreign,
        Some(3 | 8 | 16 | 18 | 61) => Why::Foreign,
        Some(35 | 51 | 53 | 54 | 58 | 59 | 60 | 64 | 66 | 77 | 80 | 82 | 83 | 90 | 91 | 98) => {
            Why::Certificates
        }
        _ => Why::Unasked,
    }
}

pub(super) fn without_certificates(error: Error, request: &str) -> Error {
    let none = error.context(NoAnswer { why: Why::Certificates, text: request.to_owned() });
    let hint = "put the file there and run this with sudo, or name the right file in etcd's unit";
    with_hint(none, hint.to_owned())
}

pub(super) fn with_hint(error: Error, hint: String) -> Error {
    let what = "asking with the certificates of this node".to_owned();
    because(error, Exit::Settings, what, hint)
}

pub(super) fn without_curl(error: Error, request: &str) -> Error {
    let hint = match look::is_absence(&error) {
        true => "install curl on this node; etcd2-backup makes every HTTP request with it",
        false => "does curl run on this node? try: curl --version",
    };
    let none = error.context(NoAnswer { why: Why::Unasked, text: request.to_owned() });
    because(none, Exit::Failed, "asking through curl", hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_status_of_curl_says() {
        for (status, stderr, by_http, by_https) in [
            (Some(7), "Failed to connect", Why::Silent, Why::Silent),
            (Some(28), "Operation timed out", Why::Silent, Why::Silent),
            (Some(52), "Empty reply from server", Why::Silent, Why::Certificates),
            (Some(56), "Recv failure: Connection reset by peer", Why::Silent, Why::Certificates),
            (Some(56), "tlsv13 alert certificate required", Why::Silent, Why::Certificates),
            (Some(35), "alert bad certificate", Why::Certificates, Why::Certificates),
            (Some(58), "could not load PEM client certificate", Why::Certificates, Why::Certificates),
            (Some(60), "SSL certificate problem", Why::Certificates, Why::Certificates),
            (Some(77), "error setting certificate verify locations", Why::Certificates, Why::Certificates),
            (Some(6), "Could not resolve host", Why::Unasked, Why::Unasked),
            (Some(1), "Protocol \"https\" not supported", Why::Unasked, Why::Unasked),
            (Some(1), "Received HTTP/0.9 when not allowed", Why::Foreign, Why::Foreign),
            (Some(3), "URL using bad/illegal format", Why::Foreign, Why::Foreign),
            (Some(16), "Error in the HTTP2 framing layer", Why::Foreign, Why::Foreign),
            (Some(2), "", Why::Unasked, Why::Unasked),
            (Some(127), "error while loading shared libraries", Why::Unasked, Why::Unasked),
            (None, "", Why::Unasked, Why::Unasked),
        ] {
            let found = (why(status, stderr, false), why(status, stderr, true));
            assert_eq!(found, (by_http, by_https), "{status:?} {stderr}");
        }
    }
}
