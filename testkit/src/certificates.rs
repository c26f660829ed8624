//! An authority and certificates of it, made by openssl for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::write;
use crate::tools::skip_unless_ci;

const KEY: [&str; 6] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"];

/// What a certificate is for.
#[derive(Debug, Clone, Copy)]
pub enum For {
    /// A member, which is server and client.
    Member,
    /// Who asks only.
    Client,
}

/// An authority: its key and certificate, in a folder of its own.
#[derive(Debug)]
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one. Nothing without openssl.
    ///
    /// # Panics
    /// There is none, and this is CI.
    pub fn new() -> Option<Self> {
        if let Err(e) = Command::new("openssl").arg("version").output() {
            skip_unless_ci(&anyhow::Error::new(e).context("starting openssl"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let this = Self { folder };
        let mut command = this.openssl(&["req", "-x509", "-subj", "/CN=authority", "-days", "3650"]);
        command.args(KEY).args(["-keyout", "ca.key", "-out", "ca.pem"]);
        run(&mut command);
        Some(this)
    }

    /// Puts the authority's certificate, one for `name` and its key into a folder: `ca.pem`, `<name>.pem`, `<name>.key`.
    ///
    /// # Panics
    /// openssl fails.
    pub fn issue(&self, name: &str, purpose: For, into: &Path) {
        fs::create_dir_all(into).unwrap();
        let uses = match purpose {
            For::Member => "serverAuth,clientAuth",
            For::Client => "clientAuth",
        };
        let extensions = format!("extendedKeyUsage={uses}\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n");
        write(&self.path("extensions"), extensions);
        let subject = format!("/CN={name}");
        run(self.openssl(&["req", "-subj", &subject]).args(KEY).args(["-keyout", "key", "-out", "request"]));
        let mut sign = self.openssl(&["x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key"]);
        sign.args(["-CAcreateserial", "-days", "3650", "-extfile", "extensions", "-out", "certificate"]);
        run(&mut sign);
        for (from, to) in
            [("ca.pem", "ca.pem"), ("certificate", &format!("{name}.pem")), ("key", &format!("{name}.key"))]
        {
            fs::copy(self.path(from), into.join(to)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(self.folder.path()).args(arguments);
        command
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
