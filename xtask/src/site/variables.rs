//! What the node is told of a site: the variables of our services, by the rows of the table.

use std::path::Path;

use etcd2_backup::settings::table::{Lands, SETTINGS};
use humantime::format_duration;
use serde::Serialize;

use super::Site;
use super::runner::Runner;

/// A variable that is set, as the templates see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is set to.
    pub(crate) value: String,
    /// What stands above it, if anything.
    pub(crate) note: &'static str,
}

impl Site {
    /// All of them, in the order of the table.
    pub(crate) fn variables(&self) -> Vec<Variable> {
        let set = |(key, name, note)| Some(Variable { name, value: self.variable(key)?, note });
        let rows = SETTINGS.iter().filter_map(|row| match row.lands {
            Lands::Variable(name) => Some((row.key, name, row.note)),
            Lands::Directive { .. } | Lands::Build => None,
        });
        rows.filter_map(set).collect()
    }

    /// The text of a setting that lands in a variable; `None` where the program's own default is meant.
    ///
    /// # Panics
    /// The setting is none of those, which a test looks for.
    fn variable(&self, key: &str) -> Option<String> {
        let dir = |path: &Path| path.display().to_string();
        let keep = &self.retention;
        match key {
            "founder" => Some(self.founder.join(",")),
            "endpoint" => Some(self.endpoint.clone()),
            "quiet_interval" => Some(format_duration(self.quiet_interval).to_string()),
            "data_dir" => Some(dir(&self.data_dir)),
            "backup_dir" => Some(dir(&self.backup_dir)),
            "restore_dir" => Some(dir(&self.restore_dir)),
            "etcd_unit" => Some(self.etcd_unit.to_string()),
            "v2_only" => Some(self.v2_only.to_string()),
            "source" => self.source.clone(),
            "rclone.runner" => Some(self.runner.name().to_owned()),
            "rclone.image" => match &self.runner {
                Runner::Docker(image) | Runner::Podman(image) => Some(image.clone()),
                Runner::Host | Runner::Bundled(_) => None,
            },
            "rclone.timeout" => Some(format_duration(self.rclone_timeout).to_string()),
            "rclone.bwlimit" => self.bwlimit.clone(),
            "rclone.flags" => Some(self.flags.join(" ")).filter(|flags| !flags.is_empty()),
            "rclone.password_file" => self.password_file.as_deref().map(dir),
            "metrics.textfile" => self.metrics_file.as_deref().map(dir),
            "retention.prune" => Some(keep.prune.to_string()),
            "retention.keep_last" => Some(keep.keep_last.to_string()),
            "retention.keep_within" => Some(keep.keep_within.clone()),
            "retention.keep_daily" => Some(keep.keep_daily.to_string()),
            "retention.keep_weekly" => Some(keep.keep_weekly.to_string()),
            "retention.keep_other_clusters" => Some(keep.keep_other_clusters.clone()),
            key => panic!("the site has no value for {key}"),
        }
    }
}
