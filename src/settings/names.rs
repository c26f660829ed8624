//! Names that a setting, an option and a directory in the remote may have: each has one rule, here.

use super::our_units::UNITS;

const TEMPLATE: &str = "is a template, not one of its instances";

/// Why no service, nor a template of services, can be called this; one that has no problem is also safe as part of a path.
pub fn service_problem(unit: &str) -> Option<&'static str> {
    let Some(stem) = unit.strip_suffix(".service") else { return Some("does not end in \".service\"") };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
    if stem.is_empty() || unit.len() > 255 {
        return Some("is not a unit name");
    }
    if !stem.bytes().all(allowed) {
        return Some("contains a character that is not for unit names");
    }
    stem.starts_with('@').then_some(TEMPLATE)
}

/// Why the service that runs etcd cannot be called this.
pub fn etcd_unit_problem(unit: &str) -> Option<&'static str> {
    if let Some(why) = service_problem(unit) {
        return Some(why);
    }
    if unit.ends_with("@.service") {
        return Some(TEMPLATE);
    }
    UNITS.contains(&unit).then_some("is a service of this program, not of etcd")
}

/// Whether this is what systemd calls a machine ID: 32 lowercase hex digits. A recovery's token has the same form.
pub fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etcd_unit_is_a_service_of_somebody_else() {
        let long = format!("{}.service", "x".repeat(248));
        for unit in ["etcd2.service", "etcd-member.service", "etcd@m1.service", r"a\x2db.service"] {
            assert_eq!(etcd_unit_problem(unit), None, "{unit}");
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
            &long,
        ];
        for unit in others.into_iter().chain(UNITS) {
            assert!(etcd_unit_problem(unit).is_some(), "{unit}");
        }
    }

    #[test]
    fn a_machine_id_has_32_lowercase_hex_digits() {
        assert!(is_machine_id(&"0f".repeat(16)));
        for text in [
            "",
            "0f",
            &"0F".repeat(16),
            &"0g".repeat(16),
            &"0".repeat(33),
            "../0123456789abcdef0123456789abc",
        ] {
            assert!(!is_machine_id(text), "{text}");
        }
    }
}
