//! What rendered units must keep, whoever wrote the template: without it a recovery or all backups would fail, and
//! nobody would know before the day.

use etcd2_backup::paths;
use etcd2_backup::remote::variables;
use etcd2_backup::settings::checks::{CLOSEST_SECS, START_LIMIT};
use etcd2_backup::settings::our_units::{self, BACKUP, BASE, OurUnit, REHEARSE, Start, TIMER, VERIFY};
use etcd2_backup::settings::span::parse_span;
use etcd2_backup::sys::unit_file::{Directive, parse_environment, parse_settings};

use super::directives::{OLDEST, is_dispensable, since};
use super::rendered::NodeFile;
use crate::site::Site;
use crate::site::calendar::{closest, parse_calendar};
use crate::site::finding::Finding;

/// The settings of our services: the same file in all of them.
pub(crate) const SETTINGS: &str = "30-etcd2-backup-restore.conf";
const FENCE: &str = "30-etcd2-backup-fence.conf";
/// Before version 236, systemd reads so many bytes of a line, and takes the rest for another line.
const MAX_LINE_BYTES: usize = 2047;

/// Everything there is to say, worst first.
pub(crate) fn check(site: &Site, files: &[NodeFile]) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    for file in files {
        plain_lines(file, &mut findings);
        directives(file, &mut findings);
        rclones_variables(file, &mut findings);
    }
    let of = |name: &str| -> Vec<Directive> {
        let file = files.iter().find(|f| base(&f.path) == name);
        file.map(|f| parse_settings(&f.text)).unwrap_or_default()
    };
    for OurUnit { name, start, command } in our_units::UNITS {
        let mut unit = Unit { settings: of(name), name };
        if start == Start::Timer {
            keeps_its_times(&unit, &mut findings);
            continue;
        }
        unit.settings.extend(of(SETTINGS));
        service(&unit, command, &mut findings);
        match start {
            Start::Timer => {}
            Start::ByTimer | Start::ByBackup => {
                ends(&unit, &mut findings);
                on_failure(site, &unit, &mut findings);
            }
            Start::ByHand => ends(&unit, &mut findings),
            Start::InRecovery => moves_data(&unit, &site.etcd_unit, &mut findings),
        }
    }
    let drop_in = files.iter().find(|f| base(&f.path) == SETTINGS);
    environment(site, drop_in.map_or("", |f| &f.text), &mut findings);
    timer(&Unit { settings: of(TIMER), name: TIMER }, &mut findings);
    fence(&Unit { settings: of(FENCE), name: FENCE }, &mut findings);
    findings.0.sort_by_key(|f| !f.refused);
    findings.0
}

/// What the drop-in must tell the program: what the site says.
pub(crate) fn expected(site: &Site) -> Vec<(&'static str, String)> {
    let said = site.variables().into_iter().map(|set| (set.name, set.value));
    said.chain([("RCLONE_CONFIG_PATH", paths::RCLONE_CONF.to_owned())]).collect()
}

struct Findings(Vec<Finding>);

impl Findings {
    fn refuse(&mut self, what: String, hint: impl Into<String>) {
        self.0.push(Finding::refusal(what, hint));
    }

    fn warn(&mut self, what: String, hint: impl Into<String>) {
        let finding = Finding::warning(what, hint);
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}

/// A unit with its drop-in, as systemd puts them together.
struct Unit<'a> {
    name: &'a str,
    settings: Vec<Directive>,
}

impl Unit<'_> {
    /// All values of a directive that adds up; an empty one takes back those before it.
    fn list(&self, section: &str, key: &str) -> Vec<&str> {
        let mut all = Vec::new();
        for setting in self.settings.iter().filter(|s| s.section == section && s.key == key) {
            match setting.value.as_str() {
                "" => all.clear(),
                value => all.push(value),
            }
        }
        all
    }

    /// The value of a directive of which the last one counts.
    fn last(&self, section: &str, key: &str) -> &str {
        self.list(section, key).last().copied().unwrap_or_default()
    }
}

/// The last part of a path.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn plain_lines(file: &NodeFile, findings: &mut Findings) {
    let name = base(&file.path);
    if let Some(c) = file.text.chars().find(|c| c.is_control() && !['\n', '\t'].contains(c)) {
        let hint = "save the template with Unix line ends, as plain text";
        findings.refuse(format!("{name} contains the control character {}", c.escape_default()), hint);
    }
    let long = |(_, line): &(usize, &str)| line.len() > MAX_LINE_BYTES;
    if let Some((number, line)) = file.text.lines().enumerate().find(long) {
        let what = format!("{name}, line {}: {} bytes, more than {MAX_LINE_BYTES}", number + 1, line.len());
        let hint = "write shorter values, or break the line up with \\: an old systemd takes the rest for another one";
        findings.refuse(what, hint);
    }
}

