//! What of the node a remote of rclone.conf leads to: folders it lies in, files it is opened with. Pure.
//!
//! The build limits the service to it, and refuses what a container cannot be given; the node gives it to the container.

use std::path::{Component, Path, PathBuf};

use super::rclone_section::{Lookup, Section, names_a_file};

/// A place on the node that a remote needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Where it is; absolute, in its shortest form.
    pub path: PathBuf,
    /// Whether anything is written there.
    pub writable: bool,
}

/// What on the node a remote touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Folders it lies in, each once.
    pub folders: Vec<Place>,
    /// Files that it is opened with, each once.
    pub files: Vec<PathBuf>,
    /// Whether rclone writes back into its configuration.
    pub token: bool,
    /// Whether it may touch anything else.
    pub unclear: bool,
    /// Why a container cannot be given what it needs, each for people: what, and what to do.
    pub objections: Vec<(String, String)>,
}

/// Backends that keep a database in the home folder.
const KEEP_A_CACHE: [&str; 2] = ["cache", "hasher"];

/// Follows the endpoint through all remotes that are laid over others.
pub fn reach(endpoint: &str, look_up: Lookup) -> Reach {
    let mut reach = Reach::default();
    let mut seen: Vec<(String, bool)> = Vec::new();
    let mut next = vec![(endpoint.to_owned(), true)];
    while let Some((place, writable)) = next.pop() {
        let (name, path) = match place.split_once(':') {
            _ if place.starts_with('/') => ("", place.as_str()),
            Some((name, path)) if !name.is_empty() => (name, path),
            // On the fly (`:s3:…`), relative, or not there.
            _ => {
                reach.unclear = true;
                let on_the_node = !place.starts_with(':') || place.starts_with(":local");
                if on_the_node && !place.is_empty() {
                    reach.object(
                        format!("{place:?} leads to a directory of the node"),
                        "write it as an absolute path, or as a section of type local",
                    );
                }
                continue;
            }
        };
        let section = if name.is_empty() { None } else { look_up(name) };
        match section.as_ref().map(|s| s.kind.as_str()) {
            Some("local") => reach.add(path, writable),
            None if name.is_empty() => reach.add(path, writable),
            // With options (`name,option=…:`), or from the environment.
            None => {
                reach.unclear = true;
                let bare = name.split(',').next().unwrap_or_default();
                if look_up(bare).is_some_and(|s| s.kind == "local") {
                    reach.object(format!("{name:?} has options after its name"), "put them into its section");
                }
            }
            Some(kind) => reach.unclear |= KEEP_A_CACHE.contains(&kind) || climbs(path),
        }
        let Some(section) = section.filter(|s| !seen.contains(&(s.name.clone(), writable))) else { continue };
        seen.push((section.name.clone(), writable));
        reach.token |= section.has_token;
        reach.take_files(&section);
        for value in &section.over {
            match value.contains('"') {
                true => {
                    reach.unclear = true;
                    let what = format!(
                        "the remotes named in [{}] contain quotes, which this program cannot follow",
                        section.name
                    );
                    reach.object(
                        what,
                        "give each of them a section of its own, of type alias, and name those",
                    );
                }
                false => {
                    let places = places(&section.kind, value);
                    next.extend(places.into_iter().map(|(place, may_write)| (place, writable && may_write)));
                }
            }
        }
    }
    reach.tidy();
    reach
}

/// The remotes in a value, and whether anything is written there: one of most kinds; several of a union (`remote:path:ro`)
/// or a combine (`folder=remote:path`).
pub(super) fn places(kind: &str, value: &str) -> Vec<(String, bool)> {
    match kind {
        "union" => value
            .split_ascii_whitespace()
            .map(|word| {
                let bare = [":nc", ":writeback"].iter().find_map(|suffix| word.strip_suffix(suffix));
                match word.strip_suffix(":ro") {
                    Some(bare) => (bare.to_owned(), false),
                    None => (bare.unwrap_or(word).to_owned(), true),
                }
            })
            .collect(),
        "combine" => value
            .split_ascii_whitespace()
            .map(|word| (word.split_once('=').map_or("", |(_, place)| place).to_owned(), true))
            .collect(),
        _ => vec![(value.to_owned(), true)],
    }
}

