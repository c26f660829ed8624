//! The operator's site: `etcd2-backup.toml` and `rclone.conf`, read, checked and made into one [`Site`].
//!
//! Three stages: the file as text, a `Fragment` of what it said, and the `Site` that everything else works with.

pub(crate) mod calendar;
pub(crate) mod faults;
pub(crate) mod finding;
pub(crate) mod fragment;
pub(crate) mod input;
pub(crate) mod nearest;
pub(crate) mod placeholders;
pub(crate) mod rclone_conf;
pub(crate) mod rehearse;
pub(crate) mod retention;
pub(crate) mod runner;
pub(crate) mod schedule;
pub(crate) mod templates;
pub(crate) mod validate;
pub(crate) mod variables;
pub(crate) mod vars;
pub(crate) mod verify;
pub(crate) mod warn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::exit::hint_of;
use etcd2_backup::remote::conf::is_encrypted;
use etcd2_backup::settings::checks;
use etcd2_backup::settings::names::UnitName;
use etcd2_backup::settings::table::default;

use faults::Faults;
use finding::Finding;
use fragment::{Fragment, OneOrMany, parse_known};
use input::{Content, TEXT};
use rehearse::Rehearse;
use retention::Retention;
use runner::Runner;
use schedule::Schedule;
use templates::Texts;
use validate::{read, refuse, text};
use vars::Vars;
use verify::Verify;

/// The settings' file.
pub(crate) const SETTINGS: &str = "etcd2-backup.toml";
/// The operator's rclone configuration.
pub(crate) const RCLONE_CONF: &str = "rclone.conf";
/// A site without secrets, that cannot be mistaken for a configured one: a release's.
pub(crate) const STOCK: [(&str, &str); 2] =
    [(SETTINGS, include_str!("stock/etcd2-backup.toml")), (RCLONE_CONF, include_str!("stock/rclone.conf"))];

/// A site that was checked: nothing in it needs to be looked at again.
#[derive(Debug)]
pub(crate) struct Site {
    /// The founding member's advertised peer URLs.
    pub(crate) founder: Vec<String>,
    /// Where the backups lie, `remote:path`.
    pub(crate) endpoint: String,
    /// When and how gently a backup is made.
    pub(crate) schedule: Schedule,
    /// How long what writes nothing may wait for what does.
    pub(crate) quiet_interval: Duration,
    /// etcd's data directory.
    pub(crate) data_dir: PathBuf,
    /// The backup's state and spool.
    pub(crate) backup_dir: PathBuf,
    /// Where a restore downloads to.
    pub(crate) restore_dir: PathBuf,
    /// The service that runs etcd.
    pub(crate) etcd_unit: UnitName,
    /// Whether members whose v3 store cannot be copied are backed up without it.
    pub(crate) v2_only: bool,
    /// Where a restore takes its data from, unless it is told.
    pub(crate) source: Option<String>,
    /// What systemd starts when a backup fails.
    pub(crate) on_failure: Option<String>,
    /// Where numbers for a monitor go.
    pub(crate) metrics_file: Option<PathBuf>,
    /// How rclone is run on a node.
    pub(crate) runner: Runner,
    /// The longest one rclone call may take.
    pub(crate) rclone_timeout: Duration,
    /// How fast backups may send, as rclone writes it; `None` as fast as they can.
    pub(crate) bwlimit: Option<String>,
    /// Flags for each call of rclone.
    pub(crate) flags: Vec<String>,
    /// Where the nodes have the password of an encrypted rclone.conf.
    pub(crate) password_file: Option<PathBuf>,
    /// What is kept in the remote.
    pub(crate) retention: Retention,
    /// When how much of it is read again.
    pub(crate) verify: Verify,
    /// When a restore is rehearsed.
    pub(crate) rehearse: Rehearse,
    /// rclone.conf, byte for byte.
    pub(crate) rclone_conf: Content,
    /// The operator's templates, in place of the built-in ones.
    pub(crate) templates: Texts,
    /// The operator's values for the templates.
    pub(crate) vars: Vars,
    /// What works, and should not stay so.
    pub(crate) warnings: Vec<Finding>,
}

