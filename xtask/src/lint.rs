//! `cargo xtask lint`: what a build would refuse, what systemd itself says of the units, how the operator's templates
//! differ from the built-in ones, and whether the program may ship.

use std::env;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::paths;
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use etcd2_backup::sys::unit_file::parse_settings;
use similar::TextDiff;

use crate::program::{checks, rclone};
use crate::site::finding::Finding;
use crate::site::templates::{SUFFIX, Texts};
use crate::site::validate::refuse;
use crate::site::{self, Site};
use crate::units::exposure::{self, Exposure};
use crate::units::render::{Rendered, expand};
use crate::units::rules::{self, base};
use crate::{build, checkout};

/// `lint`: judge a site without building its tarball.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    site: site::Options,
    #[command(flatten)]
    program: build::Source,
}

/// systemd's own checker.
const ANALYZE: &str = "systemd-analyze";
const LIMIT: Duration = Duration::from_secs(60);

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    let site = site::load(&options.site)?;
    let (prebuilt, facts) = options.program.load()?;
    rclone::examine_of(&site.runner, &facts.target, &checkout::cache())?;
    let mut findings = look(&site)?;
    let files = expand(&site, &site.templates)?;
    match systemd(&files, &site.etcd_unit)? {
        Some(said) => findings.extend(said),
        None => skip(env::var_os("CI").is_some())?,
    }
    findings.sort_by_key(|f| !f.refused);
    for finding in &findings {
        println!("{finding}");
    }
    for line in ratings(&files) {
        println!("{line}");
    }
    let program = prebuilt.map_or_else(|| build::program(&facts).map(|(shipped, _)| shipped), Ok)?;
    let max = checks::max_bytes(&facts.target);
    println!("program: {} bytes of at most {max}, static, resolves no names", program.len());
    match findings.iter().filter(|f| f.refused).count() {
        0 => {
            println!("{} files rendered; nothing stands against a build", files.len());
            Ok(())
        }
        count => Err(refuse(
            format!("{}: {count} of the findings above must not ship", options.site.dir.display()),
            "each of them says what to do; what a template can contain is in docs/customize.md",
        )),
    }
}

/// Shows how the operator's templates differ; gives the site's warnings and what breaks a rule.
fn look(site: &Site) -> Result<Vec<Finding>> {
    let (files, stock) = (expand(site, &site.templates)?, expand(site, &Texts::new())?);
    if site.templates.is_empty() {
        println!("templates: the built-in ones, none of your own");
    }
    for name in site.templates.keys() {
        print!("{}", difference(name.trim_end_matches(SUFFIX), &stock, &files));
    }
    Ok(site.warnings.iter().cloned().chain(rules::check(site, &files)).collect())
}

/// The unified diff of one rendered file; a line that says so if there is none.
fn difference(path: &str, stock: &[Rendered], files: &[Rendered]) -> String {
    let text = |files: &[Rendered]| {
        files.iter().find(|f| f.path == path).map(|f| f.text.clone()).unwrap_or_default()
    };
    let (old, new) = (text(stock), text(files));
    if old == new {
        return format!("{path}: rendered as by the built-in template\n");
    }
    let diff = TextDiff::from_lines(&old, &new);
    let (a, b) = (format!("built-in/{path}"), format!("site/{path}"));
    diff.unified_diff().header(&a, &b).to_string()
}

/// What the services may do, as systemd rates it. For the operator to see: no reason against a build.
fn ratings(files: &[Rendered]) -> Vec<String> {
    let services = files.iter().filter_map(|f| {
        let name = Path::new(&f.path).file_name()?.to_str()?;
        name.ends_with(".service").then_some((name, &f.text))
    });
    let line = |(name, text): (&str, &String)| match exposure::rate(name, text) {
        Ok(Exposure::Rated(level)) => {
            format!("{name}: systemd rates what it may do {level:.1} (0 is nothing, 10 everything)")
        }
        Ok(Exposure::Skipped(why)) => format!("{name}: not rated, {why}"),
        Err(e) => format!("{name}: not rated, {e:#}"),
    };
    services.map(line).collect()
}

