//! Work that takes long is seen: on a terminal as one line, elsewhere as lines of the log; what is quick is not.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::faults::wrapper::Wrapper;
use testkit::files::write;
use testkit::keys;
use testkit::node::Node;
use testkit::terminal::{Terminal, screen};
use testkit::tools::Tools;
use testkit::wait::until;

use crate::PROGRAM;

const LIMIT: Duration = Duration::from_secs(120);

/// A node with a backup of one part, and an rclone of which a download stops where half of that has arrived, until the test has
/// it go on.
struct Slow {
    node: Node,
    wrapper: Wrapper,
    size: u64,
}

impl Slow {
    fn new(tools: &Tools) -> Self {
        let mut node = Node::new(PROGRAM, tools);
        let wrapper = Wrapper::new(&mut node, tools);
        node.environment.insert("TERM".into(), "xterm".into());
        node.etcd.start().unwrap();
        keys::write_many(&node.etcd.client_url, "/many", 300).unwrap();
        node.ok(&["backup"]);
        node.etcd.kill().unwrap();
        let [part] = &node.objects()[..] else { panic!("{:?}", node.objects()) };
        let size = fs::metadata(node.folder().join(part)).unwrap().len();
        Self { node, wrapper, size }
    }

    fn go(&self) -> PathBuf {
        self.node.root().with_file_name("go")
    }

    /// Downloads stop half-way; then this is done.
    fn stop_half_way(&self, then: &str) {
        fs::remove_file(self.go()).ok();
        self.wrapper.instead(&format!(
            "if [ $VERB = copy ] && [ ! -e '{go}' ]; then\n\
             for TARGET; do :; done; mkdir -p \"$TARGET\"\n\
             head -c {half} /dev/zero >\"$TARGET/some.partial\"\n\
             until [ -e '{go}' ]; do sleep 0.05; done\n\
             rm \"$TARGET/some.partial\"; {then}\nfi\nexec \"$REAL\" \"$@\"",
            go = self.go().display(),
            half = self.size / 2,
        ));
    }

    fn go_on(&self) {
        write(&self.go(), "");
    }

    fn spawn(&self, arguments: &[&str], stderr: Stdio) -> Child {
        let mut command = self.node.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap()
    }

    /// `42.0 kB of 84.0 kB (50 %)` without the amounts.
    fn percent(&self) -> String {
        format!(" ({} %)", self.size / 2 * 100 / self.size)
    }
}

fn ends_well(child: Child) -> Value {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_terminal_shows_a_slow_verify_on_one_line_and_json_stays_json() {
    let Some(tools) = Tools::from_env() else { return };
    let slow = Slow::new(tools);
    slow.stop_half_way(":");
    let terminal = Terminal::new();
    let child = slow.spawn(&["verify", "--json"], terminal.stdio());
    let shown = |line: &str| line.starts_with("verifying generation 1: ") && line.contains(&slow.percent());
    until("half of it is shown", LIMIT, || {
        screen(&terminal.printed()).last().is_some_and(|line| shown(line))
    });
    slow.go_on();
    let answer = ends_well(child);
    assert_eq!((&answer["format"], &answer["generations"][0]["bytes"]), (&1.into(), &slow.size.into()));
    // At the end nothing of it is left.
    let left = screen(&terminal.close());
    assert!(left.iter().all(|line| line.is_empty() || line.starts_with("rclone ")), "{left:?}");
}

#[test]
fn the_log_stands_above_the_line() {
    let Some(tools) = Tools::from_env() else { return };
    let slow = Slow::new(tools);
    slow.stop_half_way("echo 'Temporary error' >&2; exit 5");
    let terminal = Terminal::new();
    let child = slow.spawn(&["restore", "--plan", "--json"], terminal.stdio());
    let shown = |line: &str| line.starts_with("downloading: ") && line.contains(&slow.percent());
    until("half of it is shown", LIMIT, || {
        screen(&terminal.printed()).last().is_some_and(|line| shown(line))
    });
    slow.go_on();
    let record = ends_well(child);
    assert!(record["cluster_id"].is_string() || record["cluster_id"].is_number(), "{record}");
    let printed = terminal.close();
    let left = screen(&printed);
    // What does not fit goes on below, but for a path, which stays whole.
    let is_narrow = |line: &String| line.chars().count() <= 80 || line.split_whitespace().count() == 1;
    assert!(left.iter().all(is_narrow) && left.iter().any(|line| line.starts_with("    ")), "{left:?}");
    let left: Vec<String> = left.join("\n").replace("\n    ", " ").lines().map(str::to_owned).collect();
    let is_whole = |line: &&String| line.starts_with("warning: ") && line.contains("trying again in ");
    assert_eq!(left.iter().filter(is_whole).count(), 1, "{left:?}");
    assert!(!left.iter().any(|line| line.contains("downloading")), "{left:?}");
    assert!(printed.contains("\r\x1b[K\x1b[1;33mwarning:\x1b[0m "), "{printed:?}");
}

#[test]
fn without_a_terminal_there_are_lines_of_what_is_slow_and_none_of_what_is_quick() {
    let Some(tools) = Tools::from_env() else { return };
    let slow = Slow::new(tools);
    assert!(!slow.node.ok(&["verify"]).contains("verifying"));
    slow.stop_half_way(":");
    let file = slow.node.root().with_file_name("log");
    let log = || fs::read_to_string(&file).unwrap();
    let child = slow.spawn(&["verify", "--json"], File::create(&file).unwrap().into());
    // Its first tenths are told after five seconds.
    until("half of it is shown", LIMIT, || {
        log().lines().any(|line| line.starts_with("verifying generation 1: "))
    });
    slow.go_on();
    ends_well(child);
    let lines = log();
    let told: Vec<&str> = lines.lines().filter(|line| line.starts_with("verifying ")).collect();
    assert!(told[0].contains(&slow.percent()), "{lines}");
    assert!(!lines.contains(['\r', '\x1b']), "{lines:?}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let Some(tools) = Tools::from_env() else { return };
    let mut node = Node::new(PROGRAM, tools);
    for (variables, error) in [
        (&[("TERM", "xterm")][..], "\x1b[1;31merror:\x1b[0m "),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], "error: "),
        (&[("TERM", "xterm"), ("NO_COLOR", "")], "\x1b[1;31merror:\x1b[0m "),
        (&[("TERM", "dumb")], "error: "),
    ] {
        node.environment.remove("NO_COLOR");
        node.environment
            .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let terminal = Terminal::new();
        let mut command = node.command(&["verify", "--newest", "--generation", "9"]);
        let status = command.stdin(Stdio::null()).stderr(terminal.stdio()).status().unwrap();
        // It holds the terminal, too.
        drop(command);
        assert_eq!(status.code(), Some(2), "{variables:?}");
        let printed = terminal.close();
        assert!(printed.lines().any(|line| line.starts_with(error)), "{variables:?}: {printed:?}");
    }
}
