//! Every query of the dashboard and of the rules, answered by a Prometheus that scraped what real backups wrote.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::files::write;
use testkit::http::{Connection, encode};
use testkit::keys;
use testkit::node::Node;
use testkit::ports::Port;
use testkit::process::output_of;
use testkit::tools::Tools;
use testkit::tools::monitoring::Monitoring;
use testkit::wait::until;

use crate::{DASHBOARD, PROGRAM, RULES, file};

const LIMIT: Duration = Duration::from_secs(60);
const METRICS: &str = "/var/lib/node_exporter/textfile/etcd2-backup.prom";

/// A program that listens, as long as this lives.
struct Server {
    child: Child,
    port: Port,
}

impl Server {
    fn start(program: &Path, arguments: &[String], log: &Path) -> Self {
        let port = Port::reserve().unwrap();
        let log = File::create(log).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(format!("--web.listen-address={}", port.address()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().unwrap(), port }
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `data` of an answer; `None` while there is none.
fn ask(prometheus: &Server, target: &str) -> Option<Value> {
    let reply = Connection::new(prometheus.address()).request("GET", target, None).ok()?;
    if reply.status == 503 {
        return None;
    }
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer["status"], "success", "{target}: {answer}");
    Some(answer["data"].clone())
}

/// Waits until this query has an answer of this instance.
fn is_answered(prometheus: &Server, query: &str, instance: &str) {
    let target = format!("/api/v1/query?query={}", encode(query, ""));
    until(&format!("no answer of {instance}: {query}"), LIMIT, || {
        let answer = ask(prometheus, &target).unwrap_or_default();
        let series = answer["result"].as_array().map_or(&[][..], Vec::as_slice);
        let own = series.iter().find(|series| series["metric"]["instance"] == instance);
        own.is_some_and(|series| series["value"][1].as_str().unwrap().parse::<f64>().unwrap().is_finite())
    });
}

/// All strings with this key, wherever they are.
fn strings(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(key).and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| strings(value, key, found));
        }
        Value::Array(array) => array.iter().for_each(|value| strings(value, key, found)),
        _ => {}
    }
}

/// As Grafana fills it in.
fn queries_of_the_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file(DASHBOARD)).unwrap()).unwrap();
    let mut queries = Vec::new();
    strings(&dashboard, "expr", &mut queries);
    let mut lists = Vec::new();
    strings(&dashboard, "definition", &mut lists);
    let of_list = |list: &String| {
        let inner = list.strip_prefix("label_values(").unwrap().strip_suffix(", instance)").unwrap();
        inner.to_owned()
    };
    queries.extend(lists.iter().map(of_list));
    let filled = |query: &String| query.replace("$instance", ".*").replace("$__rate_interval", "1m");
    let queries: Vec<String> = queries.iter().map(filled).collect();
    assert!(queries.len() > 15 && queries.iter().all(|query| !query.contains('$')), "{queries:?}");
    queries
}

/// Runs it as a shell of root does that keeps all it makes for itself.
fn run_privately(node: &Node, arguments: &[&str]) -> i32 {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "umask 077; exec \"$@\"", "sh"]);
    output_of(&mut node.command_below(shell, arguments), LIMIT).unwrap().status.code().unwrap()
}

/// A node that writes metrics.
fn node(tools: &Tools) -> Node {
    let mut node = Node::new(PROGRAM, tools);
    node.environment.insert("ETCD2_BACKUP_METRICS_FILE".into(), METRICS.into());
    node
}

/// A living member that was backed up, read again and rehearsed.
fn living(tools: &Tools) -> Node {
    let mut node = node(tools);
    node.etcd.start().unwrap();
    keys::write_many(&node.etcd.client_url, "/a", 10).unwrap();
    let conf = fs::read_to_string(node.path("/etc/rclone.conf")).unwrap();
    write(&node.path("/etc/rclone.conf"), "[other]\ntype = local\n");
    // The remote is not there yet. All series are.
    assert_eq!(run_privately(&node, &["backup"]), 13);
    let first = fs::read_to_string(node.path(METRICS)).unwrap();
    for name in ["point", "verified", "rehearsed"] {
        let line = format!("etcd2_backup_{name}_timestamp_seconds 0");
        assert!(first.lines().any(|l| l == line), "no {line} in {first}");
    }
    for (path, mode) in [("", 0o755), ("/textfile", 0o755), ("/textfile/etcd2-backup.prom", 0o644)] {
        let path = node.path(&format!("/var/lib/node_exporter{path}"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{path:?}");
    }
    write(&node.path("/etc/rclone.conf"), conf);
    node.ok(&["backup"]);
    node.ok(&["verify"]);
    node.ok(&["rehearse", "--etcd", tools.etcd.to_str().unwrap()]);
    node.ok(&["backup"]);
    node
}

#[test]
fn every_query_has_an_answer_and_a_node_that_is_well_has_no_alert() {
    let (Some(tools), Some(monitoring)) = (Tools::from_env(), Monitoring::from_env()) else { return };
    let living = living(tools);
    // Of etcd 2, whose leader's clock is years old.
    let old = node(tools);
    old.put_fixture("v238-single-snap");
    old.ok(&["backup"]);

    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    let exporter = |node: &Node, name: &str| {
        let folder = node.path(METRICS);
        let folder = folder.parent().unwrap().display();
        let arguments = [
            "--collector.disable-defaults".into(),
            "--collector.textfile".into(),
            format!("--collector.textfile.directory={folder}"),
        ];
        Server::start(&monitoring.node_exporter, &arguments, &at(name))
    };
    let exporters = [exporter(&living, "living.log"), exporter(&old, "old.log")];
    let [living, old] = exporters.each_ref().map(|server| server.address().to_string());
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{:?}]\nscrape_configs:\n  \
         - job_name: node\n    static_configs: [{{targets: [{living:?}, {old:?}]}}]\n",
        file(RULES),
    );
    write(&at("prometheus.yml"), config);
    let arguments = [
        format!("--config.file={}", at("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", at("data").display()),
    ];
    let prometheus = Server::start(&monitoring.prometheus, &arguments, &at("prometheus.log"));

    for query in queries_of_the_dashboard() {
        is_answered(&prometheus, &query, &living);
    }
    let mut rules = Vec::new();
    until("the rules were not evaluated", LIMIT, || {
        let answer = ask(&prometheus, "/api/v1/rules").unwrap_or_default();
        rules = answer["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        rules.iter().all(|rule| rule["health"] == "ok") && !rules.is_empty()
    });
    assert!(rules.len() >= 8);
    for rule in &rules {
        let name = rule["name"].as_str().unwrap();
        let query = rule["query"].as_str().unwrap();
        // What is compared: a rule whose metric is not there is silent, too.
        let side = [" > ", " != ", " unless on "].iter().find_map(|by| query.rsplit_once(by)).unwrap().0;
        is_answered(&prometheus, side, if name == "Etcd2MemberCutOff" { &old } else { &living });
    }
    let told = "Etcd2MemberCutOff is not pending";
    until(told, LIMIT, || {
        let alerts = ask(&prometheus, "/api/v1/alerts").unwrap_or_default();
        let alerts = alerts["alerts"].as_array().cloned().unwrap_or_default();
        let of = |instance: &str| {
            let own = alerts.iter().filter(|alert| alert["labels"]["instance"] == instance);
            own.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(&living), [""; 0]);
        of(&old) == ["Etcd2MemberCutOff"]
    });
}
