use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::time::Duration;

use super::option::Does;
use super::*;
use crate::settings::source::Choice;

fn parsed(line: &str) -> Result<Parsed, UsageError> {
    parse(line.split_whitespace().map(OsString::from))
}

#[track_caller]
fn run(line: &str) -> Cli {
    match parsed(line) {
        Ok(Parsed::Run(cli)) => cli,
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

fn puts(option: &Opt) -> bool {
    matches!(option.does, Does::Put(_))
}

/// A verb with what must stand behind it.
fn words(verb: &VerbTable) -> String {
    let Some(argument) = &verb.argument else { return verb.name.to_owned() };
    let value = if argument.value == "MACHINE_ID" { samples(argument)[0] } else { "/some/path" };
    format!("{} {value}", verb.name)
}

/// Values an option takes, none of them its default.
fn samples(option: &Opt) -> Vec<&'static str> {
    let samples = match option.value {
        "DIR" => vec!["/some/dir"],
        "FILE" => vec!["/some/file"],
        "LIST" => vec!["a=http://a:1", "a=http://a:1,b=http://b:1"],
        "[TOKEN]" => vec!["0123456789abcdef0123456789abcdef"],
        "N" => vec!["7"],
        "TIME" => vec!["90s"],
        "NODE" => vec!["core@e1"],
        "COMMAND" => vec!["/usr/bin/ssh"],
        "ID" => vec!["5"],
        "MOMENT" => vec!["2026-11-22T13:09:13Z", "2026-11-22T13:09:14.5"],
        "PATH" => vec!["/some/path"],
        "MACHINE_ID" => vec!["0123456789abcdef0123456789abcdef"],
        "1/N" => vec!["1/7", "1/1"],
        "[FROM..TO]" => vec!["7", "5..9", "5..", "..9"],
        _ => option.choices.iter().map(|(name, _)| *name).collect(),
    };
    samples.into_iter().filter(|s| option.default != Some(s)).collect()
}

/// Every way to write an option: as a flag, or with each value in both forms.
fn ways(option: &Opt) -> Vec<[String; 2]> {
    if option.value.is_empty() {
        let short = option.short.map_or(format!("--{}", option.name), |s| format!("-{s}"));
        return vec![[format!("--{}", option.name), short]];
    }
    let samples = samples(option);
    assert!(!samples.is_empty(), "no sample of --{} {}", option.name, option.value);
    samples.iter().map(|s| [format!("--{} {s}", option.name), format!("--{}={s}", option.name)]).collect()
}

#[test]
fn every_option_of_the_table_parses_into_a_field_of_its_own() {
    for verb in VERBS {
        let verb_line = words(verb);
        let mut seen = BTreeSet::from([format!("{:?}", run(&verb_line))]);
        for option in verb.options.iter().chain(GLOBALS).filter(|o| puts(o)) {
            for [one, other] in ways(option) {
                let line = format!("{verb_line} {one}");
                let cli = run(&line);
                assert_eq!(cli, run(&format!("{verb_line} {other}")), "{line}: both forms");
                assert!(seen.insert(format!("{cli:?}")), "{line}: changes nothing of its own: {cli:?}");
                let repeated = parsed(&format!("{line} {other}")).unwrap_err();
                assert_eq!(repeated.what, format!("--{} is given twice", option.name), "{line}");
            }
        }
        for option in GLOBALS.iter().filter(|o| puts(o)) {
            for [one, other] in ways(option) {
                let before = run(&format!("{one} {verb_line}"));
                assert_eq!(before, run(&format!("{verb_line} {other}")), "{one} before {verb_line}");
            }
        }
    }
}

/// The options that a help text lists, with their values.
fn listed(text: &str) -> Vec<(String, String)> {
    let (_, options) = text.split_once("\nOptions:\n").unwrap();
    let lefts = options.lines().filter(|l| l.starts_with("  -") || l.starts_with("      --"));
    let words = lefts.map(|l| l.trim_start().split("  ").next().unwrap().split_once("--").unwrap().1);
    words.map(|w| w.split_once(' ').unwrap_or((w, ""))).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

#[test]
fn help_lists_what_parses_and_nothing_else() {
    for verb in VERBS {
        let text = help(&format!("{} --help", verb.name));
        assert_eq!(text, help(&format!("help {}", verb.name)));
        assert_eq!(text, help(&format!("--verbose {} -h", verb.name)));
        assert!(
            text.starts_with(&format!("{}\n\nUsage: etcd2-backup {} ", verb.summary, verb.name)),
            "{text}"
        );
        let options = verb.options.iter().chain(GLOBALS);
        let known: Vec<_> = options.clone().map(|o| (o.name.to_owned(), o.value.to_owned())).collect();
        assert_eq!(listed(&text), known, "{text}");
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(argument) = verb.argument.as_ref().filter(|_| verb.any_number) {
            let head = format!(" {} [OPTIONS] [{}]… ", verb.name, argument.value);
            assert!(flat.contains(&head) && flat.contains(argument.help), "{text}");
        }
        for option in options {
            let default = option.default.map_or(String::new(), |d| format!(" [default: {d}]"));
            assert!(flat.contains(&format!("{}{default}", option.help)), "{}: {text}", option.name);
            for (name, meaning) in option.choices {
                assert!(flat.contains(&format!("- {name}: {meaning}")), "{name}: {text}");
            }
        }
    }
    let text = help("--help");
    for line in ["help", "help help", "help --help", "-h", "--root /x -h"] {
        assert_eq!(help(line), text, "{line}");
    }
    for verb in VERBS {
        let row = format!("\n  {:<11}  {}\n", verb.name, verb.summary);
        assert_eq!(text.contains(&row), !verb.hidden, "{}: {text}", verb.name);
    }
    assert_eq!(listed(&text).len(), GLOBALS.len(), "{text}");
}

#[test]
fn help_fits_a_console() {
    let texts = VERBS.iter().map(|v| help(&format!("help {}", v.name))).chain([help("help")]);
    for line in texts.flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()) {
        assert!(line.chars().count() <= 80 && line.trim_end() == line, "{line:?}");
    }
}

#[test]
fn the_table_has_no_name_twice() {
    let mut verbs = BTreeSet::from(["help"]);
    for verb in VERBS {
        assert!(verbs.insert(verb.name), "{}", verb.name);
        let mut names = BTreeSet::new();
        let mut letters = BTreeSet::new();
        for option in verb.options.iter().chain(GLOBALS) {
            assert!(names.insert(option.name), "{} --{}", verb.name, option.name);
            assert!(option.short.is_none_or(|s| letters.insert(s)), "{} --{}", verb.name, option.name);
        }
    }
}

#[test]
fn a_line_means_what_it_says() {
    let cli = |root: &str, verbose, verb| Cli { root: root.into(), verbose, verb };
    let restore = Restore::default;
    let ten_minutes = Duration::from_secs(600);
    let inspect = |entries: Option<(u64, u64)>| {
        let entries = entries.map(|(first, last)| IndexRange { first, last });
        Inspect { path: "a".into(), entries, ..Inspect::default() }
    };
    for (line, want) in [
        ("backup", cli("/", false, Verb::Backup)),
        ("guard", cli("/", false, Verb::Guard)),
        ("-v --root=/x backup", cli("/x", true, Verb::Backup)),
        ("--root /x install --from . -v", {
            cli("/x", true, Verb::Install(Install { from: Some(".".into()), ..Install::default() }))
        }),
        ("uninstall --force", {
            cli("/", false, Verb::Uninstall(Uninstall { force: true, ..Uninstall::default() }))
        }),
        ("set-founder http://a:1 -v http://b:2", {
            let urls = vec!["http://a:1".to_owned(), "http://b:2".to_owned()];
            cli("/", true, Verb::SetFounder(SetFounder { urls, reset: false }))
        }),
        ("set-founder --reset", {
            cli("/", false, Verb::SetFounder(SetFounder { urls: Vec::new(), reset: true }))
        }),
        ("restore", cli("/", false, Verb::Restore(restore()))),
        ("restore --source auto --generation=12 --for-etcd 3 --plan", {
            let for_etcd = Some(Major::Three);
            let (source, generation) = (Some(Choice::Auto), Some(12));
            cli("/", false, Verb::Restore(Restore { source, generation, plan: true, for_etcd, ..restore() }))
        }),
        ("restore --accept-older --force", {
            cli("/", false, Verb::Restore(Restore { accept_older: true, force: true, ..restore() }))
        }),
        (
            "join",
            cli(
                "/",
                false,
                Verb::Join(Join { force: false, no_start: false, plain: false, wait: ten_minutes }),
            ),
        ),
        ("join --no-start --wait 1m30s", {
            cli(
                "/",
                false,
                Verb::Join(Join {
                    force: false,
                    no_start: true,
                    plain: false,
                    wait: Duration::from_secs(90),
                }),
            )
        }),
        ("inspect a", cli("/", false, Verb::Inspect(inspect(None)))),
        ("inspect --keys a --json --wal-dir b", {
            let wal_dir = Some("b".into());
            cli("/", false, Verb::Inspect(Inspect { keys: true, json: true, wal_dir, ..inspect(None) }))
        }),
        ("inspect --entries a", cli("/", false, Verb::Inspect(inspect(Some((0, u64::MAX)))))),
        ("inspect a --entries", cli("/", false, Verb::Inspect(inspect(Some((0, u64::MAX)))))),
        ("inspect --entries 5..9 a", cli("/", false, Verb::Inspect(inspect(Some((5, 9)))))),
        ("inspect --entries=..9 a", cli("/", false, Verb::Inspect(inspect(Some((0, 9)))))),
        ("inspect a --entries 7", cli("/", false, Verb::Inspect(inspect(Some((7, 7)))))),
        ("inspect --entries ..", {
            cli("/", false, Verb::Inspect(Inspect { path: "..".into(), ..inspect(Some((0, u64::MAX))) }))
        }),
        ("inspect --entries 5.. -- -v", {
            cli("/", false, Verb::Inspect(Inspect { path: "-v".into(), ..inspect(Some((5, u64::MAX))) }))
        }),
    ] {
        assert_eq!(parsed(line), Ok(Parsed::Run(want)), "{line}");
    }
    for line in ["--version", "-V", "restore --version", "--root / backup -V"] {
        assert_eq!(parsed(line), Ok(Parsed::Version), "{line}");
    }
}

#[test]
fn what_is_not_understood_is_refused_with_the_next_step() {
    for (line, what, hint) in [
        (
            "",
            "there is no verb",
            "one of install, uninstall, set-founder, backup, doctor, status, restore, join, recover, export, migrate, list, sources, verify, rehearse, inspect, prune, clean, look; see etcd2-backup --help",
        ),
        (
            "-v",
            "there is no verb",
            "one of install, uninstall, set-founder, backup, doctor, status, restore, join, recover, export, migrate, list, sources, verify, rehearse, inspect, prune, clean, look; see etcd2-backup --help",
        ),
        ("restor", "there is no verb restor", "is it restore? see etcd2-backup --help"),
        ("hepl", "there is no verb hepl", "is it help? see etcd2-backup --help"),
        ("help jion", "there is no verb jion", "is it join? see etcd2-backup --help"),
        (
            "gaurd",
            "there is no verb gaurd",
            "one of install, uninstall, set-founder, backup, doctor, status, restore, join, recover, export, migrate, list, sources, verify, rehearse, inspect, prune, clean, look; see etcd2-backup --help",
        ),
        ("restore --forse", "there is no option --forse", "is it --force? see etcd2-backup restore --help"),
        ("restore --colour", "there is no option --colour", "see etcd2-backup restore --help"),
        ("backup --force", "there is no option --force", "see etcd2-backup backup --help"),
        ("--rot /x backup", "there is no option --rot", "is it --root? see etcd2-backup --help"),
        (
            "--no-start join",
            "there is no option --no-start",
            "a verb's own options stand behind the verb; see etcd2-backup --help",
        ),
        ("backup -x", "there is no option -x", "see etcd2-backup backup --help"),
        ("backup now", "backup takes no argument now", "see etcd2-backup backup --help"),
        ("backup -- --now", "backup takes no argument --now", "see etcd2-backup backup --help"),
        ("help backup now", "backup takes no argument now", "see etcd2-backup backup --help"),
        ("backup --verbose=no", "--verbose takes no value", "see etcd2-backup backup --help"),
        ("backup -v=no", "-v takes no value", "see etcd2-backup backup --help"),
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
            "is it local? see etcd2-backup restore --help",
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
        ("restore --at -10min", "--at needs a value, MOMENT", "see etcd2-backup restore --help"),
        ("join --wait soon", "--wait soon is not a time like 90s or 10m", "see etcd2-backup join --help"),
        ("inspect", "inspect needs a PATH", "see etcd2-backup inspect --help"),
        ("inspect --entries 7", "inspect needs a PATH", "see etcd2-backup inspect --help"),
        ("inspect a b", "inspect takes no argument b", "see etcd2-backup inspect --help"),
        (
            "inspect a --entries=9..5",
            "--entries 9..5 is not a range of indexes like 5..9, 5.. or ..9",
            "see etcd2-backup inspect --help",
        ),
        ("-vv backup", "--verbose is given twice", "say it once"),
        ("--root /a backup --root /b", "--root is given twice", "say it once"),
    ] {
        let want = UsageError { what: what.to_owned(), hint: hint.to_owned() };
        assert_eq!(parsed(line), Err(want), "{line}");
    }
}

#[test]
fn moments_are_utc_or_ago() {
    let at = |line: &str| match run(line).verb {
        Verb::Restore(Restore { at: Some(Moment(at)), .. }) => at,
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
}

#[test]
fn only_a_path_may_be_other_than_utf_8() {
    let with = |words: &[&[u8]]| parse(words.iter().map(|w| OsString::from_vec(w.to_vec())));
    for words in [&[&b"--root"[..], b"/\xff", b"backup"][..], &[b"--root=/\xff", b"backup"]] {
        let Ok(Parsed::Run(cli)) = with(words) else { panic!("{words:?}") };
        assert_eq!(cli.root.into_os_string().into_vec(), b"/\xff");
    }
    for (words, what) in [
        (&[&b"back\xff"[..]][..], "there is no verb back\u{fffd}"),
        (&[b"backup", b"--\xff"], "there is no option --\u{fffd}"),
        (&[b"join", b"--wait=1\xff"], "--wait 1\u{fffd} is not a time like 90s or 10m"),
        (&[b"set-founder", b"\xff"], "url \u{fffd} is not a text"),
        (&[b"restore", b"--source", b"\xff"], "--source \u{fffd} is not one of archive, local, auto"),
    ] {
        assert_eq!(with(words).unwrap_err().what, what);
    }
}

#[test]
fn a_usage_error_has_its_exit_code() {
    let error = parsed("bakcup").unwrap_err().into_fault();
    assert_eq!(crate::exit::exit_of(&error), crate::exit::Exit::Usage);
    assert_eq!(error.to_string(), "there is no verb bakcup");
    assert_eq!(crate::exit::hint_of(&error), Some("is it backup? see etcd2-backup --help"));
}

#[test]
fn a_list_of_members_has_each_url_once() {
    let list = |text: &str| match parsed(&format!("restore --initial-cluster {text}")) {
        Ok(Parsed::Run(Cli { verb: Verb::Restore(Restore { initial_cluster: Some(list), .. }), .. })) => {
            Some(list.0)
        }
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
