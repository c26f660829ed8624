//! What a tag publishes, made by the real task, and what an operator's build makes of it without a compiler.
#![allow(missing_docs)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use etcd2_backup::sys::terminal::table::bytes;
use testkit::tools::{Tools, strace_from_env};

/// How a task ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs a task with the umask of a careless shell; `environment` comes with nothing else.
fn xtask(arguments: &[&str], environment: Option<&[(&str, &str)]>) -> Ran {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 0 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_xtask")]).args(arguments);
    if let Some(all) = environment {
        command.env_clear().envs(all.iter().copied());
    }
    ran(&mut command)
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

#[track_caller]
fn ok(ran: Ran) -> String {
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    ran.out
}

/// Past the harness, which shows nothing of a test that passes.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

fn write(path: &Path, content: &[u8], mode: u32) {
    etcd2_backup::sys::fs::write_atomic(path, content, mode).unwrap();
}

/// Name, mode and content of every file in a folder, sorted.
fn files(dir: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| {
            let path = e.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            (path.file_name().unwrap().to_string_lossy().into_owned(), mode, fs::read(&path).unwrap())
        })
        .collect();
    all.sort();
    all
}

fn unpack(tarball: &Path, into: &Path) {
    let packed = fs::File::open(tarball).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(into).unwrap();
}

fn site(dir: &Path) -> PathBuf {
    let site = dir.join("site");
    fs::create_dir(&site).unwrap();
    let settings = "version = 1\nfounder = \"http://e1:2380\"\nendpoint = \"s3:b/p\"\n";
    write(&site.join("etcd2-backup.toml"), settings.as_bytes(), 0o644);
    write(&site.join("rclone.conf"), b"[s3]\ntype = s3\nsecret_access_key = hunter2\n", 0o600);
    site
}

/// What the program is compiled for here, and how large it may be: with musl, or without the standard library for that.
const TARGETS: [(&str, usize); 2] =
    [("x86_64-unknown-linux-musl", 2_621_440), ("x86_64-unknown-linux-gnu", 3_145_728)];
/// No program can be found.
const NOTHING: &[(&str, &str)] = &[("PATH", "/nonexistent")];

