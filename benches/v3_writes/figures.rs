//! Medians over the windows of each way, and how far the windows are apart.

use std::fmt;
use std::time::{Duration, Instant};

use etcd2_backup::backup::base::copy::Way;

use super::bases::{End, Taken};
use super::load::Put;
use super::{WAYS, Window};

/// More of its puts than that were sent too late, or failed: then the latency is not that of this load.
const BEHIND: f64 = 0.01;

/// The puts of one window.
struct Seen {
    way: Option<Way>,
    p50: f64,
    p99: f64,
    behind: bool,
}

/// Prints a block for each way, and one for none.
pub(crate) fn print(windows: &[Window], puts: &[Put]) {
    let seen: Vec<Seen> = windows.iter().map(|window| Seen::of(window, puts)).collect();
    for way in [None].into_iter().chain(WAYS.map(Some)) {
        let of: Vec<&Window> = windows.iter().filter(|window| window.way == way).collect();
        if of.is_empty() {
            continue;
        }
        let own = || seen.iter().filter(|seen| seen.way == way);
        let behind = own().filter(|seen| seen.behind).count();
        println!("{}: {} windows, in {behind} of them the load fell behind", name(way), of.len());
        println!("  p50   {} ms", Spread::of(own().map(|seen| seen.p50)));
        println!("  p99   {} ms", Spread::of(own().map(|seen| seen.p99)));
        println!("  p99 to that of the windows without a base around it {}", Spread::of(ratios(&seen, way)));
        print_all_puts(&of, puts);
        if way.is_some() {
            print_bases(&of);
        }
    }
    println!("each: the median over the windows (the quartiles; the 95 % confidence interval of the median)");
    let away = windows.iter().filter(|window| !window.led).count();
    if away > 0 {
        println!("in {away} windows another member led, or a term began");
    }
}

fn name(way: Option<Way>) -> String {
    way.map_or_else(|| "no base".to_owned(), |way| way.to_string())
}

impl Seen {
    fn of(window: &Window, puts: &[Put]) -> Self {
        let puts = within(window, puts);
        let took = sorted(puts.iter().map(|put| milliseconds(put.took)));
        let missed = puts.iter().filter(|put| put.missed).count();
        Self {
            way: window.way,
            p50: quantile(&took, 0.5),
            p99: quantile(&took, 0.99),
            behind: missed as f64 > BEHIND * puts.len() as f64,
        }
    }
}

/// The puts that were due in a window, whenever they were answered.
fn within<'a>(window: &Window, puts: &'a [Put]) -> &'a [Put] {
    let at = |time: Instant| puts.partition_point(|put| put.due < time);
    &puts[at(window.from)..at(window.to)]
}

/// Of each window of this way the p99 by the mean of those of the nearest windows without a base on both sides; the geometric mean, for
/// which it does not count which of the two is larger.
fn ratios(seen: &[Seen], way: Option<Way>) -> impl Iterator<Item = f64> {
    let without = |seen: &Seen| seen.way.is_none();
    seen.iter().enumerate().filter(move |(_, window)| window.way == way).filter_map(move |(at, window)| {
        let before = seen[..at].iter().rev().find(|seen| without(seen))?;
        let behind = seen[at + 1..].iter().find(|seen| without(seen))?;
        Some(window.p99 / (before.p99 * behind.p99).sqrt())
    })
}

/// Of all windows together.
fn print_all_puts(windows: &[&Window], puts: &[Put]) {
    let all = windows.iter().flat_map(|window| within(window, puts));
    let all = sorted(all.map(|put| milliseconds(put.took)));
    let longest = all.last().copied().unwrap_or(f64::NAN);
    println!("  all {} puts: p99 {:.2} ms, longest {longest:.1} ms", all.len(), quantile(&all, 0.99));
}

fn print_bases(windows: &[&Window]) {
    let all = || windows.iter().flat_map(|window| &window.taken);
    let count = |is: fn(&End) -> bool| all().filter(|taken| is(&taken.end)).count();
    let whole = || all().filter(|taken| taken.end == End::Whole);
    println!(
        "  {} bases, {} cut off at a window's end, {} failed; copying and proving in {:.0} % of the time, at work in {:.0} %",
        whole().count(),
        count(|end| *end == End::CutOff),
        count(|end| matches!(end, End::Failed(_))),
        share(windows, |taken| taken.copied.unwrap_or(taken.ended)),
        share(windows, |taken| taken.ended),
    );
    println!(
        "  seconds of a base: {} until it is copied and proven, {} in all",
        Spread::of(whole().filter_map(|taken| Some((taken.copied? - taken.began).as_secs_f64()))),
        Spread::of(whole().map(|taken| (taken.ended - taken.began).as_secs_f64()))
    );
    let why = all().find_map(|taken| match &taken.end {
        End::Failed(why) => Some(why),
        _ => None,
    });
    if let Some(why) = why {
        println!("  the first that failed: {why}");
    }
}

/// Percent of the time of these windows that lies between the beginning of a base and `until`.
fn share(windows: &[&Window], until: fn(&Taken) -> Instant) -> f64 {
    let (mut of, mut all) = (Duration::ZERO, Duration::ZERO);
    for window in windows {
        all += window.to - window.from;
        of += window
            .taken
            .iter()
            .map(|taken| until(taken).min(window.to).saturating_duration_since(taken.began))
            .sum::<Duration>();
    }
    100.0 * of.as_secs_f64() / all.as_secs_f64()
}

/// A median, the quartiles, and the 95 % confidence interval of the median.
struct Spread {
    median: f64,
    quartiles: [f64; 2],
    /// `None` with fewer than six values.
    interval: Option<[f64; 2]>,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let all = sorted(values);
        Self {
            median: quantile(&all, 0.5),
            quartiles: [quantile(&all, 0.25), quantile(&all, 0.75)],
            interval: outside(all.len()).map(|cut| [all[cut], all[all.len() - 1 - cut]]),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.median.is_nan() {
            return f.write_str("none");
        }
        let [low, high] = self.quartiles;
        write!(f, "{:.2} ({low:.2} to {high:.2}", self.median)?;
        match self.interval {
            Some([low, high]) => write!(f, "; {low:.2} to {high:.2})"),
            None => f.write_str(")"),
        }
    }
}

/// How many of so many sorted values can be left out at each end so that the rest still spans the 95 % confidence interval of the
/// median: each value is below the true median with a probability of one half.
fn outside(count: usize) -> Option<usize> {
    // The probability that exactly, and that at most, so many are below it.
    let (mut exactly, mut below) = (0.5_f64.powi(i32::try_from(count).ok()?), 0.0);
    let mut cut = None;
    for number in 0..count {
        below += exactly;
        if below > 0.025 {
            break;
        }
        cut = Some(number);
        exactly *= (count - number) as f64 / (number + 1) as f64;
    }
    cut
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

/// Between the two values that are next to it; NaN of nothing.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = last as f64 * part;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