/// The files that flags of a site name.
pub fn of_flags(flags: &[String]) -> Vec<(String, String)> {
    let option = |flag: &String| {
        let (name, value) = flag.strip_prefix("--")?.split_once('=')?;
        names_a_file(&name.replace('-', "_")).then(|| (name.to_owned(), value.to_owned()))
    };
    flags.iter().filter_map(option).collect()
}

fn climbs(path: &str) -> bool {
    Path::new(path).components().any(|c| c == Component::ParentDir)
}

impl Reach {
    /// Adds files that are named elsewhere: by flags, or variables.
    pub fn add_files(&mut self, named: &[(String, String)]) {
        for (option, path) in named {
            self.add_file(option, path);
        }
        self.tidy();
    }

    fn take_files(&mut self, section: &Section) {
        for (option, path) in &section.files {
            self.add_file(&format!("{option} of [{}]", section.name), path);
        }
        for (option, _) in &section.programs {
            let what = format!("{option} of [{}] is a program of the node", section.name);
            self.object(what, "use runner = \"host\" or \"bundled\"");
        }
    }

    fn add_file(&mut self, option: &str, path: &str) {
        match shortest(path) {
            Some(path) => self.files.push(path),
            None => self.object(
                format!("{option} is {path:?}, which is not an absolute path of the node"),
                "write an absolute path, without \"..\" and colons",
            ),
        }
    }

    fn add(&mut self, path: &str, writable: bool) {
        match shortest(path) {
            Some(path) => self.folders.push(Place { path, writable }),
            None => {
                // Only a container cannot be given it.
                let has_colon = path.contains(':') && path.starts_with('/') && !climbs(path);
                if has_colon {
                    self.folders.push(Place { path: Path::new(path).components().collect(), writable });
                } else {
                    self.unclear = true;
                }
                self.object(
                    format!("the remote's path on the node is {path:?}"),
                    "name a directory by its absolute path, below /, without \"..\" and colons",
                );
            }
        }
    }

    fn object(&mut self, what: String, hint: &str) {
        self.objections.push((what, hint.to_owned()));
    }

    /// Each place once; one that is written to anywhere is writable.
    fn tidy(&mut self) {
        self.folders.sort_by(|a, b| (&a.path, !a.writable).cmp(&(&b.path, !b.writable)));
        self.folders.dedup_by(|a, b| a.path == b.path);
        self.files.sort();
        self.files.dedup();
        self.objections.dedup();
    }
}

/// An absolute path below `/`, as an engine's command line can say it.
fn shortest(path: &str) -> Option<PathBuf> {
    let short: PathBuf = Path::new(path).components().collect();
    let good = short.is_absolute() && short.parent().is_some() && !climbs(path) && !path.contains(':');
    good.then_some(short)
}

#[cfg(test)]
mod tests {
    use super::super::rclone_section::parse_sections;
    use super::*;

    const CONF: &str = "[s3]\ntype = s3\nkey = x\n[disk]\ntype: local\n[drive]\ntype = drive\ntoken = {}\n\
        [crypt]\ntype = crypt\nremote = disk:/srv/secret\npassword = x\n[bare]\ntype = crypt\nremote = /srv/a b/\n\
        [over-s3]\ntype = crypt\nremote = s3:bucket\n[over-drive]\ntype = chunker\nremote = drive:x\n\
        [alias]\ntype = alias\nremote = disk:\n[home]\ntype = alias\nremote = ~/x\n[up]\ntype = alias\nremote = s3:../x\n\
        [union]\ntype = union\nupstreams = crypt:a /mnt/b:ro disk:/srv/c:nc\n\
        [combine]\ntype = combine\nupstreams = a=s3:x b=disk:/srv/d\n\
        [quoted]\ntype = combine\nupstreams = \"a b=s3:x\"\n\
        [loop]\ntype = alias\nremote = loop:/x\n[fly]\ntype = alias\nremote = :local:/srv\n\
        [gone]\ntype = crypt\nremote = env:x\n[hash]\ntype = hasher\nremote = s3:x\n\
        [both]\ntype = union\nupstreams = disk:/mnt/b disk:/mnt/b:ro\n\
        [sftp]\ntype = sftp\nkey_file = /home/core/.ssh/id\nknown_hosts_file = /etc/hosts.ssh\nkey_file_pass = x\n\
        [gcs]\ntype = gcs\nservice_account_file = ~/sa.json\n[over-sftp]\ntype = crypt\nremote = sftp:x\n\
        [ssh]\ntype = sftp\nssh = ssh -i /id e1\n[colon]\ntype = sftp\nkey_file = /a:b\n";

