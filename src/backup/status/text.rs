//! A judgement for people, and for a program.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Facts, Judgement, Warning};
use crate::cluster::own::{Asked, Own};
use crate::sys::terminal::table::{Column, age, count, span, table};
use crate::sys::time::rfc3339;

/// For people: one thing a line, in lines of `width`.
pub fn text(facts: &Facts, judgement: &Judgement, width: usize) -> String {
    let Judgement { sent, lost_entries, lost_seconds, because, warnings } = judgement;
    let mut rows = Vec::new();
    let mut line = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    let all = |entries: u64| count(entries, "entry", "entries");
    line(
        "would lose",
        match (lost_entries, lost_seconds) {
            (0, Some(_)) => "nothing".into(),
            (entries, Some(seconds)) => {
                let time = span(Duration::from_secs(*seconds));
                format!("at most {}, of the last {time}", all(*entries))
            }
            (1, None) => "the only entry".into(),
            (entries, None) => format!("all {}", all(*entries)),
        } + &because.map_or(String::new(), |why| format!(": {why}")),
    );
    let metadata = facts.new.metadata;
    line(
        "log",
        format!(
            "up to index {}, of member {:x} of cluster {:x}",
            facts.new.last.index, metadata.member_id, metadata.cluster_id
        ),
    );
    let when = |time: u64| {
        let ago = Duration::from_secs(facts.now.saturating_sub(time));
        format!("{} ({})", rfc3339(time), age(ago))
    };
    if let (Some(sent), Some(state)) = (sent, &facts.state) {
        let (index, generation) = (sent.index, state.generation);
        line("remote", format!("up to index {index} of generation {generation}, in {}", facts.folder));
        line("captured", when(sent.clock));
    }
    line("etcd", etcd(&facts.etcd));
    let ever = |time: Option<u64>| time.map_or("never".to_owned(), when);
    line("verified", ever(facts.verified));
    let skipped =
        facts.rehearse_skipped.as_ref().map(|why| format!("; the timer cannot rehearse here: {why}"));
    line("rehearsed", ever(facts.rehearsed) + &skipped.unwrap_or_default());
    for Warning { text, hint, .. } in warnings {
        line("warning", text.clone());
        line("", format!("hint: {hint}"));
    }
    table(&[Column::left(""), Column::prose("")], &rows, width)
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

/// For a program, as docs/monitoring.md has it.
pub fn json(facts: &Facts, judgement: &Judgement) -> Value {
    let warning = |Warning { kind, text, hint }: &Warning| json!({"kind": kind, "text": text, "hint": hint});
    let time = |time: Option<u64>| time.map(rfc3339);
    let sent = judgement.sent;
    json!({
        "format": 1,
        "time": rfc3339(facts.now),
        "folder": facts.folder,
        "cluster_id": format!("{:x}", facts.new.metadata.cluster_id),
        "member_id": format!("{:x}", facts.new.metadata.member_id),
        "log_index": facts.new.last.index,
        "index": sent.map(|sent| sent.index),
        "point": time(sent.map(|sent| sent.clock)),
        "lost_entries": judgement.lost_entries,
        "lost_seconds": judgement.lost_seconds,
        "because": judgement.because,
        "etcd": match &facts.etcd {
            Asked::Answered(own) if own.is_healthy => "healthy",
            Asked::Answered(_) => "cut-off",
            Asked::Silent => "silent",
            Asked::Unknown(_) => "unknown",
        },
        "applied": match &facts.etcd {
            Asked::Answered(own) => own.applied,
            Asked::Silent | Asked::Unknown(_) => None,
        },
        "timer": facts.timer,
        "verified": time(facts.verified),
        "rehearsed": time(facts.rehearsed),
        "rehearse_skipped": facts.rehearse_skipped,
        "warnings": judgement.warnings.iter().map(warning).collect::<Vec<_>>(),
    })
}
