//! `cargo xtask build`: the site checked, the node program compiled and inspected, the tarball written.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault, fault};
use etcd2_backup::sys::command::CommandRunExt;
use etcd2_backup::sys::fs::{create_dirs, write_atomic};

use crate::facts::{Facts, first_line};
use crate::site::{self, Runner, Site};
use crate::{elf, paths, tarball};

/// What the node program is compiled for unless somebody says otherwise.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// The node program's name; the workstation's copy in dist/ has it too.
const PROGRAM: &str = "etcd2-backup";
/// The node program is small, so that it goes anywhere quickly.
const MAX_BYTES: usize = 2 << 20;
/// In a static program these load libraries of the node, which are of another age: names go through curl instead.
const FORBIDDEN: [&str; 6] =
    ["getaddrinfo", "gethostbyname", "gethostbyname_r", "getpwnam_r", "getpwuid_r", "getgrnam_r"];

/// `build`: make the tarball of a site.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder with etcd2-backup.toml and rclone.conf
    #[arg(long, value_name = "DIR", default_value = ".")]
    site: PathBuf,
    /// What the nodes are
    #[arg(long, value_name = "TRIPLE", default_value = TARGET)]
    target: String,
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
}

/// The task.
pub(crate) fn main(options: &Options) -> Result<()> {
    let site = site::load(&options.site)?;
    let facts = Facts::gather(paths::root(), &options.target)?;
    let built = package(&site, &facts, options.dist.as_deref().unwrap_or(&paths::dist()))?;
    report(&site, &facts, &built);
    Ok(())
}

/// Builds the tarball of the site in `site_dir` and leaves it, its checksum and the node program in `dist`.
pub(crate) fn run(site_dir: &Path, dist: &Path) -> Result<Built> {
    let site = site::load(site_dir)?;
    package(&site, &Facts::gather(paths::root(), TARGET)?, dist)
}

fn package(site: &Site, facts: &Facts, dist: &Path) -> Result<Built> {
    let program = program(facts)?;
    if let Runner::Bundled(rclone) = &site.runner {
        check_same_machine(&rclone.0, &program)?;
    }
    create_dirs(dist, 0o755)?;
    let tarball = dist.join("etcd2-backup.tgz");
    let sha256 = tarball::write(site, &program, &facts.manifest()?, facts.source_date_epoch, &tarball)?;
    let sum = format!("{sha256}  etcd2-backup.tgz\n");
    write_atomic(&dist.join("etcd2-backup.tgz.sha256"), sum.as_bytes(), 0o644)?;
    let copy = dist.join(PROGRAM);
    write_atomic(&copy, &program, 0o755)?;
    Ok(Built { tarball, sha256, program: copy })
}

/// For zstd, the only C in the node program: no unwind tables, since nothing unwinds, and none of the slower strategies,
/// which the level in use never takes. 6 % less.
const C_FLAGS: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables \
    -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR \
    -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR \
    -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR";

/// Compiles the node program, inspects it, and strips it.
fn program(facts: &Facts) -> Result<Vec<u8>> {
    let linked = compile(facts)?;
    let bytes = std::fs::read(&linked).with_context(|| format!("reading {}", linked.display()))?;
    inspect(&bytes)?;
    let stripped = linked.with_extension("stripped");
    // binutils came with the linker. For another machine's programs STRIP names the right one.
    let strip = std::env::var_os("STRIP").unwrap_or_else(|| "strip".into());
    Command::new(strip)
        .arg("--strip-all")
        .arg("-o")
        .args([&stripped, &linked])
        .run_ok(std::time::Duration::from_secs(60))
        .or_fault(Exit::Failed, "stripping the node program", "set STRIP to a strip that knows the target")?;
    let bytes = std::fs::read(&stripped).with_context(|| format!("reading {}", stripped.display()))?;
    if bytes.len() > MAX_BYTES {
        let what = format!("the node program has {} bytes, more than {MAX_BYTES}", bytes.len());
        return Err(fault(Exit::Failed, what, "look for what made it grow: cargo tree -e normal"));
    }
    Ok(bytes)
}

/// Runs cargo for the node program; returns where it is, with all its symbols.
fn compile(facts: &Facts) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--locked", "--package", PROGRAM, "--bin", PROGRAM, "--target"])
        .arg(&facts.target)
        .arg("--target-dir")
        .arg(paths::target())
        .current_dir(paths::root())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&facts.target)?)
        .env(format!("CFLAGS_{}", facts.target.replace('-', "_")), C_FLAGS)
        // `inspect` needs the symbols of the very link that ships.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("ETCD2_BACKUP_COMMIT", &facts.commit)
        .env("ETCD2_BACKUP_TARGET", &facts.target)
        .env("SOURCE_DATE_EPOCH", facts.source_date_epoch.to_string());
    let status = cargo.status().context("starting cargo")?;
    if !status.success() {
        let hint =
            "read cargo's messages above; it needs a C compiler and the static libc (Debian: gcc libc6-dev)";
        return Err(fault(
            Exit::Failed,
            format!("compiling the node program: cargo ended with {status}"),
            hint,
        ));
    }
    Ok(paths::target().join(&facts.target).join("release").join(PROGRAM))
}

