//! The node's files, rendered from `templates/`, which mirrors the node's file system.

use anyhow::{Context as _, Result};
use etcd2_backup::paths;
use include_dir::{Dir, include_dir};
use serde::Serialize;
use tera::{Context, Tera};

use crate::site::{Runner, Site};

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates");
const SUFFIX: &str = ".tera";

/// A file of the node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// Where it lands when nothing is renamed, relative to `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// What the templates may use. Every value is escaped already; a name that is not here fails the build.
#[derive(Debug, Serialize)]
struct Values {
    program: &'static str,
    fence: &'static str,
    rclone_conf: &'static str,
    founder: String,
    endpoint: String,
    interval: String,
    boot_delay: String,
    data_dir: String,
    backup_dir: String,
    restore_dir: String,
    etcd_unit: String,
    v2_only: bool,
    runner: &'static str,
    /// Only where a container runs rclone.
    image: Option<String>,
    docker: bool,
    rclone_timeout: String,
    backup_timeout: String,
}

impl Values {
    fn new(site: &Site) -> Self {
        let image = match &site.runner {
            Runner::Docker(image) | Runner::Podman(image) => Some(quoted(image)),
            Runner::Host | Runner::Bundled(_) => None,
        };
        let dir = |path: &std::path::Path| quoted(&path.to_string_lossy());
        Self {
            program: paths::PROGRAM,
            fence: paths::FENCE,
            rclone_conf: paths::RCLONE_CONF,
            founder: quoted(&site.founder.join(",")),
            endpoint: quoted(&site.endpoint),
            interval: site.interval.clone(),
            boot_delay: site.boot_delay.clone(),
            data_dir: dir(&site.data_dir),
            backup_dir: dir(&site.backup_dir),
            restore_dir: dir(&site.restore_dir),
            etcd_unit: quoted(&site.etcd_unit),
            v2_only: site.v2_only,
            runner: site.runner.name(),
            image,
            docker: matches!(site.runner, Runner::Docker(_)),
            rclone_timeout: humantime::format_duration(site.rclone_timeout).to_string(),
            // A cycle asks for the version, lists, sends and looks again: four calls, and a minute for our own work.
            backup_timeout: format!(
                "{}s",
                site.rclone_timeout.as_secs().saturating_mul(4).saturating_add(60)
            ),
        }
    }
}

