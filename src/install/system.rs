//! Which systems this is made for.

use std::{fs, io};

use anyhow::Result;

use crate::paths::{OS_RELEASE, OS_RELEASE_VENDOR};
use crate::sys::os_release::{self, OsRelease};
use crate::sys::root::Root;

/// For people: what [`Family::of`] knows.
pub const MADE_FOR: &str =
    "CoreOS Container Linux, Flatcar, Fedora CoreOS, Debian, Ubuntu, RHEL and systems like them";

/// Systems that differ in nothing that matters here, but in how a package is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Everything is in the image, and there are no packages: CoreOS Container Linux, Flatcar.
    Image,
    /// Debian, Ubuntu and what is made from them: `apt-get`.
    Debian,
    /// Fedora, RHEL, CentOS, Rocky Linux, AlmaLinux and what is made from them, Fedora CoreOS too: `dnf`.
    RedHat,
}

impl Family {
    /// The family of a system, by its `ID`, else by the first of `ID_LIKE` that is known; `None` for any other.
    pub fn of(system: &OsRelease) -> Option<Self> {
        let known = |id: &String| match id.as_str() {
            "coreos" | "flatcar" => Some(Self::Image),
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" | "rocky" | "almalinux" => Some(Self::RedHat),
            _ => None,
        };
        [&system.id].into_iter().chain(&system.id_like).find_map(known)
    }
}

/// What os-release says, of `/etc` or else of `/usr/lib`.
///
/// # Errors
/// It cannot be read.
pub fn load(root: &Root) -> Result<OsRelease> {
    let read = |path: &str| {
        let path = root.join(path);
        fs::read(&path).map_err(|e| (e, path))
    };
    let found = match read(OS_RELEASE) {
        Err((e, _)) if e.kind() == io::ErrorKind::NotFound => {
            read(OS_RELEASE_VENDOR).map_err(|(e, _)| (e, root.join(OS_RELEASE)))
        }
        found => found,
    };
    let text =
        found.map_err(|(e, path)| anyhow::Error::new(e).context(format!("reading {}", path.display())))?;
    Ok(os_release::parse(&String::from_utf8_lossy(&text)))
}

