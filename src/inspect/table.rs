//! A report for people.

use super::report::{LogSummary, Report, State, V3Summary};
use crate::etcd::datadir::Family;
use crate::sys::terminal::table::{Column, bytes, count, table};
use crate::sys::terminal::text;

/// The table, in lines of `width`. It has no key and no value of the store.
pub fn render(report: &Report, width: usize) -> String {
    let mut table = Table::default();
    table.row("what", report.kind);
    table.row("state", state(report.state));
    for fault in &report.faults {
        let at = fault.at.as_ref().map_or(String::new(), |at| format!("{at}: "));
        table.row("fault", &format!("{at}{}", fault.reason));
    }
    match report.etcd {
        Some(Family::Two) => table.row("etcd", "2.0 to 2.3"),
        Some(Family::Three) => table.row("etcd", "3.0 to 3.5"),
        None => {}
    }
    if let Some(p) = &report.part {
        table.row("part", &format!("{} of generation {}, captured {}", p.sequence, p.generation, p.time));
        table.row("of", &format!("{} {}", p.member_name, p.peer_urls.join(",")));
    }
    table.some("cluster", report.cluster_id.as_deref());
    table.some("member", report.member_id.as_deref());
    for member in &report.members {
        let name = if member.name.is_empty() { "(not started yet)" } else { &member.name };
        table.row("members", &format!("{:<16}  {name}  {}", member.id, member.peer_urls.join(",")));
    }
    if let Some(s) = &report.snapshot {
        table.row("snapshot", &format!("{}, index {}, term {}, {}", s.file, s.index, s.term, bytes(s.bytes)));
    } else if report.log.is_some() && report.kind != "segment" {
        table.row("snapshot", "none");
    }
    for why in &report.passed_over {
        table.row("passed over", why);
    }
    if let Some(log) = &report.log {
        of_log(&mut table, log);
    }
    table.some("v3 data", report.v3_data.as_deref());
    if let Some(v3) = &report.v3 {
        of_v3(&mut table, v3);
    }
    for g in &report.generations {
        let span = [&g.from, &g.to].map(|t| t.as_deref().unwrap_or("?"));
        table.row(
            "generations",
            &format!(
                "{}: {}, cluster {}, member {}, {}, {}, {} to {}, up to index {} of term {}{}",
                g.number,
                state(g.state),
                g.cluster_id,
                g.member_id,
                count(g.parts, "part", "parts"),
                bytes(g.bytes),
                span[0],
                span[1],
                g.last_index,
                g.last_term,
                if g.absent > 0 {
                    format!(", {} ignored", count(g.absent, "object", "objects"))
                } else {
                    String::new()
                },
            ),
        );
    }
    table.render(width)
}

fn of_log(table: &mut Table, log: &LogSummary) {
    let span = match (log.first_index, log.last_index) {
        (Some(first), Some(last)) => format!(", index {first} to {last}"),
        _ => String::new(),
    };
    let segments = count(log.segments, "segment", "segments");
    table.row("log", &format!("{} in {segments}{span}", count(log.entries, "entry", "entries")));
    if let Some(term) = log.last_term {
        table.row("last entry", &format!("index {}, term {term}", log.last_index.unwrap_or_default()));
    }
    table.row("hard state", &format!("commit {}, term {}", log.commit, log.term));
    let tail = match log.tail {
        "end" => "end of file",
        "zeros" => "preallocated zeros",
        "torn" => "a torn write, which etcd and a restore leave out",
        other => other,
    };
    table.row("tail", &format!("{} {tail}", log.end));
}

fn of_v3(table: &mut Table, v3: &V3Summary) {
    let sum = match v3.sum {
        Some(true) => ", its sha256 is right",
        Some(false) => ", its sha256 is wrong",
        None => "",
    };
    let of = bytes(v3.bytes);
    let pages = format!("{} of {} pages in use", v3.pages_in_use, v3.pages);
    table.row("v3 db", &format!("{of}, transaction {}, {pages}{sum}", v3.txid));
    let term = v3.term.map_or(String::new(), |term| format!(", term {term}"));
    table.row("v3 applied", &format!("index {}{term}", v3.consistent_index));
    let compacted = v3.compacted.map_or(String::new(), |revision| format!(", compacted to {revision}"));
    let rows = count(v3.revisions, "change", "changes");
    let what = format!("{}{compacted}, {rows} of keys with {}", v3.revision, bytes(v3.key_bytes));
    table.row("v3 revision", &what);
    for member in &v3.members {
        let name = if member.name.is_empty() { "(not started yet)" } else { &member.name };
        let learner = if member.learner { "  learner" } else { "" };
        table.row(
            "v3 members",
            &format!("{:<16}  {name}  {}{learner}", member.id, member.peer_urls.join(",")),
        );
    }
    for alarm in &v3.alarms {
        table.row("v3 alarm", &format!("{} of member {}", alarm.alarm, alarm.member_id));
    }
    if let Some(cluster) = &v3.cluster_version {
        let storage = v3.storage_version.as_ref().map_or(String::new(), |v| format!(", of the db {v}"));
        table.row("v3 version", &format!("of the cluster {cluster}{storage}"));
    }
    if v3.users + v3.roles > 0 || v3.auth_enabled {
        let (users, roles) = (count(v3.users, "user", "users"), count(v3.roles, "role", "roles"));
        let on = if v3.auth_enabled { "on" } else { "off" };
        table.row("v3 auth", &format!("{on}, {users}, {roles}"));
    }
    if v3.leases > 0 {
        table.row("v3 leases", &v3.leases.to_string());
    }
    if v3.kubernetes {
        table.row("v3 keys", "of Kubernetes (/registry/)");
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Whole => "whole",
        State::Torn => "torn at its end",
        State::Corrupt => "corrupt",
        State::Unreadable => "unreadable",
    }
}

#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
    last: &'static str,
}

impl Table {
    /// A label is written once for all of its rows.
    fn row(&mut self, label: &'static str, what: &str) {
        let shown = if label == self.last { "" } else { label };
        self.last = label;
        self.rows.push(vec![shown.to_owned(), text::name(what.as_bytes())]);
    }

    fn render(&self, width: usize) -> String {
        table(&[Column::left(""), Column::prose("")], &self.rows, width)
    }

    fn some(&mut self, label: &'static str, what: Option<&str>) {
        what.into_iter().for_each(|what| self.row(label, what));
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Damage, Member};
    use super::*;

    #[test]
    fn every_row_is_one_line_whatever_is_in_it() {
        let member =
            |id: &str, name: &str| Member { id: id.into(), name: name.into(), peer_urls: vec!["u".into()] };
        let report = Report {
            kind: "data-dir",
            state: State::Corrupt,
            faults: vec![Damage { at: Some("x.wal@7".into()), reason: "bad".into() }],
            members: vec![member("a", "one\nx"), member("b", "")],
            ..Report::default()
        };
        assert_eq!(
            render(&report, 80),
            "what     data-dir\n\
             state    corrupt\n\
             fault    x.wal@7: bad\n\
             members  a                 one\\nx  u\n\
             \x20        b                 (not started yet)  u\n"
        );
    }
}
