use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use clap::{Arg, ArgAction};

use super::*;
use crate::exit::{Exit, exit_of, hint_of};
use crate::settings::source::Choice;

fn parsed(line: &str) -> Result<Parsed> {
    parse(line.split_whitespace().map(OsString::from))
}

#[track_caller]
fn run(line: &str) -> Args {
    match parsed(line) {
        Ok(Parsed::Run(args)) => args,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn help(line: &str) -> String {
    match parsed(line) {
        Ok(Parsed::Help(text)) => text,
        other => panic!("{line}: {other:?}"),
    }
}

/// Every command but `help`, as clap has it once it is built.
fn commands() -> Vec<clap::Command> {
    let mut all = command();
    all.build();
    all.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect()
}

/// The options of a command, the global ones too, without help and version.
fn options(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    let other = |arg: &&Arg| ["help", "version"].contains(&arg.get_id().as_str());
    command.get_opts().chain(command.get_arguments().filter(|a| is_flag(a))).filter(move |a| !other(a))
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn value_name(arg: &Arg) -> &str {
    arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name)
}

fn long(arg: &Arg) -> &str {
    arg.get_long().unwrap()
}

/// A command with what must stand after it.
fn words(command: &clap::Command) -> String {
    let required = command.get_positionals().find(|a| a.is_required_set());
    let value = required.map_or(String::new(), |a| format!(" {}", samples(a)[0]));
    format!("{}{value}", command.get_name())
}

/// Values an option takes, none of them its default.
fn samples(arg: &Arg) -> Vec<String> {
    let samples = match value_name(arg) {
        "DIR" => vec!["/some/dir"],
        "FILE" => vec!["/some/file"],
        "LIST" => vec!["a=http://a:1", "a=http://a:1,b=http://b:1"],
        "TOKEN" => vec!["0123456789abcdef0123456789abcdef"],
        "N" => vec!["7"],
        "TIME" => vec!["90s"],
        "NODE" => vec!["core@e1"],
        "COMMAND" => vec!["/usr/bin/ssh"],
        "ID" => vec!["5"],
        "MOMENT" => vec!["2026-11-22T13:09:13Z", "2026-11-22T13:09:14.5"],
        "PATH" => vec!["/some/path"],
        "MACHINE_ID" => vec!["0123456789abcdef0123456789abcdef"],
        "1/N" => vec!["1/7", "1/1"],
        "FROM..TO" => vec!["7", "5..9", "5..", "..9"],
        _ => return arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect(),
    };
    let default = |s: &&str| arg.get_default_values().iter().any(|d| d == s);
    samples.into_iter().filter(|s| !default(s)).map(str::to_owned).collect()
}

/// Every way to write an option: as a flag, or with each value in both forms.
fn ways(arg: &Arg) -> Vec<[String; 2]> {
    let name = long(arg);
    if is_flag(arg) {
        let short = arg.get_short().map_or(format!("--{name}"), |s| format!("-{s}"));
        return vec![[format!("--{name}"), short]];
    }
    let samples = samples(arg);
    assert!(!samples.is_empty(), "no sample of --{name}");
    samples.iter().map(|s| [format!("--{name} {s}"), format!("--{name}={s}")]).collect()
}

#[test]
fn the_definition_contradicts_itself_nowhere() {
    command().debug_assert();
}

#[test]
fn every_option_parses_into_a_field_of_its_own() {
    for command in commands() {
        let line = words(&command);
        let mut seen = BTreeSet::from([format!("{:?}", run(&line))]);
        for option in options(&command) {
            for [one, other] in ways(option) {
                let with = format!("{line} {one}");
                let args = run(&with);
                assert_eq!(args, run(&format!("{line} {other}")), "{with}: both forms");
                assert!(seen.insert(format!("{args:?}")), "{with}: changes nothing of its own: {args:?}");
                let repeated = parsed(&format!("{with} {other}")).unwrap_err();
                assert_eq!(repeated.to_string(), format!("--{} is given twice", long(option)), "{with}");
                if ["root", "verbose"].contains(&long(option)) {
                    assert_eq!(run(&format!("{one} {line}")), args, "{one} before {line}");
                }
            }
        }
    }
}

/// The options that a help text lists, with their values.
fn listed(text: &str) -> BTreeSet<(String, String)> {
    let (_, options) = text.split_once("\nOptions:\n").unwrap();
    let lefts = options.lines().filter(|l| l.starts_with("  -") || l.starts_with("      --"));
    let words = lefts.map(|l| l.trim_start().split("  ").next().unwrap().split_once("--").unwrap().1);
    let parts = words.map(|w| w.split_once([' ', '[']).unwrap_or((w, "")));
    parts.map(|(n, v)| (n.to_owned(), v.trim_matches(['=', '<', '>', ']']).to_owned())).collect()
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn help_lists_what_parses_and_nothing_else() {
    for command in commands() {
        let (name, about) = (command.get_name(), command.get_about().unwrap());
        let text = help(&format!("{name} --help"));
        assert_eq!(text, help(&format!("help {name}")));
        assert_eq!(listed(&text), listed(&help(&format!("--verbose {name} -h"))));
        assert!(text.starts_with(&format!("{about}\n\nUsage: etcd2-backup {name} ")), "{text}");
        let shown = || options(&command).filter(|o| !o.is_hide_set());
        let known =
            shown().map(|o| (long(o).to_owned(), if is_flag(o) { "" } else { value_name(o) }.to_owned()));
        let others = ["help", "version"].map(|other| (other.to_owned(), String::new()));
        assert_eq!(listed(&text), known.chain(others).collect(), "{text}");
        let flat = flat(&text);
        for argument in command.get_positionals() {
            let helped = format!("Arguments: {argument} {}", argument.get_help().unwrap());
            assert!(
                flat.contains(&format!(" {name} [OPTIONS] {argument} ")) && flat.contains(&helped),
                "{text}"
            );
        }
        for option in shown() {
            let is_shown = !is_flag(option) && !option.is_hide_default_value_set();
            let default = option.get_default_values().first().filter(|_| is_shown);
            let default = default.map_or(String::new(), |d| format!(" [default: {}]", d.display()));
            assert!(flat.contains(&format!("{}{default}", option.get_help().unwrap())), "{option}: {text}");
            let choices = if is_flag(option) { Vec::new() } else { option.get_possible_values() };
            for choice in choices {
                let (name, meaning) = (choice.get_name(), choice.get_help().unwrap());
                assert!(flat.contains(&format!("- {name}: {meaning}")), "{name}: {text}");
            }
        }
    }
    let text = help("--help");
    for line in ["help", "help --help", "-h", "--root /x -h", "help -v"] {
        assert_eq!(help(line), text, "{line}");
    }
    for command in commands() {
        let row = format!("\n  {:<11}  {}\n", command.get_name(), command.get_about().unwrap());
        assert_eq!(text.contains(&row), !command.is_hide_set(), "{}: {text}", command.get_name());
    }
    assert_eq!(listed(&text).len(), 4, "{text}");
}

/// What `recover` drives on a node of any version, and what units run: it is there under the old spellings, and in no help.
#[test]
fn plumbing_is_hidden() {
    let hidden: Vec<String> =
        commands().iter().filter(|c| c.is_hide_set()).map(|c| c.get_name().to_owned()).collect();
    assert_eq!(hidden, ["export", "look", "guard", "report", "stand-by", "await"]);
    let all = commands();
    let restore = all.iter().find(|c| c.get_name() == "restore").unwrap();
    let hidden: Vec<&str> = options(restore).filter(|o| o.is_hide_set()).map(long).collect();
    assert_eq!(hidden, ["initial-cluster", "recovery", "recovery-file", "source-file", "refusals", "undo"]);
}

#[test]
fn help_fits_a_console() {
    let texts =
        commands().into_iter().flat_map(|c| ["help ", "-h "].map(|h| help(&format!("{h}{}", c.get_name()))));
    let texts = texts.chain([help("help")]);
    for line in texts.flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(line.chars().count() <= 80 && line.trim_end() == line, "{line:?}");
    }
}

#[test]
fn a_line_means_what_it_says() {
    let args = |root: &str, verbose, command| Args { root: root.into(), verbose, command };
    let restore = Restore::default;
    let ten_minutes = Duration::from_secs(600);
    let inspect = |entries: Option<(u64, u64)>| {
        let entries = entries.map(|(first, last)| IndexRange { first, last });
        Inspect { path: "a".into(), wal_dir: None, json: false, entries, keys: false, values: false }
    };
    for (line, want) in [
        ("backup", args("/", false, Command::Backup)),
        ("base", args("/", false, Command::Base(Base::default()))),
        ("base --now", args("/", false, Command::Base(Base { now: true }))),
        ("guard", args("/", false, Command::Guard)),
        ("-v --root=/x backup", args("/x", true, Command::Backup)),
        ("--root /x install --from . -v", {
            args(
                "/x",
                true,
                Command::Install(Install {
                    check: false,
                    dry_run: false,
                    enable_timer: false,
                    force: false,
                    from: Some(".".into()),
                    json: false,
                    remove_source: false,
                }),
            )
        }),
        ("uninstall --force", {
            args(
                "/",
                false,
                Command::Uninstall(Uninstall { dry_run: false, force: true, json: false, yes: false }),
            )
        }),
        ("set-founder http://a:1 -v http://b:2", {
            let urls = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
            args("/", true, Command::SetFounder(SetFounder { urls, reset: false }))
        }),
        ("set-founder --reset", {
            args("/", false, Command::SetFounder(SetFounder { urls: Vec::new(), reset: true }))
        }),
        ("restore", args("/", false, Command::Restore(restore()))),
        ("restore --source auto --generation=12 --for-etcd 3 --plan", {
            let for_etcd = Some(Family::Three);
            let (source, generation) = (Some(Choice::Auto), Some(12));
            args(
                "/",
                false,
                Command::Restore(Restore { source, generation, plan: true, for_etcd, ..restore() }),
            )
        }),
        (
            "restore --recovery",
            args("/", false, Command::Restore(Restore { recovery: Some(String::new()), ..restore() })),
        ),
        ("restore --undo", args("/", false, Command::Restore(Restore { undo: true, ..restore() }))),
        ("undo --plan", args("/", false, Command::Undo(Undo { force: false, plan: true }))),
        ("restore --accept-older --force", {
            args("/", false, Command::Restore(Restore { accept_older: true, force: true, ..restore() }))
        }),
        (
            "join",
            args(
                "/",
                false,
                Command::Join(Join { force: false, no_start: false, plain: false, wait: ten_minutes }),
            ),
        ),
        ("join --no-start --wait 1m30s", {
            args(
                "/",
                false,
                Command::Join(Join {
                    force: false,
                    no_start: true,
                    plain: false,
                    wait: Duration::from_secs(90),
                }),
            )
        }),
        ("inspect a", args("/", false, Command::Inspect(inspect(None)))),
        ("inspect --keys a --json --wal-dir b", {
            let wal_dir = Some("b".into());
            args("/", false, Command::Inspect(Inspect { keys: true, json: true, wal_dir, ..inspect(None) }))
        }),
        ("inspect --entries a", args("/", false, Command::Inspect(inspect(Some((0, u64::MAX)))))),
        ("inspect a --entries", args("/", false, Command::Inspect(inspect(Some((0, u64::MAX)))))),
        ("inspect --entries 5..9 a", args("/", false, Command::Inspect(inspect(Some((5, 9)))))),
        ("inspect --entries=..9 a", args("/", false, Command::Inspect(inspect(Some((0, 9)))))),
        ("inspect a --entries 7", args("/", false, Command::Inspect(inspect(Some((7, 7)))))),
        ("inspect --entries ..", {
            args("/", false, Command::Inspect(Inspect { path: "..".into(), ..inspect(Some((0, u64::MAX))) }))
        }),
        ("inspect --entries 5.. -- -v", {
            args("/", false, Command::Inspect(Inspect { path: "-v".into(), ..inspect(Some((5, u64::MAX))) }))
        }),
    ] {
        assert_eq!(run(line), want, "{line}");
    }
    for line in ["--version", "-V", "restore --version", "--root / backup -V"] {
        assert_eq!(parsed(line).unwrap(), Parsed::Version, "{line}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_the_next_step() {
    for (line, what, hint) in [
        (
            "",
            "no command is given",
            "one of install, uninstall, set-founder, backup, base, doctor, status, restore, undo, join, recover, migrate, list, sources, verify, rehearse, inspect, prune, clean; see etcd2-backup --help",
        ),
        (
            "-v",
            "no command is given",
            "one of install, uninstall, set-founder, backup, base, doctor, status, restore, undo, join, recover, migrate, list, sources, verify, rehearse, inspect, prune, clean; see etcd2-backup --help",
        ),
        ("restor", "there is no command restor", "did you mean restore? see etcd2-backup --help"),
        ("hepl", "there is no command hepl", "did you mean help? see etcd2-backup --help"),
        ("help jion", "there is no command jion", "did you mean join? see etcd2-backup --help"),
        (
            "gaurd",
            "there is no command gaurd",
            "one of install, uninstall, set-founder, backup, base, doctor, status, restore, undo, join, recover, migrate, list, sources, verify, rehearse, inspect, prune, clean; see etcd2-backup --help",
        ),
        (
            "restore --forse",
            "there is no option --forse",
            "did you mean --force? see etcd2-backup restore --help",
        ),
        ("restore --colour", "there is no option --colour", "see etcd2-backup restore --help"),
        ("backup --force", "there is no option --force", "see etcd2-backup backup --help"),
        ("--rot /x backup", "there is no option --rot", "did you mean --root? see etcd2-backup --help"),
        (
            "--no-start join",
            "there is no option --no-start",
            "a command's own options go after the command; see etcd2-backup --help",
        ),
        ("backup -x", "there is no option -x", "see etcd2-backup backup --help"),
        ("backup now", "unexpected argument now", "see etcd2-backup backup --help"),
        ("backup -- --now", "there is no option --now", "see etcd2-backup backup --help"),
        (
            "help backup now",
            "there is no command now",
            "one of install, uninstall, set-founder, backup, base, doctor, status, restore, undo, join, recover, migrate, list, sources, verify, rehearse, inspect, prune, clean; see etcd2-backup --help",
        ),
        ("backup --verbose=no", "--verbose takes no value", "see etcd2-backup backup --help"),
        ("--root", "--root needs a value, DIR", "see etcd2-backup --help"),
        ("backup --root=", "--root needs a value, DIR", "see etcd2-backup backup --help"),
        ("install --from --force", "--from needs a value, DIR", "see etcd2-backup install --help"),
        (
            "restore --source",
            "--source needs a value, SOURCE",
            "one of archive, local, auto; see etcd2-backup restore --help",
        ),
        (
            "restore --source=lokal",
            "--source lokal is not one of archive, local, auto",
            "did you mean local? see etcd2-backup restore --help",
        ),
        ("restore --for-etcd 4", "--for-etcd 4 is not one of 2, 3", "see etcd2-backup restore --help"),
        ("restore --generation x", "--generation x is not a number", "see etcd2-backup restore --help"),
        (
            "list --from ../0123456789abcdef0123456789abc",
            "--from ../0123456789abcdef0123456789abc is not a machine ID, 32 hex digits",
            "see etcd2-backup list --help",
        ),
        (
            "verify --from ../0123456789abcdef0123456789abc",
            "--from ../0123456789abcdef0123456789abc is not a machine ID, 32 hex digits",
            "see etcd2-backup verify --help",
        ),
        (
            "verify --share 2/7",
            "--share 2/7 is not a share like 1/7, of 1000 at most",
            "see etcd2-backup verify --help",
        ),
        (
            "restore --at yesterday",
            "--at yesterday is not a time like 2026-11-22T13:09:13Z, or -10min for ten minutes ago",
            "see etcd2-backup restore --help",
        ),
        (
            "restore --at --plan",
            "--at --plan is not a time like 2026-11-22T13:09:13Z, or -10min for ten minutes ago",
            "see etcd2-backup restore --help",
        ),
        ("join --wait soon", "--wait soon is not a time like 90s or 10m", "see etcd2-backup join --help"),
        ("inspect", "PATH is missing", "see etcd2-backup inspect --help"),
        ("inspect --entries 7", "PATH is missing", "see etcd2-backup inspect --help"),
        ("inspect a b", "unexpected argument b", "see etcd2-backup inspect --help"),
        (
            "inspect a --entries=9..5",
            "--entries 9..5 is not a range of indexes like 5..9, 5.. or ..9",
            "see etcd2-backup inspect --help",
        ),
        ("-vv backup", "--verbose is given twice", "give it once; see etcd2-backup --help"),
    ] {
        let refused = parsed(line).unwrap_err();
        assert_eq!((refused.to_string().as_str(), hint_of(&refused)), (what, Some(hint)), "{line}");
        assert_eq!(exit_of(&refused), Exit::Usage, "{line}");
    }
}

#[test]
fn moments_are_utc_or_ago() {
    let at = |line: &str| match run(line).command {
        Command::Restore(Restore { at: Some(at), .. }) => at,
        other => panic!("{line}: {other:?}"),
    };
    for (text, nanoseconds) in [
        ("2026-01-31T23:59:59Z", 1_769_903_999_000_000_000),
        ("2026-01-31T23:59:59.5Z", 1_769_903_999_500_000_000),
        ("2026-01-31T23:59:59", 1_769_903_999_000_000_000),
    ] {
        assert_eq!(at(&format!("restore --at {text}")), nanoseconds, "{text}");
    }
    let spaced = parse(["restore", "--at", "2026-01-31 23:59:59"].iter().map(OsString::from)).unwrap();
    assert_eq!(spaced, parsed("restore --at 2026-01-31T23:59:59Z").unwrap());
    let ago = at("restore --at=-0s") - at("restore --at=-10min");
    assert!((590_000_000_000..=600_000_000_000).contains(&ago), "{ago}");
    assert!(at("restore --at -10min") < at("restore --at=-0s"));
}

#[test]
fn only_a_path_may_be_other_than_utf_8() {
    let with = |words: &[&[u8]]| parse(words.iter().map(|w| OsString::from_vec(w.to_vec())));
    for words in [&[&b"--root"[..], b"/\xff", b"backup"][..], &[b"--root=/\xff", b"backup"]] {
        let Ok(Parsed::Run(args)) = with(words) else { panic!("{words:?}") };
        assert_eq!(args.root.into_os_string().into_vec(), b"/\xff");
    }
    for (words, what) in [
        (&[&b"back\xff"[..]][..], "there is no command back\u{fffd}"),
        (&[b"backup", b"--\xff"], "there is no option --\u{fffd}"),
        (&[b"join", b"--wait=1\xff"], "an argument is not UTF-8"),
        (&[b"set-founder", b"\xff"], "an argument is not UTF-8"),
        (&[b"restore", b"--source", b"\xff"], "an argument is not UTF-8"),
    ] {
        assert_eq!(with(words).unwrap_err().to_string(), what);
    }
}

#[test]
fn a_list_of_members_has_each_url_once() {
    let list = |text: &str| match parsed(&format!("restore --initial-cluster {text}")) {
        Ok(Parsed::Run(Args {
            command: Command::Restore(Restore { initial_cluster: Some(list), .. }),
            ..
        })) => Some(list.0),
        _ => None,
    };
    let member = |name: &str, urls: &[&str]| (name.to_owned(), urls.iter().map(|&u| u.to_owned()).collect());
    assert_eq!(
        list("a=http://a:1/,b=https://b:2,a=http://c:1"),
        Some(vec![member("a", &["http://a:1", "http://c:1"]), member("b", &["https://b:2"])])
    );
    let bad = ["a", "=http://a:1", "a=a:1", "a=http://a", "a=http://a:1,", "a=http://a:1,b=http://A:1"];
    assert_eq!(bad.map(list), [const { None::<Vec<(String, Vec<String>)>> }; 6]);
}
