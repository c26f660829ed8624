//! What etcd's program is: by the text of its unit, or, where that does not tell, by the etcd that runs.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::process::{self, Process};
use super::{mounts, theirs};
use crate::exit::{Exit, fault};
use crate::node::Node;
use crate::settings::started::{Started, started};
use crate::sys::container::Image;

/// Those that are asked whose container etcd is in.
const ENGINES: [&str; 2] = ["docker", "podman"];

/// Where etcd comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A program of this node.
    Here(PathBuf),
    /// An image that an engine runs.
    In(Image),
}

/// Finds it: as the unit says, else as what runs shows.
///
/// # Errors
/// [`Exit::Settings`]: neither tells, or it is run by an engine that cannot be used for this.
pub fn find(node: &Node) -> Result<Program> {
    let settings = &node.settings;
    let unit = &settings.etcd.unit;
    let named = match started(&settings.etcd.command) {
        Started::Program(path) if is_program(&path) => return Ok(Program::Here(path)),
        Started::Image(image) => return Ok(Program::In(image)),
        Started::Engine(engine) => {
            let what = format!("{unit} runs etcd with {engine}, but no image of it can be started here");
            return Err(fault(
                Exit::Settings,
                what,
                "copy etcd's program out of its image, and name it: --etcd PATH",
            ));
        }
        Started::Program(path) => {
            format!("{unit} starts {}, which is a script and not a program", path.display())
        }
        Started::Unknown if settings.etcd.command.is_empty() => {
            format!("it is not known which program {unit} starts")
        }
        Started::Unknown => format!("{unit} does not say which program or image it starts"),
    };
    if node.root.is_live()
        && let Some(program) = running(&settings.etcd.effective_wal_dir())?
    {
        return Ok(program);
    }
    let hint = format!(
        "start etcd (sudo systemctl start {unit}), so that it can be looked at, or give the program with --etcd PATH"
    );
    Err(fault(Exit::Settings, named, hint))
}

/// Whether a file is a program, and not a script.
pub fn is_program(path: &Path) -> bool {
    let mut start = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok_and(|()| start == *b"\x7fELF")
}

/// That of the etcd that has this log open.
fn running(wal_dir: &Path) -> Result<Option<Program>> {
    let ours = mounts::ours()?;
    let all = process::writing_to_logs()?;
    let is_it = |p: &&Process| mounts::translate(&p.wal_dir, &p.mounts, &ours).as_deref() == Some(wal_dir);
    let Some(process) = all.iter().find(is_it) else { return Ok(None) };
    let dir = Path::new("/proc").join(process.pid.to_string());
    // In another root its path is another file.
    if theirs::is_ours(&dir.join("root"))? {
        return Ok(Some(Program::Here(fs::read_link(dir.join("exe"))?)));
    }
    let inside = fs::read_link(dir.join("ns/mnt"))?;
    for engine in ENGINES {
        let all = Image::running(engine).unwrap_or_else(|e| {
            log::debug!("could not ask {engine} for etcd's image: {e:#}");
            Vec::new()
        });
        let is_it = |(pid, _): &(u32, String)| {
            fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|theirs| theirs == inside)
        };
        if let Some((_, image)) = all.into_iter().find(is_it) {
            let program = process.command.first().cloned();
            return Ok(Some(Program::In(Image { engine: vec![engine.into()], name: image, program })));
        }
    }
    Ok(None)
}