#[test]
fn a_release_is_the_same_twice_and_is_packed_without_a_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let release = |to: &str| ok(xtask(&["release", "--allow-dirty", "--dist", &at(to)], None));
    let out = release("one");
    say(out.lines().next().unwrap());
    assert!(out.starts_with("node program: "), "{out}");
    release("two");
    let one = files(&dir.path().join("one"));
    assert_eq!(one, files(&dir.path().join("two")));
    let modes: Vec<(&str, u32)> = one.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    let base = |target: &str| format!("etcd2-backup-{}-{target}", env!("CARGO_PKG_VERSION"));
    let (target, max) = TARGETS.into_iter().find(|(target, _)| modes[1].0 == base(target)).unwrap();
    let name = |suffix: &str| base(target) + suffix;
    assert_eq!(
        modes,
        [
            ("SHA256SUMS", 0o644),
            (&name(""), 0o755),
            (&name("-unconfigured.tgz"), 0o600),
            (&name(".cdx.json"), 0o644),
            (&name(".manifest.json"), 0o644),
        ]
    );
    ok(ran(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(at("one"))));

    // An operator packs it: another HOME, no cargo, no compiler, no git.
    let site = site(dir.path()).to_string_lossy().into_owned();
    let program = dir.path().join("one").join(name("")).to_string_lossy().into_owned();
    let pack = |to: &str, extra: &[&str]| {
        let arguments = [&["build", "--site", &site, "--prebuilt", &program, "--dist", to], extra].concat();
        xtask(&arguments, Some(NOTHING))
    };
    let first = pack(&at("packed"), &[]);
    // The stock image is of a version, and nothing else is to be said of the site.
    assert!(!first.err.contains("warning:"), "{}", first.err);
    for text in [&first.out, &first.err] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    ok(first);
    let packed = files(&dir.path().join("packed"));
    let modes: Vec<(&str, u32)> = packed.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    assert_eq!(
        modes,
        [("etcd2-backup", 0o755), ("etcd2-backup.tgz", 0o600), ("etcd2-backup.tgz.sha256", 0o644)]
    );
    assert_eq!(packed[0].2, one[1].2);
    assert_eq!(fs::metadata(at("packed")).unwrap().mode() & 0o7777, 0o755);

    // Who compiles it gets the same tarball, and the second time soon.
    let build = || ok(xtask(&["build", "--site", &site, "--dist", &at("built")], None));
    build();
    let started = Instant::now();
    build();
    say(&format!("no-op build: {:.2} s", started.elapsed().as_secs_f64()));
    assert_eq!(files(&dir.path().join("built")), packed);

    // Under both of its names the program says the same, and the tarball is as good a source as the release.
    let unpacked = dir.path().join("unpacked");
    unpack(&dir.path().join("packed/etcd2-backup.tgz"), &unpacked);
    let install = unpacked.join("etcd2-backup-install");
    let said = [&PathBuf::from(&program), &install].map(|p| ok(ran(Command::new(p).arg("--version"))));
    assert_eq!(said[0], said[1]);
    assert!(said[0].contains(" (commit ") && said[0].ends_with(&format!(", {target})\n")), "{}", said[0]);
    assert_eq!(fs::read(unpacked.join("manifest.json")).unwrap(), one[4].2);
    let arguments = ["build", "--site", &site, "--prebuilt", install.to_str().unwrap(), "--dist"];
    ok(xtask(&[&arguments[..], &[&at("again")]].concat(), Some(NOTHING)));
    assert_eq!(files(&dir.path().join("again")), packed);

    // It is judged the same way.
    let lint = || xtask(&["lint", "--site", &site, "--prebuilt", &program], Some(NOTHING));
    let said = ok(lint());
    let size = one[1].2.len();
    let [size, max] = [size, max].map(|n| bytes(n as u64));
    let want = format!("\nprogram: {size} of at most {max}, static, resolves no names\n");
    assert!(said.contains(&want), "{said}");

    // What was altered is refused before anything is touched.
    let mut bytes = one[1].2.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    write(Path::new(&program), &bytes, 0o755);
    let refused = pack(&at("packed"), &[]);
    assert_eq!(refused.code, 15, "{}", refused.err);
    for word in ["its SHA-256 is ", "hint: take the node program and its manifest from one release"] {
        assert!(refused.err.contains(word), "{}", refused.err);
    }
    assert_eq!(files(&dir.path().join("packed")), packed);
    let refused = lint();
    assert_eq!(refused.code, 15, "{}", refused.err);
    assert!(refused.err.contains("its SHA-256 is "), "{}", refused.err);
    write(Path::new(&program), &one[1].2, 0o755);

    // What the tarball of the release is of.
    let stock = dir.path().join("stock");
    unpack(&dir.path().join("one").join(name("-unconfigured.tgz")), &stock);
    let settings = fs::read_to_string(stock.join("30-etcd2-backup-restore.conf")).unwrap();
    assert!(settings.contains("RCLONE_ENDPOINT=unconfigured:set-RCLONE_ENDPOINT\""), "{settings}");

    bundle_and_time(&pack, &at("bundled"), &at("unpacked-bundle"));
    no_secret_is_ever_open(&site, &program, &at("traced"));
}

