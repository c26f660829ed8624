//! `picture`: what a terminal showed, as an SVG for the docs: `cargo xtask demo | cargo xtask picture '$ cargo xtask demo' >demo.svg`.

use std::fmt::Write as _;
use std::io::{Read as _, stdin};

use anyhow::{Context, Result, ensure};

/// The options of the task.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What was typed, as the picture's first line
    prompt: String,
}

/// Wider than the text of any command.
const WIDEST: usize = 132;
const NARROWEST: usize = 60;
/// In pixels, of a monospaced font of 13.
const ADVANCE: f64 = 7.83;
const LINE: usize = 18;
const MARGIN: usize = 14;

/// The task: text on standard input, the picture on standard output.
pub(crate) fn main(options: &Options) -> Result<()> {
    let mut text = String::new();
    stdin().read_to_string(&mut text).context("reading what the terminal showed from standard input")?;
    ensure!(!text.trim().is_empty(), "standard input holds no text: pipe a command's output into this");
    print!("{}", svg(&options.prompt, &text));
    Ok(())
}

/// The picture, in the colours that the reader's system prefers.
fn svg(prompt: &str, text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().flat_map(wrapped).collect();
    let widest = lines.iter().chain([&prompt.to_owned()]).map(|line| line.chars().count()).max().unwrap_or(0);
    let width = widest.max(NARROWEST) as f64 * ADVANCE + 2.0 * MARGIN as f64;
    let height = (lines.len() + 1) * LINE + 2 * MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" viewBox=\"0 0 {width:.0} {height}\" width=\"{width:.0}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{STYLE}<rect width=\"100%\" height=\"100%\" \
         rx=\"8\"/>\n",
        escaped(prompt)
    );
    let all =
        std::iter::once(("prompt", prompt)).chain(lines.iter().map(|line| (class_of(line), line.as_str())));
    for (n, (class, line)) in all.enumerate() {
        let y = MARGIN + n * LINE + 13;
        let _ = writeln!(svg, "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{}</text>", escaped(line));
    }
    svg + "</svg>\n"
}

const STYLE: &str = "<style>
rect { fill: #f6f8fa; stroke: #d0d7de }
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #24292f; white-space: pre }
.prompt { font-weight: bold } .good { fill: #116329 } .bad { fill: #a40e26 } .note { fill: #57606a }
@media (prefers-color-scheme: dark) {
  rect { fill: #161b22; stroke: #30363d }
  text { fill: #e6edf3 } .good { fill: #7ee787 } .bad { fill: #ff7b72 } .note { fill: #8b949e }
}
</style>
";

/// What a line is, by how our programs begin it.
fn class_of(line: &str) -> &'static str {
    let line = line.trim_start();
    match () {
        () if line.starts_with("error:") || line.starts_with("warning:") => "bad",
        () if line.starts_with("hint:") || line.starts_with("next:") => "note",
        () if line.starts_with("restored ") || line.starts_with("recovered") || line.starts_with("all ") => {
            "good"
        }
        () => "plain",
    }
}

/// A line in pieces that fit, without what moves a cursor or colours.
fn wrapped(line: &str) -> Vec<String> {
    let chars: Vec<char> = without_escapes(line.rsplit('\r').next().unwrap_or(line)).chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(WIDEST).map(|piece| piece.iter().collect()).collect()
}

/// Without the control sequences of a terminal (ECMA-48, CSI), and without control characters.
fn without_escapes(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    chars.by_ref().find(|c| ('\u{40}'..='\u{7e}').contains(c));
                }
            }
            '\t' => out.push_str("    "),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// XML's text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_s_text_becomes_lines_of_their_kind() {
        let svg = svg("$ x <y>", "one & two\n\u{1b}[31merror: bad\u{1b}[0m\nhint: \"do\"\n10 %\r100 %\n");
        for part in [
            "aria-label=\"$ x &lt;y&gt;\"",
            "<text class=\"prompt\" x=\"14\" y=\"27\">$ x &lt;y&gt;</text>",
            ">one &amp; two</text>",
            "<text class=\"bad\" x=\"14\" y=\"63\">error: bad</text>",
            "class=\"note\" x=\"14\" y=\"81\">hint: &quot;do&quot;</text>",
            ">100 %</text>",
            "prefers-color-scheme: dark",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains('\u{1b}') && !svg.contains("10 %\r"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 5);
    }

    #[test]
    fn a_long_line_goes_on_in_the_next() {
        assert_eq!(wrapped(&"ä".repeat(WIDEST + 1)), ["ä".repeat(WIDEST), "ä".to_owned()]);
        assert_eq!(wrapped(""), [""]);
    }
}
