//! Fields of JSON that we wrote ourselves. By hand: derived code would cost the node program more than all the rest here.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Reads a text of our own format.
///
/// # Errors
/// It is no JSON, or of a newer version.
pub(super) fn parse(text: &[u8]) -> Result<Value> {
    let value: Value = serde_json::from_slice(text)?;
    ensure!(value["version"].as_u64() == Some(1), "it is not of version 1: another etcd2-backup wrote it");
    Ok(value)
}

/// As a file, or for stdout.
pub(super) fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(super) fn string(value: &Value, key: &str) -> Result<String> {
    value[key].as_str().map(str::to_owned).with_context(|| format!("{key} is missing"))
}

pub(super) fn list<'a>(value: &'a Value, key: &str) -> Result<&'a [Value]> {
    value[key].as_array().map(Vec::as_slice).with_context(|| format!("{key} is missing"))
}

pub(super) fn strings(value: &Value, key: &str) -> Result<Vec<String>> {
    let text = |v: &Value| v.as_str().map(str::to_owned).with_context(|| format!("{key} holds {v}"));
    list(value, key)?.iter().map(text).collect()
}

pub(super) fn flag(value: &Value, key: &str) -> Result<bool> {
    value[key].as_bool().with_context(|| format!("{key} is missing"))
}
