//! The sources for people: two lines for each, what goes furthest first, and what to do.

use std::cmp::Reverse;
use std::time::Duration;

use super::rank::Verdict;
use super::{Kind, Source, Standing};
use crate::sys::terminal::text;

/// The table, and the verdict.
pub fn render(sources: &[Source], verdict: &Verdict) -> String {
    let mut out = String::new();
    let mut lineages: Vec<Option<usize>> = sources.iter().map(|s| s.lineage).collect();
    lineages.sort_unstable_by_key(|lineage| lineage.unwrap_or(usize::MAX));
    lineages.dedup();
    for lineage in lineages {
        out += &match lineage {
            Some(number) => format!("lineage {number}\n"),
            None => "not comparable\n".to_owned(),
        };
        out += &columns(["", "index", "term", "cluster", "member", "time"]);
        let mut own: Vec<&Source> = sources.iter().filter(|s| s.lineage == lineage).collect();
        own.sort_by_key(|s| (s.standing == Standing::Superseded, Reverse(s.end())));
        own.into_iter().for_each(|source| out += &lines(source));
    }
    for record in &verdict.unseen {
        let members: Vec<String> =
            record.members.iter().map(|m| format!("{} at {}", m.name, m.peer_urls.join(","))).collect();
        let members = text::name(members.join("; ").as_bytes());
        out += &format!(
            "cluster {:x} was made of {:x} up to index {}, with {members}: none of its data was found\n",
            record.cluster_id, record.source_cluster_id, record.index
        );
    }
    if verdict.doubtful {
        out += "a member of it lost acknowledged writes: it started with an empty log, or an older directory was put back\n";
    }
    out += if verdict.is_clear() { "the freshest:\n" } else { "which one is meant?\n" };
    for &at in &verdict.candidates {
        let command = match &sources[at].command {
            Some(command) => format!("sudo /opt/bin/etcd2-backup {command}"),
            None => "no command can use it where it is".to_owned(),
        };
        out += &format!("  {command:<60}  # {}\n", place(&sources[at]));
    }
    out
}

fn lines(source: &Source) -> String {
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let hex = |id: Option<u64>| id.map_or("-".to_owned(), |id| format!("{id:x}"));
    let standing = match (source.standing, source.behind) {
        (Standing::Freshest, _) => "freshest".to_owned(),
        (Standing::Equal, _) => "equal".to_owned(),
        (Standing::Older, Some(entries)) if entries > 0 => format!("{entries} fewer"),
        (Standing::Older, _) => "older".to_owned(),
        (Standing::Superseded, _) => "superseded".to_owned(),
        (Standing::Unclear, _) => "?".to_owned(),
        (Standing::Unknown, _) => "unknown".to_owned(),
    };
    let name = text::name(source.member_name.as_deref().unwrap_or("?").as_bytes());
    let time = match (&source.time, source.age) {
        (Some(time), Some(age)) => {
            format!("{time}, {} ago", humantime::format_duration(Duration::from_secs(age)))
        }
        _ => "-".to_owned(),
    };
    let (cluster, member) = (hex(source.cluster_id), format!("{} {name}", hex(source.member_id)));
    let mut out = columns([&standing, &number(source.index), &number(source.term), &cluster, &member, &time]);
    out += &format!("    {}", place(source));
    if !source.peer_urls.is_empty() {
        out += &format!("; {}", text::name(source.peer_urls.join(",").as_bytes()));
    }
    if let Some(trouble) = &source.trouble {
        out += &format!("; {}", text::name(trouble.as_bytes()));
    }
    out + "\n"
}

fn place(source: &Source) -> String {
    let name = text::name(source.place.as_bytes());
    let whose = if source.present { " (this machine's)" } else { "" };
    match (source.kind, source.generation) {
        (Kind::DataDir, _) => format!("data directory {name}"),
        (Kind::Kept, _) => format!("kept directory {name}"),
        (Kind::Archive, Some(number)) => format!("prefix {name}{whose}, generation {number}"),
        (Kind::Archive, None) => format!("prefix {name}{whose}"),
        (Kind::Original, _) => format!("prefix {name}{whose}, of etcd2-backup-coreos"),
    }
}

fn columns([standing, index, term, cluster, member, time]: [&str; 6]) -> String {
    let line = format!("  {standing:<16}  {index:>10}  {term:>5}  {cluster:<16}  {member:<24}  {time}");
    format!("{}\n", line.trim_end())
}
