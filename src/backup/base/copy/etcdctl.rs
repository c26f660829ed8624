//! etcd sends its db to its own program, where the node has that: for a curl that has no HTTP/2.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::asked::Asked;
use super::target::Target;
use crate::etcd::datadir::DataDir;
use crate::settings::Settings;
use crate::sys::command::CommandRunExt as _;
use crate::sys::http::Client;
use crate::sys::look;

const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Asks for it.
pub(super) fn take(settings: &Settings, dir: &DataDir, target: &Target) -> Result<()> {
    let asked = Asked::find(settings, dir)?;
    target.refuse_if_no_room()?;
    let mut command = Command::new("etcdctl");
    command.args(["snapshot", "save"]).arg(target.path());
    // What is set for people must not decide, nor a proxy. The password goes where only root can look.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    for (name, value) in variables(&asked.http, asked.url) {
        command.env(name, value);
    }
    if let Err(e) = command.run_ok(LIMIT) {
        match look::is_absence(&e) {
            true => bail!("there is no etcdctl on this node"),
            false => return Err(e),
        }
    }
    if !look::is_file(&target.path())? {
        bail!("etcdctl saved nothing: it may be of etcd 2");
    }
    asked.refuse_another()?;
    target.end_of_snapshot().context("what etcdctl saved")
}

/// How etcdctl is told.
fn variables(http: &Client, url: &str) -> Vec<(&'static str, String)> {
    let mut all = vec![("ETCDCTL_API", "3".to_owned()), ("ETCDCTL_ENDPOINTS", url.to_owned())];
    let files =
        [("ETCDCTL_CACERT", &http.tls.ca), ("ETCDCTL_CERT", &http.tls.cert), ("ETCDCTL_KEY", &http.tls.key)];
    for (name, path) in files {
        if let Some(path) = path {
            all.push((name, path.to_string_lossy().into_owned()));
        }
    }
    if let Some(login) = &http.login {
        let (user, password) = login.parts();
        all.push(("ETCDCTL_USER", format!("{user}:{password}")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::http::{Login, Tls};

    #[test]
    fn whom_to_ask_and_how_is_in_the_environment() {
        let path = |p: &str| Some(p.into());
        let tls = Tls { cert: path("/c"), key: path("/k"), ca: path("/ca") };
        let login = Login::new("root:a:b".to_owned());
        let all = variables(&Client { tls, login, ..Client::default() }, "https://e1:1");
        let all: Vec<String> = all.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let wanted = [
            "ETCDCTL_API=3",
            "ETCDCTL_ENDPOINTS=https://e1:1",
            "ETCDCTL_CACERT=/ca",
            "ETCDCTL_CERT=/c",
            "ETCDCTL_KEY=/k",
            "ETCDCTL_USER=root:a:b",
        ];
        assert_eq!(all, wanted);
        assert_eq!(variables(&Client::default(), "http://e1:1").len(), 2);
    }
}
