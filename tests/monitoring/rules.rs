//! Each alert rule fires, is silent, and is explained.

use std::fs;
use std::process::Command;
use std::time::Duration;

use testkit::process::run;
use testkit::tools::monitoring::Monitoring;

use crate::{DASHBOARD, RULES, file};

const LIMIT: Duration = Duration::from_secs(120);
/// Series as they come in, and the alerts that are due then.
const PLAYED: [&str; 2] = ["tests/monitoring/minutes.yml", "tests/monitoring/days.yml"];

fn text(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap()
}

/// What stands behind `key` in the lines of a text.
fn all<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn promtool_takes_the_rules_and_sees_each_fire_and_be_silent() {
    let Some(monitoring) = Monitoring::from_env() else { return };
    run(Command::new(&monitoring.promtool).args(["check", "rules"]).arg(file(RULES)), LIMIT).unwrap();
    let mut play = Command::new(&monitoring.promtool);
    play.args(["test", "rules"]).args(PLAYED.map(file));
    let printed = run(&mut play, LIMIT).unwrap();
    assert_eq!(printed.matches("SUCCESS").count(), PLAYED.len(), "{printed}");
}

#[test]
fn each_rule_is_played_both_ways_has_a_severity_and_a_runbook() {
    let rules = text(RULES);
    let names = all(&rules, "- alert: ");
    assert!(names.len() >= 8, "{names:?}");
    let played = PLAYED.map(text).concat();
    let cases: Vec<(&str, bool)> = played
        .split("- alertname: ")
        .skip(1)
        .map(|case| (case.lines().next().unwrap(), !case.contains("exp_alerts: []")))
        .collect();
    for name in &names {
        for fires in [true, false] {
            assert!(cases.contains(&(*name, fires)), "no case in which {name} fires: {fires}");
        }
    }
    let severities = all(&rules, "severity: ");
    assert_eq!(severities.len(), names.len());
    assert!(severities.iter().all(|s| ["critical", "warning", "info"].contains(s)), "{severities:?}");
    let anchors: Vec<String> =
        names.iter().map(|name| format!("docs/monitoring.md#{}", name.to_lowercase())).collect();
    assert_eq!(all(&rules, "runbook: "), anchors);
    let page = text("docs/monitoring.md");
    let explained: Vec<&str> =
        all(&page, "#### ").into_iter().filter(|heading| heading.starts_with("Etcd2")).collect();
    assert_eq!(explained, names);
}

#[test]
fn every_metric_is_shown_by_the_dashboard() {
    let reference = text("docs/reference/metrics.md");
    let names: Vec<&str> = all(&reference, "| `").iter().filter_map(|line| line.split('`').next()).collect();
    assert!(names.len() > 20, "{names:?}");
    let dashboard = text(DASHBOARD);
    for name in names {
        assert!(dashboard.contains(&format!("{name}{{")), "{name} is in no panel");
    }
}