/// As a message names it: `Arch Linux (ID=arch)`.
pub fn describe(system: &OsRelease) -> String {
    let of = |text: &str| if text.is_empty() { "?".to_owned() } else { text.escape_debug().to_string() };
    if system.pretty_name.is_empty() {
        return format!("ID={}", of(&system.id));
    }
    format!("{} (ID={})", of(&system.pretty_name), of(&system.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these systems write, as far as it is looked at and around it.
    const SYSTEMS: [(&str, Option<Family>); 26] = [
        (
            "NAME=\"Container Linux by CoreOS\"\nID=coreos\nVERSION=1235.9.0\nVERSION_ID=1235.9.0\n\
             BUILD_ID=2017-02-02-0235\nPRETTY_NAME=\"Container Linux by CoreOS 1235.9.0 (Ladybug)\"\n\
             ANSI_COLOR=\"38;5;75\"\nHOME_URL=\"https://coreos.com/\"\n",
            Some(Family::Image),
        ),
        ("NAME=CoreOS\nID=coreos\nVERSION=835.9.0\nPRETTY_NAME=\"CoreOS 835.9.0\"\n", Some(Family::Image)),
        (
            "NAME=\"Flatcar Container Linux by Kinvolk\"\nID=flatcar\nID_LIKE=coreos\nVERSION=3510.2.1\n\
             VERSION_ID=3510.2.1\nBUILD_ID=2023-04-20-0947\nSYSEXT_LEVEL=1.0\n\
             PRETTY_NAME=\"Flatcar Container Linux by Kinvolk 3510.2.1 (Oklo)\"\nFLATCAR_BOARD=\"amd64-usr\"\n",
            Some(Family::Image),
        ),
        (
            "NAME=\"Fedora Linux\"\nVERSION=\"38.20230609.3.0 (CoreOS)\"\nID=fedora\nVERSION_ID=38\n\
             PLATFORM_ID=\"platform:f38\"\nPRETTY_NAME=\"Fedora CoreOS 38.20230609.3.0\"\n\
             VARIANT=\"CoreOS\"\nVARIANT_ID=coreos\nOSTREE_VERSION='38.20230609.3.0'\n",
            Some(Family::RedHat),
        ),
        (
            "NAME=\"Fedora Linux\"\nID=fedora\nVARIANT=\"Workstation Edition\"\nVARIANT_ID=workstation\n",
            Some(Family::RedHat),
        ),
        (
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n\
             VERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n",
            Some(Family::Debian),
        ),
        (
            "PRETTY_NAME=\"Ubuntu 22.04.3 LTS\"\nNAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\n\
             VERSION=\"22.04.3 LTS (Jammy Jellyfish)\"\nVERSION_CODENAME=jammy\nID=ubuntu\nID_LIKE=debian\n\
             UBUNTU_CODENAME=jammy\n",
            Some(Family::Debian),
        ),
        (
            "PRETTY_NAME=\"Raspbian GNU/Linux 11 (bullseye)\"\nID=raspbian\nID_LIKE=debian\n",
            Some(Family::Debian),
        ),
        ("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Family::Debian)),
        (
            "NAME=\"Red Hat Enterprise Linux\"\nVERSION=\"9.3 (Plow)\"\nID=\"rhel\"\nID_LIKE=\"fedora\"\n\
             VERSION_ID=\"9.3\"\nPLATFORM_ID=\"platform:el9\"\n\
             PRETTY_NAME=\"Red Hat Enterprise Linux 9.3 (Plow)\"\n",
            Some(Family::RedHat),
        ),
        (
            "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\nID_LIKE=\"rhel fedora\"\n",
            Some(Family::RedHat),
        ),
        (
            "NAME=\"Rocky Linux\"\nVERSION=\"9.3 (Blue Onyx)\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
            Some(Family::RedHat),
        ),
        ("NAME=\"AlmaLinux\"\nID=\"almalinux\"\nID_LIKE=\"rhel centos fedora\"\n", Some(Family::RedHat)),
        ("NAME=\"Oracle Linux Server\"\nID=\"ol\"\nID_LIKE=\"fedora\"\n", Some(Family::RedHat)),
        ("NAME=\"Amazon Linux\"\nID=\"amzn\"\nID_LIKE=\"centos rhel fedora\"\n", Some(Family::RedHat)),
        (
            "NAME=\"Red Hat Enterprise Linux CoreOS\"\nID=\"rhcos\"\nID_LIKE=\"rhel fedora\"\nVARIANT_ID=coreos\n",
            Some(Family::RedHat),
        ),
        ("NAME=\"Arch Linux\"\nPRETTY_NAME=\"Arch Linux\"\nID=arch\nBUILD_ID=rolling\n", None),
        ("NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.18.4\nPRETTY_NAME=\"Alpine Linux v3.18\"\n", None),
        (
            "BUG_REPORT_URL=\"https://github.com/NixOS/nixpkgs/issues\"\nID=nixos\nPRETTY_NAME=\"NixOS 23.05 (Stoat)\"\n",
            None,
        ),
        ("NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n", None),
        ("NAME=\"SLES\"\nVERSION=\"15-SP5\"\nID=\"sles\"\nID_LIKE=\"suse\"\n", None),
        ("ID=debian\r\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\r\n", Some(Family::Debian)),
        ("ID='ubuntu'\n", Some(Family::Debian)),
        ("VARIANT_ID=coreos\nNAME=debian\nID_LIKES=debian\n# ID=debian\n", None),
        ("\u{0}\u{fffd}ID=debian\u{7}", None),
        ("", None),
    ];

    #[test]
    fn systems_are_known_by_id_or_by_what_they_are_like() {
        for (text, expected) in SYSTEMS {
            assert_eq!(Family::of(&os_release::parse(text)), expected, "{text}");
        }
    }

    #[test]
    fn what_is_named_is_fit_for_a_terminal() {
        for (text, expected) in [
            ("ID=arch\nPRETTY_NAME=\"Arch Linux\"\n", "Arch Linux (ID=arch)"),
            ("ID=alpine\n", "ID=alpine"),
            ("PRETTY_NAME='\u{1b}[31mred'\n", "\\u{1b}[31mred (ID=?)"),
            ("", "ID=?"),
        ] {
            assert_eq!(describe(&os_release::parse(text)), expected);
        }
    }
}
