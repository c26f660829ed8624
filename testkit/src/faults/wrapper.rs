//! A script in front of the real rclone: it writes down every call, and injects a fault where a test asks for one.

use std::fs;
use std::path::PathBuf;

use crate::files::{write, write_program};
use crate::node::Node;
use crate::tools::Tools;

/// See the module.
#[derive(Debug)]
pub struct Wrapper {
    folder: PathBuf,
    real: PathBuf,
}

impl Wrapper {
    /// From now on this node's rclone.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn new(node: &mut Node, tools: &Tools) -> Self {
        let folder = node.root().with_file_name("wrapper");
        fs::create_dir_all(&folder).unwrap();
        let path = format!("{}:{}", folder.display(), node.environment["PATH"]);
        node.environment.insert("PATH".into(), path);
        let this = Self { folder, real: tools.rclone.clone() };
        this.honest();
        this
    }

    /// Runs `body` in place of the real rclone; it is `$REAL`, its verb `$VERB`. What is asked for its version tells the truth.
    pub fn instead(&self, body: &str) {
        let calls = self.calls_file();
        let verb =
            r#"for VERB; do case $VERB in copy|copyto|lsjson|lsf|cat|version|deletefile) break;; esac; done"#;
        let version = r#"[ $VERB = version ] && exec "$REAL" "$@""#;
        let script = format!(
            "#!/bin/sh\nREAL={}\n{verb}\necho $VERB >>{}\n{version}\n{body}\n",
            self.real.display(),
            calls.display()
        );
        write_program(&self.folder.join("rclone"), &script);
    }

    /// Injects nothing.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn honest(&self) {
        self.instead(r#"exec "$REAL" "$@""#);
    }

    /// The verbs of all calls since the last look, but for `version`: each new script is asked for it once.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.calls_file()).unwrap_or_default();
        write(&self.calls_file(), "");
        calls.lines().filter(|verb| *verb != "version").map(str::to_owned).collect()
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.join("calls")
    }
}
