//! Runs scenarios, each on fresh nodes, and prints a line for each.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZero;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::fs::{create_dirs, remove_if_there};
use etcd2_backup::sys::terminal::table::count;
use testkit::tools::Tools;

use super::node;
use super::place::Lab;
use super::scenario::{self, Scenario};
use super::watchdog::Watchdog;
use crate::checkout::{self, with_hint};

/// How much of a failed scenario's output is shown.
const LAST_LINES: usize = 15;

/// Nine nodes with an etcd each, and what a scenario starts beside them.
const LAB_MEMORY: u64 = 4 << 30;

/// How much longer a scenario may take for each seed it is told to play: far more than one takes.
const SEED_LIMIT: Duration = Duration::from_secs(30);

/// `lab run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The name or number of a scenario, or `all`
    scenario: String,
    /// Leave the long ones out of `all`
    #[arg(long)]
    short: bool,
    /// Leave the nodes of the (last) scenario running
    #[arg(long)]
    keep: bool,
    /// How many labs play scenarios side by side [default: one more than processors, as far as memory goes]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How many seeds the crash matrix plays
    #[arg(long, value_name = "N")]
    seeds: Option<u32>,
    /// Its first seed
    #[arg(long, value_name = "S")]
    first_seed: Option<u32>,
    /// Arguments for the scenario
    #[arg(last = true)]
    arguments: Vec<String>,
}

impl Options {
    /// What the script is called with.
    fn for_script(&self) -> Vec<String> {
        let seeds = [("--seeds", self.seeds), ("--first-seed", self.first_seed)];
        let given = seeds.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?.to_string()]));
        given.flatten().chain(self.arguments.iter().cloned()).collect()
    }

    /// How long the scenario may take with these seeds.
    fn limit(&self, scenario: &Scenario) -> Duration {
        scenario.limit + SEED_LIMIT * self.seeds.unwrap_or(0)
    }
}

/// A scenario that failed, and where.
struct Failure {
    lab: String,
    scenario: String,
    log: PathBuf,
}

/// What became of a scenario.
struct Outcome {
    passed: bool,
    claims: usize,
    why: String,
    log: PathBuf,
}

/// The task.
///
/// # Errors
/// A scenario failed, or the lab itself.
pub(super) fn main(lab: &Lab, options: &Options) -> Result<()> {
    let all = scenario::load_all(&checkout::root().join("tests/lab"))?;
    let chosen: Vec<&Scenario> = if options.scenario == "all" {
        in_turn(all.iter().filter(|s| !(options.short && s.long)))
    } else {
        vec![scenario::find(&all, &options.scenario)?]
    };
    if (options.seeds.is_some() || options.first_seed.is_some()) && chosen.iter().any(|s| !s.seeds) {
        let what = format!("{} has no seeds", options.scenario);
        return Err(fault(Exit::Usage, what, "cargo xtask lab run crash --seeds 200"));
    }
    super::prepare()?;
    let jobs = options.jobs.unwrap_or_else(default_jobs).clamp(1, chosen.len());
    let labs = (1..=jobs).map(|n| lab.beside(n)).collect::<Result<Vec<Lab>>>()?;
    let queue = Mutex::new(chosen.iter().copied().collect::<VecDeque<_>>());
    let alone = chosen.len() == 1;
    let ended: Vec<Result<Vec<Failure>>> = thread::scope(|scope| {
        let queue = &queue;
        let work = |lab| scope.spawn(move || play_all(lab, queue, options, alone));
        let threads: Vec<_> = labs.iter().map(work).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(anyhow!("a lab panicked")))).collect()
    });
    let mut failed = Vec::new();
    for failures in ended {
        failed.extend(failures?);
    }
    verdict(chosen.len(), &failed)
}

/// Scenarios that may take longest begin first, so that none of them is alone at the end.
fn in_turn<'a>(scenarios: impl Iterator<Item = &'a Scenario>) -> Vec<&'a Scenario> {
    let mut all: Vec<&Scenario> = scenarios.collect();
    all.sort_by_key(|s| Reverse(s.limit));
    all
}

/// One lab more at once than there are processors, since scenarios wait, if each has memory for nine nodes.
fn default_jobs() -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    (processors + 1).min(available_memory(&meminfo).map_or(1, |bytes| (bytes / LAB_MEMORY) as usize))
}