/// The compiler's flags, as cargo wants a list that may contain blanks. They apply to the target alone, since one is
/// named: a static procedural macro could not be loaded. No path of this machine is left in the program.
fn flags(target: &str) -> Result<String> {
    let rustc = |argument: &str| {
        first_line(Command::new("rustc").args(["--print", argument]).current_dir(paths::root()))
    };
    let sysroot = rustc("sysroot").context("asking the Rust compiler for its folder")?;
    let mut flags: Vec<String> =
        ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"].map(Into::into).into();
    if target == TARGET {
        // Rust links this target with its own lld, which can fold equal functions: 3 % less.
        flags.extend(["-C", "link-arg=-Wl,--icf=all"].map(Into::into));
        // Nothing unwinds where a panic aborts, so the tables for it can go: 10 % less. Only a backtrace would read
        // them (RUST_BACKTRACE=1), and libgcc aborts when it finds none: what walks the stack becomes a function that
        // returns at once. The path is relative, for cargo would hash another one into the program.
        let no_tables = ["-T,xtask/no-unwind.ld", "--no-eh-frame-hdr", "--wrap=_Unwind_Backtrace"];
        let no_walk = "--defsym=__wrap__Unwind_Backtrace=getpid";
        for link in no_tables.into_iter().chain([no_walk]) {
            flags.extend(["-C".into(), format!("link-arg=-Wl,{link}")]);
        }
    }
    // A later mapping wins where two fit, so the checkout comes first: everything else may lie inside it.
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(paths::root(), "/etcd2-backup");
    if let Some(home) = cargo_home() {
        remap(&home, "/cargo");
    }
    remap(&Path::new(&sysroot).join("lib/rustlib/src/rust"), "/rust");
    Ok(flags.join("\x1f"))
}

fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Refuses a program that would need anything of the node's libraries.
fn inspect(program: &[u8]) -> Result<()> {
    let elf = elf::parse_elf(program).context("reading the node program")?;
    if !elf.is_static {
        let hint = "crt-static had no effect: is the target one with a static libc?";
        return Err(fault(Exit::Failed, "the node program is not statically linked", hint));
    }
    if elf.symbols.is_empty() {
        let hint = "nothing may strip it before it is inspected: look at the profile in Cargo.toml";
        return Err(fault(Exit::Failed, "the node program has no symbols to inspect", hint));
    }
    if let Some(found) = FORBIDDEN.iter().find(|f| elf.symbols.iter().any(|s| s == *f)) {
        let hint =
            "something resolves a name or a user in-process; let curl or getent do it (clippy.toml says why)";
        return Err(fault(Exit::Failed, format!("the node program contains {found}"), hint));
    }
    Ok(())
}

fn check_same_machine(rclone: &[u8], program: &[u8]) -> Result<()> {
    let (theirs, ours) = (elf::parse_elf(rclone)?.machine, elf::parse_elf(program)?.machine);
    if theirs != ours {
        let what =
            format!("rclone.bundle is for another machine (ELF machine {theirs}, the nodes' is {ours})");
        return Err(fault(
            Exit::Settings,
            what,
            "take the rclone for the nodes' machine, or name another --target",
        ));
    }
    Ok(())
}

/// What was made, and what to do with it.
fn report(site: &Site, facts: &Facts, built: &Built) {
    let tarball = built.tarball.display();
    println!(
        "\
etcd2-backup {} (commit {}, {})

  {tarball}         for every node
  {tarball}.sha256  {}
  {}             the same program, for this workstation

It contains the rclone secrets: whoever has the tarball has the remote. Its mode is 0600; delete the copies on the nodes.

For each node, here:
  scp {tarball} core@NODE:
  ssh core@NODE
and there:
  mkdir -p ~/etcd2-backup && mv ~/etcd2-backup.tgz ~/etcd2-backup/ && cd ~/etcd2-backup
  tar zxf etcd2-backup.tgz
  ./etcd2-backup-install
  sudo systemctl enable --now etcd2-backup.timer    # only where backups are to be made

Backups go to {}/<machine-id>/ every {}. Founding member: {}",
        facts.version,
        facts.commit,
        facts.target,
        built.sha256,
        built.program.display(),
        site.endpoint,
        site.interval,
        site.founder.join(", "),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_does_not_ship() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(inspect(&bytes).unwrap_err().to_string(), "the node program is not statically linked");
    }

    #[test]
    fn another_machines_rclone_does_not_ship() {
        let ours = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut theirs = ours.clone();
        theirs[18..20].copy_from_slice(&183u16.to_le_bytes());
        check_same_machine(&ours, &ours).unwrap();
        let error = check_same_machine(&theirs, &ours).unwrap_err().to_string();
        assert!(error.starts_with("rclone.bundle is for another machine (ELF machine 183"), "{error}");
    }

    #[test]
    fn no_flag_is_split_at_a_blank() {
        let flags = flags(TARGET).unwrap();
        let flags: Vec<&str> = flags.split('\x1f').collect();
        assert_eq!(flags[..4], ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"]);
        assert_eq!(flags[4..6], ["-C", "link-arg=-Wl,--icf=all"]);
        assert!(flags[14..].iter().all(|f| f.starts_with("--remap-path-prefix=/")), "{flags:?}");
    }
}
