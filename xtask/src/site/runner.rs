//! How rclone is run on a node: the `[rclone]` table, checked.

use std::path::Path;

use anyhow::{Context, Result};
use etcd2_backup::settings::rclone_flags::objection;
use etcd2_backup::settings::rclone_section::Section;
use etcd2_backup::settings::reach;

use super::faults::Faults;
use super::fragment::RcloneFragment;
use super::input::{self, Content};
use super::nearest::nearest;
use super::validate::{self, refuse};

/// rclone's own image, of the version that the tests run with. podman takes no name without a registry everywhere.
pub(crate) const STOCK_IMAGE: &str = "docker.io/rclone/rclone:1.75.2";

/// Where an rclone for the tarball comes from. Whether it is static is seen when it is packed.
pub(crate) const BUNDLE_HINT: &str =
    "take the static rclone of its own releases; a distribution's is linked against libraries";

/// How rclone is run on a node.
#[derive(Debug)]
pub(crate) enum Runner {
    /// In a container of this image, by docker.
    Docker(String),
    /// In a container of this image, by podman.
    Podman(String),
    /// The rclone of the node's PATH.
    Host,
    /// The rclone that travels in the tarball.
    Bundled(Content),
}

impl Runner {
    /// The runner's name in the settings.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
            Self::Host => "host",
            Self::Bundled(_) => "bundled",
        }
    }
}

/// The runner that the settings ask for; paths are relative to the site's folder.
pub(crate) fn resolve(said: RcloneFragment, dir: &Path) -> Result<Runner> {
    const RUNNERS: [&str; 4] = ["docker", "podman", "host", "bundled"];
    let name = said.runner.as_deref().unwrap_or("docker");
    if said.image.is_some() && ["host", "bundled"].contains(&name) {
        let what = format!("rclone.image has no meaning for the runner {name}");
        return Err(refuse(what, "remove image, or choose runner = \"docker\" or \"podman\""));
    }
    if said.bundle.is_some() && name != "bundled" && RUNNERS.contains(&name) {
        let what = format!("rclone.bundle has no meaning for the runner {name}");
        return Err(refuse(what, "remove bundle, or choose runner = \"bundled\""));
    }
    let image = said.image.unwrap_or_else(|| STOCK_IMAGE.into());
    validate::check_image(&image)?;
    match name {
        "docker" => Ok(Runner::Docker(image)),
        "podman" => Ok(Runner::Podman(image)),
        "host" => Ok(Runner::Host),
        "bundled" => {
            let bundle = said.bundle.ok_or_else(|| {
                let what = "the runner bundled needs a static rclone to put into the tarball";
                refuse(what, "write bundle = \"path/of/rclone\", relative to this file")
            })?;
            let bytes =
                input::read(dir, Path::new(&bundle), input::PROGRAM, BUNDLE_HINT).context("rclone.bundle")?;
            Ok(Runner::Bundled(Content(bytes)))
        }
        _ => {
            let hint = match nearest(name, RUNNERS) {
                Some(near) => format!("did you mean {near}? The runners are: {}", RUNNERS.join(", ")),
                None => format!("the runners are: {}", RUNNERS.join(", ")),
            };
            Err(refuse(format!("rclone.runner {name:?} is not known"), hint))
        }
    }
}

/// `--bundle-rclone PATH` over what the file says: the flag chooses the runner `bundled`.
pub(crate) fn bundle(said: &mut RcloneFragment, path: &Path) -> Result<()> {
    if let Some(other) = said.runner.as_deref().filter(|r| *r != "bundled") {
        let what = format!("--bundle-rclone contradicts rclone.runner {other:?}");
        return Err(refuse(what, "remove runner from etcd2-backup.toml, or leave --bundle-rclone out"));
    }
    let path = std::path::absolute(path)?;
    let Some(text) = path.to_str() else {
        return Err(refuse(
            format!("--bundle-rclone {path:?} is not UTF-8"),
            "rename the file or its folder",
        ));
    };
    said.runner = Some("bundled".into());
    said.bundle = Some(text.into());
    Ok(())
}

/// What a container cannot be given of the node would be missed by each backup, or go down with the container.
pub(crate) fn refuse_unmountable(
    runner: &Runner,
    endpoint: &str,
    sections: &[Section],
    flags: &[String],
) -> Result<()> {
    if !matches!(runner, Runner::Docker(_) | Runner::Podman(_)) {
        return Ok(());
    }
    let mut reach = reach::reach(endpoint, &|name| sections.iter().find(|s| s.name == name).cloned());
    reach.add_files(&reach::of_flags(flags));
    match reach.objections.first() {
        None => Ok(()),
        Some((what, hint)) => {
            let what =
                format!("{what}, and the runner {} is a container that does not see it", runner.name());
            Err(refuse(what, format!("{hint}; or choose runner = \"bundled\" or \"host\"")))
        }
    }
}

/// The limit of bandwidth, if there is one.
pub(crate) fn bwlimit(said: Option<&str>) -> Result<Option<String>> {
    let said = said.unwrap_or("off");
    if !is_bwlimit(said) {
        let what = format!("rclone.bwlimit {said:?} is no limit of bandwidth as rclone writes it");
        let hint = "write \"2M\" for 2 MiB/s, \"2M:10M\" for up and down, \"08:00,1M 19:00,off\" for hours, or \"off\"";
        return Err(refuse(what, hint));
    }
    Ok(Some(said.to_owned()).filter(|said| said != "off"))
}

