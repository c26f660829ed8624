//! What an installation needs of a node: looked for once, and told all at once.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustix::fs::{Access, StatVfsMountFlags};
use rustix::io::Errno;

use super::existing;
use super::system::{self, Family, MADE_FOR};
use crate::paths::{PROGRAM, RCLONE_CONF, RUNTIME_UNIT_DIR, UNIT_DIR};
use crate::settings::our_units::OLDEST_SYSTEMD;
use crate::sys::os_release::OsRelease;
use crate::sys::room::nearest;
use crate::sys::root::Root;
use crate::sys::{fs, look, systemd};

/// Programs of the node that ours runs, and where they come from on Debian and on Fedora.
const PROGRAMS: [(&str, &str, &str); 4] = [
    ("systemctl", "systemd", "systemd"),
    ("busctl", "systemd", "systemd"),
    ("getent", "libc-bin", "glibc-common"),
    ("curl", "curl", "curl"),
];
/// Where systemd's services look for programs.
const PATH_OF_SERVICES: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Something that was looked for and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The thing and the reason, one line.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// What can be told of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    /// What os-release says; why that is not known.
    system: Result<OsRelease, String>,
    /// `None` for a tree.
    node: Option<Node>,
    /// Places that will be written to and cannot be, and why.
    closed: Vec<(PathBuf, &'static str)>,
}

/// What can be told of a node that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    systemd_runs: bool,
    /// Its version; why that is not known. Not asked without `systemctl`.
    systemd: Option<Result<u32, String>>,
    /// Of [`PROGRAMS`], those that are not there.
    programs: Vec<&'static str>,
    /// The engine of the runner, or its rclone, that is not there.
    runner: Option<String>,
}

/// Whatever is missing on a node, or in a tree, for an installation whose rclone has this runner.
///
/// # Errors
/// Something could not be asked.
pub fn missing(root: &Root, runner: &str) -> Result<Vec<Missing>> {
    Ok(judge(&Facts::of(root, runner)?))
}

impl Facts {
    fn of(root: &Root, runner: &str) -> Result<Self> {
        let system = system::load(root).map_err(|e| format!("{e:#}"));
        let node = if root.is_live() { Some(Node::of(root, runner)?) } else { None };
        Ok(Self { system, node, closed: closed(root)? })
    }
}

impl Node {
    fn of(root: &Root, runner: &str) -> Result<Self> {
        let search = env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<PathBuf> =
            env::split_paths(&search).chain(env::split_paths(PATH_OF_SERVICES)).collect();
        let is_missing = |name: &str| is_program(name, &dirs).map(|there| !there);
        let mut programs = Vec::new();
        for (name, ..) in PROGRAMS {
            if is_missing(name)? {
                programs.push(name);
            }
        }
        let needed = match runner {
            "host" => Some("rclone"),
            "docker" | "podman" => Some(runner),
            _ => None,
        };
        let runner = match needed {
            Some(name) if is_missing(name)? => Some(name.to_owned()),
            _ => None,
        };
        let asked = !programs.contains(&"systemctl");
        Ok(Self {
            systemd_runs: look::is_dir(&root.join(RUNTIME_UNIT_DIR))?,
            systemd: asked.then(|| systemd::version().map_err(|e| format!("{e:#}"))),
            programs,
            runner,
        })
    }
}

