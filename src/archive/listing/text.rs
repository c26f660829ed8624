//! A listing for people: a table for each cluster and member, with a line for each generation or restore point.

use super::{Layout, Listing, Machine, Row};
use crate::sys::terminal::table::{Column, bytes, count, table};
use crate::sys::terminal::text;
use crate::sys::terminal::wrap::{indented, paragraph};

const COLUMNS: [Column; 6] = [
    Column::right("generation"),
    Column::right("points"),
    Column::right("size"),
    Column::right("index"),
    Column::right("term"),
    Column::prose("newest restore point"),
];

/// The tables, in lines of `width`; `points`: a line for each restore point too.
pub fn render(listing: &Listing, points: bool, width: usize) -> String {
    let machines: Vec<String> = listing.machines.iter().map(|m| machine(m, points, width)).collect();
    machines.join("\n")
}

fn machine(machine: &Machine, points: bool, width: usize) -> String {
    let Machine { machine_id, objects, generations, .. } = machine;
    let size = bytes(machine.bytes);
    let what = match machine.layout {
        Layout::Generations => {
            let all: usize = generations.iter().map(|g| g.points.len()).sum();
            let generations = count(generations.len(), "generation", "generations");
            format!("{generations}, {}, {size}", count(all, "restore point", "restore points"))
        }
        Layout::Original => {
            let objects = count(*objects, "object", "objects");
            format!("one backup made by etcd2-backup-coreos, {objects}, {size}")
        }
        Layout::Other => format!("no backup, {}", count(*objects, "other object", "other objects")),
    };
    let mut out = paragraph(&format!("{}: {what}", text::name(machine_id.as_bytes())), width);
    for same in generations.chunk_by(|a, b| whose(a) == whose(b)) {
        let (member, continues) = whose(&same[0]);
        out += &paragraph(&member, width);
        out +=
            &continues.map_or(String::new(), |what| indented(&paragraph(&what, width.saturating_sub(2)), 2));
        let rows: Vec<Vec<String>> = same.iter().flat_map(|g| rows(g, points)).collect();
        out += &indented(&table(&COLUMNS, &rows, width.saturating_sub(2)), 2);
    }
    if machine.unrelated {
        let what = "these histories are unrelated, or the newest lacks acknowledged writes: restore needs \
                    --generation";
        out += &paragraph(what, width);
    }
    out
}

/// What the generations of one table have in common: whose they are, and what they continue.
fn whose(g: &Row) -> (String, Option<String>) {
    let name = g.member_name.as_ref().map_or("?".to_owned(), |name| text::name(name.as_bytes()));
    let continues = g.continues.as_ref().map(|c| {
        let from = c.generation.map_or("a disk".to_owned(), |n| format!("generation {n}"));
        format!("continues cluster {} from {from}, index {}", c.cluster_id, c.index)
    });
    (format!("cluster {}, member {} {name}", g.cluster_id, g.member_id), continues)
}

fn rows(g: &Row, points: bool) -> Vec<Vec<String>> {
    let newest = g.points.last();
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    let mut time = newest.map_or("none, its base is missing", |p| &p.time).to_owned();
    if g.v3 {
        time += &format!(", both stores, from index {}", number(g.first_index));
    }
    if !g.whole && newest.is_some() {
        time += ", broken after it";
    } else if g.absent > 0 {
        time += &format!(", {} ignored", count(g.absent, "object", "objects"));
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
    let mut rows = vec![vec![
        g.number.to_string(),
        g.points.len().to_string(),
        bytes(g.bytes),
        number(newest.map(|p| p.index)),
        number(newest.map(|p| p.term)),
        time,
    ]];
    for p in g.points.iter().filter(|_| points) {
        let [index, term] = [p.index, p.term].map(|n| n.to_string());
        rows.push(vec![
            String::new(),
            format!("part {}", p.part),
            bytes(p.bytes),
            index,
            term,
            p.time.clone(),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::{Continues, Point, Read};
    use super::*;
    use crate::archive::names::GenerationName;

    fn row(number: u64, cluster: u64, continues: Option<Continues>) -> Row {
        let time = |second: u64| format!("2026-11-22T13:09:{second:02}Z");
        let point = |part| Point { part, time: time(13 + part), index: 6957 + part, term: 2, bytes: 1050 };
        Row {
            generation: number,
            number,
            cluster_id: format!("{cluster:x}"),
            member_id: "ce2a822cea30bfca".into(),
            member_name: Some("e1".into()),
            etcd: None,
            whole: true,
            absent: 0,
            bytes: 10_394_112,
            first_index: Some(1),
            v3: false,
            continues,
            verified: Some(Read { part: 1, time: time(59) }),
            damaged: None,
            points: vec![point(0), point(1)],
            name: GenerationName { number, cluster_id: cluster, member_id: 0xce2a_822c_ea30_bfca, writer: 1 },
        }
    }

    #[test]
    fn generations_of_one_member_stand_in_one_table() {
        let cluster = 0xcdf8_1819_4e3a_8c32;
        let continues = Continues { cluster_id: format!("{cluster:x}"), generation: Some(2), index: 6958 };
        let machine = Machine {
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            layout: Layout::Generations,
            objects: 7,
            bytes: 31_182_336,
            unrelated: true,
            generations: vec![
                Row { absent: 1, ..row(1, cluster, None) },
                Row { verified: None, points: Vec::new(), ..row(2, cluster, None) },
                Row { verified: None, ..row(3, 0x1234, Some(continues)) },
            ],
        };
        let listing = Listing { format: 1, machines: vec![machine] };
        assert_eq!(
            render(&listing, false, 80),
            "\
0123456789abcdef0123456789abcdef: 3 generations, 4 restore points, 31.2 MB
cluster cdf818194e3a8c32, member ce2a822cea30bfca e1
  generation  points     size  index  term  newest restore point
           1       2  10.4 MB   6958     2  2026-11-22T13:09:14Z, 1 object
                                            ignored, verified
                                            2026-11-22T13:09:59Z
           2       0  10.4 MB      -     -  none, its base is missing
cluster 1234, member ce2a822cea30bfca e1
  continues cluster cdf818194e3a8c32 from generation 2, index 6958
  generation  points     size  index  term  newest restore point
           3       2  10.4 MB   6958     2  2026-11-22T13:09:14Z
these histories are unrelated, or the newest lacks acknowledged writes:
    restore needs --generation
"
        );
        let points = render(&listing, true, 200);
        assert!(
            points.contains("\n              part 0   1.1 kB   6957     2  2026-11-22T13:09:13Z\n"),
            "{points}"
        );
    }
}
