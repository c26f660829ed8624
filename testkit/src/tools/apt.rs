//! Downloading Debian's packages with apt-get, without root and without installing anything: of the machine's own release, and
//! of another one from where the machine gets its own.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::fetch::LIMIT;
use crate::process::run;

/// Downloads a package: with the system's lists if they know it, else with lists of our own (no root needed).
pub(super) fn download(package: &str, into: &Path, folder: &Path) -> Result<()> {
    let get = ["download", package];
    if run(&mut apt_get(&get, &[], into), LIMIT).is_err() {
        let own = own_lists(&folder.join("apt"))?;
        run(&mut apt_get(&["update"], &own, into), LIMIT)?;
        run(&mut apt_get(&get, &own, into), LIMIT)?;
    }
    Ok(())
}

/// Downloads packages of another suite of Debian. The lists go to `into`, too: nothing else is of that suite.
pub(super) fn download_of_suite(suite: &str, packages: &[&str], into: &Path) -> Result<()> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let here = codename(&release).context("/etc/os-release has no VERSION_CODENAME")?;
    let source = sources()?.iter().find_map(|(path, text)| Some((path, of_suite(text, here, suite)?))).map(
        |(path, text)| {
            (if path.extension().is_some_and(|e| e == "sources") { "sources" } else { "list" }, text)
        },
    );
    let (form, text) = source.with_context(|| format!("no source of {here} in /etc/apt"))?;
    let into = std::path::absolute(into)?;
    let file = into.join(format!("own.{form}"));
    File::create_new(&file)
        .and_then(|mut new| new.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))?;
    let mut options = own_lists(&into.join("apt"))?;
    options.extend(as_options([
        format!("Dir::Etc::SourceList={}", file.display()),
        // Of the machine's other sources, and what it prefers of them, nothing is asked.
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "Dir::Etc::Preferences=/dev/null".to_owned(),
        "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
        "Acquire::Languages=none".to_owned(),
        "APT::Default-Release=".to_owned(),
    ]));
    run(&mut apt_get(&["update"], &options, &into), LIMIT)?;
    let get = [&["download"], packages].concat();
    run(&mut apt_get(&get, &options, &into), LIMIT).map(drop)
}

fn codename(release: &str) -> Option<&str> {
    let value = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(value.trim_matches('"')).filter(|name| !name.is_empty())
}

/// What says where the machine gets its packages, and in which file.
fn sources() -> Result<Vec<(PathBuf, String)>> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten() {
        paths.push(entry?.path());
    }
    paths.sort_unstable();
    let is_source = |path: &PathBuf| path.extension().is_some_and(|e| e == "list" || e == "sources");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok((path, text))
    };
    paths.into_iter().filter(|path| is_source(path) && path.is_file()).map(read).collect()
}

/// The first source of the suite `here`, with another suite in its place: a stanza (`Suites: …`, sources.list(5)), or a line
/// (`deb [options] URI suite components`). Updates and security have suites of their own.
fn of_suite(text: &str, here: &str, suite: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| {
        line.strip_prefix("deb ").is_some_and(|rest| rest.split_whitespace().any(|word| word == here))
    });
    if let Some(line) = line {
        let words = line.split_whitespace().map(|word| if word == here { suite } else { word });
        return Some(words.collect::<Vec<_>>().join(" ") + "\n");
    }
    let suites = |line: &str| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case("suites").then(|| value.split_whitespace().any(|word| word == here))
    };
    let lines: Vec<&str> = text.lines().collect();
    let stanza = lines
        .split(|line| line.trim().is_empty())
        .find(|stanza| stanza.iter().any(|line| suites(line) == Some(true)))?;
    let other = format!("Suites: {suite}");
    let changed = stanza.iter().map(|line| if suites(line).is_some() { other.as_str() } else { line });
    Some(changed.collect::<Vec<_>>().join("\n") + "\n")
}

/// apt-get downloads to where it is started. Its usual drop of privileges would need that place to be open to others.
fn apt_get(what: &[&str], options: &[String], into: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command.current_dir(into).args(what).args(["-q", "-o", "APT::Sandbox::User=root"]).args(options);
    command
}

fn own_lists(apt: &Path) -> Result<Vec<String>> {
    let apt = std::path::absolute(apt)?;
    for dir in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(dir)).with_context(|| format!("creating {}", apt.display()))?;
    }
    let apt = apt.display();
    let options = [
        format!("Dir::State={apt}/state"),
        format!("Dir::State::lists={apt}/state/lists"),
        format!("Dir::Cache={apt}/cache"),
        "Dir::State::status=/var/lib/dpkg/status".to_owned(),
    ];
    Ok(as_options(options).collect())
}

fn as_options<const N: usize>(options: [String; N]) -> impl Iterator<Item = String> {
    options.into_iter().flat_map(|o| ["-o".to_owned(), o])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_source_is_asked_for_another_suite() {
        let stanzas = "Types: deb\n# where from\nURIs: http://a.invalid/security\nSuites: bookworm-security\nComponents: main\n\n\
            Types: deb\nURIs: http://a.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\
            Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n";
        let lines = "# deb http://a.invalid/old bookworm main\ndeb http://a.invalid/security bookworm-security main\n\
            deb-src http://a.invalid/debian bookworm main\n\
            deb [signed-by=/k.gpg] http://a.invalid/debian bookworm main contrib\n";
        for (text, expected) in [
            (
                stanzas,
                Some(
                    "Types: deb\nURIs: http://a.invalid/debian\nSuites: trixie\nComponents: main\n\
                     Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
                ),
            ),
            (lines, Some("deb [signed-by=/k.gpg] http://a.invalid/debian trixie main contrib\n")),
            ("Types: deb\nURIs: http://b.invalid\nSuites: nodistro\nComponents: main\n", None),
            ("deb http://b.invalid/apt sdk-bookworm main\n", None),
            ("", None),
        ] {
            assert_eq!(of_suite(text, "bookworm", "trixie").as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_machines_release_has_a_name() {
        for (text, expected) in [
            ("ID=debian\nVERSION_CODENAME=bookworm\n", Some("bookworm")),
            ("VERSION_CODENAME=\"noble\"\n", Some("noble")),
            ("VERSION_CODENAME=\n", None),
            ("ID=arch\n", None),
        ] {
            assert_eq!(codename(text), expected, "{text}");
        }
    }
}