/// systemd is not here: said, and in CI an error.
fn skip(ci: bool) -> Result<()> {
    let hint = "apt-get install systemd, or run lint on a machine that has it";
    if ci {
        return Err(fault(Exit::NotFound, format!("{ANALYZE} is not installed, and this is CI"), hint));
    }
    println!("{ANALYZE}: SKIPPED, not installed (to get it: {hint})");
    Ok(())
}

/// What systemd says of the units and of the timer's values; `None` where it is not installed.
pub(crate) fn systemd(files: &[Rendered], etcd_unit: &str) -> Result<Option<Vec<Finding>>> {
    match Command::new(ANALYZE).arg("--version").output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context("starting systemd-analyze")?,
    };
    Ok(Some([verify(files, etcd_unit)?, times(files)?].concat()))
}

/// Lays the files out as on a node and has systemd load them.
fn verify(files: &[Rendered], etcd_unit: &str) -> Result<Vec<Finding>> {
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
fn times(files: &[Rendered]) -> Result<Vec<Finding>> {
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

    use crate::site::tests::{CONF, MINIMAL, load_of};

    fn site(templates: &[(&str, &str)]) -> Site {
        let mut site = load_of(MINIMAL, CONF).unwrap();
        site.templates = templates.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        site
    }

    const TIMER: &str = "etc/systemd/system/etcd2-backup.timer";

    #[test]
    fn a_difference_is_a_unified_diff_of_what_is_rendered() {
        let old = vec![Rendered { path: TIMER.into(), text: "[Timer]\nA=1\nB=2\n".into() }];
        let new = vec![Rendered { path: TIMER.into(), text: "[Timer]\nA=1\nB=3\n".into() }];
        assert_eq!(
            difference(TIMER, &old, &new),
            format!("--- built-in/{TIMER}\n+++ site/{TIMER}\n@@ -1,3 +1,3 @@\n [Timer]\n A=1\n-B=2\n+B=3\n")
        );
        assert_eq!(difference(TIMER, &old, &old), format!("{TIMER}: rendered as by the built-in template\n"));
    }

    #[test]
    fn without_systemd_it_says_so_and_in_ci_it_fails() {
        skip(false).unwrap();
        let error = skip(true).unwrap_err();
        assert_eq!(error.to_string(), "systemd-analyze is not installed, and this is CI");
        assert_eq!(etcd2_backup::exit::exit_of(&error), Exit::NotFound);
    }

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
            let site = site(&[(name, &text)]);
            let files = expand(&site, &site.templates).unwrap();
            let Some(found) = systemd(&files, &site.etcd_unit).unwrap() else { return };
            let said: Vec<&str> = found.iter().map(|f| f.what.as_str()).collect();
            assert!(found.iter().all(|f| f.refused != f.what.contains("Unknown key")), "{said:?}");
            match want {
                None => assert!(said.is_empty(), "{text}: {said:?}"),
                Some(want) => assert!(said.iter().any(|s| s.contains(want)), "{text}: {said:?}"),
            }
        }
    }

    #[test]
    fn warnings_of_the_site_and_broken_rules_are_found_together() {
        let mut site = site(&[(TIMER, "[Timer]\nOnBootSec=1min\n")]);
        site.warnings = vec![Finding::warning("rclone.conf is open", "close it")];
        let found: Vec<_> = look(&site).unwrap().into_iter().map(|f| (f.refused, f.what)).collect();
        let want = [
            (false, "rclone.conf is open"),
            (true, "etcd2-backup.timer starts no second backup"),
            (true, "etcd2-backup.timer has no WantedBy="),
        ];
        assert_eq!(found, want.map(|(r, w)| (r, w.to_owned())));
    }
}