fn directives(file: &NodeFile, findings: &mut Findings) {
    let name = base(&file.path);
    for Directive { section, key, .. } in parse_settings(&file.text) {
        if section.is_empty() {
            findings.warn(format!("{name}: {key}= stands in no section"), "systemd ignores it there");
        }
        match since(&key) {
            Some(version) if version <= OLDEST || is_dispensable(&key) => {}
            Some(version) => findings.warn(
                format!("{name}: {key}= came with systemd {version}"),
                "an older one ignores it; look at systemctl --version on the nodes",
            ),
            None => findings.warn(
                format!("{name}: {key}= is not one of the directives that are known to work from systemd {OLDEST} on"),
                "see that the nodes' systemd knows it: it ignores what it does not know",
            ),
        }
    }
}

/// The program hands on only what says how to reach a remote.
fn rclones_variables(file: &NodeFile, findings: &mut Findings) {
    for (variable, _) in parse_environment(&file.text) {
        if variables::is_left_out(&variable) {
            findings.warn(
                format!("{} sets {variable}, which is not passed to rclone", base(&file.path)),
                "remove it: it could change what is transferred; options of a remote go into rclone.conf",
            );
        }
    }
}

/// The program runs, and whoever starts the unit waits for it and hears how it ended.
fn service(unit: &Unit, verb: &str, findings: &mut Findings) {
    let name = unit.name;
    let run = format!("{} {verb}", paths::PROGRAM);
    let starts = unit.list("Service", "ExecStart");
    let runs = |line: &&str| **line == run || line.starts_with(&format!("{run} "));
    if starts.len() != 1 || !starts.iter().all(runs) {
        let what = format!("{name} does not run {run} and nothing else: ExecStart={}", starts.join(" and "));
        let hint = format!(
            "write ExecStart={run} with any options; what else is to run has ExecStartPre= and ExecStartPost="
        );
        findings.refuse(what, hint);
    }
    if unit.last("Service", "Type") != "oneshot" {
        let what = format!("{name} is not of Type=oneshot");
        findings.refuse(what, "write Type=oneshot: systemctl start would not wait for its end");
    }
    let remain = unit.last("Service", "RemainAfterExit").to_ascii_lowercase();
    if !["", "no", "false", "off", "0", "n", "f"].contains(&remain.as_str()) {
        let what = format!("{name} has RemainAfterExit={remain}");
        findings.refuse(what, "remove it: the service could be started once only");
    }
    if !unit.list("Unit", "Conflicts").is_empty() {
        let what = format!("{name} has Conflicts=");
        findings.refuse(what, "remove it: systemd would stop the other unit before the program can refuse");
    }
    if !unit.list("Service", "EnvironmentFile").is_empty() {
        let what = format!("{name} has EnvironmentFile=");
        findings.warn(what, "what that file sets wins over etcd2-backup.toml, and nobody checks it");
    }
    let filter = unit.list("Service", "SystemCallFilter");
    if filter.first().is_some_and(|first| !first.starts_with('~')) {
        let what = format!("{name} has a SystemCallFilter= that lists what is allowed");
        let hint = "write SystemCallFilter=~ and what is not: an old systemd does not know all names, and the service would be killed";
        findings.warn(what, hint);
    }
}

/// What a timer starts ends by itself.
fn ends(unit: &Unit, findings: &mut Findings) {
    if ["", "0", "infinity"].contains(&unit.last("Service", "TimeoutStartSec")) {
        let what = format!("{} has no TimeoutStartSec=", unit.name);
        let limit = match unit.name {
            VERIFY | BASE => "12h",
            REHEARSE => "6h",
            _ => "{{ backup_timeout }}",
        };
        findings.warn(what, format!("write TimeoutStartSec={limit}: one that hangs would be the last"));
    }
}

/// Restore and join decide themselves what becomes of etcd, and never run by themselves.
fn moves_data(unit: &Unit, etcd_unit: &str, findings: &mut Findings) {
    let name = unit.name;
    if unit.settings.iter().any(|s| s.section == "Install") {
        let what = format!("{name} has an [Install] section");
        findings.refuse(what, "remove it: a reboot would run it again");
    }
    let names_etcd = |s: &&Directive| s.value.split_ascii_whitespace().any(|word| word == etcd_unit);
    if let Some(found) = unit.settings.iter().filter(|s| s.section == "Unit").find(names_etcd) {
        let what = format!("{name} has {}={etcd_unit}", found.key);
        findings.refuse(what, "remove it: the program sees to it itself when etcd may run");
    }
}

