//! What a unit's command line starts: etcd itself, an engine that runs it from an image, or something that cannot be told.

use std::path::{Path, PathBuf};

use super::engine::engine_at;
use crate::sys::container::Image;

/// Engines whose `run` takes an image, a name and a network as docker's does.
const LIKE_DOCKER: [&str; 2] = ["docker", "podman"];
/// Programs that start what their arguments say.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "busybox", "env", "zsh"];
/// Options of `run`, of docker's or podman's, that have no value. All others have one.
const ALONE: [&str; 23] = [
    "--detach",
    "--disable-content-trust",
    "--env-host",
    "--help",
    "--http-proxy",
    "--init",
    "--interactive",
    "--no-healthcheck",
    "--no-hostname",
    "--no-hosts",
    "--oom-kill-disable",
    "--passwd",
    "--privileged",
    "--publish-all",
    "--quiet",
    "--read-only",
    "--read-only-tmpfs",
    "--replace",
    "--rm",
    "--rmi",
    "--sig-proxy",
    "--tls-verify",
    "--tty",
];
/// The same by a letter, alone or several in one word.
const LETTERS: &str = "ditPq";

/// What a command line starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// A program of the node, or a script.
    Program(PathBuf),
    /// An image.
    Image(Image),
    /// Something in a container, by an engine that runs no image the way docker does.
    Engine(String),
    /// That depends on more than this line: a shell's, a container that was made before, or no line at all.
    Unknown,
}

/// What it is; pure.
pub fn started(command: &[String]) -> Started {
    let Some(program) = command.first() else { return Started::Unknown };
    let Some(at) = engine_at(command) else {
        return match SHELLS.contains(&file_name(program)) {
            true => Started::Unknown,
            false => Started::Program(program.into()),
        };
    };
    let engine = file_name(&command[at]);
    match LIKE_DOCKER.contains(&engine) {
        true => image(command, at).map_or(Started::Unknown, Started::Image),
        false => Started::Engine(engine.to_owned()),
    }
}

/// `ENGINE [OPTIONS] [container] run [OPTIONS] IMAGE [COMMAND…]`.
fn image(command: &[String], engine: usize) -> Option<Image> {
    let run = engine + 1 + command[engine + 1..].iter().position(|word| word == "run")?;
    let mut before: Vec<String> = command[..run].to_vec();
    before.pop_if(|word| word == "container");
    // Another subcommand that has an argument of that name.
    if before[engine + 1..].first().is_some_and(|word| !word.starts_with('-')) {
        return None;
    }
    let mut entrypoint = None;
    let mut words = command[run + 1..].iter();
    let name = loop {
        let word = words.next()?;
        if !word.starts_with('-') {
            break word;
        }
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None if is_alone(word) => (word.as_str(), None),
            None => (word.as_str(), Some(words.next()?.as_str())),
        };
        if option == "--entrypoint" {
            entrypoint = value.filter(|value| !value.is_empty()).map(str::to_owned);
        }
    };
    let program = entrypoint.or_else(|| {
        let first = words.next()?;
        match first.starts_with('-') {
            true => None,
            // A shell's line, which goes on to etcd in the end.
            false if file_name(first).starts_with("etcd") => Some(first.clone()),
            false => Some("etcd".to_owned()),
        }
    });
    Some(Image { engine: before, name: name.clone(), program })
}

fn is_alone(word: &str) -> bool {
    let is_letters = |letters: &str| !letters.is_empty() && letters.chars().all(|c| LETTERS.contains(c));
    ALONE.contains(&word) || word.strip_prefix('-').is_some_and(is_letters)
}

fn file_name(word: &str) -> &str {
    Path::new(word).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_found_among_an_engines_options() {
        let image = |engine: &str, name: &str, program: Option<&str>| {
            let engine = engine.split(' ').map(str::to_owned).collect();
            Started::Image(Image { engine, name: name.into(), program: program.map(str::to_owned) })
        };
        for (line, expected) in [
            ("/usr/bin/docker run img", image("/usr/bin/docker", "img", None)),
            ("docker run --rm -v /a:/b img --data-dir=/b", image("docker", "img", None)),
            (
                "/usr/bin/podman run --rm --name=etcd --net host -dit -e A=b --replace img:1 /usr/bin/etcd --name=e1",
                image("/usr/bin/podman", "img:1", Some("/usr/bin/etcd")),
            ),
            (
                "/usr/bin/env docker --host tcp://h:1 container run -p 1:1 --entrypoint /e --init img etcd",
                image("/usr/bin/env docker --host tcp://h:1", "img", Some("/e")),
            ),
            ("docker run --entrypoint=etcd img --name e1", image("docker", "img", Some("etcd"))),
            ("docker run img /bin/sh -c 'exec etcd'", image("docker", "img", Some("etcd"))),
            // Which image that was is the engine's to know.
            ("docker start etcd", Started::Unknown),
            ("docker start run", Started::Unknown),
            ("docker exec run run img", Started::Unknown),
            ("docker run --rm", Started::Unknown),
            ("docker run --name", Started::Unknown),
            ("/usr/bin/rkt run quay.io/coreos/etcd", Started::Engine("rkt".into())),
            ("systemd-nspawn -D /img etcd", Started::Engine("systemd-nspawn".into())),
            ("/bin/sh -c 'exec etcd'", Started::Unknown),
            ("", Started::Unknown),
            ("/usr/bin/etcd --name run", Started::Program("/usr/bin/etcd".into())),
        ] {
            let command: Vec<String> =
                line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            assert_eq!(started(&command), expected, "{line}");
        }
    }
}
