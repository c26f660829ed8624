//! A folder of the original, etcd2-backup-coreos, read into a site: its drop-in, its timer, its rclone.conf.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault};
use etcd2_backup::paths;
use etcd2_backup::settings::checks;
use etcd2_backup::settings::our_units::{BACKUP as SERVICE, TIMER};
use etcd2_backup::settings::table::{self, Kind, SETTINGS};
use etcd2_backup::sys::look;
use etcd2_backup::sys::unit_file::{Directive, parse_environment, parse_settings};

use crate::site::fragment::parse_fragment;
use crate::site::input::{self, CONF, TEXT};
use crate::site::validate::{refuse, without_scheme};
use crate::site::{self, RCLONE_CONF};

/// What a folder became.
#[derive(Debug)]
pub(crate) struct Imported {
    /// The text of etcd2-backup.toml.
    pub(crate) settings: String,
    /// rclone.conf, byte for byte.
    pub(crate) conf: Vec<u8>,
    /// Which of its settings became which key.
    pub(crate) carried: Vec<String>,
    /// What could not be carried over, each with the reason.
    pub(crate) left: Vec<String>,
}

const DROP_IN: &str = "30-etcd2-backup-restore.conf";
const FOUNDER: &str = "ETCD_RESTORE_MASTER_ADV_PEER_URLS";
const ENDPOINT: &str = "RCLONE_ENDPOINT";
const TEMPLATE: &str = "put it into a template of your own: docs/customize.md";

/// Reads the folder `dir`. What it makes has been checked as any other site; nothing is written.
pub(crate) fn import(dir: &Path, starter: &str) -> Result<Imported> {
    let shown = dir.display();
    let hint = format!("name the folder of the original, with {DROP_IN}, {TIMER} and {RCLONE_CONF}");
    let drop_in = input::read_text(dir, Path::new(DROP_IN), TEXT, &hint)?;
    let conf = input::read(dir, Path::new(RCLONE_CONF), CONF, &hint)?;
    let mut found = Found::default();
    found.read_drop_in(&drop_in).with_context(|| dir.join(DROP_IN).display().to_string())?;
    if look::at_name(&dir.join(TIMER))?.is_some() {
        found.read_timer(&input::read_text(dir, Path::new(TIMER), TEXT, &hint)?);
    } else {
        found.left.push(format!("{TIMER} does not exist: the timer gets the defaults"));
    }
    if look::at_name(&dir.join(SERVICE))?.is_some() {
        found.read_service(&input::read_text(dir, Path::new(SERVICE), TEXT, &hint)?);
    }
    found.leave_other_files(dir)?;
    let settings = found.fill(starter);
    let checked = parse_fragment(&settings).and_then(|said| site::resolve(said, conf.clone(), dir));
    if let Err(error) = checked {
        let said = error.to_string().trim_start_matches("rclone.").to_owned();
        let origin = found.origins.iter().find(|(key, _)| said.starts_with(key.as_str()));
        let origin = origin.map_or_else(|| shown.to_string(), |(_, from)| format!("{shown}/{from}"));
        return Err(error.context(origin));
    }
    let carried = found.keys.iter().map(|(key, value)| format!("{} -> {key} = {value}", found.origins[key]));
    Ok(Imported { settings, conf, carried: carried.collect(), left: found.left })
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    /// Keys of the settings and their values, as TOML writes them.
    keys: BTreeMap<String, String>,
    /// Where each key is from.
    origins: BTreeMap<String, String>,
    left: Vec<String>,
}

impl Found {
    fn carry(&mut self, key: &str, value: &str, from: String) {
        let text = |text: &str| toml::Value::String(text.to_owned());
        let list = |items: &[&str]| toml::Value::Array(items.iter().map(|item| text(item)).collect());
        let kind = SETTINGS.iter().find(|row| row.name() == key).map_or(Kind::Text, |row| row.kind);
        let value = match kind {
            Kind::List(between) => {
                let items = value.split(between).map(str::trim).filter(|item| !item.is_empty());
                match items.collect::<Vec<_>>().as_slice() {
                    [_] | [] if key == "founder" => text(value),
                    items => list(items),
                }
            }
            Kind::Switch => value.parse().map_or_else(|_| text(value), toml::Value::Boolean),
            Kind::Number => value.parse().map_or_else(|_| text(value), toml::Value::Integer),
            Kind::Text => text(value),
        };
        self.keys.insert(key.to_owned(), value.to_string());
        self.origins.insert(key.to_owned(), from);
    }

    fn leave(&mut self, file: &str, what: &str, why: &str) {
        self.left.push(format!("{file}: {what}: {why}"));
    }

