//! `cargo xtask build`: the site checked, the node program compiled and inspected, the tarball written.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};
use etcd2_backup::sys::terminal::table::bytes;

use crate::checkout;
use crate::package::tarball;
use crate::program::compile::PROGRAM;
use crate::program::provenance::Facts;
use crate::program::rclone::Bundle;
use crate::program::{Source, checks, compile, rclone};
use crate::site::{self, Site};
use crate::units::judged;
use crate::units::rendered::Rendered;

/// `build`: make the tarball of a site.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    site: site::Options,
    #[command(flatten)]
    program: Source,
    /// Where to leave what is made, instead of the checkout's dist
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,
}

/// What a build made.
#[derive(Debug)]
pub(crate) struct Built {
    /// The tarball for the nodes.
    pub(crate) tarball: PathBuf,
    /// The tarball's SHA-256, in hex.
    pub(crate) sha256: String,
    /// The node program, for the workstation.
    pub(crate) program: PathBuf,
    /// The node program's size.
    size: usize,
    /// The rclone in the tarball.
    rclone: Option<Bundle>,
}

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    let started = Instant::now();
    let site = site::load(&options.site)?;
    // Before the compiler is started.
    let rendered = judged(&site)?;
    let (program, facts) = options.program.load()?;
    let dist = options.dist.clone().unwrap_or_else(checkout::dist);
    let built = package(&site, &rendered, program, &facts, &dist)?;
    report(&site, &facts, &built);
    for warning in &rendered.findings {
        eprintln!("\n{warning}");
    }
    println!("\nBuilt in {:.2} s.", started.elapsed().as_secs_f64());
    Ok(())
}

/// Builds the tarball of the site in `site_dir` and leaves it, its checksum and the node program in `dist`.
pub(crate) fn run(site_dir: &Path, dist: &Path) -> Result<Built> {
    let site = site::load(&site::Options::of(site_dir))?;
    package(&site, &judged(&site)?, None, &Facts::gather(checkout::root(), compile::target())?, dist)
}

/// Packs a program for a site, compiled now if there is none yet, and leaves the tarball, its checksum and the program in
/// `dist`.
fn package(
    site: &Site,
    rendered: &Rendered,
    prebuilt: Option<Vec<u8>>,
    facts: &Facts,
    dist: &Path,
) -> Result<Built> {
    let cache = checkout::cache();
    let rclone = rclone::examine_of(&site.runner, &facts.target, &cache)?;
    let program = prebuilt.map_or_else(|| compile::program(facts), Ok)?;
    create_dirs(dist, 0o755)?;
    let tarball = dist.join("etcd2-backup.tgz");
    let manifest = facts.manifest(&program, rclone.clone())?;
    let sha256 =
        tarball::write(site, rendered, &program, &manifest, facts.source_date_epoch, &tarball, &cache)?;
    let sum = format!("{sha256}  etcd2-backup.tgz\n");
    write_atomic(&dist.join("etcd2-backup.tgz.sha256"), sum.as_bytes(), 0o644)?;
    let copy = dist.join(PROGRAM);
    write_atomic(&copy, &program, 0o755)?;
    Ok(Built { tarball, sha256, program: copy, size: program.len(), rclone })
}

/// What was made, and what to do with it.
fn report(site: &Site, facts: &Facts, built: &Built) {
    let tarball = built.tarball.display();
    let rclone =
        built.rclone.as_ref().map_or(String::new(), |r| format!(" rclone {} is bundled.", r.version));
    println!(
        "\
etcd2-backup {} (commit {}, {})

  {tarball}         for every node
  {tarball}.sha256  {}
  {}             the same program, for this workstation
The program has {} of {}.{}

It contains the rclone secrets: whoever has the tarball has the remote. Its mode is 0600.

For each node, here:
  scp {tarball} core@NODE:
  ssh core@NODE
and there:
  mkdir -p ~/etcd2-backup && mv ~/etcd2-backup.tgz ~/etcd2-backup/ && cd ~/etcd2-backup
  tar zxf etcd2-backup.tgz
  ./etcd2-backup-install --remove-source    # and --enable-timer where backups are to be made

Backups go to {}/<machine-id>/ {}. Founding member: {}",
        facts.version,
        facts.commit,
        facts.target,
        built.sha256,
        built.program.display(),
        bytes(built.size as u64),
        bytes(checks::max_bytes(&facts.target) as u64),
        rclone,
        site.endpoint,
        site.schedule.when,
        site.founder.join(", "),
    );
}
