//! The `status` of every node of a cluster, one line each.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::said;
use super::ssh::Ssh;
use crate::exit::{Exit, OrFault};
use crate::sys::terminal::live;
use crate::sys::terminal::table::{Column, span, table};
use crate::sys::time::rfc3339;

/// A node may look at its disk, and wait for etcd.
const ASKING: Duration = Duration::from_secs(120);

/// What one node says.
#[derive(Debug)]
pub struct Line {
    /// As ssh knows it.
    pub node: String,
    /// What its `status --json` prints.
    pub status: Result<Value>,
}

/// Asks all of these nodes at the same time.
pub fn ask(ssh: &Ssh, nodes: &[String]) -> Vec<Line> {
    let _step = live::step(format!("asking {}", nodes.join(", ")));
    let ask = |node: &String| {
        let output = ssh.ask(node, &["status", "--json"], ASKING)?;
        let hint = format!("see what this prints: ssh {node} sudo /opt/bin/etcd2-backup status --json");
        said::answer(&output.stdout).or_fault(Exit::Failed, format!("reading what {node} answered"), hint)
    };
    thread::scope(|scope| {
        let running: Vec<_> = nodes.iter().map(|node| (node, scope.spawn(move || ask(node)))).collect();
        let end = |(node, one): (&String, thread::ScopedJoinHandle<'_, Result<Value>>)| Line {
            node: node.clone(),
            status: one.join().unwrap_or_else(|_| Err(anyhow!("a thread ended early"))),
        };
        running.into_iter().map(end).collect()
    })
}

/// Whether each node answered, and nobody has to look at anything.
pub fn is_good(lines: &[Line]) -> bool {
    let quiet = |status: &Value| status["warnings"].as_array().is_some_and(Vec::is_empty);
    lines.iter().all(|line| line.status.as_ref().is_ok_and(quiet))
}

/// For people, in lines of `width`.
pub fn text(lines: &[Line], width: usize) -> String {
    let columns = [
        Column::left("NODE"),
        Column::left("WOULD LOSE"),
        Column::right("TERM"),
        Column::right("INDEX"),
        Column::left("ETCD"),
        Column::prose("LOOK AT"),
    ];
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    table(&columns, &rows, width)
}

fn row(Line { node, status }: &Line) -> Vec<String> {
    let dash = || "-".to_owned();
    let status = match status {
        Ok(status) => status,
        Err(e) => {
            return vec![node.clone(), dash(), dash(), dash(), dash(), format!("could not be asked: {e:#}")];
        }
    };
    let kinds = status["warnings"].as_array().into_iter().flatten().filter_map(|w| w["kind"].as_str());
    let kinds: Vec<&str> = kinds.collect();
    let lost = match (status["lost_entries"].as_u64(), status["lost_seconds"].as_u64()) {
        (None, _) => "not known".to_owned(),
        (Some(0), Some(_)) if kinds.contains(&"left-out") => "the v3 store".to_owned(),
        (Some(0), Some(_)) => "nothing".to_owned(),
        (Some(_), None) => "everything".to_owned(),
        (Some(_), Some(seconds)) => format!("the last {}", span(Duration::from_secs(seconds))),
    };
    let number = |name: &str| status[name].as_u64().map_or_else(dash, |number| number.to_string());
    let etcd = status["etcd"].as_str().map_or_else(dash, str::to_owned);
    vec![node.clone(), lost, number("log_term"), number("log_index"), etcd, kinds.join(", ")]
}

/// For a program, as docs/monitoring.md has it: each node with what it says, or why it does not. `now` is in seconds since 1970.
pub fn json(lines: &[Line], now: u64) -> Value {
    let line = |Line { node, status }: &Line| match status {
        Ok(status) => json!({"node": node, "status": status, "unseen": null}),
        Err(e) => json!({"node": node, "status": null, "unseen": format!("{e:#}")}),
    };
    json!({"format": 1, "time": rfc3339(now), "nodes": lines.iter().map(line).collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(node: &str, status: Value) -> Line {
        Line { node: node.into(), status: Ok(status) }
    }

    #[test]
    fn each_node_has_a_line_also_one_that_does_not_answer() {
        let good = json!({"lost_entries": 0, "lost_seconds": 0, "log_index": 90, "log_term": 3, "etcd": "healthy", "warnings": []});
        let bad = json!({"lost_entries": 7, "lost_seconds": 90, "log_index": 95, "log_term": 2, "etcd": "cut-off",
            "warnings": [{"kind": "alone"}, {"kind": "timer"}]});
        let never = json!({"lost_entries": 5, "lost_seconds": null, "log_index": 5, "etcd": "silent", "warnings": []});
        let unseen = json!({"lost_entries": null, "log_index": null, "etcd": null, "warnings": [{"kind": "recovery"}]});
        let without = json!({"lost_entries": 0, "lost_seconds": 0, "log_index": 90, "log_term": 3, "etcd": "healthy",
            "warnings": [{"kind": "left-out"}]});
        let mut lines = vec![line("core@e1", good)];
        assert!(is_good(&lines));
        lines.extend([line("core@e2", bad), line("e3", never), line("e4", unseen)]);
        lines.push(Line { node: "e5".into(), status: Err(anyhow!("no route to host")) });
        lines.push(line("e6", without));
        assert!(!is_good(&lines));
        let said = text(&lines, 80);
        let said: Vec<&str> = said.lines().map(str::trim_end).collect();
        assert_eq!(
            said,
            [
                "NODE     WOULD LOSE     TERM  INDEX  ETCD     LOOK AT",
                "core@e1  nothing           3     90  healthy",
                "core@e2  the last 90 s     2     95  cut-off  alone, timer",
                "e3       everything        -      5  silent",
                "e4       not known         -      -  -        recovery",
                "e5       -                 -      -  -        could not be asked: no route to",
                "                                              host",
                "e6       the v3 store      3     90  healthy  left-out",
            ]
        );
        let value = json(&lines, 0);
        assert_eq!(value["nodes"][4]["unseen"], "no route to host");
        assert_eq!(value["nodes"][1]["status"]["log_index"], 95);
        // A program that answers something else is not believed.
        assert!(!is_good(&[line("e1", json!({}))]));
    }
}
