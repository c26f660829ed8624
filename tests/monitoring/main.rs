//! The rules and the dashboard of dist/monitoring, judged by Prometheus itself.

mod live;
mod rules;

use std::path::{Path, PathBuf};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");

/// The alert rules that are shipped.
const RULES: &str = "dist/monitoring/etcd2-backup.rules.yml";
/// The dashboard that is shipped.
const DASHBOARD: &str = "dist/monitoring/etcd2-backup.dashboard.json";

/// A file of this repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
