//! What decides where objects go, as digests: under the same endpoint another rclone.conf, or another variable, is another
//! place. Pure; [`Rclone::route`](super::rclone::Rclone::route) gathers it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::conf;
use crate::sys::digest::to_hex;

/// See the module. Two of them can only be compared under one salt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Random, so that no digest tells a secret by being the same elsewhere.
    pub salt: String,
    /// Of what is set: endpoint, rclone.conf without what rclone itself writes there, its password, the runner and its flags.
    pub settings: String,
    /// Of what it is run in: rclone's program or image, and its variables.
    pub process: String,
    /// Of an encrypted rclone.conf: a new token cannot be told from another setting there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// What a [`Route`] is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) endpoint: String,
    /// rclone.conf; `None` where there is none.
    pub(super) conf: Option<Vec<u8>>,
    pub(super) password: Option<String>,
    pub(super) runner: String,
    pub(super) flags: Vec<String>,
    /// What tells rclone's program from another one.
    pub(super) program: Option<String>,
    /// Its variables, by name and in order.
    pub(super) variables: Vec<(String, Vec<u8>)>,
}

impl Route {
    pub(super) fn of(salt: String, facts: &Facts) -> Self {
        let Facts { endpoint, conf, password, runner, flags, program, variables } = facts;
        let mut settings = Sum::new(&salt);
        settings.add(Some(endpoint.as_bytes()));
        settings.add(conf.as_deref().map(conf::the_operators).as_deref());
        settings.add(password.as_deref().map(str::as_bytes));
        settings.add(Some(runner.as_bytes()));
        flags.iter().for_each(|flag| settings.add(Some(flag.as_bytes())));
        let mut process = Sum::new(&salt);
        process.add(program.as_deref().map(str::as_bytes));
        for (name, value) in variables {
            process.add(Some(name.as_bytes()));
            process.add(Some(value));
        }
        let sealed = conf.as_deref().filter(|conf| conf::is_encrypted(conf)).map(|conf| {
            let mut sealed = Sum::new(&salt);
            sealed.add(Some(conf));
            sealed.hex()
        });
        Self { settings: settings.hex(), process: process.hex(), sealed, salt }
    }

    /// Whether it is another one, whatever an encrypted rclone.conf holds.
    pub fn is_other(&self, than: &Self) -> bool {
        (&self.settings, &self.process) != (&than.settings, &than.process)
    }
}

/// A digest of several things, none of which runs into the next.
struct Sum(Sha256);

impl Sum {
    fn new(salt: &str) -> Self {
        let mut this = Self(Sha256::new());
        this.add(Some(salt.as_bytes()));
        this
    }

    fn add(&mut self, thing: Option<&[u8]>) {
        let length = thing.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.0.update(length.to_le_bytes());
        self.0.update(thing.unwrap_or_default());
    }

    fn hex(self) -> String {
        to_hex(&self.0.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[r]\ntype = s3\nsecret = hunter2\n";

    fn facts() -> Facts {
        Facts {
            endpoint: "r:b".into(),
            conf: Some(CONF.into()),
            password: None,
            runner: "host".into(),
            flags: vec!["--a".into(), "--b".into()],
            program: Some("/usr/bin/rclone 7 1.0".into()),
            variables: vec![("RCLONE_A".into(), b"x".to_vec()), ("RCLONE_B".into(), b"y".to_vec())],
        }
    }

    fn of(change: impl FnOnce(&mut Facts)) -> Route {
        let mut facts = facts();
        change(&mut facts);
        Route::of("salt".into(), &facts)
    }

    #[test]
    fn whatever_decides_makes_another_one_and_nothing_else_does() {
        let route = of(|_| {});
        let conf = |text: &str| of(|f| f.conf = Some(text.into()));
        let token = "token = {\"access_token\":\"a\"}\nshell_type = unix\n";
        for same in [conf(&format!("{CONF}{token}")), conf(&CONF.replace(" = ", "=")), route.clone()] {
            assert_eq!((same.is_other(&route), &same), (false, &route));
        }
        let others = [
            of(|f| f.endpoint.push('/')),
            of(|f| f.conf = None),
            conf(""),
            conf(&CONF.replace("hunter2", "hunter3")),
            of(|f| f.password = Some(String::new())),
            of(|f| f.runner = "podman i:1".into()),
            of(|f| f.flags.truncate(1)),
            of(|f| f.flags = vec!["--a--b".into()]),
            of(|f| f.program = Some("/usr/bin/rclone 7 1.1".into())),
            of(|f| f.program = None),
            of(|f| f.variables.truncate(1)),
            of(|f| f.variables[1].1 = b"z".to_vec()),
            of(|f| f.variables = vec![("RCLONE_A".into(), b"xRCLONE_By".to_vec())]),
        ];
        for (at, other) in others.iter().enumerate() {
            assert!(other.is_other(&route), "{at}");
            assert!(others[..at].iter().all(|earlier| other.is_other(earlier)), "{at}");
        }
        assert!(Route::of("other".into(), &facts()).is_other(&route));
    }

    #[test]
    fn an_encrypted_one_is_told_apart_by_what_may_be_a_token() {
        let of = |text: &str| of(|f| f.conf = Some(format!("RCLONE_ENCRYPT_V0:\n{text}\n").into()));
        let (one, other) = (of("abc"), of("def"));
        assert!(!one.is_other(&other) && one.sealed.is_some() && one.sealed != other.sealed);
        assert!(one.is_other(&super::Route::of("salt".into(), &facts())));
    }

    #[test]
    fn no_secret_is_in_it() {
        let text = serde_json::to_string(&of(|f| f.password = Some("hunter4".into()))).unwrap();
        assert!(!text.contains("hunter"), "{text}");
        assert_eq!(
            serde_json::from_str::<Route>(&text).unwrap(),
            of(|f| f.password = Some("hunter4".into()))
        );
    }
}
