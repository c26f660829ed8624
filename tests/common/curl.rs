//! A script in front of the node's curl: it writes down what everybody on the node can see of a call, and injects a fault
//! where a test asks for one.
#![allow(dead_code, reason = "each file of tests uses its part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::common::{Node, write};

pub(crate) struct Curl {
    folder: PathBuf,
    real: PathBuf,
}

impl Curl {
    /// From now on this node's curl.
    pub(crate) fn new(node: &mut Node) -> Self {
        let folder = node.root().with_file_name("curl");
        fs::create_dir_all(&folder).unwrap();
        let path = node.environment["PATH"].clone();
        let mut all = std::env::split_paths(&path).map(|dir| dir.join("curl"));
        let real = all.find(|p| p.is_file()).expect("curl is in PATH");
        node.environment.insert("PATH".into(), format!("{}:{path}", folder.display()));
        let this = Self { folder, real };
        this.honest();
        this
    }

    /// Runs `body` for each call that the pattern fits; the call's configuration is `$CONFIG`, the real curl `$REAL`.
    pub(crate) fn instead(&self, pattern: &str, body: &str) {
        let script = format!(
            "#!/bin/sh\nREAL={}\ncd {}\n{{ echo \"$@\"; env; }} >>seen\nCONFIG=$(cat)\n\
             if printf '%s' \"$CONFIG\" | grep -q -- '{pattern}'; then\n{body}\nfi\n\
             printf '%s' \"$CONFIG\" | \"$REAL\" \"$@\"\n",
            self.real.display(),
            self.folder.display()
        );
        let path = self.folder.join("curl");
        write(&path, script);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Injects nothing.
    pub(crate) fn honest(&self) {
        self.instead("^never$", ":");
    }

    /// Arguments and environment of all calls.
    pub(crate) fn seen(&self) -> String {
        fs::read_to_string(self.folder.join("seen")).unwrap_or_default()
    }

    /// A file that a body made.
    pub(crate) fn made(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }
}
