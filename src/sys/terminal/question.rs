//! A question to whoever sits at the terminal, before what cannot be taken back.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, Result};

/// What became of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// They said so.
    Yes,
    /// They said anything else, or nothing.
    No,
    /// Nobody can be asked: stdin is no terminal.
    NobodyThere,
}

/// Asks whether to go on, and says before it what that means, if that was not said yet.
///
/// # Errors
/// The answer cannot be read.
pub fn go_on(meaning: &str) -> Result<Answer> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(Answer::NobodyThere);
    }
    if !meaning.is_empty() {
        log::info!("{meaning}");
    }
    log::info!("Continue? [y/N]");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("reading the answer")?;
    Ok(if is_yes(&answer) { Answer::Yes } else { Answer::No })
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::is_yes;

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in [
            ("y\n", true),
            (" YES \n", true),
            ("Y", true),
            ("", false),
            ("\n", false),
            ("n\n", false),
            ("yy\n", false),
        ] {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }
}
