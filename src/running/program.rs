//! What etcd's program is: by the text of its unit, or, where that does not tell, by the etcd that runs.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::process::{self, Process};
use super::{mounts, theirs};
use crate::exit::{Exit, OrFault as _, fault};
use crate::paths::Root;
use crate::settings::Settings;
use crate::settings::started::{Started, started};
use crate::sys::container::Image;

/// Hexadecimal digits that name a container, in its control group.
const ID: usize = 64;

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
pub fn find(root: &Root, settings: &Settings) -> Result<Program> {
    let unit = &settings.etcd_unit;
    let named = match started(&settings.etcd_command) {
        Started::Program(path) if is_program(&path) => return Ok(Program::Here(path)),
        Started::Image(image) => return Ok(Program::In(image)),
        Started::Engine(engine) => {
            let what = format!("{unit} runs etcd by {engine}, of which no image can be started here");
            return Err(fault(
                Exit::Settings,
                what,
                "copy etcd's program out of its image, and name it: --etcd PATH",
            ));
        }
        Started::Program(path) => {
            format!("{unit} starts {}, which is no program but a script", path.display())
        }
        Started::Unknown if settings.etcd_command.is_empty() => {
            format!("nothing says which program {unit} starts")
        }
        Started::Unknown => format!("{unit} does not say which program or image it starts"),
    };
    if root.is_live()
        && let Some(program) = running(&settings.effective_wal_dir())?
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
    if let Some((engine, id)) = container(&process.group) {
        let image = Image::of_container(engine, id).or_fault(
            Exit::Settings,
            format!("asking {engine} for the image of etcd's process {}", process.pid),
            format!("does `sudo {engine} inspect {id}` work? else give etcd's program with --etcd PATH"),
        )?;
        let program = process.command.first().cloned();
        return Ok(Some(Program::In(Image { engine: vec![engine.into()], name: image, program })));
    }
    let dir = Path::new("/proc").join(process.pid.to_string());
    // In another root its path is another file.
    Ok(match theirs::is_ours(&dir.join("root"))? {
        true => Some(Program::Here(fs::read_link(dir.join("exe"))?)),
        false => None,
    })
}

/// The engine and the ID of the container that a control group is: `/docker/ID`, `docker-ID.scope`, `libpod-ID.scope/container`.
fn container(group: &str) -> Option<(&'static str, &str)> {
    group.rsplit('/').find_map(|part| {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let id = name
            .rsplit('-')
            .next()
            .filter(|id| id.len() == ID && id.bytes().all(|b| b.is_ascii_hexdigit()))?;
        Some((if name.starts_with("libpod") { "podman" } else { "docker" }, id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_by_its_control_group() {
        let id = "0123456789abcdef".repeat(4);
        for (group, engine) in [
            (format!("/docker/{id}"), Some("docker")),
            (format!("/system.slice/docker-{id}.scope"), Some("docker")),
            (format!("/system.slice/docker.service/docker/{id}"), Some("docker")),
            (format!("/machine.slice/libpod-{id}.scope/container"), Some("podman")),
            (format!("/system.slice/etcd.service/libpod-payload-{id}"), Some("podman")),
            ("/system.slice/etcd2.service".into(), None),
            (format!("/docker/{}", &id[1..]), None),
        ] {
            assert_eq!(container(&group), engine.map(|engine| (engine, id.as_str())), "{group}");
        }
    }
}
