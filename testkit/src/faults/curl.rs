//! A script in front of the node's curl: it writes down what everybody on the node can see of a call, and injects a fault
//! where a test asks for one.

use std::fs;
use std::path::PathBuf;

use crate::files::write_program;
use crate::node::Node;

/// See the module.
#[derive(Debug)]
pub struct Curl {
    folder: PathBuf,
    real: PathBuf,
}

impl Curl {
    /// From now on this node's curl.
    ///
    /// # Panics
    /// There is no curl, or the script cannot be written.
    pub fn new(node: &mut Node) -> Self {
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
    pub fn instead(&self, pattern: &str, body: &str) {
        self.instead_of(":", pattern, body);
    }

    /// The same, and `first` runs before anything else for every call.
    pub fn instead_of(&self, first: &str, pattern: &str, body: &str) {
        let script = format!(
            "#!/bin/sh\nREAL={}\ncd {}\n{{ echo \"$@\"; env; }} >>seen\n{first}\nCONFIG=$(cat)\n\
             if printf '%s' \"$CONFIG\" | grep -q -- '{pattern}'; then\n{body}\nfi\n\
             printf '%s' \"$CONFIG\" | \"$REAL\" \"$@\"\n",
            self.real.display(),
            self.folder.display()
        );
        write_program(&self.folder.join("curl"), &script);
    }

    /// As if these client URLs took nothing but gRPC, as of an etcd with `--listen-client-http-urls` (3.5.10 and newer).
    ///
    /// # Panics
    /// One has no port.
    pub fn grpc_alone(&self, urls: &[&str]) {
        let port = |url: &&str| format!("*http1.1*:{}*", url.rsplit_once(':').expect("a URL with a port").1);
        let ports: Vec<String> = urls.iter().map(port).collect();
        let says = "echo 'curl: (1) Received HTTP/0.9 when not allowed' >&2; exit 1";
        self.instead("http1.1", &format!("case \"$CONFIG\" in {}) {says};; esac", ports.join("|")));
    }

    /// Injects nothing.
    pub fn honest(&self) {
        self.instead("^never$", ":");
    }

    /// Arguments and environment of all calls.
    pub fn seen(&self) -> String {
        fs::read_to_string(self.folder.join("seen")).unwrap_or_default()
    }

    /// A file that a body made.
    pub fn made(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }
}
