//! Names that a setting, an option and a directory in the remote may have: each has one rule and one type, here.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::our_units;

/// Text that was checked when it was read: there is no other way to make one.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $problem:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, &'static str> {
                match $problem(text) {
                    None => Ok(Self(text.to_owned())),
                    Some(why) => Err(why),
                }
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl PartialEq<$name> for str {
            fn eq(&self, name: &$name) -> bool {
                *self == name.0
            }
        }

        impl PartialEq<$name> for &str {
            fn eq(&self, name: &$name) -> bool {
                **self == name.0
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, name: &$name) -> bool {
                *self == name.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, text: &str) -> bool {
                self.0 == text
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.0 == *text
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

checked_text! {
    /// What systemd calls a machine ID, 32 lowercase hex digits: a machine's directory below the endpoint. A recovery's token
    /// has the same form.
    MachineId, machine_id_problem
}

checked_text! {
    /// The service that runs etcd, for example `etcd2.service`: none of ours, and safe as part of a path and as an argument.
    UnitName, etcd_unit_problem
}

const TEMPLATE: &str = "is a template, not one of its instances";

/// Why no service, nor a template of services, can be called this; one that has no problem is also safe as part of a path and
/// of a unit. A backslash, which systemd has for other characters, would be an escape there.
pub fn service_problem(unit: &str) -> Option<&'static str> {
    let Some(stem) = unit.strip_suffix(".service") else { return Some("does not end in \".service\"") };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.@".contains(&b);
    if stem.is_empty() || stem.starts_with('-') || unit.len() > 255 {
        return Some("is not a unit name");
    }
    if !stem.bytes().all(allowed) {
        return Some("contains a character that is not for unit names");
    }
    stem.starts_with('@').then_some(TEMPLATE)
}

/// Why the service that runs etcd cannot be called this.
fn etcd_unit_problem(unit: &str) -> Option<&'static str> {
    if let Some(why) = service_problem(unit) {
        return Some(why);
    }
    if unit.ends_with("@.service") {
        return Some(TEMPLATE);
    }
    our_units::names().any(|ours| ours == unit).then_some("is a service of this program, not of etcd")
}

fn machine_id_problem(text: &str) -> Option<&'static str> {
    let is_one = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (!is_one).then_some("is not a machine ID, 32 hex digits")
}

/// Whether this is a [`MachineId`].
pub fn is_machine_id(text: &str) -> bool {
    machine_id_problem(text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etcd_unit_is_a_service_of_somebody_else() {
        let long = format!("{}.service", "x".repeat(248));
        for unit in ["etcd2.service", "etcd-member.service", "etcd@m1.service"] {
            assert_eq!(unit.parse::<UnitName>().unwrap(), unit);
        }
        let others = [
            "",
            "etcd2",
            ".service",
            "@.service",
            "etcd@.service",
            "../../x.service",
            "a b.service",
            "a\n.service",
            "é.service",
            "etcd2.timer",
            "-x.service",
            r"a\x2db.service",
            long.as_str(),
        ];
        let ours: Vec<&str> = our_units::names().collect();
        for unit in others.iter().chain(&ours) {
            assert!(unit.parse::<UnitName>().is_err(), "{unit}");
        }
    }

    #[test]
    fn a_machine_id_has_32_lowercase_hex_digits() {
        assert_eq!("0f".repeat(16).parse::<MachineId>().unwrap().to_string(), "0f".repeat(16));
        for text in [
            "",
            "0f",
            &"0F".repeat(16),
            &"0g".repeat(16),
            &"0".repeat(33),
            "../0123456789abcdef0123456789abc",
        ] {
            assert!(text.parse::<MachineId>().is_err() && !is_machine_id(text), "{text}");
        }
    }
}
