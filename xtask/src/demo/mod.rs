//! `cargo xtask demo`: the whole walk on this machine, on loopback, without root: a cluster of three is backed up,
//! destroyed, brought back, and every key is compared.

mod narration;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use etcd2_backup::sys::terminal::table::{bytes, count};
use testkit::etcd::introduce;
use testkit::keys::{self, Keys, compare, dump};
use testkit::node::Node;
use testkit::tools::Tools;

use narration::Narration;

const NAMES: [&str; 3] = ["e1", "e2", "e3"];
const MANY: usize = 2000;

/// Runs the demo in the folder `dir`; what it made stays there for a look. Tools that are missing are fetched to `tools`;
/// `build` makes the tarball of a site in a folder and says where it is.
///
/// # Errors
/// A step failed, or a key is not as it was.
pub(crate) fn run(
    dir: &Path,
    tools: &Path,
    build: impl FnOnce(&Path, &Path) -> Result<PathBuf>,
) -> Result<()> {
    let mut tell = Narration::new();
    let dir = fresh(dir)?;
    let tools = tell.step("find etcd and rclone (fetched to target/tools if missing)", || {
        Tools::locate_or_fetch(tools).map_err(crate::checkout::with_hint)
    })?;
    let mut nodes = tell.step("make three nodes: e1, e2, e3", || make_nodes(&tools, &dir))?;
    let founder = nodes[0].etcd.peer_url.clone();

    let tarball = tell.loud_step("write a site and build its tarball", || {
        let site = write_site(&dir, &founder)?;
        build(&site, &dir.join("dist"))
    })?;
    tell.note(tarball.display());
    tell.step("unpack it on each node and run ./etcd2-backup-install", || {
        nodes.iter().try_for_each(|n| n.install(&tarball).map(drop))
    })?;
    tell.step("start etcd on all three", || start_together(&mut nodes))?;

    let expected = tell.step("write keys of every kind, and back up e1 between them", || {
        let url = &nodes[0].etcd.client_url;
        keys::write_sample(url)?;
        nodes[0].try_run(&["backup"])?;
        keys::write_many(url, "/many", MANY)?;
        dump(url)
    })?;
    let expiring = expected.keys().filter(|k| keys::expires(&expected, k)).count();
    tell.note(format!("{} keys and directories, {expiring} of them with a TTL", expected.len()));
    tell.step("back up what is new, on all three", || {
        nodes.iter().try_for_each(|n| n.try_run(&["backup"]).map(drop))
    })?;
    tell.note(format!("{} in the remote, a folder for each machine", bytes(size_of(&dir.join("remote"))?)));

    tell.step("the accident: kill every etcd and remove every data directory", || {
        nodes.iter_mut().try_for_each(Node::destroy_data)
    })?;
    tell.step("etcd on e1 refuses to start empty", || {
        let outcome = nodes[0].try_start_etcd();
        let by_guard = outcome.as_ref().is_err_and(|e| e.to_string().contains("the guard keeps etcd"));
        ensure!(
            by_guard,
            "etcd was not kept from starting on an empty data directory by the guard: {outcome:?}"
        );
        Ok(())
    })?;

    tell.step("e1: restore, then start etcd", || {
        nodes[0].try_run(&["restore"])?;
        nodes[0].try_start_etcd()
    })?;
    tell.step("e1: compare every key", || same(&expected, &nodes[0]))?;
    for node in &mut nodes[1..] {
        let name = node.etcd.name.clone();
        tell.step(&format!("{name}: join, start etcd, watch it catch up"), || {
            node.try_run(&["join"])?;
            node.try_start_etcd()?;
            node.try_run(&["join"]).map(drop)
        })?;
    }
    tell.step("compare every key on each of the three", || {
        nodes.iter().try_for_each(|n| same(&expected, n))
    })?;
    tell.step("the cluster has three members and all are healthy", || whole(&nodes))?;
    tell.step("and backups go on", || nodes.iter().try_for_each(|n| n.try_run(&["backup"]).map(drop)))?;

    let plain = expected.len() - expiring;
    tell.note(format!("all {plain} keys equal on every node: value, createdIndex, modifiedIndex"));
    tell.note(format!("and the {expiring} with a TTL as well, with the same expiration"));
    tell.note(format!("done in {}; everything is left in {}", tell.elapsed(), dir.display()));
    Ok(())
}

