//! What opens a cluster's two ports to us: certificates, and a user of etcd's authentication.

use std::time::Duration;

use anyhow::Result;

use crate::exit::{Exit, OrFault, fault};
use crate::paths::AUTH;
use crate::settings::Settings;
use crate::sys::http::{Client, Login};
use crate::sys::{look, secret_file};

/// How the members of a cluster are asked.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// At their peer URLs.
    pub peers: Client,
    /// At their client URLs.
    pub clients: Client,
}

impl Access {
    /// With this node's certificates, and its user where there is one.
    ///
    /// # Errors
    /// As [`login`].
    pub fn of(settings: &Settings) -> Result<Self> {
        let mut access = Self::anonymous(settings);
        access.clients.login = login(settings)?;
        Ok(access)
    }

    /// With this node's certificates alone: enough for whatever changes nothing but keys.
    pub fn anonymous(settings: &Settings) -> Self {
        let mut access = Self::default();
        access.peers.tls.clone_from(&settings.etcd.peer_tls);
        access.clients.tls.clone_from(&settings.etcd.client_tls);
        access
    }

    /// Waits no longer than this for an answer, and for a connection.
    #[must_use]
    pub fn limited(mut self, limit: Duration, connect_limit: Duration) -> Self {
        for client in [&mut self.peers, &mut self.clients] {
            (client.limit, client.connect_limit) = (limit, connect_limit);
        }
        self
    }
}

/// The user of etcd's authentication; `None` if there is no such file.
///
/// # Errors
/// [`Exit::Settings`]: others than root may read or change the file, or it holds something else. Or it could not be asked
/// whether it is there.
pub fn login(settings: &Settings) -> Result<Option<Login>> {
    let path = &settings.etcd.auth_file;
    if look::at_name(path)?.is_none() {
        return Ok(None);
    }
    let read = secret_file::read(path)
        .and_then(|text| Login::new(text).ok_or_else(|| anyhow::anyhow!("it does not hold user:password")));
    let what = format!("reading etcd's user and password from {}", path.display());
    read.map(Some).or_fault(Exit::Settings, what, how_to_log_in())
}

/// The error for an answer that etcd gives to nobody else than the right user.
pub fn denied(by: &str, login: Option<&Login>) -> anyhow::Error {
    let what = match login {
        Some(_) => format!("etcd at {by} rejected the user and password in {AUTH}"),
        None => format!("authentication is enabled on etcd at {by}, but no credentials are configured"),
    };
    fault(Exit::Settings, what, how_to_log_in())
}

fn how_to_log_in() -> String {
    format!(
        "to set them: sudo install -m 600 /dev/null {AUTH}, then write root:PASSWORD into it, with the \
         password of etcd's root user"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};
    use crate::sys::fs::write_atomic;

    #[test]
    fn a_user_comes_from_a_file_that_only_root_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = crate::settings::tests::in_tree(dir.path());
        settings.etcd.auth_file = dir.path().join("auth");
        assert_eq!(login(&settings).unwrap(), None);
        for (text, mode, said) in [
            ("root:secret\n", 0o600, None),
            ("root:secret\n", 0o640, Some("its mode is 0640")),
            ("rootsecret\n", 0o600, Some("it does not hold user:password")),
            ("", 0o600, Some("it is empty")),
        ] {
            write_atomic(&settings.etcd.auth_file, text.as_bytes(), mode).unwrap();
            match (login(&settings), said) {
                (Ok(got), None) => assert_eq!(got, Login::new("root:secret".to_owned())),
                (Err(e), Some(said)) => {
                    assert_eq!(exit_of(&e), Exit::Settings);
                    let text = format!("{e:#}");
                    assert!(text.contains(said) && !text.contains("secret\n"), "{text}");
                    assert!(hint_of(&e).unwrap().contains("install -m 600 /dev/null /etc/etcd2-backup/auth"));
                }
                (got, said) => panic!("{got:?} {said:?}"),
            }
        }
    }
}
