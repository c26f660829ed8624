//! What somebody reads at a terminal, or a program through a pipe.

use std::io::Write as _;

use crate::exit::Exit;

/// Prints to stdout what was asked for. Who closed it does not want to read it.
pub fn print(text: &str) -> Exit {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Done
}
