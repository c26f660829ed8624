//! The sources for people: a table for each lineage, what goes furthest first, and what to do.

use std::cmp::Reverse;
use std::time::Duration;

use super::rank::Verdict;
use super::{Kind, Source, Standing};
use crate::sys::terminal::table::{Column, age, table};
use crate::sys::terminal::text;
use crate::sys::terminal::wrap::{indented, paragraph};

const COLUMNS: [Column; 6] = [
    Column::left(""),
    Column::right("index"),
    Column::right("term"),
    Column::left("cluster"),
    Column::prose("member"),
    Column::left("age"),
];

/// The tables, and the verdict, in lines of `width`.
pub fn render(sources: &[Source], verdict: &Verdict, width: usize) -> String {
    let mut out = String::new();
    let mut lineages: Vec<Option<usize>> = sources.iter().map(|s| s.lineage).collect();
    lineages.sort_unstable_by_key(|lineage| lineage.unwrap_or(usize::MAX));
    lineages.dedup();
    for lineage in lineages {
        out += &match lineage {
            Some(number) => format!("lineage {number}\n"),
            None => "not comparable\n".to_owned(),
        };
        let mut own: Vec<&Source> = sources.iter().filter(|s| s.lineage == lineage).collect();
        own.sort_by_key(|s| (s.standing == Standing::Superseded, Reverse(s.end())));
        let rows: Vec<Vec<String>> = own.into_iter().flat_map(rows).collect();
        out += &indented(&table(&COLUMNS, &rows, width.saturating_sub(2)), 2);
    }
    for record in &verdict.unseen {
        let members: Vec<String> =
            record.members.iter().map(|m| format!("{} at {}", m.name, m.peer_urls.join(","))).collect();
        let members = text::name(members.join("; ").as_bytes());
        let what = format!(
            "cluster {:x} was made of {:x} up to index {}, with {members}: none of its data was found",
            record.cluster_id, record.source_cluster_id, record.index
        );
        out += &paragraph(&what, width);
    }
    if verdict.doubtful {
        let what = "a member of it lost acknowledged writes: it started with an empty log, or an older \
                    directory was put back";
        out += &paragraph(what, width);
    }
    out += if verdict.is_clear() { "the freshest:\n" } else { "which one is meant?\n" };
    for &at in &verdict.candidates {
        let command = match &sources[at].command {
            Some(command) => format!("sudo /opt/bin/etcd2-backup {command}"),
            None => "no command can use it where it is".to_owned(),
        };
        out += &indented(&paragraph(&place(&sources[at]), width.saturating_sub(2)), 2);
        out += &indented(&paragraph(&command, width.saturating_sub(4)), 4);
    }
    out
}

/// A source, and where it is.
fn rows(source: &Source) -> [Vec<String>; 2] {
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
    let row = vec![
        standing,
        number(source.index),
        number(source.term),
        hex(source.cluster_id),
        format!("{} {name}", hex(source.member_id)),
        source.age.map_or("-".to_owned(), |seconds| age(Duration::from_secs(seconds))),
    ];
    let mut note = place(source);
    if let Some(time) = &source.time {
        note += &format!(", {time}");
    }
    if !source.peer_urls.is_empty() {
        note += &format!("; {}", text::name(source.peer_urls.join(",").as_bytes()));
    }
    if let Some(trouble) = &source.trouble {
        note += &format!("; {}", text::name(trouble.as_bytes()));
    }
    [row, vec![note]]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_a_row_and_a_place_and_commands_can_be_pasted() {
        let (cluster, machine) = (Some(0xcdf8_1819_4e3a_8c32), "0123456789abcdef0123456789abcdef".to_owned());
        let source = |kind, place: &str| Source {
            cluster_id: cluster,
            member_id: Some(0xce2a_822c_ea30_bfca),
            member_name: Some("e1".into()),
            peer_urls: vec!["http://10.0.0.1:2380".into()],
            term: Some(2),
            lineage: Some(1),
            ..Source::nameless(kind, place.into())
        };
        let sources = [
            Source {
                index: Some(6951),
                standing: Standing::Older,
                behind: Some(7),
                age: Some(43 * 60),
                time: Some("2026-11-22T13:09:13Z".into()),
                generation: Some(12),
                command: Some(format!("restore --from {machine} --generation 12")),
                ..source(Kind::Archive, &machine)
            },
            Source {
                index: Some(6958),
                standing: Standing::Freshest,
                age: Some(12),
                command: Some("restore --source local".into()),
                ..source(Kind::DataDir, "/var/lib/etcd2")
            },
            Source { trouble: Some("gone\n".into()), ..Source::nameless(Kind::Original, machine.clone()) },
        ];
        let verdict = Verdict { candidates: vec![1, 0], unseen: Vec::new(), doubtful: false };
        assert_eq!(
            render(&sources, &verdict, 80),
            "\
lineage 1
            index  term  cluster           member               age
  freshest   6958     2  cdf818194e3a8c32  ce2a822cea30bfca e1  12 s ago
      data directory /var/lib/etcd2; http://10.0.0.1:2380
  7 fewer    6951     2  cdf818194e3a8c32  ce2a822cea30bfca e1  43 min ago
      prefix 0123456789abcdef0123456789abcdef, generation 12,
          2026-11-22T13:09:13Z; http://10.0.0.1:2380
not comparable
           index  term  cluster  member  age
  unknown      -     -  -        - ?     -
      prefix 0123456789abcdef0123456789abcdef, of etcd2-backup-coreos; gone\\n
which one is meant?
  data directory /var/lib/etcd2
    sudo /opt/bin/etcd2-backup restore --source local
  prefix 0123456789abcdef0123456789abcdef, generation 12
    sudo /opt/bin/etcd2-backup restore --from \\
        0123456789abcdef0123456789abcdef --generation 12
"
        );
        assert!(render(&sources, &verdict, 200).lines().count() < 17);
    }
}
