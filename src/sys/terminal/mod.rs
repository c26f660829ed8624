//! What a terminal shows.
//!
//! - [`text`]: values as they can be shown · [`output`]: stdout · [`question`]: yes or no
//! - [`table`]: tables, sizes, ages and plural forms · [`wrap`]: texts in lines that fit
//! - [`live`]: work that takes long, shown while it runs · [`progress`]: in which words, and when

use std::io::Write as _;

use crate::exit::Exit;

pub mod live;
pub mod output;
pub mod progress;
pub mod question;
pub mod table;
pub mod text;
pub mod wrap;

/// Prints lines for people to stdout, as wide as the terminal.
pub fn tell(text: &str) -> Exit {
    print(&wrap::lines(text, wrap::width(&std::io::stdout())))
}

/// Prints to stdout what was asked for. Who closed it does not want to read it.
pub fn print(text: &str) -> Exit {
    let _ = std::io::stdout().write_all(text.as_bytes());
    Exit::Done
}
