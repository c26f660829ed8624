//! A listing for people: a line for each generation, with its newest point, or for each point.

use super::{Layout, Listing, Machine, Row};
use crate::sys::terminal::text;

/// The table; `points`: a line for each point too.
pub fn render(listing: &Listing, points: bool) -> String {
    let machines: Vec<String> = listing.machines.iter().map(|m| machine(m, points)).collect();
    machines.join("\n")
}

fn machine(machine: &Machine, points: bool) -> String {
    let Machine { machine_id, objects, bytes, generations, .. } = machine;
    let mut out = format!("{}: ", text::name(machine_id.as_bytes()));
    match machine.layout {
        Layout::Generations => {
            let count: usize = generations.iter().map(|g| g.points.len()).sum();
            out += &format!("{} generations, {count} points, {bytes} bytes\n", generations.len());
        }
        Layout::Original => {
            out += &format!("one backup made by etcd2-backup-coreos, {objects} objects, {bytes} bytes\n");
        }
        Layout::Other => out += &format!("no backup, {objects} other objects\n"),
    }
    if generations.is_empty() {
        return out;
    }
    out += &columns(["generation", "cluster", "member", "points", "bytes", "index", "term", "newest point"]);
    for g in generations {
        out += &generation(g);
        for p in g.points.iter().filter(|_| points) {
            let label = format!("part {}", p.part);
            let [bytes, index, term] = [p.bytes, p.index, p.term].map(|n| n.to_string());
            out += &columns(["", "", "", &label, &bytes, &index, &term, &p.time]);
        }
    }
    if machine.unrelated {
        out += "  these histories are unrelated, or the newest lacks acknowledged writes: restore needs --generation\n";
    }
    out
}

fn generation(g: &Row) -> String {
    let member = match &g.member_name {
        Some(name) => format!("{} {}", g.member_id, text::name(name.as_bytes())),
        None => format!("{} ?", g.member_id),
    };
    let newest = g.points.last();
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let mut time = newest.map_or("none, its base is missing", |p| &p.time).to_owned();
    if !g.whole && newest.is_some() {
        time += ", broken after it";
    } else if g.absent > 0 {
        time += &format!(", {} objects ignored", g.absent);
    }
    if let Some(damaged) = &g.damaged {
        time += &format!(", part {} corrupt ({})", damaged.part, damaged.time);
    }
    if let Some(read) = &g.verified {
        let part = if newest.is_some_and(|p| p.part == read.part) {
            String::new()
        } else {
            format!("part {} ", read.part)
        };
        time += &format!(", {part}verified {}", read.time);
    }
    let mut out = columns([
        &g.number.to_string(),
        &g.cluster_id,
        &member,
        &g.points.len().to_string(),
        &g.bytes.to_string(),
        &number(newest.map(|p| p.index)),
        &number(newest.map(|p| p.term)),
        &time,
    ]);
    if let Some(c) = &g.continues {
        let from = c.generation.map_or("a disk".to_owned(), |n| format!("generation {n}"));
        let (cluster, index) = (&c.cluster_id, c.index);
        out += &format!("              continues cluster {cluster} from {from}, index {index}\n");
    }
    out
}

fn columns(cells: [&str; 8]) -> String {
    let [number, cluster, member, points, bytes, index, term, newest] = cells;
    let line = format!(
        "  {number:<10}  {cluster:<16}  {member:<24}  {points:>8}  {bytes:>12}  {index:>10}  {term:>5}  {newest}"
    );
    format!("{}\n", line.trim_end())
}