    fn read_drop_in(&mut self, text: &str) -> Result<()> {
        for Directive { section, key, value } in parse_settings(text) {
            if (section.as_str(), key.as_str()) != ("Service", "Environment") {
                self.leave(DROP_IN, &format!("{key}="), TEMPLATE);
            } else if value.replace("%%", "").contains('%') {
                let names = parse_environment(&format!("[Service]\nEnvironment={value}"));
                let names: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
                let what = format!("{} has a specifier of systemd (%)", names.join(", "));
                return Err(refuse(what, "write there what it stands for; %% is a percent sign"));
            }
        }
        for (name, value) in parse_environment(text) {
            let from = format!("{DROP_IN}: {name}");
            match (name.as_str(), value.as_str()) {
                (ENDPOINT, endpoint) => match without_scheme(endpoint) {
                    Some(mended) => {
                        self.carry("endpoint", &mended, format!("{from} ({endpoint} is no rclone path)"));
                    }
                    None => self.carry("endpoint", endpoint, from),
                },
                ("ETCD2_BACKUP_RCLONE_RUNNER", "bundled") => {
                    self.leave(
                        DROP_IN,
                        &name,
                        "runner = \"bundled\" needs the program too: set runner and bundle",
                    );
                }
                ("RCLONE_CONFIG_PATH", paths::RCLONE_CONF) | ("RCLONE_CHECKSUM", "true") => {}
                ("RCLONE_CONFIG_PATH", _) => {
                    self.leave(DROP_IN, &name, "it is /etc/rclone.conf on every node");
                }
                (name, value) => match table::of_variable(name) {
                    Some(row) => self.carry(row.name(), value, from),
                    // Its value may be a secret.
                    None => self.leave(DROP_IN, name, TEMPLATE),
                },
            }
        }
        match [FOUNDER, ENDPOINT]
            .iter()
            .zip(["founder", "endpoint"])
            .find(|(_, key)| !self.keys.contains_key(*key))
        {
            Some((variable, _)) => {
                let hint = format!(
                    "write Environment=\"{variable}=…\" below [Service], as in the original's README"
                );
                Err(refuse(format!("it does not set {variable}"), hint))
            }
            None => Ok(()),
        }
    }

    fn read_timer(&mut self, text: &str) {
        for Directive { section, key, value } in parse_settings(text) {
            let known = table::of_directive(TIMER, &key).filter(|_| section == "Timer");
            let exclusive = |k: &str| self.keys.contains_key(k);
            match (section.as_str(), key.as_str(), value.as_str()) {
                ("Unit", "Description", _)
                | ("Timer", "Unit", SERVICE)
                | ("Install", "WantedBy", "timers.target") => {}
                ("Timer", "AccuracySec", _) => self.leave(TIMER, "AccuracySec=", "it is 1s here"),
                // An empty value takes back those before it.
                (_, _, "") if known.is_some() => {
                    self.keys.retain(|key, _| known.is_none_or(|row| row.name() != key));
                }
                _ => match known {
                    Some(row)
                        if ["interval", "calendar"].contains(&row.key)
                            && (exclusive("interval") || exclusive("calendar")) =>
                    {
                        self.leave(
                            TIMER,
                            &format!("{key}={value}"),
                            "only one interval or calendar can be said",
                        );
                    }
                    Some(row) => {
                        self.carry(row.name(), &value.replace("%%", "%"), format!("{TIMER}: {key}"));
                    }
                    None => self.leave(TIMER, &format!("{key}="), TEMPLATE),
                },
            }
        }
    }

    /// The image of rclone's container: a word of a command line that names one.
    fn read_service(&mut self, text: &str) {
        let settings = parse_settings(text);
        let commands = settings.iter().filter(|s| s.section == "Service" && s.key.starts_with("Exec"));
        let mut words = commands.flat_map(|s| s.value.split_ascii_whitespace());
        let image = words.find(|w| w.contains("/rclone") && w.contains('.') && is_image(w));
        if let Some(image) =
            image.filter(|_| !self.keys.contains_key("image") && !self.keys.contains_key("runner"))
        {
            self.carry("image", image, format!("{SERVICE}: Exec"));
        }
    }

    /// Everything else in the folder, by name.
    fn leave_other_files(&mut self, dir: &Path) -> Result<()> {
        let entries = std::fs::read_dir(dir).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.or_fault(
            Exit::Settings,
            format!("listing {}", dir.display()),
            "look at its owner and mode",
        )?;
        let names = entries.iter().map(|e| e.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> =
            names.filter(|n| ![DROP_IN, TIMER, RCLONE_CONF].contains(&n.as_str())).collect();
        names.sort();
        for name in names {
            let why = match name.as_str() {
                unit if unit.ends_with(".service") => {
                    "ours takes its place; if you changed it, change the template: docs/customize.md"
                }
                _ => "not needed any more, if it is of the original",
            };
            self.left.push(format!("{name}: {why}"));
        }
        Ok(())
    }

    /// The starter with what was found in the place of its placeholders and commented defaults.
    fn fill(&self, starter: &str) -> String {
        let line = |line: &str| {
            let key = line.split_once(" = ").map(|(key, _)| key.trim_start_matches('#'));
            match key.and_then(|key| Some((key, self.keys.get(key)?))) {
                Some((key, value)) => format!("{key} = {value}\n"),
                None => format!("{line}\n"),
            }
        };
        starter.lines().map(line).collect()
    }
}

fn is_image(word: &str) -> bool {
    checks::image(word, &str::to_owned).is_ok()
}

#[cfg(test)]
mod tests;