fn is_program(name: &str, dirs: &[PathBuf]) -> Result<bool> {
    for path in dirs.iter().map(|dir| dir.join(name)) {
        if look::is_file(&path)? && rustix::fs::access(&path, Access::EXEC_OK).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The folders of ours that cannot be written to, or from which nothing can be run; none that lies in one of the others.
fn closed(root: &Root) -> Result<Vec<(PathBuf, &'static str)>> {
    let program = fs::parent(Path::new(PROGRAM));
    let mut closed: Vec<(PathBuf, &'static str)> = Vec::new();
    for dir in [fs::parent(Path::new(RCLONE_CONF)), PathBuf::from(UNIT_DIR), program.clone()] {
        // Where something else than a folder is in the way, or a link that leads out of the root, the plan says so.
        let Ok((there, _)) = nearest(&root.join(&dir)) else { continue };
        if !existing::is_inside(root, &there) {
            continue;
        }
        let problem = match rustix::fs::access(&there, Access::WRITE_OK) {
            Err(Errno::ROFS) => Some("is on a disk that is mounted read-only"),
            Err(Errno::ACCESS | Errno::PERM) => Some("may not be written to by this user"),
            _ if dir == program && is_noexec(&there) => {
                Some("is on a disk from which no program may be run (mounted noexec)")
            }
            _ => None,
        };
        if let Some(problem) = problem
            && !closed.iter().any(|(other, _)| dir.starts_with(other))
        {
            closed.push((dir, problem));
        }
    }
    Ok(closed)
}

/// What cannot be asked is not called so.
fn is_noexec(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// What is missing, each with its hint; the system first.
fn judge(facts: &Facts) -> Vec<Missing> {
    let mut all = Vec::new();
    let mut add = |what: String, hint: String| all.push(Missing { what, hint });
    let family = facts.system.as_ref().ok().and_then(Family::of);
    match &facts.system {
        _ if family.is_some() => {}
        Ok(system) => add(
            format!("this is made for {MADE_FOR}, not for {}", system::describe(system)),
            "try it on one node first: install with --force, then run etcd2-backup-doctor.service".to_owned(),
        ),
        Err(why) => add(
            format!("this is made for {MADE_FOR}, and this system cannot be determined ({why})"),
            "write /etc/os-release: its line ID= names the system".to_owned(),
        ),
    }
    for (dir, problem) in &facts.closed {
        add(
            format!("{} {problem}", dir.display()),
            format!("etcd2-backup is installed there: make {} writable for root", dir.display()),
        );
    }
    let Some(node) = &facts.node else { return all };
    if !node.systemd_runs {
        add(
            format!("systemd does not run here: {RUNTIME_UNIT_DIR} is missing"),
            "it starts the backups; to prepare a node that does not run, install into its tree with --root \
             DIR"
            .to_owned(),
        );
    }
    match &node.systemd {
        None => {}
        Some(Ok(version)) if *version >= OLDEST_SYSTEMD => {}
        Some(Ok(version)) => add(
            format!(
                "systemd {version} is older than {OLDEST_SYSTEMD}, the oldest that the units are written for"
            ),
            "update the node".to_owned(),
        ),
        Some(Err(why)) => add(
            format!("the version of systemd cannot be determined ({why})"),
            "run: systemctl --version".to_owned(),
        ),
    }
    for (name, debian, red_hat) in PROGRAMS {
        if node.programs.contains(&name) {
            let hint = match family {
                Some(Family::Debian) => format!("run: sudo apt-get install {debian}"),
                Some(Family::RedHat) => format!("run: sudo dnf install {red_hat}"),
                _ => format!("install {name}"),
            };
            add(format!("the program {name} is missing"), hint);
        }
    }
    if let Some(name) = &node.runner {
        add(
            format!("the program {name} is missing, which is to run the backups' rclone"),
            format!(
                "install {name}, or build the tarball with runner = \"bundled\": it then contains rclone"
            ),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

    fn good() -> Facts {
        let system = OsRelease { id: "debian".into(), ..OsRelease::default() };
        let node = Node { systemd_runs: true, systemd: Some(Ok(252)), programs: Vec::new(), runner: None };
        Facts { system: Ok(system), node: Some(node), closed: Vec::new() }
    }

    fn said(facts: &Facts) -> Vec<String> {
        judge(facts).into_iter().map(|m| format!("{} | {}", m.what, m.hint)).collect()
    }

    #[test]
    fn each_thing_is_missed_by_itself() {
        let node = |change: &dyn Fn(&mut Node)| {
            let mut facts = good();
            facts.node.iter_mut().for_each(change);
            facts
        };
        let of = |id: &str| Ok(OsRelease { id: id.into(), ..OsRelease::default() });
        let on = |id: &str| Facts { system: of(id), ..node(&|n: &mut Node| n.programs = vec!["getent"]) };
        let cases = [
            (Facts { system: of("arch"), ..good() }, "not for ID=arch | try it on one node first"),
            (
                Facts { system: Err("no".into()), ..good() },
                "cannot be determined (no) | write /etc/os-release",
            ),
            (Facts { closed: vec![("/opt/bin".into(), "is shut")], ..good() }, "/opt/bin is shut | "),
            (node(&|n| n.systemd_runs = false), "/run/systemd/system is missing | it starts the backups"),
            (node(&|n| n.systemd = Some(Ok(230))), "systemd 230 is older than 231"),
            (node(&|n| n.systemd = Some(Err("?".into()))), "cannot be determined (?) | run: systemctl"),
            (on("ubuntu"), "getent is missing | run: sudo apt-get install libc-bin"),
            (on("rocky"), "getent is missing | run: sudo dnf install glibc-common"),
            (on("flatcar"), "getent is missing | install getent"),
            (node(&|n| n.runner = Some("docker".into())), "docker is missing, which is to run"),
        ];
        for (facts, expected) in cases {
            let said = said(&facts);
            assert!(matches!(said.as_slice(), [one] if one.contains(expected)), "{said:?}, not {expected}");
        }
        let oldest = node(&|n| n.systemd = Some(Ok(OLDEST_SYSTEMD)));
        let tree = Facts { node: None, ..good() };
        for fine in [good(), oldest, tree] {
            assert_eq!(said(&fine), [""; 0]);
        }
    }

    #[test]
    fn all_of_it_is_told_at_once() {
        let node = Node {
            systemd_runs: false,
            systemd: None,
            programs: vec!["systemctl", "busctl", "getent", "curl"],
            runner: Some("rclone".into()),
        };
        let closed = vec![("/etc".into(), "is shut"), ("/opt/bin".into(), "is shut")];
        let facts = Facts { system: Ok(OsRelease::default()), node: Some(node), closed };
        assert_eq!(said(&facts).len(), 9, "{:#?}", said(&facts));
    }

    #[test]
    fn a_program_is_a_file_that_can_be_run() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = [dir.path().join("none"), dir.path().to_owned()];
        std::fs::create_dir(dir.path().join("busctl")).unwrap();
        write_atomic(&dir.path().join("curl"), b"", 0o755).unwrap();
        write_atomic(&dir.path().join("getent"), b"", 0o644).unwrap();
        for (name, expected) in [("curl", true), ("getent", false), ("busctl", false), ("docker", false)] {
            assert_eq!(is_program(name, &dirs).unwrap(), expected, "{name}");
        }
    }
}
