//! Runs scenarios, each on fresh nodes, and prints a line for each.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use etcd2_backup::exit::{Exit, fault};
use etcd2_backup::sys::fs::{create_dirs, remove_if_there};
use testkit::tools::Tools;

use super::node;
use super::place::Lab;
use super::scenario::{self, Scenario};
use super::watchdog::Watchdog;
use crate::paths;
use crate::test::with_hint;

/// How much of a failed scenario's output is shown.
const LAST_LINES: usize = 15;

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
    /// What `cargo xtask test` runs.
    pub(crate) fn short() -> Self {
        Self {
            scenario: "all".into(),
            short: true,
            keep: false,
            seeds: None,
            first_seed: None,
            arguments: Vec::new(),
        }
    }

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
    let all = scenario::load_all(&paths::root().join("tests/lab"))?;
    let chosen: Vec<&Scenario> = if options.scenario == "all" {
        all.iter().filter(|s| !(options.short && s.long)).collect()
    } else {
        vec![scenario::find(&all, &options.scenario)?]
    };
    if (options.seeds.is_some() || options.first_seed.is_some()) && chosen.iter().any(|s| !s.seeds) {
        let what = format!("{} has no seeds", options.scenario);
        return Err(fault(Exit::Usage, what, "cargo xtask lab run crash --seeds 200"));
    }
    super::prepare()?;
    let _only = lab.lock()?;
    let program = own_copy(lab)?;
    let watchdog = Watchdog::start(&program, lab)?;
    let mut failed = Vec::new();
    let mut broken = None;
    for scenario in &chosen {
        match run(lab, scenario, &program, options, chosen.len() == 1) {
            Ok(outcome) if outcome.passed => {}
            Ok(outcome) => failed.push((scenario.name.clone(), outcome)),
            Err(e) => broken = Some(e.context(format!("running {}", scenario.name))),
        }
        if broken.is_some() {
            break;
        }
    }
    if !options.keep {
        super::remove(lab)?;
    }
    watchdog.dismiss();
    match broken {
        Some(error) => Err(error),
        None => verdict(lab, chosen.len(), &failed),
    }
}

fn verdict(lab: &Lab, count: usize, failed: &[(String, Outcome)]) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    let hint = format!(
        "cargo xtask lab --lab {} run {} --keep, then look at the nodes; log: {}",
        lab.name,
        names[0],
        failed[0].1.log.display()
    );
    Err(fault(
        Exit::Failed,
        format!("{} of {count} scenarios failed: {}", names.len(), names.join(", ")),
        hint,
    ))
}

fn run(lab: &Lab, scenario: &Scenario, program: &Path, options: &Options, alone: bool) -> Result<Outcome> {
    let started = Instant::now();
    print!("{:<32} ", scenario.name);
    std::io::stdout().flush().context("writing to the terminal")?;
    super::fresh(lab, scenario.shape)?;
    if alone {
        println!("(nodes up after {:.1} s)", started.elapsed().as_secs_f64());
    }
    let outcome = play(lab, scenario, program, options, alone)?;
    if !outcome.passed {
        node::save_journals(lab, scenario.shape, &outcome.log);
    }
    let seconds = started.elapsed().as_secs_f64();
    if alone {
        print!("{:<32} ", scenario.name);
    }
    let word = if outcome.passed { "ok" } else { "FAILED" };
    println!("{word:<6} {:>3} claims {seconds:>6.1} s", outcome.claims);
    if !outcome.passed {
        println!("   {}; {} and, of each node, *.journal", outcome.why, outcome.log.display());
        let text = fs::read_to_string(&outcome.log).unwrap_or_default();
        last_lines(&text, LAST_LINES).iter().for_each(|line| println!("   | {line}"));
    }
    Ok(outcome)
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
        .current_dir(paths::root())
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
    let writer = std::thread::spawn(move || {
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
    let folder = paths::target().join("tools");
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
        std::thread::sleep(Duration::from_millis(50));
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
        let options = Options { seeds: Some(200), first_seed: Some(7), ..Options::short() };
        assert_eq!(options.for_script(), ["--seeds", "200", "--first-seed", "7"]);
        assert!(Options::short().for_script().is_empty());
        let all = scenario::load_all(&paths::root().join("tests/lab")).unwrap();
        let crash = scenario::find(&all, "crash").unwrap();
        assert!(crash.seeds);
        assert_eq!(options.limit(crash), crash.limit + SEED_LIMIT * 200);
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
