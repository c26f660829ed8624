//! A program in an image, run by docker or podman: without a network of the node, and gone when it ends.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::command::CommandRunExt;
use super::leash;

/// An engine asks its store, or its daemon.
const LIMIT: Duration = Duration::from_secs(30);

/// What is run, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The engine and its own options: `/usr/bin/docker --host=…`.
    pub engine: Vec<String>,
    /// The image, by name or ID.
    pub name: String,
    /// The program in it; what the image starts by itself if it is not known.
    pub program: Option<String>,
}

/// A user as engines and images write it, `232:233` or `232`: uid and gid. A name is one of the image's, and says nothing here.
pub fn user_ids(said: &str) -> Option<(u32, u32)> {
    let (uid, gid) = said.split_once(':').unwrap_or((said, "0"));
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

impl Image {
    /// The containers that an engine runs, by their first process and image.
    ///
    /// # Errors
    /// The engine is not on this node, or cannot be asked.
    pub fn running(engine: &str) -> Result<Vec<(u32, String)>> {
        let ids = Command::new(engine).args(["ps", "--quiet", "--no-trunc"]).run_ok(LIMIT)?.text();
        if ids.trim().is_empty() {
            return Ok(Vec::new());
        }
        let mut inspect = Command::new(engine);
        inspect.args(["inspect", "--type", "container", "--format", "{{.State.Pid}} {{.Image}}"]);
        // One may have ended since: then the others are told all the same.
        let output = inspect.args(ids.split_whitespace()).run_limited(&[], LIMIT)?;
        let all = output.text();
        let of = |line: &str| {
            line.split_once(' ').and_then(|(pid, image)| Some((pid.parse().ok()?, image.to_owned())))
        };
        Ok(all.lines().filter_map(of).collect())
    }

    /// Whether the image is on this node, so that nothing has to be downloaded.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub fn is_here(&self) -> Result<bool> {
        Ok(self.says("{{.Id}}")?.is_some())
    }

    /// Whom the image runs its program as, uid and gid; `None` if it does not say, says a name, or is not on this node.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub fn user(&self) -> Result<Option<(u32, u32)>> {
        Ok(self.says("{{.Config.User}}")?.and_then(|said| user_ids(said.trim())))
    }

    /// What the engine knows of the image; `None` if it is not on this node.
    fn says(&self, what: &str) -> Result<Option<String>> {
        let mut inspect = self.engine();
        inspect.args(["inspect", "--type", "image", "--format", what, &self.name]);
        let output = inspect.run_limited(&[], LIMIT)?;
        if output.status.success() {
            return Ok(Some(output.text()));
        }
        let said = output.stderr.to_ascii_lowercase();
        match said.contains("no such") || said.contains("not known") {
            true => Ok(None),
            false => bail!("{} inspect ended with {}: {}", self.engine[0], output.status, output.stderr),
        }
    }

    /// The command line that runs it; its own arguments go behind that. It is asked to end when we are gone, and passes that on.
    pub fn run(&self, options: &[&str]) -> Command {
        let mut command = leash::ended_with_us(&self.engine[0]);
        command.args(&self.engine[1..]).args(["run", "--rm", "--network=none"]).args(options);
        if let Some(program) = &self.program {
            command.args(["--entrypoint", program]);
        }
        command.arg(&self.name);
        command
    }

    /// The process of a container by its name; `None` if it does not run, or not yet.
    ///
    /// # Errors
    /// The engine cannot be asked.
    pub fn process(&self, container: &str) -> Result<Option<u32>> {
        let mut inspect = self.engine();
        inspect.args(["inspect", "--type", "container", "--format", "{{.State.Pid}}", container]);
        let output = inspect.run_limited(&[], LIMIT)?;
        if !output.status.success() {
            return Ok(None);
        }
        let pid: u32 = output.text().trim().parse().with_context(|| format!("the process of {container}"))?;
        Ok(Some(pid).filter(|pid| *pid > 0))
    }

    /// Ends and removes a container of this name. Usually there is none; then the engine says so, and that is fine.
    pub fn remove(&self, container: &str) {
        let _ = self.engine().args(["rm", "--force", container]).run_limited(&[], LIMIT);
    }

    /// How somebody downloads it.
    pub fn how_to_pull(&self) -> String {
        format!("sudo {} pull {}", self.engine.join(" "), self.name)
    }

    fn engine(&self) -> Command {
        let mut command = Command::new(&self.engine[0]);
        command.args(&self.engine[1..]);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fs::write_atomic;

    /// An engine that knows one image and one container.
    const ENGINE: &str = r#"#!/bin/sh
case "$*" in
"--host=h inspect --type image --format {{.Id}} img") echo sha256:0 ;;
"--host=h inspect --type image --format {{.Config.User}} img") echo 232:233 ;;
"--host=h inspect --type image --format {{.Config.User}} root") echo ;;
"--host=h inspect --type image --format {{.Config.User}} named") echo etcd ;;
"--host=h inspect --type image"*" gone") echo "Error: No such image: gone" >&2; exit 1 ;;
"--host=h inspect --type image"*" strange") echo "Error: inspecting object: strange: image not known" >&2; exit 125 ;;
"--host=h inspect --type image"*) echo "Cannot connect to the daemon" >&2; exit 1 ;;
"--host=h inspect --type container --format {{.State.Pid}} up") echo 7 ;;
"--host=h inspect --type container --format {{.State.Pid}} made") echo 0 ;;
"ps --quiet --no-trunc") printf '0a1b\n2c3d\n' ;;
"inspect --type container --format {{.State.Pid}} {{.Image}} 0a1b 2c3d") printf '7 sha256:1\n8 sha256:2\n'; exit 1 ;;
*) exit 1 ;;
esac
"#;

    #[test]
    fn an_engine_is_asked_and_understood() {
        let dir = tempfile::tempdir().unwrap();
        let engine = dir.path().join("engine");
        write_atomic(&engine, ENGINE.as_bytes(), 0o755).unwrap();
        let engine = engine.to_str().unwrap().to_owned();
        let image = |name: &str| Image {
            engine: vec![engine.clone(), "--host=h".into()],
            name: name.into(),
            program: None,
        };
        for (name, expected) in
            [("img", Some(true)), ("gone", Some(false)), ("strange", Some(false)), ("x", None)]
        {
            assert_eq!(image(name).is_here().ok(), expected, "{name}");
        }
        assert!(format!("{:#}", image("x").is_here().unwrap_err()).contains("Cannot connect to the daemon"));
        for (name, expected) in [
            ("img", Some(Some((232, 233)))),
            ("root", Some(None)),
            ("named", Some(None)),
            ("gone", Some(None)),
            ("x", None),
        ] {
            assert_eq!(image(name).user().ok(), expected, "{name}");
        }
        for (name, expected) in [("up", Some(7)), ("made", None), ("none", None)] {
            assert_eq!(image("img").process(name).unwrap(), expected, "{name}");
        }
        let running = Image::running(&engine).unwrap();
        assert_eq!(running, [(7, "sha256:1".to_owned()), (8, "sha256:2".to_owned())]);
        assert!(Image::running("/no/engine").is_err());
        let own = Image { program: Some("/etcd".into()), ..image("img") };
        let command = own.run(&["--name", "n"]);
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        let expected = "--host=h run --rm --network=none --name n --entrypoint /etcd img";
        assert_eq!(words.join(" "), expected);
        assert_eq!(own.how_to_pull(), format!("sudo {engine} --host=h pull img"));
    }
}