/// Which site, and what the command line says about it.
#[derive(Debug, Clone, Default, clap::Args)]
// The tasks flatten it into an `Options` of theirs.
#[group(skip)]
pub(crate) struct Options {
    /// The folder with etcd2-backup.toml and rclone.conf
    #[arg(long = "site", value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// A folder of templates that take the place of the built-in ones, instead of the site's templates/
    #[arg(long, value_name = "DIR")]
    pub(crate) templates: Option<PathBuf>,
    /// A value for the templates, which call it vars.KEY; wins over [vars] in etcd2-backup.toml
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Put this static rclone into the tarball: no image has to be pulled on the day of the recovery
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle_rclone: Option<PathBuf>,
}

impl Options {
    /// The site in `dir`, and nothing else said.
    pub(crate) fn of(dir: &Path) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }
}

/// Reads and checks a site.
pub(crate) fn load(options: &Options) -> Result<Site> {
    let dir = &options.dir;
    let settings = dir.join(SETTINGS);
    let shown = dir.display();
    let hint = format!(
        "make a starter site with: cargo xtask init {shown}    or name another folder with --site DIR"
    );
    let text = input::read_text(dir, Path::new(SETTINGS), TEXT, &hint)?;
    let place = settings.display().to_string();
    let mut faults = Faults::default();
    let read = parse_known(&text, &mut faults).with_context(|| place.clone())?;
    let Some((mut fragment, left_out)) = read else {
        return faults.within(&place).or(None)?.context("nothing was read, without a fault");
    };
    if let Some(rclone) = &options.bundle_rclone {
        faults.take(runner::bundle(&mut fragment.rclone, rclone));
    }
    let hint = format!("make one with: rclone config --config {shown}/{RCLONE_CONF}");
    let conf = input::read(dir, Path::new(RCLONE_CONF), input::CONF, &hint)?;
    let set = vars::parse_set(&options.set)?;
    let in_conf = placeholders::in_conf(&conf, &dir.join(RCLONE_CONF));
    let in_settings = placeholders::in_settings(&fragment, &text);
    let mut more = Faults::default();
    let site = more.take(resolve(fragment, conf, dir).map(Some));
    // What could not be read is not missing, and a placeholder is not wrong in yet another way.
    more.retain(|e| {
        let (said, hint) = (e.to_string(), hint_of(e).unwrap_or_default());
        !left_out.iter().any(|key| hint.contains(&format!("{key} = ")))
            && !in_settings.iter().any(|(key, _)| said.starts_with(&format!("{key} ")))
    });
    faults.extend(in_settings.into_iter().map(|(_, e)| e));
    faults.take(more.or(()));
    let mut faults = faults.within(&place);
    faults.extend(in_conf);
    let mut site = faults.or(site)?.context("a site without faults was not made")?;
    site.vars.extend(set);
    site.templates = templates::load(dir, options.templates.as_deref())?;
    site.warnings.extend(warn::about_mode(&dir.join(RCLONE_CONF)));
    Ok(site)
}

