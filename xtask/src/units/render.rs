//! The node's files, rendered from the templates, which mirror the node's file system.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Result;
use etcd2_backup::paths;
use serde::Serialize;
use tera::{Context, ErrorKind, Kwargs, State, Tera, Value};

use super::rendered::NodeFile;
use super::sandbox::Sandbox;
use crate::site::Site;
use crate::site::rehearse::Rehearse;
use crate::site::retention::Retention;
use crate::site::runner::Runner;
use crate::site::schedule::When;
use crate::site::templates::{PARTS, SUFFIX, Texts, effective};
use crate::site::validate::refuse;
use crate::site::variables::Variable;
use crate::site::vars::Vars;
use crate::site::verify::Verify;

/// What the templates may use; a name that is not here fails the build. Whatever is written out is escaped on its way.
#[derive(Debug, Serialize)]
struct Values<'a> {
    program: &'static str,
    fence: &'static str,
    rclone_conf: &'static str,
    founder: String,
    endpoint: &'a str,
    /// "every 30sec" or "at 02:00", for people.
    when: String,
    /// One of these two.
    interval: Option<&'a str>,
    calendar: Option<&'a str>,
    boot_delay: &'a str,
    jitter: Option<&'a str>,
    nice: i64,
    io_class: &'a str,
    quiet_interval: String,
    data_dir: &'a str,
    backup_dir: &'a str,
    restore_dir: &'a str,
    etcd_unit: &'a str,
    v2_only: bool,
    source: Option<&'a str>,
    runner: &'static str,
    /// Only where a container runs rclone.
    image: Option<&'a str>,
    docker: bool,
    /// Only where rclone.conf is encrypted.
    password_file: Option<&'a str>,
    rclone_timeout: String,
    /// With the specifier of systemd that names the unit that failed; `safe` writes it out.
    on_failure: Option<String>,
    metrics_file: Option<&'a str>,
    /// The folders it lies in, the outermost one first.
    metrics_dirs: Vec<String>,
    bwlimit: Option<&'a str>,
    /// With spaces between them; only where there are some.
    flags: Option<String>,
    backup_timeout: String,
    retention: &'a Retention,
    verify: &'a Verify,
    rehearse: &'a Rehearse,
    /// What the drop-in sets: each with `name`, `value` and `note`.
    settings: Vec<Variable>,
    sandbox: Sandbox,
    /// The operator's own.
    vars: &'a Vars,
}

impl<'a> Values<'a> {
    fn new(site: &'a Site) -> Self {
        let image = match &site.runner {
            Runner::Docker(image) | Runner::Podman(image) => Some(image.as_str()),
            Runner::Host | Runner::Bundled(_) => None,
        };
        let (interval, calendar) = match &site.schedule.when {
            When::Every(span) => (Some(span.as_str()), None),
            When::At(calendar) => (None, Some(calendar.as_str())),
        };
        // They came from a text file.
        let dir = |path: &'a Path| path.to_str().unwrap_or_default();
        Self {
            program: paths::PROGRAM,
            fence: paths::FENCE,
            rclone_conf: paths::RCLONE_CONF,
            founder: site.founder.join(","),
            endpoint: &site.endpoint,
            when: site.schedule.when.to_string(),
            interval,
            calendar,
            boot_delay: &site.schedule.boot_delay,
            jitter: site.schedule.jitter.as_deref(),
            nice: site.schedule.nice,
            io_class: &site.schedule.io_class,
            quiet_interval: humantime::format_duration(site.quiet_interval).to_string(),
            data_dir: dir(&site.data_dir),
            backup_dir: dir(&site.backup_dir),
            restore_dir: dir(&site.restore_dir),
            etcd_unit: &site.etcd_unit,
            v2_only: site.v2_only,
            source: site.source.as_deref(),
            runner: site.runner.name(),
            image,
            docker: matches!(site.runner, Runner::Docker(_)),
            password_file: site.password_file.as_deref().map(dir),
            rclone_timeout: humantime::format_duration(site.rclone_timeout).to_string(),
            on_failure: site.on_failure.as_ref().map(|unit| unit.replace("@.", "@%n.")),
            metrics_file: site.metrics_file.as_deref().map(dir),
            metrics_dirs: site.metrics_file.as_deref().map(folders_above).unwrap_or_default(),
            bwlimit: site.bwlimit.as_deref(),
            flags: Some(site.flags.join(" ")).filter(|flags| !flags.is_empty()),
            // A cycle lists and sends; behind a new generation it lists, reads and removes: eight calls with what may be
            // asked before, and a minute for our own work.
            backup_timeout: format!(
                "{}s",
                site.rclone_timeout.as_secs().saturating_mul(8).saturating_add(60)
            ),
            retention: &site.retention,
            verify: &site.verify,
            rehearse: &site.rehearse,
            settings: site.variables(),
            sandbox: Sandbox::of(site),
            vars: &site.vars,
        }
    }
}

