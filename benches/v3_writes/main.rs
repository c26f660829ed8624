//! What writers to a cluster of three notice while bases of its leader are taken one after the other, by each way of copying the store.
//! Windows with and without bases alternate, so that what else the machine does affects all of them alike; and the windows without one,
//! compared with each other, show how small a difference can be seen.
//!
//! - `load`: the puts, in time whatever etcd does · `bases`: the bases of one window, each in a process of its own
//! - `place`: the members, on which disk · `figures`: what came of it

#![allow(missing_docs, reason = "a program of its own")]
#![allow(clippy::print_stdout, reason = "its results")]

mod bases;
mod figures;
#[path = "../kubernetes/mod.rs"]
mod kubernetes;
mod load;
mod place;

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bases::{Bases, Priority, Taken};
use clap::Parser;
use etcd2_backup::backup::base::copy::Way;
use etcd2_backup::sys::leash;
use kubernetes::Random;
use load::Load;
use place::Place;
use testkit::faults::namespace;
use testkit::tools::Tools;

/// Between two windows: what the last base has left on the disk is gone, and etcd is as it was.
const PAUSE: Duration = Duration::from_secs(2);
/// Before the first one, as etcd has just been filled.
const WARM_UP: Duration = Duration::from_secs(10);
const WAYS: [Way; 3] = [Way::Clone, Way::BetweenCommits, Way::Grpc];

/// etcd's puts while bases are taken.
#[derive(Debug, Parser)]
#[command(name = "v3_writes")]
struct Options {
    /// Windows of each way; there is one more without a base than with one
    #[arg(long, default_value_t = 12)]
    windows: usize,
    /// Seconds of each
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Objects of 1 KB in the store: 135000 make a db of 186 MB, 9000 one of 12 MB
    #[arg(long, default_value_t = 135_000)]
    objects: u64,
    /// Puts of 1 KB in each second
    #[arg(long, default_value_t = 30)]
    rate: u32,
    /// Where the members' data lies: one folder, or one for each
    #[arg(long, value_delimiter = ',')]
    data: Vec<PathBuf>,
    /// Puts it on a new file system of this kind in a file of that folder (as root): xfs or btrfs, which can clone files
    #[arg(long)]
    on: Option<String>,
    /// The remote's folder [default: in memory, as a remote is no load of the node's disk]
    #[arg(long)]
    remote: Option<PathBuf>,
    /// Only copies and proves, and sends nothing: most of the time is copying then
    #[arg(long)]
    copies: bool,
    /// Another order of the windows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo bench
    #[arg(long, hide = true)]
    bench: bool,
    /// Parts of other benchmarks
    #[arg(hide = true)]
    named: Vec<String>,
}

fn main() -> ExitCode {
    // As the program itself: what it starts ends with it.
    let arguments = match leash::take_over(env::args_os()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    if let Some(order) = bases::order() {
        return bases::carry_out(&order);
    }
    let options = Options::parse_from(&arguments);
    if !options.bench || options.named.iter().any(|name| name != "v3_writes") {
        return ExitCode::SUCCESS;
    }
    if options.on.is_some() && !namespace::is_ours() {
        let status = namespace::again().args(&arguments[1..]).status().unwrap();
        return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let Some(tools) = Tools::from_env() else { return ExitCode::FAILURE };
    measure(tools, &options);
    ExitCode::SUCCESS
}

/// Of one way, or of none.
struct Window {
    way: Option<Way>,
    from: Instant,
    to: Instant,
    taken: Vec<Taken>,
    /// Whether the member that the bases are taken of led at its end, in the term in which all began.
    led: bool,
}

fn measure(tools: &Tools, options: &Options) {
    let priority = Priority::of_the_unit();
    let place = Place::filled(tools, options);
    let bases = Bases::of(&place, tools, &priority, options.copies);
    println!("{}, {}", tools.etcd.display(), place.describe());
    println!(
        "of the leader, to which {} puts/s of 1 KB go: {} by a process with nice {} and I/O class {}",
        options.rate,
        if options.copies { "copies, none of them sent," } else { "bases, each copied, proven and sent" },
        priority.nice,
        priority.io_class
    );
    let mut ways = WAYS.to_vec();
    ways.retain(|way| match bases.one(*way) {
        Ok(()) => true,
        Err(why) => {
            println!("{way} is left out: {why}");
            false
        }
    });
    let order = order(&ways, options.windows, options.seed);
    println!("{} windows of {} s, in the order of seed {}", order.len(), options.seconds, options.seed);

    place.sync();
    let load = Load::new(options.rate, options.objects);
    let windows = thread::scope(|scope| {
        load.begin(scope, &place.leader().client_url);
        thread::sleep(WARM_UP);
        let term = place.term();
        let windows: Vec<Window> = order
            .iter()
            .map(|way| {
                let window = window(*way, &bases, &place, term, options);
                bases.clear();
                place.sync();
                thread::sleep(PAUSE);
                window
            })
            .collect();
        load.end();
        windows
    });
    println!("the leader's db: {}", place.grown());
    figures::print(&windows, &load.puts());
}

fn window(
    way: Option<Way>,
    bases: &Bases<'_>,
    place: &Place,
    term: Option<u64>,
    options: &Options,
) -> Window {
    let from = Instant::now();
    let to = from + Duration::from_secs(options.seconds);
    let taken = way.map_or_else(Vec::new, |way| bases.until(to, way));
    thread::sleep(to.saturating_duration_since(Instant::now()));
    Window { way, from, to, taken, led: term.is_some() && place.term() == term }
}

/// A window without a base before and behind each with one; those in rounds of all ways, each round in an order of its own.
fn order(ways: &[Way], rounds: usize, seed: u64) -> Vec<Option<Way>> {
    let mut random = Random::of(seed);
    let mut all = vec![None];
    for _ in 0..rounds {
        let round: BTreeSet<(u64, usize)> = (0..ways.len()).map(|at| (random.next(), at)).collect();
        for (_, at) in round {
            all.extend([Some(ways[at]), None]);
        }
    }
    all
}
