//! Man page and shell completions, made of the definition of a command line.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use etcd2_backup::commands::args;
use etcd2_backup::install::payload;

/// Man page and completions of the node program, under the names that they have in the tarball.
pub(crate) fn of_the_node() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let (command, name) = (args::command(), "etcd2-backup");
    Ok(vec![
        (payload::MAN, page(&command, (name, name), "8")?),
        (payload::BASH, completions(&command, name, Shell::Bash)?),
        (payload::ZSH, completions(&command, name, Shell::Zsh)?),
        (payload::FISH, completions(&command, name, Shell::Fish)?),
    ])
}

/// What a shell needs to complete the command line of `name`.
pub(crate) fn completions(command: &Command, name: &str, shell: Shell) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut visible(command), name, &mut text);
    let text = String::from_utf8(text).context("making completions")?;
    // For bash it spells a hyphen of the program's name in two ways, and finds no option of a command (clap-rs/clap#6421).
    Ok(text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")).into_bytes())
}

/// The command without what is hidden, which the generators of completions would offer.
fn visible(command: &Command) -> Command {
    let name: &'static str = command.get_name().to_owned().leak();
    let about = command.get_about().cloned().unwrap_or_default();
    let shown = Command::new(name)
        .about(about)
        .subcommand_value_name("COMMAND")
        .subcommand_required(command.is_subcommand_required_set())
        .args(command.get_arguments().filter(|arg| !arg.is_hide_set()))
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(visible));
    match command.get_version() {
        Some(_) => shown.version(env!("CARGO_PKG_VERSION")).propagate_version(true),
        None => shown,
    }
}

/// How the lines begin that each part of a page has before it.
const PREAMBLE: [&str; 2] = [".ie ", ".el "];

/// A man page of the program and, in a section each, its commands: a node has one file of it, not twenty.
pub(crate) fn page(command: &Command, (name, typed): (&'static str, &str), section: &str) -> Result<Vec<u8>> {
    let command = visible(command).display_name(name).bin_name(typed).disable_help_subcommand(true);
    let man = Man::new(command.clone()).title(name).section(section);
    let mut text = roff(&man, &[Man::render_title])?;
    let others: [Part; 4] = [
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ];
    text += &without(&roff(&man, &others)?, &PREAMBLE);
    for command in command.get_subcommands() {
        text += &chapter(command, typed)?;
    }
    Ok(text.into_bytes())
}

/// The section of a command, and those of the commands below it.
fn chapter(command: &Command, above: &str) -> Result<String> {
    let typed = format!("{above} {}", command.get_name());
    // What every command has is said once, at the top.
    let own = command.clone().bin_name(&typed).disable_help_flag(true).disable_version_flag(true);
    let man = Man::new(own);
    let synopsis = roff(&man, &[Man::render_synopsis_section])?;
    let rest = roff(&man, &[Man::render_description_section, Man::render_options_section])?;
    let body = without(&format!("{synopsis}.PP\n{rest}"), &[PREAMBLE[0], PREAMBLE[1], ".SH "]);
    let below: String =
        command.get_subcommands().map(|command| chapter(command, &typed)).collect::<Result<_>>()?;
    Ok(format!(".SH \"{}\"\n{body}{below}", typed.to_uppercase()))
}

type Part = fn(&Man, &mut dyn Write) -> io::Result<()>;

fn roff(man: &Man, parts: &[Part]) -> Result<String> {
    let mut text = Vec::new();
    parts.iter().try_for_each(|part| part(man, &mut text)).context("making a man page")?;
    String::from_utf8(text).context("making a man page")
}

/// The text without the lines that begin like this.
fn without(text: &str, begins: &[&str]) -> String {
    let stays = |line: &&str| !begins.iter().any(|begin| line.starts_with(begin));
    text.lines().filter(stays).map(|line| line.to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use etcd2_backup::sys::fs::write_atomic;

    use super::*;

    #[test]
    fn bash_completes_commands_and_their_options() {
        let dir = tempfile::tempdir().unwrap();
        let (command, name) = (args::command(), "etcd2-backup");
        write_atomic(&dir.path().join("c"), &completions(&command, name, Shell::Bash).unwrap(), 0o644)
            .unwrap();
        for (typed, expected) in [("res", "restore"), ("restore --acc", "--accept-older"), ("look --q", "")] {
            let script = format!(
                "source ./c; COMP_WORDS=({name} {typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
                 _etcd2__backup {name} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
                 echo \"${{COMPREPLY[*]}}\""
            );
            let said =
                std::process::Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output();
            assert_eq!(String::from_utf8(said.unwrap().stdout).unwrap().trim(), expected, "{typed}");
        }
    }
}