/// The folders that a file lies in, the outermost one first, without `/`.
fn folders_above(file: &Path) -> Vec<String> {
    let mut all: Vec<String> = file.ancestors().skip(1).map(|dir| dir.display().to_string()).collect();
    all.retain(|dir| dir != "/");
    all.reverse();
    all
}

/// Renders the built-in templates with `overrides` in their place, sorted by path, whatever that makes of them.
pub(crate) fn expand(site: &Site, overrides: &Texts) -> Result<Vec<NodeFile>> {
    let texts = effective(overrides);
    let templates: Vec<_> = texts.iter().filter(|(name, _)| name.ends_with(SUFFIX)).collect();
    let mut tera = Tera::default();
    tera.set_escape_fn(escape);
    tera.autoescape_on([SUFFIX]);
    tera.register_filter("arg", arg);
    tera.register_filter("text", text);
    // All at once: each may include another.
    tera.add_raw_templates(templates.iter().copied()).map_err(|e| one_line(&e))?;
    let values = Context::from_serialize(&Values::new(site)).map_err(|e| one_line(&e))?;
    let mut files = Vec::new();
    for (name, text) in texts.iter().filter(|(name, _)| !name.starts_with(PARTS)) {
        files.push(match name.strip_suffix(SUFFIX) {
            Some(path) => {
                let text = tera.render(name, &values).map_err(|e| one_line(&e))?;
                NodeFile { path: path.to_owned(), text }
            }
            None => NodeFile { path: name.clone(), text: text.clone() },
        });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// Tera's error, which is a drawing of several lines, as one line and a hint.
fn one_line(error: &tera::Error) -> anyhow::Error {
    let (message, place) = match error.kind() {
        ErrorKind::SyntaxError(e) | ErrorKind::RenderingError(e) => {
            let span = e.span();
            let place =
                (e.filename().to_owned(), span.start_line.to_string(), (span.start_col + 1).to_string());
            (e.message().to_owned(), Some(place))
        }
        other => {
            // What is found before anything is rendered comes as the drawing alone.
            let drawing = other.to_string();
            let mut lines = drawing.lines().map(str::trim);
            let message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let place = lines.next().and_then(|l| l.strip_prefix("--> ")).and_then(|place| {
                let mut parts = place.rsplitn(3, ':').map(str::to_owned);
                let (column, line) = (parts.next()?, parts.next()?);
                Some((parts.next()?, line, column))
            });
            (message, place)
        }
    };
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let message = message.trim_end_matches('.');
    let hint = match message.contains("not defined") {
        true => "values of your own are vars.NAME: define NAME below [vars], or with --set NAME=value",
        false => "docs/customize.md says what a template can contain",
    };
    let what = match place {
        Some((name, line, column)) => format!("template {name}, line {line}, column {column}: {message}"),
        None => format!("the templates: {message}"),
    };
    refuse(what, hint)
}

/// A value for between the double quotes of `Environment="NAME=…"`: `%` begins a specifier, `\` an escape, `"` ends it.
/// A `$` means itself there, unlike in `ExecStart=`.
fn escape(value: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(value.replace('%', "%%").replace('\\', "\\\\").replace('"', "\\\"").as_bytes())
}

/// The filter `arg`: a value as one whole argument of `ExecStart=`, quotes included.
fn arg(value: &Value, _: Kwargs, _: &State) -> Value {
    let mut escaped = Vec::new();
    let done = escape(&value.to_string().replace('$', "$$"), &mut escaped);
    debug_assert!(done.is_ok(), "writing to memory");
    Value::safe_string(&format!("\"{}\"", String::from_utf8_lossy(&escaped)))
}

/// The filter `text`: a value for a directive that takes its line as it is, such as `Description=`.
fn text(value: &Value, _: Kwargs, _: &State) -> Value {
    Value::safe_string(&value.to_string().replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use etcd2_backup::sys::fs::{create_dirs, remove_dir_if_there, write_atomic};
    use walkdir::WalkDir;

    use crate::site;
    use crate::site::vars::Var;
    use crate::units::{judged, systemd};

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

    fn load(dir: &Path) -> Site {
        site::load(&site::Options::of(dir)).unwrap_or_else(|e| panic!("{}: {e:#}", dir.display()))
    }

    fn rendered(case: &Path) -> Vec<NodeFile> {
        judged(&load(&case.join("site"))).unwrap_or_else(|e| panic!("{}: {e:#}", case.display())).files
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

    /// Each directive in use is in the table, and no rule is broken: the built-in templates give no cause for a word.
    #[test]
    fn nothing_is_to_be_said_about_the_built_in_templates() {
        for case in cases().iter().filter(|c| !c.join("site/templates").exists()) {
            let site = load(&case.join("site"));
            let warnings = site.warnings.len();
            assert_eq!(judged(&site).unwrap().findings[warnings..], [], "{}", case.display());
        }
    }

    /// systemd itself is the judge where it is there.
    #[test]
    fn systemd_accepts_every_unit() {
        for case in cases() {
            let site = load(&case.join("site"));
            if let Some(said) = systemd::ask(&judged(&site).unwrap().files, &site.etcd_unit).unwrap() {
                assert_eq!(said, [], "{}", case.display());
            }
        }
    }

    #[test]
    fn a_value_is_written_for_the_place_it_is_put_into() {
        let mut site = load(&golden().join("01-defaults/site"));
        site.vars = [("x".to_owned(), Var::Text(r#"100%m "x" 'y' \n $HOME ${A}"#.into()))].into();
        for (template, want) in [
            ("{{ vars.x }}", r#"100%%m \"x\" 'y' \\n $HOME ${A}"#),
            ("{{ vars.x | arg }}", r#""100%%m \"x\" 'y' \\n $$HOME $${A}""#),
            ("{{ vars.x | text }}", r#"100%%m "x" 'y' \n $HOME ${A}"#),
            ("{{ nice | arg }} {{ nice | text }} {{ nice }} {{ docker }}", "\"10\" 10 10 true"),
            // A condition may ask for what is not there.
            ("{% if vars.y %}y{% endif %}", ""),
            ("{% if vars.x is containing(pat=\"%m\") %}raw{% endif %}", "raw"),
        ] {
            assert_eq!(expanded(&site, template).unwrap(), want, "{template}");
        }
    }

    #[test]
    fn an_error_in_a_template_is_one_line_with_its_place() {
        let mut site = load(&golden().join("01-defaults/site"));
        site.vars = [("zone".to_owned(), Var::Number(1))].into();
        let undefined =
            "values of your own are vars.NAME: define NAME below [vars], or with --set NAME=value";
        let docs = "docs/customize.md says what a template can contain";
        for (template, want, hint) in [
            (
                "a\n b {{ vars.zoen }}",
                "2, column 12: Field `zoen` is not defined. Available fields: zone",
                undefined,
            ),
            ("{{ vars.x.y }}", "1, column 9: Field `x` is not defined. Available fields: zone", undefined),
            ("{{ vars.zone }", "1, column 14: Found `}` but expected }}", docs),
            ("{% if vars.zone %}", "1, column 19: Unexpected end of input", docs),
            ("{{ throw(message=\"a\n b\") }}", "1, column 4: a b", docs),
            ("{{ get_env(name=\"HOME\") }}", "1, column 4: Unknown function `get_env`", docs),
            (
                "x\n{% include \"../../etc/passwd\" %}",
                "2, column 12: Unknown template `../../etc/passwd`",
                docs,
            ),
        ] {
            let error = expanded(&site, template).unwrap_err();
            let said = format!("{error} | {}", etcd2_backup::exit::hint_of(&error).unwrap());
            assert_eq!(said, format!("template {TIMER}, line {want} | {hint}"), "{template}");
        }
        for (template, want) in [
            (
                "{% extends \"/etc/passwd\" %}",
                format!(
                    "Template '{TIMER}' is inheriting from '/etc/passwd', which doesn't exist or isn't loaded"
                ),
            ),
            (
                &format!("{{% include \"{TIMER}\" %}}"),
                format!(
                    "Circular include detected for template '{TIMER}'. Include chain: `[\"{TIMER}\", \"{TIMER}\"]`"
                ),
            ),
        ] {
            assert_eq!(expanded(&site, template).unwrap_err().to_string(), format!("the templates: {want}"));
        }
    }

    const TIMER: &str = "etc/systemd/system/etcd2-backup.timer.tera";

    /// What a template in the place of the timer's becomes.
    fn expanded(site: &Site, template: &str) -> Result<String> {
        let files = expand(site, &[(TIMER.to_owned(), template.to_owned())].into())?;
        Ok(files.into_iter().find(|f| f.path == TIMER.trim_end_matches(SUFFIX)).unwrap().text)
    }
}
