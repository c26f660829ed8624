//! The software bill of materials of the node program: every crate, the libc and the C library that are
//! linked into it, as CycloneDX 1.5.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use etcd2_backup::exit::{Exit, OrFault};
use etcd2_backup::sys::command::CommandRunExt;
use serde_json::{Value, json};

use super::provenance::{Facts, libc_name};
use crate::checkout;

/// Asks cargo what the program is made of.
pub(crate) fn make(facts: &Facts) -> Result<String> {
    let mut tree = checkout::cargo();
    tree.args(["tree", "--locked", "--package", "etcd2-backup", "--edges", "normal,no-proc-macro"])
        .args(["--prefix", "none", "--no-dedupe", "--format", "{p}|{l}", "--target", &facts.target])
        .current_dir(checkout::root());
    let tree = tree
        .run_ok(Duration::from_secs(300))
        .or_fault(Exit::Failed, "listing the crates of the node program", "see what cargo says: cargo tree")?
        .text();
    let lock = std::fs::read_to_string(checkout::root().join("Cargo.lock")).context("reading Cargo.lock")?;
    Ok(serde_json::to_string_pretty(&document(facts, &tree, &lock)?)? + "\n")
}

fn document(facts: &Facts, tree: &str, lock: &str) -> Result<Value> {
    let checksums = checksums(lock)?;
    let mut crates = BTreeSet::new();
    for line in tree.lines() {
        let (package, licence) = line.split_once('|').with_context(|| format!("cargo tree said {line:?}"))?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next().and_then(|v| v.strip_prefix('v')))
        else {
            anyhow::bail!("cargo tree said {line:?}");
        };
        crates.insert((name, version, licence));
    }
    let mut components: Vec<Value> = Vec::new();
    for (name, version, licence) in crates.into_iter().filter(|(name, ..)| *name != "etcd2-backup") {
        let checksum = checksums.get(&(name.to_owned(), version.to_owned()));
        let hashes: Vec<Value> = checksum.iter().map(|c| json!({"alg": "SHA-256", "content": c})).collect();
        components.push(json!({
            "type": "library", "name": name, "version": version,
            "purl": format!("pkg:cargo/{name}@{}", version.replace('+', "%2B")),
            // The older way to write a choice is no SPDX.
            "licenses": [{"expression": licence.replace('/', " OR ")}],
            "hashes": hashes,
        }));
    }
    for (name, said) in [(libc_name(&facts.target), &facts.libc), ("rust-std", &facts.rustc)] {
        components.push(json!({"type": "library", "name": name, "version": said}));
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(facts.source_date_epoch);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": humantime::format_rfc3339_seconds(time).to_string(),
            "component": {
                "type": "application", "name": "etcd2-backup", "version": facts.version,
                "licenses": [{"expression": "Apache-2.0"}],
                "properties": [
                    {"name": "commit", "value": facts.commit},
                    {"name": "target", "value": facts.target},
                    {"name": "cc", "value": facts.gcc},
                ],
            },
        },
        "components": components,
    }))
}

/// What Cargo.lock says of each crate's archive.
fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = toml::from_str(lock).context("reading Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let entry = |p: &toml::Value| {
        let text = |key: &str| p.get(key)?.as_str().map(str::to_owned);
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    Ok(packages.filter_map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::provenance::tests::facts;

    #[test]
    fn each_crate_is_listed_once_with_licence_and_checksum() {
        let tree = "etcd2-backup v0.1.0 (/somewhere)|Apache-2.0\na v1.0.0+x|MIT/Apache-2.0\nb v2.0.0|MIT\na v1.0.0+x|MIT/Apache-2.0\n";
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"abc\"\n";
        let document = document(&facts(), tree, lock).unwrap();
        let components = document["components"].as_array().unwrap();
        let names: Vec<&str> = components.iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "glibc", "rust-std"]);
        assert_eq!(
            components[0],
            json!({
                "type": "library", "name": "a", "version": "1.0.0+x", "purl": "pkg:cargo/a@1.0.0%2Bx",
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "hashes": [{"alg": "SHA-256", "content": "abc"}],
            })
        );
        assert_eq!(document["metadata"]["timestamp"], "2023-11-14T22:13:20Z");
        assert!(!document.to_string().contains("/somewhere"), "no path of this machine");
        for bad in ["a", "a|MIT", "a 1.0|MIT"] {
            assert!(super::document(&facts(), bad, "").is_err(), "{bad}");
        }
    }
}