/// Renders every template, sorted by path.
pub(crate) fn render(site: &Site) -> Result<Vec<Rendered>> {
    let templates = templates(&TEMPLATES);
    let mut tera = Tera::default();
    // Escaping is for systemd and done by `quoted`; HTML's would spoil it.
    tera.autoescape_on(Vec::<&str>::new());
    tera.add_raw_templates(templates.iter().copied()).context("reading the templates")?;
    let values = Context::from_serialize(&Values::new(site)).context("gathering the templates' values")?;
    let render = |&(name, _): &(&'static str, _)| {
        let text = tera.render(name, &values).with_context(|| format!("rendering templates/{name}"))?;
        Ok(Rendered { path: name.trim_end_matches(SUFFIX).to_owned(), text })
    };
    let mut files = templates.iter().map(render).collect::<Result<Vec<_>>>()?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn templates(dir: &'static Dir<'static>) -> Vec<(&'static str, &'static str)> {
    let here = dir.files().filter_map(|f| Some((f.path().to_str()?, f.contents_utf8()?)));
    here.filter(|(name, _)| name.ends_with(SUFFIX)).chain(dir.dirs().flat_map(templates)).collect()
}

/// A value between the quotes of `Environment="NAME=…"`: `%` begins a specifier, `\` an escape, `"` ends it.
/// A `$` means itself there, unlike in `ExecStart=`.
fn quoted(value: &str) -> String {
    value.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use etcd2_backup::sys::fs::{create_dirs, remove_dir_if_there, write_atomic};
    use walkdir::WalkDir;

    /// Each directive we use and the systemd that brought it (0: before 200). The oldest one served is 231.
    const DIRECTIVES: [(&str, u32); 17] = [
        ("AccuracySec", 209),
        ("After", 0),
        ("Also", 0),
        ("AssertPathExists", 218),
        ("Description", 0),
        ("Environment", 0),
        ("ExecStart", 0),
        ("ExecStartPre", 0),
        ("IOSchedulingClass", 0),
        ("IOSchedulingPriority", 0),
        ("Nice", 0),
        ("OnBootSec", 0),
        ("OnUnitActiveSec", 0),
        // "infinity" is newer than the directive: 229.
        ("TimeoutStartSec", 229),
        ("Type", 0),
        ("WantedBy", 0),
        ("Wants", 0),
    ];

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
    }

    fn cases() -> Vec<PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(golden()).unwrap().map(|e| e.unwrap().path()).collect();
        all.sort();
        assert!(all.len() >= 3);
        all
    }

    fn tree(dir: &Path) -> BTreeMap<String, String> {
        let files = WalkDir::new(dir).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
        files
            .map(|e| {
                let name = e.path().strip_prefix(dir).unwrap().display().to_string();
                (name, std::fs::read_to_string(e.path()).unwrap())
            })
            .collect()
    }

    fn rendered(case: &Path) -> Vec<Rendered> {
        let site =
            crate::site::load(&case.join("site")).unwrap_or_else(|e| panic!("{}: {e:#}", case.display()));
        render(&site).unwrap()
    }

    /// A case is a folder: `site/` in, `expected/` out. `UPDATE_GOLDEN=1` writes what came out.
    #[test]
    fn every_case_renders_as_expected() {
        for case in cases() {
            let expected = case.join("expected");
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                remove_dir_if_there(&expected).unwrap();
                for file in rendered(&case) {
                    let path = expected.join(file.path);
                    create_dirs(path.parent().unwrap(), 0o755).unwrap();
                    write_atomic(&path, file.text.as_bytes(), 0o644).unwrap();
                }
            }
            let got: BTreeMap<_, _> = rendered(&case).into_iter().map(|f| (f.path, f.text)).collect();
            assert_eq!(got, tree(&expected), "{}", case.display());
        }
    }

    #[test]
    fn only_directives_the_oldest_systemd_knows() {
        for case in cases() {
            for file in rendered(&case) {
                for line in file.text.lines().filter(|l| !l.is_empty() && !l.starts_with(['#', '['])) {
                    let key = line.split_once('=').unwrap_or_else(|| panic!("{}: {line}", file.path)).0;
                    let since = DIRECTIVES.iter().find(|(name, _)| *name == key);
                    assert!(since.is_some_and(|(_, v)| *v <= 231), "{}: {line}", file.path);
                }
            }
        }
    }

    #[test]
    fn restore_and_join_cannot_stop_etcd_nor_be_enabled() {
        for file in rendered(&golden().join("01-defaults")) {
            if file.path.ends_with("restore.service") || file.path.ends_with("join.service") {
                let lines: Vec<&str> = file.text.lines().filter(|l| !l.starts_with('#')).collect();
                for word in ["Conflicts", "[Install]", "etcd2.service"] {
                    assert!(lines.iter().all(|l| !l.contains(word)), "{}: {word}", file.path);
                }
            }
        }
    }

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(quoted(r#"100%m "x" \n $HOME"#), r#"100%%m \"x\" \\n $HOME"#);
    }

    #[test]
    fn a_name_without_a_value_is_an_error() {
        let mut tera = Tera::default();
        tera.add_raw_templates([("x", "{{ no_such_value }}")]).unwrap();
        assert!(tera.render("x", &Context::new()).is_err());
    }

    /// systemd itself is the judge where it is there.
    #[test]
    fn systemd_accepts_every_unit() {
        if Command::new("systemd-analyze").arg("--version").output().is_err() {
            return;
        }
        for case in cases() {
            let dir = tempfile::tempdir().unwrap();
            let mut units = Vec::new();
            for file in rendered(&case) {
                let path = dir.path().join(file.path.trim_start_matches("etc/systemd/system/"));
                create_dirs(path.parent().unwrap(), 0o755).unwrap();
                // The program is not installed here.
                let text = file.text.replace(paths::PROGRAM, "/bin/true");
                write_atomic(&path, text.as_bytes(), 0o644).unwrap();
                if !path.to_string_lossy().ends_with(".conf") {
                    units.push(path);
                }
            }
            let mut verify = Command::new("systemd-analyze");
            let out = verify
                .args(["verify", "--man=no"])
                .args(units)
                .env("SYSTEMD_LOG_TARGET", "console")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stderr);
            let ours: Vec<&str> =
                said.lines().filter(|l| l.contains(&*dir.path().to_string_lossy())).collect();
            assert!(ours.is_empty(), "{}: {said}", case.display());
        }
    }
}
