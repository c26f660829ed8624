//! The command line of a container engine: what it gives to what it runs, and where the container's folders are on this node. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sys::container;

/// What runs containers by a command line.
const ENGINES: [&str; 7] = ["docker", "podman", "nerdctl", "rkt", "systemd-nspawn", "ctr", "runc"];
/// The engine is one of the first words: `/usr/bin/env docker run`.
const FIRST: usize = 3;

/// A folder of the container.
struct Volume {
    /// Its path there.
    inside: PathBuf,
    /// Its path on this node; `None`: that is the engine's.
    here: Option<PathBuf>,
}

/// The variables that an engine is told to give to what it runs: `-e NAME=VALUE`.
pub(super) fn variables(command: &[String]) -> BTreeMap<String, String> {
    let all = values(command, &["-e", "--env", "--setenv", "-E"]);
    let pairs = all.filter_map(|word| word.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Whom the engine is told to run etcd as, uid and gid. A name is one of the image's, and says nothing here.
pub(super) fn owner(command: &[String]) -> Option<(u32, u32)> {
    container::user_ids(values(command, &["-u", "--user"]).last()?)
}

/// Whether a command line runs an engine.
pub(super) fn is_engine(command: &[String]) -> bool {
    engine_at(command).is_some()
}

/// Which word of a command line is an engine, if it runs one.
pub(super) fn engine_at(command: &[String]) -> Option<usize> {
    let name = |word: &String| Path::new(word).file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let is_one = |word: &String| name(word).is_some_and(|name| ENGINES.contains(&name.as_str()));
    command.iter().take(FIRST).position(is_one)
}

/// Where a path of the container is on this node.
pub(super) fn on_node(command: &[String], path: &Path) -> Option<PathBuf> {
    let all = volumes(command);
    let innermost =
        all.iter().filter(|v| path.starts_with(&v.inside)).max_by_key(|v| v.inside.components().count())?;
    let rest = path.strip_prefix(&innermost.inside).ok()?;
    Some(innermost.here.as_ref()?.join(rest).components().collect())
}

fn volumes(command: &[String]) -> Vec<Volume> {
    let mut all = Vec::new();
    // rkt names a folder first, and mounts it by its name.
    let mut named: BTreeMap<&str, Option<PathBuf>> = BTreeMap::new();
    for word in values(command, &["-v", "--volume", "--bind", "--bind-ro"]) {
        if let Some((name, options)) = word.split_once(",kind=") {
            named.insert(name, option(options, &["source"]));
            continue;
        }
        let mut parts = word.split(':');
        let here = parts.next().unwrap_or_default();
        let inside = parts.next().unwrap_or(here);
        all.push(Volume { inside: inside.into(), here: on_disk(here) });
    }
    for word in values(command, &["--mount"]) {
        let Some(inside) = option(word, &["target", "destination", "dst"]) else { continue };
        let by_name = option(word, &["volume"]).and_then(|name| named.get(name.to_str()?).cloned().flatten());
        let here =
            by_name.or_else(|| option(word, &["source", "src"])).and_then(|here| on_disk(here.to_str()?));
        all.push(Volume { inside, here });
    }
    all
}

/// A volume that the engine keeps has a name, and no path.
fn on_disk(here: &str) -> Option<PathBuf> {
    here.starts_with('/').then(|| here.into())
}

/// An option of `name=value,name=value`.
fn option(options: &str, names: &[&str]) -> Option<PathBuf> {
    let mut pairs = options.split(',').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| names.contains(name)).map(|(_, value)| value.into())
}

/// What stands behind these flags, in one word with them or in the next one.
fn values<'a>(command: &'a [String], flags: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let pairs = command.iter().zip(command.iter().skip(1).map(Some).chain([None]));
    let is_run = is_engine(command);
    pairs.filter(move |_| is_run).filter_map(|(word, next)| match word.split_once('=') {
        Some((flag, value)) if flags.contains(&flag) => Some(value),
        _ if flags.contains(&word.as_str()) => next.map(String::as_str),
        _ => None,
    })
}
