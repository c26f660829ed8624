//! The oldest rclone that is served. Which one a node has is asked once, and again when its program or image is another.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::exit::{Exit, OrFault, fault};
use crate::settings::Runner;
use crate::sys::command::CommandRunExt;

/// The oldest rclone that is served: the oldest one that all tests run with. Of the flags in use, `--files-from-raw` is of
/// 1.52 and a limit of `UP:DOWN` of 1.54.
pub const OLDEST: (u32, u32) = (1, 60);
/// It only has to print a line.
const ASK_LIMIT: Duration = Duration::from_secs(60);

/// The version in what `rclone version` printed, as it stands there and as numbers; `None` if that was not rclone.
pub fn parse(printed: &str) -> Option<(&str, (u32, u32))> {
    let version = printed.lines().next()?.strip_prefix("rclone ")?;
    let mut numbers = version.strip_prefix('v')?.split(['.', '-', '+']);
    let numbers = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some((version, numbers))
}

/// Refuses one that is older, by the name its runner goes by.
///
/// # Errors
/// [`Exit::Settings`]: it is too old, or not rclone.
pub fn check<'a>(printed: &'a str, whose: &str) -> Result<&'a str> {
    let hint = "use a newer rclone: with runner = \"bundled\" the tarball contains one";
    match parse(printed) {
        Some((version, numbers)) if numbers >= OLDEST => Ok(version),
        Some((version, _)) => {
            let what = format!("rclone {version} ({whose}) is older than v{}.{}", OLDEST.0, OLDEST.1);
            Err(fault(Exit::Settings, what, hint))
        }
        None => {
            let first = printed.lines().next().unwrap_or_default();
            Err(fault(Exit::Settings, format!("{whose} is not rclone: its version is {first:?}"), hint))
        }
    }
}

/// Asks a program for its version, and refuses one that is too old; `None` if there is no such program.
///
/// # Errors
/// [`Exit::Settings`]: it is too old, or does not run.
pub fn ask(program: &Path) -> Result<Option<String>> {
    let shown = program.display();
    let mut command = Command::new(program);
    match command.arg("version").run_limited(&[], ASK_LIMIT) {
        Ok(output) => check(&output.text(), &shown.to_string()).map(|said| Some(said.to_owned())),
        Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound) => Ok(None),
        Err(e) => Err(e).or_fault(
            Exit::Settings,
            format!("running {shown}"),
            "is it built for this machine? For runner = \"bundled\", take the static program of rclone's \
             own releases",
        ),
    }
}

/// What tells a runner's rclone from another one without running it; `None` if it is not there.
pub(super) fn mark(runner: &Runner, bundled: &Path) -> Option<String> {
    let path = match runner {
        Runner::Container { engine, image } => return Some(format!("{engine} {image}")),
        Runner::Bundled => bundled.to_owned(),
        Runner::Host => in_path("rclone")?,
    };
    let meta = fs::metadata(&path).ok()?;
    let changed = (meta.mtime(), meta.mtime_nsec());
    Some(format!("{} {} {}.{}", path.display(), meta.size(), changed.0, changed.1))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Where it is noted which one was asked.
pub(super) fn note(backup_dir: &Path) -> PathBuf {
    backup_dir.join("rclone-version")
}

/// Whether the note is about the one with this mark, and a version that is served.
pub(super) fn is_noted(note: &Path, mark: &str) -> bool {
    let text = fs::read_to_string(note).unwrap_or_default();
    let (noted, printed) = text.split_once('\n').unwrap_or_default();
    noted == mark && parse(printed).is_some_and(|(_, numbers)| numbers >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, hint_of};

    #[test]
    fn the_version_is_at_least_the_oldest_that_is_tested() {
        for (printed, want) in [
            ("rclone v1.60.1-DEV\n- os/type: linux\n", Ok("v1.60.1-DEV")),
            ("rclone v1.75.2\n", Ok("v1.75.2")),
            ("rclone v1.75.0-beta.8500.abc\n", Ok("v1.75.0-beta.8500.abc")),
            ("rclone v2.0.0", Ok("v2.0.0")),
            ("rclone v1.59.2\n", Err("rclone v1.59.2 (runner host) is older than v1.60")),
            ("rclone 1.75\n", Err("runner host is not rclone: its version is \"rclone 1.75\"")),
            ("rclone v1\n", Err("runner host is not rclone: its version is \"rclone v1\"")),
            ("curl 8.0\n", Err("runner host is not rclone: its version is \"curl 8.0\"")),
            ("", Err("runner host is not rclone: its version is \"\"")),
        ] {
            match (check(printed, "runner host"), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(e), Err(want)) => {
                    assert_eq!((e.to_string().as_str(), exit_of(&e)), (want, Exit::Settings));
                    assert!(hint_of(&e).unwrap().contains("bundled"));
                }
                (got, want) => panic!("{printed:?}: {got:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn a_program_is_asked_and_one_that_is_not_there_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("rclone");
        assert_eq!(ask(&program).unwrap(), None);
        for (script, want) in [
            ("#!/bin/sh\necho rclone v1.60.1-DEV\n", Ok(Some("v1.60.1-DEV".to_owned()))),
            ("#!/bin/sh\necho rclone v1.57.0\n", Err("older than v1.60")),
            ("#!/bin/sh\nexit 1\n", Err("is not rclone: its version is \"\"")),
            ("no program", Err("running ")),
        ] {
            crate::sys::fs::write_atomic(&program, script.as_bytes(), 0o755).unwrap();
            match (ask(&program), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want),
                (Err(e), Err(want)) => {
                    assert!(e.to_string().contains(want), "{e:#}");
                    assert_eq!(exit_of(&e), Exit::Settings);
                }
                (got, want) => panic!("{script:?}: {got:?}, expected {want:?}"),
            }
        }
    }

    #[test]
    fn another_program_or_image_is_asked_anew() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("rclone");
        assert_eq!(mark(&Runner::Bundled, &program), None);
        fs::File::create(&program).unwrap();
        let of_file = mark(&Runner::Bundled, &program).unwrap();
        let image = |image: &str| Runner::Container { engine: "docker".into(), image: image.into() };
        assert_eq!(mark(&image("i:1"), &program).unwrap(), "docker i:1");
        let note = note(dir.path());
        assert!(!is_noted(&note, &of_file));
        for (text, noted) in [
            (format!("{of_file}\nrclone v1.60.1\n"), true),
            (format!("{of_file}\nrclone v1.59.1\n"), false),
            (format!("{of_file}\n"), false),
            (of_file.clone(), false),
            ("docker i:1\nrclone v1.60.1\n".into(), false),
            (String::new(), false),
        ] {
            crate::sys::fs::write_atomic(&note, text.as_bytes(), 0o600).unwrap();
            assert_eq!(is_noted(&note, &of_file), noted, "{text:?}");
        }
        crate::sys::fs::write_atomic(&program, b"another one", 0o755).unwrap();
        assert_ne!(mark(&Runner::Bundled, &program).unwrap(), of_file);
    }
}