/// One limit, or a table of limits by the hour.
fn is_bwlimit(text: &str) -> bool {
    let timed =
        |entry: &str| entry.split_once(',').is_some_and(|(time, rate)| is_time(time) && is_rate(rate));
    is_rate(text) || (!text.is_empty() && text.split(' ').all(timed))
}

/// `08:00`, or `Mon-08:00`.
fn is_time(text: &str) -> bool {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let time = text.split_once('-').map_or(Some(text), |(day, time)| DAYS.contains(&day).then_some(time));
    let two = |digits: &str| Some(digits).filter(|d| d.len() == 2).and_then(|d| d.parse::<u8>().ok());
    let parts = time.and_then(|time| time.split_once(':')).map(|(hour, minute)| (two(hour), two(minute)));
    matches!(parts, Some((Some(..24), Some(..60))))
}

/// `2M`, or `UP:DOWN`.
fn is_rate(text: &str) -> bool {
    let one = |rate: &str| {
        let number = rate.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = ["", "B", "b", "k", "K", "Ki", "KiB", "M", "Mi", "MiB", "G", "Gi", "GiB"]
            .contains(&&rate[number.len()..]);
        let digits = |d: &str| !d.is_empty() && d.len() < 10 && d.bytes().all(|b| b.is_ascii_digit());
        let number = number.split_once('.').map_or(digits(number), |(a, b)| digits(a) && digits(b));
        rate == "off" || (number && unit)
    };
    text.split_once(':').map_or_else(|| one(text), |(up, down)| one(up) && one(down))
}

/// The flags, each of them one that may be added.
pub(crate) fn flags(said: &[String]) -> Result<Vec<String>> {
    let mut faults = Faults::default();
    for flag in said {
        if let Some((problem, hint)) = objection(flag) {
            // What follows may be a secret.
            let name = flag.split('=').next().unwrap_or_default();
            faults.extend([refuse(format!("rclone.flags: {name:?} {problem}"), hint)]);
        }
    }
    faults.or(said.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_image_has_the_rclone_of_the_tests() {
        assert_eq!(STOCK_IMAGE, format!("docker.io/rclone/rclone:{}", testkit::tools::CURRENT_RCLONE));
        assert_eq!(STOCK_IMAGE, etcd2_backup::settings::table::default("rclone.image"));
    }

    #[test]
    fn what_a_container_cannot_be_given_is_refused() {
        let sections = etcd2_backup::settings::rclone_section::parse_sections(
            "[d]\ntype = local\n[s]\ntype = sftp\nkey_file = ~/id\n",
        );
        let docker = Runner::Docker(STOCK_IMAGE.into());
        let refused = |runner: &Runner, endpoint: &str, flag: &str| {
            let flags: Vec<String> = Some(flag.to_owned()).into_iter().filter(|f| !f.is_empty()).collect();
            refuse_unmountable(runner, endpoint, &sections, &flags).err().map(|e| e.to_string())
        };
        for (endpoint, flag, what) in [
            ("d:/", "", "the remote's path on the node is \"/\", and the runner docker is a container"),
            ("s:b", "", "key_file of [s] is \"~/id\""),
            ("d:/srv", "--ca-cert=ca.pem", "ca-cert is \"ca.pem\""),
        ] {
            let said = refused(&docker, endpoint, flag).unwrap();
            assert!(said.contains(what), "{said}");
            assert_eq!(refused(&Runner::Host, endpoint, flag), None);
        }
        assert_eq!(refused(&docker, "d:/srv/backups", "--ca-cert=/etc/ca.pem"), None);
    }

    #[test]
    fn a_limit_of_bandwidth_is_what_rclone_reads() {
        for good in [
            "off",
            "2M",
            "512",
            "1.5M",
            "100k",
            "1MiB",
            "2M:10M",
            "off:1M",
            "08:00,512k 12:00,10M:off 23:59,off",
            "Mon-00:00,512 Sun-20:00,off",
        ] {
            assert!(is_bwlimit(good), "{good}");
        }
        for bad in [
            "",
            " ",
            "fast",
            "-1",
            "M",
            "1..5M",
            ".5M",
            "2X",
            "2M:",
            ":2M",
            "1:2:3",
            "8:00,1M",
            "24:00,1M",
            "08:60,1M",
            "08:00,",
            "Day-08:00,1M",
            "08:00,1M  12:00,1M",
            "08:00,1M;12:00,2M",
            "2M --config",
            "+5M",
        ] {
            assert!(!is_bwlimit(bad), "{bad}");
        }
        assert_eq!(bwlimit(Some("off")).unwrap(), None);
        assert_eq!(bwlimit(Some("2M")).unwrap().as_deref(), Some("2M"));
    }

    #[test]
    fn the_flag_chooses_the_runner_unless_the_file_chose_another() {
        let said = |runner: Option<&str>| RcloneFragment {
            runner: runner.map(Into::into),
            bundle: Some("other".into()),
            ..RcloneFragment::default()
        };
        for runner in [None, Some("bundled")] {
            let mut fragment = said(runner);
            bundle(&mut fragment, Path::new("/r/rclone")).unwrap();
            assert_eq!(fragment.runner.as_deref(), Some("bundled"));
            assert_eq!(fragment.bundle.as_deref(), Some("/r/rclone"));
        }
        for runner in ["docker", "podman", "host", "x\"y"] {
            let error = bundle(&mut said(Some(runner)), Path::new("/r")).unwrap_err();
            assert_eq!(error.to_string(), format!("--bundle-rclone contradicts rclone.runner {runner:?}"));
        }
    }
}
