//! `cargo xtask lint`: what a build would refuse, what systemd itself says of the units, how the operator's templates
//! differ from the built-in ones, and whether the program may ship.

use std::env;
use std::path::Path;

use anyhow::Result;
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::terminal::table::{bytes, count};
use similar::TextDiff;

use crate::checkout;
use crate::program::{Source, checks, compile, rclone};
use crate::site::templates::{SUFFIX, Texts};
use crate::site::validate::refuse;
use crate::site::{self, Site};
use crate::units::exposure::{self, Exposure};
use crate::units::judge;
use crate::units::render::expand;
use crate::units::rendered::{NodeFile, Rendered};
use crate::units::systemd::{self, ANALYZE};

/// `lint`: judge a site without building its tarball.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    site: site::Options,
    #[command(flatten)]
    program: Source,
}

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    let site = site::load(&options.site)?;
    let (prebuilt, facts) = options.program.load()?;
    rclone::examine_of(&site.runner, &facts.target, &checkout::cache())?;
    let Rendered { files, mut findings } = judge(&site)?;
    differences(&site, &files)?;
    match systemd::ask(&files, &site.etcd_unit)? {
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
    let program = prebuilt.map_or_else(|| compile::program(&facts), Ok)?;
    let max = checks::max_bytes(&facts.target);
    let (size, most) = (bytes(program.len() as u64), bytes(max as u64));
    println!("program: {size} of at most {most}, static, resolves no names");
    match findings.iter().filter(|f| f.refused).count() {
        0 => {
            println!("{} rendered; nothing stands against a build", count(files.len(), "file", "files"));
            Ok(())
        }
        refused => Err(refuse(
            format!("{}: {refused} of the findings above must not ship", options.site.dir.display()),
            "each of them says what to do; what a template can contain is in docs/customize.md",
        )),
    }
}

/// Shows how the operator's templates differ.
fn differences(site: &Site, files: &[NodeFile]) -> Result<()> {
    if site.templates.is_empty() {
        println!("templates: the built-in ones, none of your own");
        return Ok(());
    }
    let stock = expand(site, &Texts::new())?;
    for name in site.templates.keys() {
        print!("{}", difference(name.trim_end_matches(SUFFIX), &stock, files));
    }
    Ok(())
}

/// The unified diff of one rendered file; a line that says so if there is none.
fn difference(path: &str, stock: &[NodeFile], files: &[NodeFile]) -> String {
    let text = |files: &[NodeFile]| {
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
fn ratings(files: &[NodeFile]) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::finding::Finding;

    use crate::site::tests::{CONF, MINIMAL, load_of};

    fn site(templates: &[(&str, &str)]) -> Site {
        let mut site = load_of(MINIMAL, CONF).unwrap();
        site.templates = templates.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect();
        site
    }

    const TIMER: &str = "etc/systemd/system/etcd2-backup.timer";

    #[test]
    fn a_difference_is_a_unified_diff_of_what_is_rendered() {
        let old = vec![NodeFile { path: TIMER.into(), text: "[Timer]\nA=1\nB=2\n".into() }];
        let new = vec![NodeFile { path: TIMER.into(), text: "[Timer]\nA=1\nB=3\n".into() }];
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

    #[test]
    fn warnings_of_the_site_and_broken_rules_are_found_together() {
        let mut site = site(&[(TIMER, "[Timer]\nOnBootSec=1min\n")]);
        site.warnings = vec![Finding::warning("rclone.conf is open", "close it")];
        let found: Vec<_> = judge(&site).unwrap().findings.into_iter().map(|f| (f.refused, f.what)).collect();
        let want = [
            (false, "rclone.conf is open"),
            (true, "etcd2-backup.timer starts no second backup"),
            (true, "etcd2-backup.timer has no WantedBy="),
        ];
        assert_eq!(found, want.map(|(r, w)| (r, w.to_owned())));
    }
}
