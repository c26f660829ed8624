//! Generations read again, and what was found in each.

use anyhow::{Context, Result};
use serde::Serialize;

use super::finding::{Finding, Kind, in_listing, strays};
use super::outcome;
use super::plan::Scope;
use super::read::Reader;
use crate::archive::chain::{self, Generation};
use crate::archive::names::GenerationName;
use crate::archive::verified::Verified;
use crate::backup::state::State;
use crate::remote::{Object, Remote};
use crate::settings::Settings;
use crate::sys::terminal::live::Step;
use crate::sys::time;

/// What was read of a generation, and what is wrong with it.
#[derive(Debug, Serialize)]
pub struct Checked {
    /// Its number.
    pub generation: u64,
    /// Its name.
    pub name: String,
    /// The same, by the key that it had first.
    pub folder: String,
    /// How many parts were read.
    pub parts: u64,
    /// And how many bytes.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What this node has noted of a folder of the remote.
#[derive(Debug)]
pub struct Noted {
    /// What it sent there.
    state: Option<State>,
    /// What it read there before.
    pub verified: Verified,
}

impl Noted {
    /// Reads it. That has to come before the folder is listed: what was sent by then must be in it.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn load(settings: &Settings, folder: &str) -> Result<Self> {
        let state = State::load(&settings.backup_dir)?.filter(|s| s.folder == folder);
        Ok(Self { state, verified: Verified::load(&settings.backup_dir, folder)? })
    }

    /// Reads generations, of which `objects` are listed; `step` says which.
    ///
    /// # Errors
    /// There is no room to read, or the remote cannot be asked.
    pub fn check(
        &self,
        chosen: &[&Generation],
        objects: &[Object],
        reader: &Reader<'_, impl Remote>,
        scope: Scope,
        step: &Step,
    ) -> Result<Vec<Checked>> {
        let mut checked = Vec::new();
        for generation in chosen {
            step.rename(format!("verifying generation {}", generation.name.number));
            strays(generation, objects)
                .iter()
                .for_each(|path| log::info!("{path} is not part of any restore point (orphan)"));
            let known = outcome::known(self.state.as_ref(), &self.verified, generation.name);
            let mut findings = in_listing(generation, objects, known);
            let read = reader.read(generation, scope)?;
            findings.extend(read.findings);
            checked.push(Checked {
                generation: generation.name.number,
                name: generation.name.to_string(),
                folder: generation.name.to_string(),
                parts: read.parts,
                bytes: read.bytes,
                findings,
            });
        }
        forget_removed(reader, &mut checked)?;
        Ok(checked)
    }

    /// Notes what was found in this machine's own folder, and has the next backup not go on from damage.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(
        mut self,
        settings: &Settings,
        all: &[Generation],
        chosen: &[&Generation],
        scope: Scope,
        findings: &[Finding],
    ) -> Result<()> {
        outcome::note(&mut self.verified, all, chosen, scope, findings, time::now());
        self.verified.save(&settings.backup_dir)?;
        let damaged: Vec<GenerationName> =
            chosen.iter().map(|g| g.name).filter(|name| findings.iter().any(|f| f.is_of(*name))).collect();
        if let Some(number) = outcome::begin_anew(settings, &settings.folder(), &damaged)? {
            log::warn!("generation {number} is closed: the next backup begins a new one with all data");
        }
        Ok(())
    }
}

/// A generation that was removed while it was read, as old ones are, is not damaged.
fn forget_removed(reader: &Reader<'_, impl Remote>, checked: &mut [Checked]) -> Result<()> {
    if checked.iter().flat_map(|c| &c.findings).all(|f| f.kind == Kind::Damaged) {
        return Ok(());
    }
    let listed = reader.remote.list(reader.folder);
    let there = chain::generations(&listed.context("checking whether it is still there")?);
    for generation in checked {
        if !there.iter().any(|g| g.name.to_string() == generation.folder) {
            log::info!("generation {} was removed in the meantime", generation.generation);
            generation.findings.clear();
        }
    }
    Ok(())
}