/// Fills in the original's values, and checks everything.
pub(crate) fn resolve(said: Fragment, conf: Vec<u8>, dir: &Path) -> Result<Site> {
    if conf.contains(&0) {
        let hint = "save it as UTF-8: what some editors call Unicode is UTF-16, which rclone does not read";
        return Err(refuse("rclone.conf contains a NUL byte, so it is no plain text", hint));
    }
    let mut faults = Faults::default();
    let encrypted = is_encrypted(&conf);
    let password_file = faults.take(password_file(said.rclone.password_file.as_deref(), encrypted));
    // Nothing can be seen in an encrypted one.
    let sections = (!encrypted).then(|| rclone_conf::parse_sections(&String::from_utf8_lossy(&conf)));
    let schedule = faults.take(schedule::resolve(&said));
    faults.take(vars::check_vars(&said.vars));
    let endpoint = said.endpoint.ok_or_else(|| missing("endpoint", "endpoint = \"remote:bucket/path\""));
    let mut folder = |key: &'static str, said: &Option<String>| {
        (key, faults.take(read(key, said.as_deref(), |text, write| checks::dir(text, write, default(key)))))
    };
    let dirs = [
        folder("data_dir", &said.data_dir),
        folder("backup_dir", &said.backup_dir),
        folder("restore_dir", &said.restore_dir),
    ];
    let known: Vec<_> = dirs.iter().map(|(key, dir)| (*key, dir.as_path())).collect();
    let known: Vec<_> = known.into_iter().filter(|(_, dir)| !dir.as_os_str().is_empty()).collect();
    faults.take(validate::check_apart(&known));
    let [(_, data_dir), (_, backup_dir), (_, restore_dir)] = dirs;
    let usual = read("etcd_unit", None, checks::etcd_unit)?;
    let etcd_unit = faults.take_or(read("etcd_unit", said.etcd_unit.as_deref(), checks::etcd_unit), usual);
    let quiet_interval = faults.take(read("quiet_interval", said.quiet_interval.as_deref(), checks::wait));
    let rclone_timeout = faults.take(read("rclone.timeout", said.rclone.timeout.as_deref(), checks::timeout));
    let bwlimit = faults.take(text("rclone.bwlimit", said.rclone.bwlimit.as_deref()));
    let flags = faults.take(runner::flags(said.rclone.flags.as_deref().unwrap_or_default()));
    let runner = faults.take_or(runner::resolve(said.rclone, dir), Runner::Host);
    let founder = faults.take(founder(said.founder));
    let v2_only = said.v2_only.unwrap_or(false);
    let warnings = [warn::about_founder(&founder), warn::about_runner(&runner), warn::about_v2_only(v2_only)];
    let endpoint = endpoint.and_then(|said| validate::check_endpoint(&said, sections.as_deref()));
    let unmountable = |endpoint: &str| {
        let sections = sections.as_deref().unwrap_or_default();
        runner::refuse_unmountable(&runner, endpoint, sections, &flags)
    };
    let endpoint = faults.take(endpoint.and_then(|endpoint| unmountable(&endpoint).map(|()| endpoint)));
    let retention = faults.take(retention::resolve(&said.retention));
    let verify = faults.take(verify::resolve(&said.verify));
    let rehearse = faults.take(rehearse::resolve(&said.rehearse));
    let source = faults.take(text("source", said.source.as_deref()));
    let on_failure = said.on_failure.map(|unit| text("on_failure", Some(&unit))).transpose();
    let on_failure = faults.take(on_failure);
    let textfile = said.metrics.textfile;
    let textfile = textfile.map(|path| read("metrics.textfile", Some(&path), checks::textfile)).transpose();
    let metrics_file = faults.take(textfile);
    faults.or(Site {
        founder,
        endpoint,
        schedule,
        quiet_interval,
        data_dir,
        backup_dir,
        restore_dir,
        etcd_unit,
        v2_only,
        source: Some(source).filter(|name| name != default("source")),
        on_failure,
        metrics_file,
        rclone_timeout,
        bwlimit: Some(bwlimit).filter(|limit| limit != default("rclone.bwlimit")),
        flags,
        warnings: warnings.into_iter().flatten().collect(),
        runner,
        password_file,
        retention,
        verify,
        rehearse,
        rclone_conf: Content(conf),
        templates: Texts::new(),
        vars: said.vars,
    })
}

/// The password file, which goes with an encrypted rclone.conf and with no other.
fn password_file(said: Option<&str>, encrypted: bool) -> Result<Option<PathBuf>> {
    const EXAMPLE: &str = "password_file = \"/etc/etcd2-backup/rclone.pass\"";
    match (said, encrypted) {
        (Some(path), true) => read("rclone.password_file", Some(path), checks::password_file).map(Some),
        (None, false) => Ok(None),
        (None, true) => {
            let hint = format!(
                "write below [rclone] where the nodes have the password, for example {EXAMPLE}; or decrypt rclone.conf \
                 with: rclone config --config rclone.conf (Set configuration password)"
            );
            Err(refuse("rclone.conf is encrypted with a password", hint))
        }
        (Some(_), false) => Err(refuse(
            "rclone.password_file is set, but rclone.conf is not encrypted",
            "remove password_file, or encrypt it with: rclone config --config rclone.conf (Set configuration password)",
        )),
    }
}

fn missing(key: &str, example: &str) -> anyhow::Error {
    refuse(format!("there is no {key}"), format!("write {example}"))
}

fn founder(said: Option<OneOrMany>) -> Result<Vec<String>> {
    let urls = match said {
        Some(OneOrMany::One(url)) => vec![url],
        Some(OneOrMany::Many(urls)) => urls,
        None => vec![],
    };
    if urls.is_empty() {
        return Err(missing(
            "founder",
            "founder = \"http://host:port\", the founding member's advertised peer URL",
        ));
    }
    if let Some(several) = urls.iter().find(|url| url.contains(',')) {
        let what = format!("founder {several:?} holds more than one URL");
        return Err(refuse(
            what,
            "in a list, put each in its own quotes: founder = [\"http://…\", \"http://…\"]",
        ));
    }
    read("founder", Some(&urls.join(",")), checks::founder)
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
pub(crate) mod tests;
