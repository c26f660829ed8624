//! The keys of the v3 store, the newest change first.
//!
//! This order needs a hash for each key and no more: 20 MB for a million keys. `sort -k5` orders them by name.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::db::{between_commits, written};
use crate::etcd::v3::mvcc::{KeyValue, visit_live};
use crate::sys::terminal::output::Output;
use crate::sys::terminal::text;

/// Bytes as JSON has them: as text, or in base64 under another name if they are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

impl<'a> Named<'a> {
    /// Of a key.
    pub fn of(key: &'a [u8]) -> Self {
        match str::from_utf8(key) {
            Ok(key) => Self { key: Some(key), key_base64: None },
            Err(_) => Self { key: None, key_base64: Some(text::base64(key)) },
        }
    }
}

/// The same of a value; nothing of it if it is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Valued<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl<'a> Valued<'a> {
    /// Of a value.
    pub fn of(value: &'a [u8], asked: bool) -> Self {
        match str::from_utf8(value) {
            _ if !asked => Self::default(),
            Ok(value) => Self { value: Some(value), value_base64: None },
            Err(_) => Self { value: None, value_base64: Some(text::base64(value)) },
        }
    }
}

/// A key of the v3 store.
#[derive(Debug, Serialize)]
pub struct V3Key<'a> {
    #[serde(flatten)]
    key: Named<'a>,
    /// The revision that made it.
    create_revision: u64,
    /// The revision that changed it last.
    mod_revision: u64,
    /// How often it was written since it was made.
    version: u64,
    /// The lease it goes with, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    /// Size of its value.
    value_bytes: usize,
    #[serde(flatten)]
    value: Valued<'a>,
    #[serde(skip)]
    raw: KeyValue<'a>,
    #[serde(skip)]
    shown: bool,
}

impl<'a> V3Key<'a> {
    fn of(raw: &KeyValue<'a>, values: bool) -> Self {
        Self {
            key: Named::of(raw.key),
            create_revision: raw.create_revision,
            mod_revision: raw.mod_revision,
            version: raw.version,
            lease: (raw.lease != 0).then(|| lease(raw.lease)),
            value_bytes: raw.value.len(),
            value: Valued::of(raw.value, values),
            raw: *raw,
            shown: values,
        }
    }
}

/// A lease's ID as etcdctl prints it.
pub(super) fn lease(id: i64) -> String {
    format!("{:016x}", id.cast_unsigned())
}

impl fmt::Display for V3Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (create, modified, version) = (self.create_revision, self.mod_revision, self.version);
        let lease = self.lease.as_deref().unwrap_or("-");
        write!(f, "{create:>8} {modified:>8} {version:>7} {lease:>16}  {}", text::name(self.raw.key))?;
        if self.shown { write!(f, " {}", text::value(self.raw.value)) } else { Ok(()) }
    }
}

/// Lists the keys of a db; how many there are. Their values only if asked for.
///
/// # Errors
/// It cannot be read, is no sane db, was written meanwhile, or the output is closed.
pub fn list(db: &Path, values: bool, out: &mut Output) -> Result<u64> {
    let mut listed = 0;
    let (read, same) = between_commits(db, |db| {
        visit_live(db, &mut |key| {
            if listed == 0 && !out.json {
                let what = if values { "key and value" } else { "key" };
                out.text(&format!("  create      mod version            lease  {what} of the v3 store\n"))?;
            }
            listed += 1;
            let key = V3Key::of(key, values);
            if out.json { out.json(&key) } else { out.text(&format!("{key}\n")) }
        })
    })?;
    read?;
    if same { Ok(listed) } else { Err(written(db)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_on_one_line_and_as_json() {
        let (key, value) = (&b"/registry/a\n"[..], &b"k8s\x00\xff"[..]);
        let raw = KeyValue { key, create_revision: 5, mod_revision: 70, version: 3, value, lease: 0x1f };
        let other = KeyValue { key: b"\xff", value: b"text", lease: 0, ..raw };
        for (raw, values, line, json) in [
            (
                raw,
                false,
                r"       5       70       3 000000000000001f  /registry/a\n",
                r#"{"key":"/registry/a\n","create_revision":5,"mod_revision":70,"version":3,"lease":"000000000000001f","value_bytes":5}"#,
            ),
            (
                raw,
                true,
                r#"       5       70       3 000000000000001f  /registry/a\n "k8s\0\xff""#,
                r#"{"key":"/registry/a\n","create_revision":5,"mod_revision":70,"version":3,"lease":"000000000000001f","value_bytes":5,"value_base64":"azhzAP8="}"#,
            ),
            (
                other,
                true,
                r#"       5       70       3                -  \xff "text""#,
                r#"{"key_base64":"/w==","create_revision":5,"mod_revision":70,"version":3,"value_bytes":4,"value":"text"}"#,
            ),
        ] {
            let told = V3Key::of(&raw, values);
            assert_eq!(told.to_string(), line);
            assert_eq!(serde_json::to_string(&told).unwrap(), json);
        }
    }
}
