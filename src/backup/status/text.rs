//! A judgement for people, and for a program.

use std::time::Duration;

use serde_json::{Value, json};

use super::around::{Around, Installed, Timer};
use super::{Facts, Judgement, Warning};
use crate::cluster::own::{Asked, Own};
use crate::sys::terminal::table::{Column, age, count, span, table};
use crate::sys::time::rfc3339;

/// For people: one thing a line, in lines of `width`. Without a judgement it says `unseen`: why there is none.
pub fn text(
    around: &Around,
    data: Result<(&Facts, &Judgement), &str>,
    warnings: &[Warning],
    width: usize,
) -> String {
    let mut rows = Vec::new();
    let mut line = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some((what, _)) = around.unfinished() {
        line("recovery", what);
    }
    match data {
        Ok((facts, judgement)) => of_data(around.now, facts, judgement, &mut line),
        Err(unseen) => line("would lose", format!("not known: {unseen}")),
    }
    if !around.timers.is_empty() {
        let timers: Vec<String> = around.timers.iter().map(|timer| due(timer, around.now)).collect();
        line("timers", timers.join(", "));
    }
    line("program", format!("{}; {}", around.program, installed(&around.installed)));
    if !around.founder.is_empty() {
        let whose = match around.is_founder {
            Some(true) => ", this node",
            Some(false) => ", another node",
            None => "",
        };
        line("founder", around.founder.join(", ") + whose);
    }
    for Warning { text, hint, .. } in warnings.iter().filter(|warning| warning.kind != "recovery") {
        line("warning", text.clone());
        line("", format!("hint: {hint}"));
    }
    line("next", around.next(warnings).unwrap_or("nothing has to be done").to_owned());
    table(&[Column::left(""), Column::prose("")], &rows, width)
}

/// What would be lost, and what that is known from.
fn of_data(now: u64, facts: &Facts, judgement: &Judgement, line: &mut impl FnMut(&str, String)) {
    let Judgement { sent, lost_entries, idle_entries, lost_seconds, because, .. } = judgement;
    let all = |entries: u64| count(entries, "entry", "entries");
    line(
        "would lose",
        match (lost_entries, lost_seconds) {
            (0, Some(_)) if facts.bases.left_out_of.is_some() => "nothing of the v2 store".into(),
            (0, Some(_)) => "nothing".into(),
            (entries, Some(seconds)) => {
                let time = span(Duration::from_secs(*seconds));
                format!("at most {}, of the last {time}", all(*entries))
            }
            (1, None) => "the only entry".into(),
            (entries, None) => format!("all {}", all(*entries)),
        } + &because.map_or(String::new(), |why| format!(": {why}"))
            + &facts.bases.lost().map_or(String::new(), |store| match (lost_entries, lost_seconds) {
                (0, Some(_)) => format!(", but {store}"),
                _ => format!("; and {store}"),
            }),
    );
    let metadata = facts.new.metadata;
    let idle = match idle_entries {
        0 => String::new(),
        1 => "; the last entry changes nothing, and waits for the next write".to_owned(),
        n => format!("; the last {n} entries change nothing, and wait for the next write"),
    };
    line(
        "log",
        format!(
            "up to index {} of term {}, of member {:x} of cluster {:x}{idle}",
            facts.new.last.index, facts.new.last.term, metadata.member_id, metadata.cluster_id
        ),
    );
    let when = |time: u64| {
        let ago = Duration::from_secs(now.saturating_sub(time));
        format!("{} ({})", rfc3339(time), age(ago))
    };
    if let (Some(sent), Some(state)) = (sent, &facts.state) {
        let (index, generation) = (sent.index, state.generation);
        line("remote", format!("up to index {index} of generation {generation}, in {}", facts.folder));
        line("captured", when(sent.clock));
    }
    if let Some(value) = facts.bases.line(facts.state.as_ref(), now) {
        line("v3 store", value);
    }
    line("etcd", etcd(&facts.etcd));
    let ever = |time: Option<u64>| time.map_or("never".to_owned(), when);
    line("verified", ever(facts.verified));
    let skipped =
        facts.rehearse_skipped.as_ref().map(|why| format!("; the timer cannot rehearse here: {why}"));
    line("rehearsed", ever(facts.rehearsed) + &skipped.unwrap_or_default());
}