/// The variables say what the site says.
fn environment(site: &Site, text: &str, findings: &mut Findings) {
    let said = parse_environment(text);
    for (variable, want) in expected(site) {
        match said.iter().find(|(name, _)| name == variable) {
            Some((_, value)) if *value == want => {}
            Some((_, value)) => findings.refuse(
                format!("{SETTINGS} sets {variable} to {value:?}, the site says {want:?}"),
                "change it in etcd2-backup.toml, and leave the line as it is in the built-in template",
            ),
            None => findings.refuse(
                format!("{SETTINGS} does not set {variable}"),
                "take the line over from the built-in template: the services would not do what the site says",
            ),
        }
    }
}

fn timer(unit: &Unit, findings: &mut Findings) {
    let triggers =
        ["OnActiveSec", "OnBootSec", "OnStartupSec", "OnUnitActiveSec", "OnUnitInactiveSec", "OnCalendar"];
    let again = ["OnUnitActiveSec", "OnUnitInactiveSec", "OnCalendar"];
    let has = |key: &&str| !unit.list("Timer", key).is_empty();
    if !again.iter().any(has) {
        let what = format!("{TIMER} starts no second backup");
        findings.refuse(what, "write OnUnitActiveSec={{ interval }} or OnCalendar={{ calendar }}");
    } else if !triggers.iter().any(|key| !again[..2].contains(key) && has(key)) {
        let what = format!("{TIMER} starts no first backup");
        findings.refuse(what, "write OnBootSec={{ boot_delay }}: the others count from the last one");
    }
    if !["", BACKUP].contains(&unit.last("Timer", "Unit")) {
        let what = format!("{TIMER} starts {}", unit.last("Timer", "Unit"));
        findings.refuse(what, format!("remove Unit=: it starts {BACKUP} by its name"));
    }
    if unit.list("Install", "WantedBy").is_empty() {
        let what = format!("{TIMER} has no WantedBy=");
        findings.refuse(what, "write WantedBy=timers.target below [Install]: enabling it would do nothing");
    }
}

/// The timer starts its service no more often than systemd lets it. What is not understood here, systemd-analyze judges.
fn keeps_its_times(unit: &Unit, findings: &mut Findings) {
    let name = unit.name;
    for key in ["OnUnitActiveSec", "OnUnitInactiveSec"] {
        let short = |span: &&str| parse_span(span).is_ok_and(|us| us < u64::from(CLOSEST_SECS) * 1_000_000);
        if let Some(span) = unit.list("Timer", key).into_iter().find(short) {
            let what = format!("{name}: {key}={span} is shorter than {CLOSEST_SECS} s: {START_LIMIT}");
            findings.refuse(what, format!("write at least {key}={CLOSEST_SECS}s"));
        }
    }
    let times: Vec<_> =
        unit.list("Timer", "OnCalendar").into_iter().filter_map(|c| parse_calendar(c).ok()).collect();
    if let Some(gap) = closest(&times).filter(|gap| *gap < CLOSEST_SECS) {
        let what =
            format!("{name}: OnCalendar= has times {gap} s apart, less than {CLOSEST_SECS} s: {START_LIMIT}");
        findings.refuse(what, "leave out some of its times, for example OnCalendar=*:*:0/10");
    }
}

/// Whom the site wants told is told.
fn on_failure(site: &Site, unit: &Unit, findings: &mut Findings) {
    let Some(wanted) = &site.on_failure else { return };
    let told = unit.list("Unit", "OnFailure");
    if !told
        .iter()
        .flat_map(|line| line.split_ascii_whitespace())
        .any(|unit| unit == wanted.replace("@.", "@%n."))
    {
        let what = format!("{} does not start on_failure {wanted:?} when it fails", unit.name);
        findings.refuse(what, "write OnFailure={{ on_failure | safe }} below [Unit]");
    }
}

/// etcd does not start while its data is exchanged.
fn fence(unit: &Unit, findings: &mut Findings) {
    let line = format!("!{}", paths::FENCE);
    if !unit.list("Unit", "AssertPathExists").contains(&line.as_str()) {
        let what = format!("{FENCE} has no fence");
        findings.refuse(
            what,
            "write AssertPathExists=!{{ fence }} below [Unit]: etcd could start on half of its data",
        );
    }
    if !unit.list("Unit", "Conflicts").is_empty() {
        let what = format!("{FENCE} has Conflicts=");
        findings.refuse(what, "remove it: a start of that unit would stop etcd");
    }
    let guard = format!("{} guard", paths::PROGRAM);
    let guards = |line: &&str| line.contains(&guard) && !line.starts_with('-');
    if !unit.list("Service", "ExecStartPre").iter().any(guards) {
        let what = format!("{FENCE} has no guard");
        findings.warn(
            what,
            "a member whose data is gone starts empty; the built-in template's ExecStartPre= prevents that",
        );
    }
}

#[cfg(test)]
mod tests;
