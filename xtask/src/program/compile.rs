//! The node program, compiled: for which target, with which flags, and stripped.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault, fault};
use etcd2_backup::sys::command::CommandRunExt;

use super::checks;
use super::provenance::{Facts, first_line};
use crate::checkout;

/// What the node program is compiled for unless somebody says otherwise: small, and its libc comes with the compiler.
pub(crate) const MUSL: &str = "x86_64-unknown-linux-musl";
/// What it is compiled for where the compiler has no standard library for that.
pub(crate) const GNU: &str = "x86_64-unknown-linux-gnu";
/// How often a compilation is said to go on, where there is no terminal.
const STILL: Duration = Duration::from_secs(30);
/// The node program's name.
pub(crate) const PROGRAM: &str = "etcd2-backup";

/// The target that was named, else [`target`].
pub(crate) fn target_or(named: Option<&str>) -> String {
    named.unwrap_or_else(|| target()).to_owned()
}

/// What the node program is compiled for where nobody says it. That must not fail where nothing can be downloaded.
pub(crate) fn target() -> &'static str {
    static CHOSEN: OnceLock<&str> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "target-libdir", "--target", MUSL]).current_dir(checkout::root());
        let libdir = first_line(&mut rustc).ok();
        let chosen = choose(libdir.as_deref().map(Path::new));
        if chosen != MUSL {
            eprintln!(
                "note: the node program is built for {chosen}, which makes it larger: the compiler has no standard \
                 library for {MUSL}; to add it: rustup target add {MUSL}"
            );
        }
        chosen
    })
}

/// Whether the folder of the standard library for musl is there, with the libc in it that is linked.
fn choose(libdir: Option<&Path>) -> &'static str {
    if libdir.is_some_and(|dir| dir.join("self-contained/libc.a").is_file()) { MUSL } else { GNU }
}

/// For zstd, the only C in the node program: no unwind tables, since nothing unwinds, and none of the slower strategies,
/// which the level in use never takes. 6 % less.
const C_FLAGS: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables \
    -DZSTD_EXCLUDE_GREEDY_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_LAZY_BLOCK_COMPRESSOR \
    -DZSTD_EXCLUDE_LAZY2_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR \
    -DZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR -DZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR";

/// Those, and for musl without glibc's checking variants of memmove and the like, which Ubuntu's gcc takes by itself.
fn c_flags(target: &str) -> String {
    if target == MUSL { format!("{C_FLAGS} -U_FORTIFY_SOURCE") } else { C_FLAGS.to_owned() }
}

/// Compiles the node program, inspects it, and strips it.
pub(crate) fn program(facts: &Facts) -> Result<Vec<u8>> {
    let linked = compile(facts)?;
    let with_symbols = std::fs::read(&linked).with_context(|| format!("reading {}", linked.display()))?;
    checks::check_linked(&with_symbols)?;
    // A file of its own: another build of this checkout may be stripping at this moment.
    let stripped = tempfile::NamedTempFile::new().context("making a file for the stripped program")?;
    // binutils came with the linker. For another machine's programs STRIP names the right one.
    let strip = std::env::var_os("STRIP").unwrap_or_else(|| "strip".into());
    Command::new(strip)
        .arg("--strip-all")
        .arg("-o")
        .args([stripped.path(), &linked])
        .run_ok(Duration::from_secs(60))
        .or_fault(Exit::Failed, "stripping the node program", "set STRIP to a strip that knows the target")?;
    let bytes = std::fs::read(stripped.path()).context("reading the stripped node program")?;
    checks::check_stripped(&bytes, &facts.target).map_err(|why| {
        fault(
            Exit::Failed,
            format!("the node program: {why}"),
            "look for what made it so: cargo tree -e normal",
        )
    })?;
    Ok(bytes)
}

/// Runs cargo for the node program; returns where it is, with all its symbols.
fn compile(facts: &Facts) -> Result<PathBuf> {
    let mut cargo = checkout::cargo();
    let variable = |name: &str| format!("{name}_{}", facts.target.replace('-', "_"));
    cargo
        .args(["build", "--release", "--locked", "--package", PROGRAM, "--bin", PROGRAM, "--target"])
        .arg(&facts.target)
        .arg("--target-dir")
        .arg(checkout::target())
        .current_dir(checkout::root())
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&facts.target)?)
        .env(variable("CFLAGS"), c_flags(&facts.target))
        // `checks` needs the symbols of the very link that ships.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("ETCD2_BACKUP_COMMIT", &facts.commit)
        .env("ETCD2_BACKUP_TARGET", &facts.target)
        .env("SOURCE_DATE_EPOCH", facts.source_date_epoch.to_string());
    // zstd asks libc for malloc, calloc, free and memmove only: it needs no header of musl, and so no musl-gcc.
    if facts.target == MUSL && cfg!(target_arch = "x86_64") && std::env::var_os(variable("CC")).is_none() {
        cargo.env(variable("CC"), "cc");
    }
    let status = followed(&format!("compiling the node program for {}", facts.target), &mut cargo)?;
    if !status.success() {
        let hint = "read cargo's messages above; it needs a C compiler, libc's headers and, for glibc, the \
                    static libc (Debian: gcc libc6-dev)";
        return Err(fault(
            Exit::Failed,
            format!("compiling the node program: cargo ended with {status}"),
            hint,
        ));
    }
    Ok(checkout::target().join(&facts.target).join("release").join(PROGRAM))
}