/// An empty folder; what an earlier run left is removed.
fn fresh(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("resolving {}", dir.display()))
}

fn make_nodes(tools: &Tools, dir: &Path) -> Result<Vec<Node>> {
    let made: Result<Vec<Node>> = NAMES.iter().map(|name| Node::bare(tools, name, &dir.join(name))).collect();
    let mut nodes = made?;
    introduce(&mut nodes.iter_mut().map(|n| &mut n.etcd).collect::<Vec<_>>());
    Ok(nodes)
}

fn start_together(nodes: &mut [Node]) -> Result<()> {
    nodes.iter_mut().try_for_each(Node::spawn_etcd)?;
    nodes.iter_mut().try_for_each(|n| n.etcd.wait_healthy())
}

/// What an operator would write: the site, and an rclone.conf whose remote is a folder of this machine.
fn write_site(dir: &Path, founder: &str) -> Result<PathBuf> {
    let (site, remote) = (dir.join("site"), dir.join("remote"));
    for new in [&site, &remote] {
        fs::create_dir(new).with_context(|| format!("creating {}", new.display()))?;
    }
    let endpoint = format!("demo:{}", remote.display());
    let text = format!(
        "version = 1\nfounder = {founder:?}\nendpoint = {endpoint:?}\n\n[rclone]\nrunner = \"host\"\n"
    );
    for (name, text) in [("etcd2-backup.toml", text.as_str()), ("rclone.conf", "[demo]\ntype = local\n")] {
        let path = site.join(name);
        let write = || File::create(&path)?.write_all(text.as_bytes());
        write().with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(site)
}

fn same(expected: &Keys, node: &Node) -> Result<()> {
    let differences = compare(expected, &dump(&node.etcd.client_url)?);
    let first: Vec<String> = differences.iter().take(10).map(ToString::to_string).collect();
    let name = &node.etcd.name;
    ensure!(
        differences.is_empty(),
        "{name}: {}, such as:\n{}",
        count(differences.len(), "difference", "differences"),
        first.join("\n")
    );
    Ok(())
}

fn whole(nodes: &[Node]) -> Result<()> {
    for node in nodes {
        let name = &node.etcd.name;
        ensure!(node.etcd.is_healthy(), "{name} is not healthy");
        let mut listed: Vec<String> = node.etcd.members()?.into_iter().map(|m| m.name).collect();
        listed.sort();
        ensure!(listed == NAMES, "{name} lists the members {listed:?}");
    }
    Ok(())
}

fn size_of(dir: &Path) -> Result<u64> {
    walkdir::WalkDir::new(dir).into_iter().try_fold(0, |sum, entry| {
        let data = entry?.metadata()?;
        Ok(sum + if data.is_file() { data.len() } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build;
    use testkit::tools::default_folder;

    /// The whole walk, with the program that ships: build, install, back up, lose everything, restore, join, compare.
    #[test]
    fn from_a_site_to_a_recovered_cluster() {
        if Tools::from_env().is_none() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let tools =
            std::env::var_os(testkit::tools::FOLDER_VARIABLE).map_or_else(default_folder, PathBuf::from);
        let build = |site: &Path, dist: &Path| build::run(site, dist).map(|b| b.tarball);
        run(&dir.path().join("demo"), &tools, build).unwrap();
    }

    #[test]
    fn the_folder_is_fresh_each_time_and_the_site_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("demo");
        let first = fresh(&place).unwrap();
        let site = write_site(&first, "http://127.0.0.1:1").unwrap();
        let text = fs::read_to_string(site.join("etcd2-backup.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["founder"].as_str(), Some("http://127.0.0.1:1"));
        assert_eq!(
            table["endpoint"].as_str(),
            Some(format!("demo:{}", first.join("remote").display()).as_str())
        );
        assert_eq!(size_of(&site).unwrap(), (text.len() + "[demo]\ntype = local\n".len()) as u64);
        assert_eq!(fs::read_dir(fresh(&place).unwrap()).unwrap().count(), 0);
    }
}
