//! What a scenario says about itself: its name, and the header lines `# word` and `# word: value` at its top.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, fault};

use super::Shape;
use super::settings::Style;

/// A scenario ends in a few minutes: this is for one that hangs, beside compilers and tests on two processors.
const DEFAULT_LIMIT: Duration = Duration::from_secs(1200);

/// A file of tests/lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scenario {
    /// Its name, such as `10-readme-restore`.
    pub(super) name: String,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it runs on.
    pub(super) shape: Shape,
    /// Left out of the short run.
    pub(super) long: bool,
    /// Takes `--seeds` and `--first-seed`.
    pub(super) seeds: bool,
    /// Finds a current rclone in `LAB_CURRENT_RCLONE`.
    pub(super) current_rclone: bool,
    /// How long it may take.
    pub(super) limit: Duration,
}

/// All scenarios of a folder, in the order of their names.
pub(super) fn load_all(dir: &Path) -> Result<Vec<Scenario>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut scenarios = Vec::new();
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == "sh") && name.starts_with(|c: char| c.is_ascii_digit()) {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            scenarios.push(parse(&name, path, &text)?);
        }
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

/// The scenario of a name: the whole one, its number, or what follows the number.
pub(super) fn find<'a>(all: &'a [Scenario], name: &str) -> Result<&'a Scenario> {
    let fits = |s: &&Scenario| {
        s.name == name || s.name.split_once('-').is_some_and(|(number, rest)| number == name || rest == name)
    };
    all.iter().find(fits).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|s| s.name.as_str()).collect();
        fault(
            Exit::NotFound,
            format!("there is no scenario {name}"),
            format!("there are: {}", names.join(", ")),
        )
    })
}

fn parse(name: &str, path: PathBuf, text: &str) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: name.to_owned(),
        path,
        shape: Shape { nodes: 3, settings: Style::Cloudinit },
        long: false,
        seeds: false,
        current_rclone: false,
        limit: DEFAULT_LIMIT,
    };
    for line in text.lines().take_while(|line| line.starts_with('#')) {
        let line = line.trim_start_matches(['#', ' ']).trim();
        let (word, value) = line.split_once(':').map_or((line, ""), |(w, v)| (w, v.trim()));
        let wrong = || {
            let hint = "docs/lab.md says what can stand at the top of a scenario";
            fault(Exit::Settings, format!("{name}: {value:?} is no value for {word:?}"), hint)
        };
        match word {
            "long" if value.is_empty() => scenario.long = true,
            "seeds" if value.is_empty() => scenario.seeds = true,
            "rclone" if value == "current" => scenario.current_rclone = true,
            "rclone" => return Err(wrong()),
            "nodes" => {
                let count = value.parse().ok().filter(|n| (1..=9).contains(n));
                scenario.shape.nodes = count.ok_or_else(wrong)?;
            }
            "settings" => scenario.shape.settings = Style::named(value).ok_or_else(wrong)?,
            "limit" => scenario.limit = humantime::parse_duration(value).map_err(|_| wrong())?,
            // Prose.
            _ => {}
        }
    }
    Ok(scenario)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_decides_and_prose_does_not() {
        let text = "#!/bin/bash\n# Long ago: a story.\n# long\n# seeds\n# rclone: current\n# nodes: 4\n# settings: flatcar\n# limit: 50m\n\
                    source x\n# nodes: 9\n";
        let s = parse("10-x", PathBuf::new(), text).unwrap();
        assert_eq!((s.long, s.seeds, s.current_rclone), (true, true, true));
        assert_eq!((s.shape.nodes, s.shape.settings), (4, Style::Flatcar));
        assert_eq!(s.limit, Duration::from_secs(3000));
        let s = parse("10-x", PathBuf::new(), "#!/bin/bash\n# Nothing.\n").unwrap();
        assert_eq!(s.limit, DEFAULT_LIMIT);
        assert_eq!((s.long, s.seeds, s.current_rclone), (false, false, false));
        assert_eq!((s.shape.nodes, s.shape.settings), (3, Style::Cloudinit));
    }

    #[test]
    fn a_wrong_value_is_an_error() {
        for (line, message) in [
            ("# nodes: 10", "10-x: \"10\" is no value for \"nodes\""),
            ("# rclone: old", "10-x: \"old\" is no value for \"rclone\""),
            ("# settings: x", "10-x: \"x\" is no value for \"settings\""),
            ("# limit: 5", "10-x: \"5\" is no value for \"limit\""),
        ] {
            assert_eq!(parse("10-x", PathBuf::new(), line).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_scenario_is_found_by_each_of_its_names() {
        let all = [parse("10-a-b", PathBuf::new(), "").unwrap(), parse("11-c", PathBuf::new(), "").unwrap()];
        for (name, found) in
            [("10", Some("10-a-b")), ("a-b", Some("10-a-b")), ("11-c", Some("11-c")), ("1", None)]
        {
            assert_eq!(find(&all, name).ok().map(|s| s.name.as_str()), found, "{name}");
        }
    }
}
