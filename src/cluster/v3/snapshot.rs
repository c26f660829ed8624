//! `Maintenance/Snapshot`: a member sends its db as of one moment, and behind it the SHA-256 of all that.
//!
//! It goes by gRPC alone: the JSON gateway does the same with eight times the work, which is the member's.

use anyhow::{Result, ensure};

use super::calls::{self, Token};
use super::messages;
use crate::exit::{Exit, because};
use crate::sys::http::grpc::Refusal;
use crate::sys::http::{Client, unasked};

const METHOD: &str = "Maintenance/Snapshot";

/// Asks the member at this URL for it; each piece goes to `each` as it comes. Where authentication is on it is told to root alone.
///
/// # Errors
/// No answer, or one that is cut off; it could not be asked ([`is_unasked`](crate::sys::http::is_unasked)); or that of `each`.
pub fn snapshot(http: &Client, url: &str, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    if !http.speaks_http2() {
        return Err(because(
            unasked(format!("{url}: {METHOD} needs HTTP/2")),
            Exit::Failed,
            "curl on this node has no HTTP/2",
            "install a curl that lists HTTP2 (curl --version)",
        ));
    }
    let said = match stream(http, url, None, each)? {
        Err(refused) if calls::wants_a_user(&refused) => match &http.login {
            Some(login) => match calls::log_in(http, url, login)? {
                Ok(token) => stream(http, url, Some(&token), each)?,
                Err(refused) => Err(refused),
            },
            None => Err(refused),
        },
        said => said,
    };
    said.map_err(|refused| calls::unanswered(url, METHOD, &refused))
}

fn stream(
    http: &Client,
    url: &str,
    token: Option<&Token>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Result<(), Refusal>> {
    let place = format!("{}/etcdserverpb.{METHOD}", url.trim_end_matches('/'));
    let token = token.map(|Token(token)| token.as_str());
    let mut came = false;
    let said = http.grpc_stream(&place, token, &[], &mut |message| {
        let piece = messages::piece(message)?;
        came |= !piece.is_empty();
        each(piece)
    })?;
    // Who is refused before the first piece may ask again.
    if let Err(refused) = &said {
        ensure!(!came, "POST {place}: it ended early: {refused}");
    }
    Ok(said)
}
