//! The software bill of materials of the node program: every crate, the libc and the C library that are
//! linked into it, as CycloneDX 1.5.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, NodeDep, Package, Target};
use etcd2_backup::exit::{Exit, OrFault};
use etcd2_backup::sys::command::CommandRunExt;
use serde_json::{Value, json};

use super::provenance::{Facts, libc_name};
use crate::checkout;

/// Asks cargo what the program is made of.
pub(crate) fn make(facts: &Facts) -> Result<String> {
    let mut ask = checkout::cargo();
    ask.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &facts.target]);
    let said = ask
        .current_dir(checkout::root())
        .run_ok(Duration::from_secs(300))
        .or_fault(
            Exit::Failed,
            "listing the crates of the node program",
            "see what cargo says: cargo metadata",
        )?
        .text();
    let metadata = MetadataCommand::parse(said).context("reading what cargo metadata said")?;
    let lock = std::fs::read_to_string(checkout::root().join("Cargo.lock")).context("reading Cargo.lock")?;
    Ok(serde_json::to_string_pretty(&document(facts, &metadata, &lock)?)? + "\n")
}

/// What is linked into the root package's program: what it needs to run, and what that needs, but no procedural macros.
/// Cargo turns on what any package of the workspace asks of a crate: one may be listed that is not linked, and none is missing.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let root = resolve.root.as_ref().context("the workspace has no package at its root")?;
    let (mut found, mut left) = (BTreeSet::new(), vec![root]);
    while let Some(id) = left.pop() {
        let package = metadata.packages.iter().find(|package| package.id == *id);
        let is_macro = package.is_some_and(|p| p.targets.iter().any(Target::is_proc_macro));
        if is_macro || !found.insert(id) {
            continue;
        }
        let normal = |dep: &&NodeDep| dep.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal);
        let node = resolve.nodes.iter().find(|node| node.id == *id).context("a crate was not resolved")?;
        left.extend(node.deps.iter().filter(normal).map(|dep| &dep.pkg));
    }
    found.remove(root);
    Ok(metadata.packages.iter().filter(|package| found.contains(&package.id)).collect())
}

fn document(facts: &Facts, metadata: &Metadata, lock: &str) -> Result<Value> {
    let checksums = checksums(lock)?;
    let mut crates: Vec<(String, String, &str)> = Vec::new();
    for package in linked(metadata)? {
        let licence = package.license.as_deref();
        let licence = licence.with_context(|| format!("{} names no licence", package.name))?;
        crates.push((package.name.to_string(), package.version.to_string(), licence));
    }
    crates.sort();
    let mut components: Vec<Value> = Vec::new();
    for (name, version, licence) in crates {
        let purl = format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"));
        // The older way to write a choice is no SPDX.
        let licence = licence.replace('/', " OR ");
        let checksum = checksums.get(&(name.clone(), version.clone()));
        let hashes: Vec<Value> = checksum.iter().map(|c| json!({"alg": "SHA-256", "content": c})).collect();
        components.push(json!({
            "type": "library", "name": name, "version": version, "purl": purl,
            "licenses": [{"expression": licence}], "hashes": hashes,
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
    use super::super::provenance::tests::facts;
    use super::*;

    /// What cargo says of crates, `(name, version, kind)`, and of who needs whom, `(who, whom, how)`.
    fn metadata(crates: &[(&str, &str, &str)], needs: &[(&str, &str, Option<&str>)]) -> Metadata {
        let package = |(name, version, kind): &(&str, &str, &str)| {
            json!({
                "name": name, "version": version, "id": name, "license": "MIT/Apache-2.0", "dependencies": [],
                "targets": [{"name": name, "kind": [kind], "crate_types": [kind], "src_path": "/somewhere"}],
                "features": {}, "manifest_path": "/somewhere/Cargo.toml",
            })
        };
        let node = |(who, ..): &(&str, &str, &str)| {
            let deps = needs.iter().filter(|(needer, ..)| needer == who).map(|(_, whom, how)| {
                json!({"name": whom, "pkg": whom, "dep_kinds": [{"kind": how, "target": null}]})
            });
            json!({"id": who, "dependencies": [], "features": [], "deps": deps.collect::<Vec<_>>()})
        };
        let all = json!({
            "packages": crates.iter().map(package).collect::<Vec<_>>(), "workspace_members": [crates[0].0],
            "resolve": {"root": crates[0].0, "nodes": crates.iter().map(node).collect::<Vec<_>>()},
            "workspace_root": "/somewhere", "target_directory": "/somewhere/target", "version": 1,
        });
        MetadataCommand::parse(all.to_string()).unwrap()
    }

    #[test]
    fn each_crate_that_is_linked_is_listed_once_with_licence_and_checksum() {
        let lib = |name, version| (name, version, "lib");
        let crates = [
            lib("etcd2-backup", "0.1.0"),
            lib("b", "2.0.0"),
            lib("a", "1.0.0+x"),
            ("derives", "1.0.0", "proc-macro"),
            lib("of-derives", "1.0.0"),
            lib("tests", "1.0.0"),
            lib("builds", "1.0.0"),
        ];
        let needs = [
            ("etcd2-backup", "b", None),
            ("etcd2-backup", "a", None),
            ("b", "a", None),
            ("b", "derives", None),
            ("derives", "of-derives", None),
            ("etcd2-backup", "tests", Some("dev")),
            ("a", "builds", Some("build")),
        ];
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0+x\"\nchecksum = \"abc\"\n";
        let document = document(&facts(), &metadata(&crates, &needs), lock).unwrap();
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
    }
}
