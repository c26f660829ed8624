//! What a terminal shows.
//!
//! - [`text`]: values as they can be shown · [`output`]: stdout

pub mod output;
pub mod text;