/// `backup in 12 s`, `verify off`.
fn due(Timer { what, runs, next }: &Timer, now: u64) -> String {
    match next {
        _ if !runs => format!("{what} off"),
        Some(next) if *next > now => format!("{what} in {}", span(Duration::from_secs(next - now))),
        _ => format!("{what} now"),
    }
}

fn installed(installed: &Installed) -> String {
    match installed {
        Installed::Not => "it was not installed here by its installer".into(),
        Installed::AsRecorded(files) => {
            format!("{} as installed", count(*files as u64, "file is", "files are"))
        }
        Installed::Altered(files) => {
            format!("{} not as installed", count(files.len() as u64, "file is", "files are"))
        }
        Installed::Unknown(why) => format!("could not check its files: {why}"),
    }
}

fn etcd(etcd: &Asked) -> String {
    match etcd {
        Asked::Answered(Own { is_healthy, applied, holds, .. }) => {
            let quorum = if *is_healthy { "a quorum" } else { "no quorum" };
            let applied = applied.map_or(String::new(), |index| format!(", applied up to index {index}"));
            let holds = if holds.is_none() { "; could not check whether it has this log open" } else { "" };
            format!("runs and has {quorum}{applied}{holds}")
        }
        Asked::Silent => "does not answer".into(),
        Asked::Unknown(why) => format!("could not be asked: {why}"),
    }
}

/// For a program, as docs/monitoring.md has it. Without a judgement the fields of the data are null.
pub fn json(around: &Around, data: Result<(&Facts, &Judgement), &str>, warnings: &[Warning]) -> Value {
    let warning = |warning: &Warning| {
        let Warning { kind, text, hint } = warning;
        json!({"kind": kind, "text": text, "hint": hint, "command": warning.command()})
    };
    let (facts, judgement) = (data.ok().map(|(facts, _)| facts), data.ok().map(|(_, judgement)| judgement));
    let time = |time: Option<u64>| time.map(rfc3339);
    let sent = judgement.and_then(|judgement| judgement.sent);
    let of_data = json!({
        "folder": facts.map(|f| &f.folder),
        "cluster_id": facts.map(|f| format!("{:x}", f.new.metadata.cluster_id)),
        "member_id": facts.map(|f| format!("{:x}", f.new.metadata.member_id)),
        "log_index": facts.map(|f| f.new.last.index),
        "log_term": facts.map(|f| f.new.last.term),
        "index": sent.map(|sent| sent.index),
        "term": sent.and_then(|sent| sent.term),
        "point": time(sent.map(|sent| sent.clock)),
        "lost_entries": judgement.map(|j| j.lost_entries),
        "idle_entries": judgement.map(|j| j.idle_entries),
        "lost_seconds": judgement.and_then(|j| j.lost_seconds),
        "because": judgement.and_then(|j| j.because),
        "etcd": facts.map(|f| match &f.etcd {
            Asked::Answered(own) if own.is_healthy => "healthy",
            Asked::Answered(_) => "cut-off",
            Asked::Silent => "silent",
            Asked::Unknown(_) => "unknown",
        }),
        "applied": facts.and_then(|f| match &f.etcd {
            Asked::Answered(own) => own.applied,
            Asked::Silent | Asked::Unknown(_) => None,
        }),
        "v3": facts.map(|f| f.bases.json(f.state.as_ref())),
        "verified": time(facts.and_then(|f| f.verified)),
        "rehearsed": time(facts.and_then(|f| f.rehearsed)),
        "rehearse_skipped": facts.and_then(|f| f.rehearse_skipped.as_ref()),
        "timer": around.timers.first().map(|backup| backup.runs),
        "unseen": data.err(),
        "warnings": warnings.iter().map(warning).collect::<Vec<_>>(),
        "next": around.next(warnings),
    });
    let mut all = around.json();
    if let (Value::Object(all), Value::Object(of_data)) = (&mut all, of_data) {
        all.extend(of_data);
    }
    all
}