/// A bundled rclone is named in the manifest, and the second build is quick.
fn bundle_and_time(pack: &dyn Fn(&str, &[&str]) -> Ran, to: &str, unpacked: &str) {
    let Some(tools) = Tools::from_env() else { return };
    for rclone in tools.rclones() {
        let flag = ["--bundle-rclone", rclone.to_str().unwrap()];
        let first = pack(to, &flag);
        // Debian's is not static.
        if first.code != 0 {
            assert_eq!(first.code, 15, "{}", first.err);
            assert!(first.err.contains("is not static\nhint: "), "{}", first.err);
            continue;
        }
        let tarball = Path::new(to).join("etcd2-backup.tgz");
        // Held open: a file that replaces it cannot get its inode number.
        let packed = fs::File::open(&tarball).unwrap();
        let started = Instant::now();
        let second = pack(to, &flag);
        assert!(!second.err.contains("warning: rclone.image"), "{}", second.err);
        let out = ok(second);
        say(&format!("no-op build with a bundled rclone: {:.2} s", started.elapsed().as_secs_f64()));
        assert!(out.contains(" rclone v1.") && out.contains(" is bundled."), "{out}");
        let (now, before) = (fs::metadata(&tarball).unwrap().ino(), packed.metadata().unwrap().ino());
        assert_eq!(now, before, "left as it was");
        unpack(&tarball, Path::new(unpacked));
        let text = fs::read_to_string(Path::new(unpacked).join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(manifest["rclone"]["version"].as_str().unwrap().starts_with("v1."), "{text}");
        assert_eq!(fs::read(Path::new(unpacked).join("rclone")).unwrap(), fs::read(&rclone).unwrap());
    }
}

/// The tarball is for its owner alone from its first byte, whatever the umask: strace has seen each file
/// made.
fn no_secret_is_ever_open(site: &str, program: &str, to: &str) {
    let Some(strace) = strace_from_env() else { return };
    let seen = format!("{to}.strace");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 0 && exec \"$@\"", "sh"]).arg(strace);
    command.args([
        "-f",
        "-e",
        "trace=open,openat,creat,chmod,fchmod",
        "-o",
        &seen,
        env!("CARGO_BIN_EXE_xtask"),
    ]);
    command.args(["build", "--site", site, "--prebuilt", program, "--dist", to]);
    ok(ran(&mut command));
    let seen = fs::read_to_string(seen).unwrap();
    let made: Vec<&str> =
        seen.lines().filter(|l| l.contains("O_CREAT") && l.contains(".etcd2-backup.tgz.tmp")).collect();
    assert_eq!(made.len(), 1, "{seen}");
    assert!(made[0].contains(", 0600)"), "{}", made[0]);
}

#[test]
fn contradictions_and_missing_things_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let site = site(dir.path());
    let at = site.to_string_lossy().into_owned();
    let dist = dir.path().join("dist").to_string_lossy().into_owned();
    let settings = fs::read_to_string(site.join("etcd2-backup.toml")).unwrap();
    for (added, arguments, code, want) in [
        (
            "rclone.runner = \"docker\"\n",
            &["build", "--bundle-rclone", "/x"][..],
            15,
            "--bundle-rclone contradicts rclone.runner \"docker\"",
        ),
        ("rclone.image = \"x\"\n", &["build", "--bundle-rclone", "/x"], 15, "rclone.image has no meaning"),
        ("", &["build", "--bundle-rclone", "/x"], 15, "rclone.bundle: there is no /x"),
        ("", &["build", "--bundle-rclone", "/"], 15, "rclone.bundle: / is a folder"),
        ("", &["build", "--bundle-rclone", ""], 2, "a value is required"),
        ("", &["build", "--prebuilt", "/x"], 15, "--prebuilt: there is no /x"),
        ("", &["build", "--prebuilt", "/"], 15, "--prebuilt: / is a folder"),
        ("", &["build", "--prebuilt", "/x", "--target", "y"], 2, "cannot be used with '--target"),
    ] {
        write(&site.join("etcd2-backup.toml"), format!("{settings}{added}").as_bytes(), 0o644);
        let ran = xtask(&[arguments, &["--site", &at, "--dist", &dist]].concat(), Some(NOTHING));
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(want), "{arguments:?}: {}", ran.err);
        assert!(!Path::new(&dist).exists(), "{arguments:?}");
    }
    for (arguments, code, want) in [
        (&["lint", "--prebuilt", "/x"][..], 15, "--prebuilt: there is no /x"),
        (&["lint", "--prebuilt", "/x", "--target", "y"], 2, "cannot be used with '--target"),
    ] {
        let ran = xtask(&[arguments, &["--site", &at]].concat(), Some(NOTHING));
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(want), "{arguments:?}: {}", ran.err);
    }
    for (arguments, code, want) in [
        (&["release", "--tag", "v9.9.9"][..], 10, "the tag \"v9.9.9\" is not v"),
        (&["release", "--verify", "--allow-dirty"], 2, "cannot be used with"),
    ] {
        let ran = xtask(&[arguments, &["--dist", &dist]].concat(), None);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.err);
        assert!(ran.err.contains(want), "{arguments:?}: {}", ran.err);
        assert!(!Path::new(&dist).exists(), "{arguments:?}");
    }
}
