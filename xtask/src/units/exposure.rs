//! How much harm a service could do, as systemd rates it: 0 is none, 10 is everything.

use std::io;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::paths;
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::write_atomic;

/// systemd's answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Exposure {
    /// The overall level.
    Rated(f32),
    /// There is none, and why.
    Skipped(String),
}

/// Since when a file can be rated, and not only what is loaded.
const SINCE: u32 = 250;
const ANALYZE: &str = "systemd-analyze";
const LIMIT: Duration = Duration::from_secs(60);

/// Has systemd rate the text of a service.
pub(crate) fn rate(name: &str, text: &str) -> Result<Exposure> {
    let version = match Command::new(ANALYZE).arg("--version").run_ok(LIMIT) {
        Ok(output) => parse_version(&output.text()).context("reading the version of systemd-analyze")?,
        Err(e) if e.root_cause().downcast_ref::<io::Error>().is_some_and(not_there) => {
            return Ok(Exposure::Skipped(format!("{ANALYZE} is not installed")));
        }
        Err(e) => return Err(e),
    };
    if version < SINCE {
        return Ok(Exposure::Skipped(format!(
            "{ANALYZE} {version} cannot rate a file, as it can from {SINCE} on"
        )));
    }
    let dir = tempfile::tempdir().context("making a folder for systemd-analyze")?;
    let path = dir.path().join(name);
    // The program is not installed here.
    write_atomic(&path, text.replace(paths::PROGRAM, "/bin/true").as_bytes(), 0o644)?;
    let mut command = Command::new(ANALYZE);
    command.args(["security", "--offline=true", "--no-pager"]).arg(&path).env("SYSTEMD_COLORS", "0");
    let said = command.run_ok(LIMIT)?.text();
    let level = parse_level(&said).with_context(|| format!("reading what {ANALYZE} says of {name}"))?;
    Ok(Exposure::Rated(level))
}

fn not_there(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// `systemd 252 (252.39-1~deb12u2)`.
fn parse_version(text: &str) -> Option<u32> {
    let word = text.split_ascii_whitespace().nth(1)?;
    word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// `→ Overall exposure level for etcd2-backup.service: 2.0 OK`.
fn parse_level(text: &str) -> Option<f32> {
    let (_, said) = text.lines().find_map(|line| line.split_once("Overall exposure level for "))?;
    said.split_once(": ")?.1.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use etcd2_backup::sys::unit_file::parse_settings;

    use crate::site::Site;
    use crate::site::input::Content;
    use crate::site::runner::Runner;
    use crate::site::tests::load_of;
    use crate::units::judged;
    use crate::units::rendered::NodeFile;

    const CONF: &str = "[s3]\ntype = s3\n[disk]\ntype = local\n[drive]\ntype = drive\ntoken = {}\n";

    /// What a rehearsal may do beyond a backup: make a network, and look at the etcd that runs.
    const REHEARSAL: f32 = 1.5;
    /// What the network adds, where a backup needs none.
    const BASE: f32 = 1.0;

    fn site(endpoint: &str, runner: &str) -> Site {
        let named = if runner == "bundled" { "host" } else { runner };
        let settings = format!(
            "version = 1\nfounder = \"http://e1:2380\"\nendpoint = \"{endpoint}\"\nrclone.runner = \"{named}\"\n"
        );
        let mut site = load_of(&settings, CONF).unwrap();
        if runner == "bundled" {
            site.runner = Runner::Bundled(Content(vec![]));
        }
        site
    }

    fn of(files: &[NodeFile], verb: &str) -> Exposure {
        let name = format!("etcd2-{verb}.service");
        rate(&name, &files.iter().find(|f| f.path.ends_with(&name)).unwrap().text).unwrap()
    }

    /// systemd (here 252) is the judge. A new one may look at more: then the level rises, and the table here with it.
    #[test]
    fn a_service_may_do_no_more_than_it_needs() {
        for (runner, endpoint, backup, recovery) in [
            ("host", "s3:bucket", 2.5, 7.0),
            ("host", "drive:backups", 2.5, 7.0),
            ("host", "disk:/srv/backups", 2.5, 7.0),
            ("bundled", "s3:bucket", 2.5, 7.0),
            ("bundled", "disk:/home/core/backups", 2.5, 7.0),
            // Where it lies is not known.
            ("host", "disk:/srv/100%", 2.5, 7.0),
            ("docker", "s3:bucket", 1.5, 7.0),
            ("podman", "s3:bucket", 8.5, 9.7),
        ] {
            let files = judged(&site(endpoint, runner)).unwrap().files;
            let rehearsal = backup + REHEARSAL;
            let base = backup + BASE;
            for (verb, most) in [
                ("backup", backup),
                ("backup-base", base),
                ("backup-doctor", backup),
                ("backup-rehearse", rehearsal),
                ("restore", recovery),
                ("join", recovery),
            ] {
                match of(&files, verb) {
                    Exposure::Rated(level) => {
                        println!(
                            "etcd2-{verb}.service, runner {runner}, {endpoint}: {level} (at most {most})"
                        );
                        assert!(
                            level <= most,
                            "etcd2-{verb}.service, runner {runner}, {endpoint}: {level} > {most}"
                        );
                    }
                    Exposure::Skipped(why) => {
                        assert!(std::env::var_os("CI").is_none(), "{why}, and this is CI");
                        eprintln!("SKIPPED: {why}");
                        return;
                    }
                }
            }
        }
    }

    /// What the doctor can do, a backup can: they have the same rights, network and folders.
    #[test]
    fn the_doctor_is_a_backup_to_systemd() {
        for (runner, endpoint) in
            [("host", "s3:bucket"), ("host", "disk:/srv/backups"), ("docker", "s3:b"), ("podman", "s3:b")]
        {
            let files = judged(&site(endpoint, runner)).unwrap().files;
            let rights = |verb: &str| {
                let file = files.iter().find(|f| f.path.ends_with(&format!("/{verb}.service"))).unwrap();
                let mut all = parse_settings(&file.text);
                let own = [
                    "ExecStart",
                    "SuccessExitStatus",
                    "Nice",
                    "IOSchedulingClass",
                    "IOSchedulingPriority",
                    "SyslogLevel",
                    "LogLevelMax",
                ];
                all.retain(|s| s.section == "Service" && !own.contains(&s.key.as_str()));
                all.into_iter().map(|s| (s.key, s.value)).collect::<Vec<_>>()
            };
            let doctor = rights("etcd2-backup-doctor");
            assert!(doctor.len() > 5);
            assert_eq!(doctor, rights("etcd2-backup"), "{runner} {endpoint}");
        }
    }

    #[test]
    fn what_systemd_says_is_read() {
        assert_eq!(parse_version("systemd 252 (252.39-1~deb12u2)\n+PAM"), Some(252));
        assert_eq!(parse_version("systemd 231\n"), Some(231));
        assert_eq!(parse_version("systemd 256~rc1 (x)"), Some(256));
        assert_eq!(parse_version(""), None);
        let table = "✗ UMask= x 0.1\n\n→ Overall exposure level for a.service: 2.0 OK 🙂\n";
        assert_eq!(parse_level(table), Some(2.0));
        assert_eq!(parse_level("→ Overall exposure level for a.service: 10.0 DANGEROUS"), Some(10.0));
        assert_eq!(parse_level("Failed"), None);
    }
}
