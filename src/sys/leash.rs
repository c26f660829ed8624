//! Programs that end with this one, also if it is killed, and programs in a network of their own. Only the kernel can see to that,
//! and only who runs in the child's process can ask it to: so this program starts itself, which asks and becomes the other program
//! then.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::private_net::{self, MAKE, OURSELVES, PrivateNet};

/// The first argument of who is started so.
const LEASHED: &str = "--leashed";
/// The exit status of one that could not become the other program; stderr says why.
pub const NOT_STARTED: u8 = 127;
/// In place of a network: that of who starts it.
const SAME: &str = "-";

/// Whether this program knows what to do when it is started so. That of the unit tests does not.
static KNOWN: AtomicBool = AtomicBool::new(false);

/// To be called first, with the arguments: becomes another program if they say so, else gives them back.
///
/// # Errors
/// It could not become the other program; this is how to end then.
pub fn take_over(arguments: impl Iterator<Item = OsString>) -> Result<Vec<OsString>, ExitCode> {
    let arguments: Vec<OsString> = arguments.collect();
    if let [_, make] = &arguments[..]
        && make == MAKE
    {
        let held = private_net::hold();
        let _ = held.as_ref().map_err(|why| writeln!(io::stderr(), "making a network namespace: {why}"));
        return Err(held.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS));
    }
    if let [_, leashed, parent, signal, network, program, rest @ ..] = &arguments[..]
        && leashed == LEASHED
    {
        let why = become_the_other([parent, signal, network], program, rest);
        // Nobody listens any more if it is that.
        let _ = writeln!(io::stderr(), "starting {}: {why}", Path::new(program).display());
        return Err(ExitCode::from(NOT_STARTED));
    }
    KNOWN.store(true, Ordering::Relaxed);
    Ok(arguments)
}

fn become_the_other(
    [parent, signal, network]: [&OsString; 3],
    program: &OsStr,
    rest: &[OsString],
) -> io::Error {
    // First: with other rights the kernel forgets the signal.
    if network != SAME {
        let entered = private_net::enter(&parent.to_string_lossy(), &network.to_string_lossy());
        if let Err(e) = entered {
            return io::Error::new(e.kind(), format!("entering its network: {e}"));
        }
    }
    let signal = if signal == "term" { Signal::TERM } else { Signal::KILL };
    if let Err(e) = set_parent_process_death_signal(Some(signal)) {
        return e.into();
    }
    // It may have been killed before that was asked for.
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    match OsStr::new(&now.to_string()) == parent.as_os_str() {
        true => Command::new(program).args(rest).exec(),
        false => io::Error::other("the process that started it is gone"),
    }
}

/// The command line of a program that is killed as soon as the thread is gone that starts it.
pub fn killed_with_us(program: impl AsRef<OsStr>) -> Command {
    command(KNOWN.load(Ordering::Relaxed), program.as_ref(), "kill")
}

/// The same for one that passes the signal on that asks it to end, as a container's client does.
pub fn ended_with_us(program: impl AsRef<OsStr>) -> Command {
    command(KNOWN.load(Ordering::Relaxed), program.as_ref(), "term")
}

/// As [`killed_with_us`], for one that has another network. It is never started in ours instead.
pub fn killed_with_us_in(net: &PrivateNet, program: impl AsRef<OsStr>) -> Command {
    leashed("kill", &net.argument(), program.as_ref())
}

fn command(known: bool, program: &OsStr, signal: &str) -> Command {
    if known { leashed(signal, SAME, program) } else { Command::new(program) }
}

fn leashed(signal: &str, network: &str, program: &OsStr) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg(LEASHED).arg(std::process::id().to_string()).args([signal, network]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That it becomes one, and ends with who started it, is seen of the real program: tests/backup/leash.rs.
    #[test]
    fn nobody_else_s_child_becomes_anything() {
        let of = |known| command(known, OsStr::new("rclone"), "kill");
        assert_eq!(of(false).get_program(), "rclone");
        let ours = of(true);
        let given: Vec<String> = ours.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        assert_eq!(ours.get_program(), OURSELVES);
        assert_eq!(given, [LEASHED, &std::process::id().to_string(), "kill", SAME, "rclone"]);
        // The number of its parent is another one.
        let foreign = ["x", LEASHED, "0", "kill", SAME, "/bin/true"].map(OsString::from);
        assert!(take_over(foreign.into_iter()).is_err());
    }
}
