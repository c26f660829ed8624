//! The templates: those that are built in, and those of the operator's that take their place, file by file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::nearest::nearest;
use anyhow::Result;
use etcd2_backup::exit::{Exit, OrFault};
use include_dir::{Dir, include_dir};
use walkdir::WalkDir;

use super::input::{self, TEXT};
use super::validate::refuse;

static STOCK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates");
/// A template ends so; what has no such ending ships as it is.
pub(crate) const SUFFIX: &str = ".tera";
/// Templates in this folder are parts of others, and no files of the node.
pub(crate) const PARTS: &str = "include/";
/// The folder of a site that is used without being named.
pub(crate) const FOLDER: &str = "templates";

/// Texts by their path on the node, relative to `/`, with [`SUFFIX`] if they are to be rendered.
pub(crate) type Texts = BTreeMap<String, String>;

/// The built-in ones.
pub(crate) fn stock() -> Texts {
    fn walk(dir: &'static Dir<'static>) -> Vec<(String, String)> {
        let text = |f: &'static include_dir::File<'static>| {
            Some((f.path().to_str()?.to_owned(), f.contents_utf8()?.to_owned()))
        };
        let here = dir.files().filter_map(text).filter(|(name, _)| name.ends_with(SUFFIX));
        here.chain(dir.dirs().flat_map(walk)).collect()
    }
    walk(&STOCK).into_iter().collect()
}

/// The built-in ones, with the operator's in their place.
pub(crate) fn effective(overrides: &Texts) -> Texts {
    let mut all = stock();
    for (name, text) in overrides {
        all.remove(&format!("{name}{SUFFIX}"));
        all.insert(name.clone(), text.clone());
    }
    all
}

/// The operator's templates: those of the folder that was named, else the site's own if it has some.
pub(crate) fn load(site: &Path, named: Option<&Path>) -> Result<Texts> {
    if let Some(dir) = named {
        if !dir.is_dir() {
            let what = format!("--templates {} is not a directory", dir.display());
            return Err(refuse(what, "name a folder laid out like templates/ of the checkout"));
        }
        return load_dir(dir);
    }
    let dir = site.join(FOLDER);
    if dir.symlink_metadata().is_err() {
        return Ok(Texts::new());
    }
    if !dir.is_dir() {
        let what = format!("{} is not a directory", dir.display());
        return Err(refuse(what, "remove it, or make it a folder laid out like templates/ of the checkout"));
    }
    input::check_inside(site, &dir)?;
    load_dir(&dir)
}

fn load_dir(dir: &Path) -> Result<Texts> {
    let known = stock();
    let mut found = Texts::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.or_fault(
            Exit::Settings,
            format!("listing {}", dir.display()),
            "look at its owner and mode",
        )?;
        if entry.file_type().is_dir() {
            continue;
        }
        let path = entry.path().strip_prefix(dir).unwrap_or(entry.path());
        let name = path.to_string_lossy().into_owned();
        if !known.contains_key(&name) && !known.contains_key(&format!("{name}{SUFFIX}")) {
            return Err(unknown(dir, &name, &known));
        }
        let text = input::read_text(dir, path, TEXT, "copy it from templates/ of the checkout")?;
        found.insert(name, text);
    }
    if let Some(name) = found.keys().find(|n| found.contains_key(&format!("{n}{SUFFIX}"))) {
        let what = format!("{0} is there twice, as it is and as {0}{SUFFIX}", dir.join(name).display());
        return Err(refuse(what, format!("remove one: what ends in {SUFFIX} is rendered, the other is not")));
    }
    Ok(found)
}

/// The error about a file that takes nothing's place: it would be left out without a word.
fn unknown(dir: &Path, name: &str, known: &Texts) -> anyhow::Error {
    let last = |path: &str| PathBuf::from(path).file_name().map(|n| n.to_string_lossy().into_owned());
    let lasts: Vec<(String, &String)> = known.keys().filter_map(|k| Some((last(k)?, k))).collect();
    let near = last(name).and_then(|l| nearest(&l, lasts.iter().map(|(l, _)| l.as_str())));
    let hint = match near.and_then(|near| lasts.iter().find(|(l, _)| l == near)) {
        Some((_, path)) => format!("did you mean {path}?"),
        None => format!("the templates are: {}", known.keys().cloned().collect::<Vec<_>>().join(", ")),
    };
    refuse(format!("{} takes the place of no template", dir.join(name).display()), hint)
}
