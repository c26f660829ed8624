//! What systemd itself says of the units, where it is installed.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::paths;
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use etcd2_backup::sys::unit_file::parse_settings;

use super::rendered::NodeFile;
use super::rules::{self, base};
use crate::site::finding::Finding;

/// systemd's own checker.
pub(crate) const ANALYZE: &str = "systemd-analyze";
const LIMIT: Duration = Duration::from_secs(60);

/// What systemd says of the units and of the timer's values; `None` where it is not installed.
pub(crate) fn ask(files: &[NodeFile], etcd_unit: &str) -> Result<Option<Vec<Finding>>> {
    match Command::new(ANALYZE).arg("--version").output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("starting systemd-analyze")?,
    };
    Ok(Some([verify(files, etcd_unit)?, times(files)?].concat()))
}

/// Lays the files out as on a node and has systemd load them.
fn verify(files: &[NodeFile], etcd_unit: &str) -> Result<Vec<Finding>> {
    let dir = tempfile::tempdir().context("making a folder for systemd-analyze")?;
    let put = |name: &str, text: &str| -> Result<()> {
        let path = dir.path().join(name);
        create_dirs(path.parent().unwrap_or(dir.path()), 0o755)?;
        // The program is not installed here.
        write_atomic(&path, text.replace(paths::PROGRAM, "/bin/true").as_bytes(), 0o644)
    };
    let mut units = vec![etcd_unit.to_owned()];
    put(etcd_unit, "[Service]\nExecStart=/bin/true\n")?;
    for file in files {
        let name = file.path.trim_start_matches("etc/systemd/system/");
        match name.rsplit('/').next().unwrap_or(name) {
            rules::SETTINGS => {
                for verb in ["backup", "restore", "join"] {
                    put(&format!("etcd2-{verb}.service.d/{}", rules::SETTINGS), &file.text)?;
                }
            }
            drop_in if name.contains('/') => put(&format!("{etcd_unit}.d/{drop_in}"), &file.text)?,
            unit => {
                units.push(unit.to_owned());
                put(unit, &file.text)?;
            }
        }
    }
    let mut command = Command::new(ANALYZE);
    command
        .args(["verify", "--man=no"])
        .args(units.iter().map(|unit| dir.path().join(unit)))
        .env("SYSTEMD_LOG_TARGET", "console")
        .env("SYSTEMD_COLORS", "0");
    let output = command.run_limited(&[], LIMIT)?;
    let folder = format!("{}/", dir.path().display());
    // It also speaks of the other units of this machine.
    let ours = |line: &&str| {
        line.contains(&folder) || units.iter().any(|unit| line.starts_with(&format!("{unit}:")))
    };
    let finding = |line: &str| Finding {
        // A newer one on the nodes may know it.
        refused: !line.contains("Unknown key") && !line.contains("Unknown section"),
        what: format!("systemd says: {}", line.trim().replace(&folder, "")),
        hint: "correct it in the template; man systemd.unit, systemd.service and systemd.timer".into(),
    };
    Ok(output.stderr.lines().filter(ours).map(finding).collect())
}

/// Has systemd read each time of the timers.
fn times(files: &[NodeFile]) -> Result<Vec<Finding>> {
    let timers = files.iter().filter(|f| Path::new(&f.path).extension().is_some_and(|e| e == "timer"));
    let settings = timers.flat_map(|f| parse_settings(&f.text).into_iter().map(|s| (base(&f.path), s)));
    let mut findings = Vec::new();
    for (timer, setting) in settings.filter(|(_, s)| s.section == "Timer" && !s.value.is_empty()) {
        let verb = match setting.key.as_str() {
            "OnCalendar" => "calendar",
            key if key.ends_with("Sec") => "timespan",
            _ => continue,
        };
        let value = setting.value.replace("%%", "%");
        let output = Command::new(ANALYZE).args([verb, "--", &value]).run_limited(&[], LIMIT)?;
        if !output.status.success() {
            let said = output.stderr.lines().next().unwrap_or("it does not take it").to_owned();
            let what = format!("{timer}: {}={value}: systemd says: {said}", setting.key);
            findings.push(Finding::refusal(what, format!("try it with: {ANALYZE} {verb} {value:?}")));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::render::expand;
    use crate::site::tests::{CONF, MINIMAL, load_of};

    const TIMER: &str = "etc/systemd/system/etcd2-backup.timer";

    /// What each template says, and what systemd (here 252, or newer) says of it.
    #[test]
    fn systemd_judges_units_and_times() {
        let service = "etc/systemd/system/etcd2-backup.service";
        let unit =
            |line: &str| format!("[Service]\nType=oneshot\nExecStart=/opt/bin/etcd2-backup backup\n{line}\n");
        let timer = |line: &str| format!("[Timer]\n{line}\n[Install]\nWantedBy=timers.target\n");
        for (name, text, want) in [
            (service, unit("Nice=10"), None),
            (service, unit("Nice=high"), Some("systemd says: etcd2-backup.service:4: Failed to parse")),
            (service, unit("MemroyMax=1G"), Some("Unknown key 'MemroyMax'")),
            (service, unit("Environment=\"A=1"), Some("etcd2-backup.service:4: ")),
            (TIMER, timer("OnUnitActiveSec=30sec"), None),
            (TIMER, timer("OnUnitActiveSec=30secs"), Some("OnUnitActiveSec=30secs: systemd says: ")),
            (TIMER, timer("OnCalendar=Mon..Fry 1:00"), Some("OnCalendar=Mon..Fry 1:00: systemd says: ")),
        ] {
            let mut site = load_of(MINIMAL, CONF).unwrap();
            site.templates = [(name.to_owned(), text.clone())].into();
            let files = expand(&site, &site.templates).unwrap();
            let Some(found) = ask(&files, &site.etcd_unit).unwrap() else { return };
            let said: Vec<&str> = found.iter().map(|f| f.what.as_str()).collect();
            assert!(found.iter().all(|f| f.refused != f.what.contains("Unknown key")), "{said:?}");
            match want {
                None => assert!(said.is_empty(), "{text}: {said:?}"),
                Some(want) => assert!(said.iter().any(|s| s.contains(want)), "{text}: {said:?}"),
            }
        }
    }
}