/// Runs cargo, and says what it is there for. On a terminal cargo itself shows how far it is; elsewhere it is silent while the
/// last crate, with all others in it, takes minutes.
fn followed(what: &str, cargo: &mut Command) -> Result<ExitStatus> {
    eprintln!("{what}");
    let began = Instant::now();
    let (running, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let still = move || {
            while ended.recv_timeout(STILL) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{what}: {} s", began.elapsed().as_secs());
            }
        };
        if !std::io::stderr().is_terminal() {
            scope.spawn(still);
        }
        let status = cargo.status().context("starting cargo");
        drop(running);
        status
    })
}

/// The compiler's flags, as cargo wants a list that may contain blanks. They apply to the target alone, since one is
/// named: a static procedural macro could not be loaded. No path of this machine is left in the program.
fn flags(target: &str) -> Result<String> {
    let rustc = |argument: &str| {
        first_line(Command::new("rustc").args(["--print", argument]).current_dir(checkout::root()))
    };
    let sysroot = rustc("sysroot").context("asking the Rust compiler for its folder")?;
    let mut flags: Vec<String> =
        ["-C", "target-feature=+crt-static", "-C", "relocation-model=static"].map(Into::into).into();
    // Where the processor has no instructions for SHA-256, a loop is slower and 8 kB smaller than its 64 rounds written out.
    flags.extend(["--cfg", "sha2_backend_soft=\"compact\""].map(Into::into));
    if target == MUSL {
        // lld itself, libc and what begins a program are all the compiler's own: nothing of this machine's is linked in.
        let own = ["linker=rust-lld", "linker-flavor=ld.lld", "link-self-contained=yes"];
        flags.extend(own.iter().flat_map(|flag| ["-C".into(), (*flag).into()]));
    }
    if [MUSL, GNU].contains(&target) {
        // lld, which is Rust's own for both, can fold equal functions: 1 to 3 % less. What many functions have a part of
        // becomes a function: 2 to 3 % less.
        let mut link = vec!["--icf=all".to_owned()];
        flags.extend(
            ["-C", "llvm-args=-enable-machine-outliner=always -machine-outliner-reruns=3"].map(Into::into),
        );
        // Nothing unwinds where a panic aborts, so the tables for it can go: 10 to 13 % less. Only a backtrace would read
        // them (RUST_BACKTRACE=1), and libgcc aborts when it finds none: what walks the stack becomes a function that
        // returns at once. The path is relative, for cargo would hash another one into the program.
        link.extend(["-Txtask/no-unwind.ld", "--no-eh-frame-hdr"].map(Into::into));
        let mut stub =
            |name, by| link.extend([format!("--wrap={name}"), format!("--defsym=__wrap_{name}={by}")]);
        stub("_Unwind_Backtrace", "getpid");
        if target == MUSL {
            // The end of a cleanup that never begins. With it goes most of libunwind: 4 % less.
            stub("_Unwind_Resume", "abort");
        } else {
            // Where the main thread's stack ends is what Rust asks libc to name a stack overflow by. glibc answers with all
            // of sscanf, floating point included: 4 % less when it fails, and a stack overflow is a plain SIGSEGV. musl's
            // answer has 160 bytes.
            stub("pthread_getattr_np", "getpid");
        }
        // glibc's is linked through the C compiler, which passes on what is behind a comma.
        let through = if target == MUSL { "" } else { "-Wl," };
        flags.extend(link.iter().flat_map(|link| ["-C".into(), format!("link-arg={through}{link}")]));
    }
    // A later mapping wins where two fit, so the checkout comes first: everything else may lie inside it.
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    remap(checkout::root(), "/etcd2-backup");
    if let Some(home) = cargo_home() {
        remap(&home, "/cargo");
    }
    remap(&Path::new(&sysroot).join("lib/rustlib/src/rust"), "/rust");
    Ok(flags.join("\x1f"))
}

/// Where cargo keeps crates.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd2_backup::sys::fs::{create_dirs, write_atomic};

    #[test]
    fn no_flag_is_split_at_a_blank() {
        for target in [MUSL, GNU, "aarch64-unknown-linux-gnu"] {
            let flags = flags(target).unwrap();
            let flags: Vec<&str> = flags.split('\x1f').collect();
            let begins = [
                "target-feature=",
                "relocation-model=",
                "sha2_backend_soft=",
                "link-arg=-",
                "link-self-contained=",
                "linker=",
                "linker-flavor=",
                "llvm-args=-",
                "--remap-path-prefix=/",
            ];
            let whole =
                |f: &&str| ["-C", "--cfg"].contains(f) || begins.iter().any(|begin| f.starts_with(begin));
            assert!(flags.iter().all(whole), "{flags:?}");
            assert_eq!(
                flags.iter().filter(|f| f.starts_with("--remap-path-prefix=")).count(),
                3,
                "{flags:?}"
            );
            let through = flags.iter().any(|f| f.starts_with("link-arg=-Wl,"));
            assert_eq!(through, target == GNU, "{flags:?}");
        }
    }

    #[test]
    fn musl_is_taken_where_the_compiler_has_it() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(choose(None), GNU);
        assert_eq!(choose(Some(&dir.path().join("none"))), GNU);
        let own = dir.path().join("self-contained");
        create_dirs(&own, 0o755).unwrap();
        // A distribution's compiler leaves the libc to a package of its own.
        assert_eq!(choose(Some(dir.path())), GNU);
        write_atomic(&own.join("libc.a"), b"", 0o644).unwrap();
        assert_eq!(choose(Some(dir.path())), MUSL);
        assert_eq!(target_or(Some("named")), "named");
        assert_eq!(target_or(None), target());
    }
}