    fn of(endpoint: &str) -> Reach {
        let sections = parse_sections(CONF);
        reach(endpoint, &|name| sections.iter().find(|s| s.name == name).cloned())
    }

    #[test]
    fn the_remote_is_followed_to_the_node_itself() {
        for (endpoint, folders, token) in [
            ("s3:bucket/path", &[][..], false),
            ("disk:/srv//backups/./", &["/srv/backups"], false),
            ("drive:backups", &[], true),
            ("crypt:x", &["/srv/secret"], false),
            ("bare:", &["/srv/a b"], false),
            ("over-s3:", &[], false),
            ("over-drive:", &[], true),
            ("union:x", &["/mnt/b ro", "/srv/c", "/srv/secret"], false),
            ("both:x", &["/mnt/b"], false),
            ("combine:a", &["/srv/d"], false),
            ("loop:", &[], false),
        ] {
            let found = of(endpoint);
            let shown = |p: &Place| format!("{}{}", p.path.display(), if p.writable { "" } else { " ro" });
            assert_eq!(found.folders.iter().map(shown).collect::<Vec<_>>(), folders, "{endpoint}");
            assert_eq!(
                (found.token, found.unclear, found.objections),
                (token, false, Vec::new()),
                "{endpoint}"
            );
        }
        for endpoint in [
            "disk:/",
            "disk:",
            "disk:x",
            "disk:/srv/../etc",
            "alias:srv",
            "home:",
            "up:",
            "quoted:a",
            "fly:x",
            "gone:",
            "hash:",
            "disk,copy_links:/srv",
            ":local:/srv",
            "nowhere",
            "",
        ] {
            assert!(of(endpoint).unclear, "{endpoint}");
        }
    }

    #[test]
    fn what_a_container_cannot_be_given_is_named() {
        for (endpoint, objection) in [
            ("disk:/", "path on the node is \"/\""),
            ("disk:x", "path on the node is \"x\""),
            ("disk:/srv/../etc", "path on the node is"),
            ("disk:/srv/a:b", "path on the node is"),
            ("home:", "\"~/x\" leads to a directory of the node"),
            ("quoted:a", "the remotes named in [quoted] contain quotes"),
            ("fly:x", "\":local:/srv\" leads to"),
            ("disk,copy_links:/srv", "has options after its name"),
            ("gcs:b", "service_account_file of [gcs] is \"~/sa.json\""),
            ("ssh:b", "ssh of [ssh] is a program of the node"),
            ("colon:b", "key_file of [colon] is \"/a:b\""),
        ] {
            let found = of(endpoint).objections;
            assert!(found.iter().any(|(what, _)| what.contains(objection)), "{endpoint}: {found:?}");
        }
        for endpoint in ["s3:b", "gone:", "hash:", "sftp:x", "drive:", "crypt:"] {
            assert_eq!(of(endpoint).objections, [], "{endpoint}");
        }
    }

    #[test]
    fn files_that_sections_and_flags_name_are_found() {
        let files = |endpoint: &str| of(endpoint).files;
        assert_eq!(files("over-sftp:x"), ["/etc/hosts.ssh", "/home/core/.ssh/id"].map(PathBuf::from));
        assert_eq!(files("s3:b"), Vec::<PathBuf>::new());
        let flags = ["--ca-cert=/etc/ca.pem", "--transfers=2", "--client-cert=ca"].map(str::to_owned);
        let mut found = of("s3:b");
        found.add_files(&of_flags(&flags));
        assert_eq!(found.files, [PathBuf::from("/etc/ca.pem")]);
        assert!(found.objections[0].0.starts_with("client-cert is \"ca\""), "{:?}", found.objections);
    }
}