/// `MemAvailable` of /proc/meminfo, in bytes.
fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// Plays scenarios of the queue in one lab until there is none, or the lab itself fails: then no lab begins another one.
fn play_all(
    lab: &Lab,
    queue: &Mutex<VecDeque<&Scenario>>,
    options: &Options,
    alone: bool,
) -> Result<Vec<Failure>> {
    let _only = lab.lock()?;
    let program = own_copy(lab)?;
    let watchdog = Watchdog::start(&program, lab)?;
    let mut failed = Vec::new();
    let mut outcome = Ok(());
    let next = || queue.lock().expect("no thread panics while it has the queue").pop_front();
    while let Some(scenario) = next() {
        match run(lab, scenario, &program, options, alone) {
            Ok(outcome) if outcome.passed => {}
            Ok(outcome) => failed.push(Failure {
                lab: lab.name.clone(),
                scenario: scenario.name.clone(),
                log: outcome.log,
            }),
            Err(e) => {
                outcome = Err(e.context(format!("running {}", scenario.name)));
                queue.lock().expect("no thread panics while it has the queue").clear();
            }
        }
    }
    if !options.keep {
        super::remove(lab)?;
    }
    watchdog.dismiss();
    outcome.map(|()| failed)
}

fn verdict(all: usize, failed: &[Failure]) -> Result<()> {
    let Some(first) = failed.first() else { return Ok(()) };
    let names: Vec<&str> = failed.iter().map(|f| f.scenario.as_str()).collect();
    let hint = format!(
        "cargo xtask lab --lab {} run {} --keep, then look at the nodes; log: {}",
        first.lab,
        first.scenario,
        first.log.display()
    );
    Err(fault(
        Exit::Failed,
        format!("failed: {} of {}: {}", names.len(), count(all, "scenario", "scenarios"), names.join(", ")),
        hint,
    ))
}

fn run(lab: &Lab, scenario: &Scenario, program: &Path, options: &Options, alone: bool) -> Result<Outcome> {
    let started = Instant::now();
    super::fresh(lab, scenario.shape)?;
    if alone {
        println!("{:<32} (nodes up after {:.1} s)", scenario.name, started.elapsed().as_secs_f64());
    }
    let outcome = play(lab, scenario, program, options, alone)?;
    if !outcome.passed {
        node::save_journals(lab, scenario.shape, &outcome.log);
    }
    println!("{}", told(scenario, &outcome, started.elapsed()));
    Ok(outcome)
}

/// A line for people; more of them where it failed. One text, since other labs print too.
fn told(scenario: &Scenario, outcome: &Outcome, took: Duration) -> String {
    let word = if outcome.passed { "ok" } else { "FAILED" };
    let (claims, seconds) = (count(outcome.claims, "claim", "claims"), took.as_secs_f64());
    let mut text = format!("{:<32} {word:<6} {claims:>10} {seconds:>6.1} s", scenario.name);
    if !outcome.passed {
        let log = fs::read_to_string(&outcome.log).unwrap_or_default();
        text += &format!("\n   {}; {} and, of each node, *.journal", outcome.why, outcome.log.display());
        text.extend(last_lines(&log, LAST_LINES).iter().map(|line| format!("\n   | {line}")));
    }
    text
}

/// Runs the script to its end or its time limit. With `show`, what it prints is shown as well.
fn play(lab: &Lab, scenario: &Scenario, program: &Path, options: &Options, show: bool) -> Result<Outcome> {
    let logs = lab.dir.join("log");
    create_dirs(&logs, 0o755)?;
    let log = logs.join(format!("{}.log", scenario.name));
    let mut out = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = lab.inside("sh");
    if scenario.current_rclone {
        command.env("LAB_CURRENT_RCLONE", current_rclone()?);
    }
    let mut child = command
        // Both streams in the order in which they were written.
        .args(["-c", "exec bash \"$0\" \"$@\" 2>&1"])
        .arg(&scenario.path)
        .args(options.for_script())
        .current_dir(checkout::root())
        .env("LAB", &lab.name)
        .env("LAB_DIR", &lab.dir)
        .env("LAB_XTASK", program)
        .env("LAB_NODES", scenario.shape.nodes.to_string())
        .env("LAB_ETCD_UNIT", scenario.shape.settings.unit())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("starting the scenario")?;
    let pipe = child.stdout.take().context("reading the scenario's output")?;
    let started = Instant::now();
    // A thread, since a scenario that hangs keeps the pipe open.
    let writer = thread::spawn(move || {
        let mut claims = 0;
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            claims += usize::from(is_claim(&line));
            // The log is for people; without it the outcome still counts.
            let _ = writeln!(out, "{:6.1} {line}", started.elapsed().as_secs_f64());
            if show {
                println!("{:6.1} {line}", started.elapsed().as_secs_f64());
            }
        }
        claims
    });
    let limit = options.limit(scenario);
    let status = wait(&mut child, limit)?;
    // Remotes the scenario started hold the pipe too.
    super::network::kill_inside(lab)?;
    let claims = writer.join().map_err(|_| anyhow!("reading the scenario's output failed"))?;
    let why = match status {
        None => format!("did not end within {}", humantime::format_duration(limit)),
        Some(status) if !status.success() => format!("ended with {status}"),
        Some(_) if claims == 0 => "claims nothing".to_owned(),
        Some(_) => String::new(),
    };
    Ok(Outcome { passed: why.is_empty(), claims, why, log })
}

