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
        let verb = r#"for VERB; do case $VERB in copy|copyto|lsjson|lsf|cat|version|delete|deletefile) break;; esac; done"#;
        let script = format!(
            "#!/bin/sh\nREAL={}\n{verb}\necho $VERB >>{}\n[ $VERB = version ] && exec \"$REAL\" \"$@\"\n. {}\n",
            this.real.display(),
            this.calls_file().display(),
            this.body().display()
        );
        this.honest();
        write_program(&this.folder.join("rclone"), &script);
        this
    }

    /// Runs `body` in place of the real rclone; it is `$REAL`, its verb `$VERB`. What is asked for its version tells the truth.
    /// The program itself stays the same, so that nothing shows that it is another one.
    pub fn instead(&self, body: &str) {
        write(&self.body(), format!("{body}\n"));
    }

    /// Makes another program of it, as an upgrade of rclone would.
    pub fn upgrade(&self) {
        let path = self.folder.join("rclone");
        let script = fs::read_to_string(&path).unwrap();
        write_program(&path, &format!("{script}# another version\n"));
    }

    fn body(&self) -> PathBuf {
        self.folder.join("body")
    }

    /// Injects nothing.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn honest(&self) {
        self.instead(r#"exec "$REAL" "$@""#);
    }

    /// The verbs of all calls since the last look, but for `version`: each new program is asked for it once.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.calls_file()).unwrap_or_default();
        write(&self.calls_file(), "");
        calls.lines().filter(|verb| *verb != "version").map(str::to_owned).collect()
    }

    fn calls_file(&self) -> PathBuf {
        self.folder.join("calls")
    }
}