/// Debian's rclone is of 2022. Fetched here, since there is no way out of the lab.
fn current_rclone() -> Result<PathBuf> {
    let folder = checkout::target().join("tools");
    let tools = Tools::locate_or_fetch(&folder).and_then(|tools| tools.with_current_rclone(&folder));
    Ok(tools.map_err(with_hint)?.rclone)
}

/// Waits; `None` when the limit passed first.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("waiting for the scenario")? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            // Its children go with the namespace they run in.
            child.kill().context("killing the scenario")?;
            child.wait().context("waiting for the killed scenario")?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn is_claim(line: &str) -> bool {
    line.starts_with("ok ")
}

fn last_lines(text: &str, count: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

/// This program under a name of the lab: cargo replaces the original while the lab needs it, and may have done so before the
/// lab began (the tests before it build the workspace again). The kernel still has the file that runs, whatever its path holds.
fn own_copy(lab: &Lab) -> Result<PathBuf> {
    let copy = lab.dir.join("xtask");
    remove_if_there(&copy)?;
    fs::copy("/proc/self/exe", &copy)
        .context("copying this program (/proc/self/exe) into the lab's folder")?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn seeds_are_handed_on_and_take_their_time() {
        let plain = Options {
            scenario: "all".into(),
            short: true,
            keep: false,
            jobs: None,
            seeds: None,
            first_seed: None,
            arguments: Vec::new(),
        };
        let options = Options { seeds: Some(200), first_seed: Some(7), ..plain.clone() };
        assert_eq!(options.for_script(), ["--seeds", "200", "--first-seed", "7"]);
        assert!(plain.for_script().is_empty());
        let all = scenario::load_all(&checkout::root().join("tests/lab")).unwrap();
        let crash = scenario::find(&all, "crash").unwrap();
        assert!(crash.seeds);
        assert_eq!(options.limit(crash), crash.limit + SEED_LIMIT * 200);
    }

    #[test]
    fn memory_is_read_and_the_longest_begin_first() {
        let meminfo = "MemTotal:       24684096 kB\nMemFree:  1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(available_memory(meminfo), Some(23_000_000 << 10));
        assert_eq!(available_memory("MemTotal: 1 kB\n"), None);
        let all = scenario::load_all(&checkout::root().join("tests/lab")).unwrap();
        let limits: Vec<Duration> = in_turn(all.iter()).iter().map(|s| s.limit).collect();
        assert!(limits.is_sorted_by(|a, b| a >= b) && limits.len() == all.len(), "{limits:?}");
    }

    #[test]
    fn only_lines_that_begin_with_ok_are_claims() {
        for (line, claim) in [("ok a", true), ("not ok b", false), (" ok c", false), ("okay", false)] {
            assert_eq!(is_claim(line), claim, "{line}");
        }
    }

    #[test]
    fn the_last_lines_are_the_last() {
        assert_eq!(last_lines("a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(last_lines("a\n", 2), ["a"]);
    }

    #[test]
    fn a_scenario_that_hangs_is_killed_at_its_limit() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(wait(&mut child, Duration::from_millis(60)).unwrap().is_none());
        let mut child = Command::new("false").spawn().unwrap();
        assert!(!wait(&mut child, Duration::from_secs(60)).unwrap().unwrap().success());
    }
}
