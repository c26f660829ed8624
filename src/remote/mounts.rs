//! What of the node a container of rclone is given: what the remote's sections, flags and variables name. Of the rest it sees
//! nothing: a remote in a folder that is not mounted would take every part, and be gone with the container.

use std::io;
use std::path::Path;

use anyhow::Result;

use crate::exit::{Exit, OrFault, fault};
use crate::settings::rclone_section::{configured, is_encrypted, names_a_file, parse_sections};
use crate::settings::reach::{self, Place, Reach};
use crate::sys::fs::create_dirs;

/// Names of rclone's variables, and what they say.
pub(super) type Said = [(String, String)];

/// What a remote needs of the node. Nothing can be seen in an encrypted configuration.
pub(super) fn of(endpoint: &str, conf: &[u8], flags: &[String], variables: &Said) -> Reach {
    let sections = match is_encrypted(conf) {
        true => Vec::new(),
        false => parse_sections(&String::from_utf8_lossy(conf)),
    };
    let said = || variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let look_up = |name: &str| configured(&sections, said(), name);
    let mut reach = reach::reach(endpoint, &look_up);
    reach.add_files(&reach::of_flags(flags));
    let named = variables.iter().filter(|(name, value)| {
        !value.is_empty() && !name.starts_with("RCLONE_CONFIG_") && names_a_file(&name.to_ascii_lowercase())
    });
    reach.add_files(&named.cloned().collect::<Vec<_>>());
    reach
}

/// The places to mount. Folders that are to be written to are made, as rclone on the node would.
///
/// # Errors
/// [`Exit::Settings`]: one cannot be mounted, or a file is not there.
pub(super) fn places(reach: &Reach) -> Result<Vec<Place>> {
    if let Some((what, hint)) = reach.objections.first() {
        let what = format!("{what}, but rclone runs in a container that does not see it");
        return Err(fault(Exit::Settings, what, hint));
    }
    for Place { path, .. } in reach.folders.iter().filter(|place| place.writable) {
        // Where the service may not, docker makes it. podman says that it is not there.
        if let Err(e) = create_dirs(path, 0o700) {
            log::debug!("{e:#}");
        }
    }
    for path in &reach.files {
        must_be_a_file(path).or_fault(
            Exit::Settings,
            format!("checking {}, which rclone's container needs", path.display()),
            format!("put the file there, or correct rclone.conf: ls -l {}", path.display()),
        )?;
    }
    let files = reach.files.iter().map(|path| Place { path: path.clone(), writable: false });
    Ok(reach.folders.iter().cloned().chain(files).collect())
}

/// docker would make a folder of what is not there.
fn must_be_a_file(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(()),
    }
}

/// As `--volume` takes it.
pub(super) fn volume(place: &Place) -> String {
    format!("{0}:{0}{1}", place.path.display(), if place.writable { "" } else { ":ro" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::exit_of;

    fn said(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_conf_flags_and_variables_name_is_mounted_and_read_only_where_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        for name in ["key", "ca", "known"] {
            crate::sys::fs::write_atomic(Path::new(&path(name)), b"", 0o600).unwrap();
        }
        let conf = format!(
            "[u]\ntype = union\nupstreams = disk:{} s:x {}:ro\n[disk]\ntype = local\n[s]\ntype = sftp\nkey_file = {}\n",
            path("srv"),
            path("old"),
            path("key"),
        );
        let flags = [format!("--ca-cert={}", path("ca"))];
        let variables = [("RCLONE_SFTP_KNOWN_HOSTS_FILE", path("known"))];
        let variables: Vec<_> = variables.map(|(n, v)| (n.to_owned(), v)).to_vec();
        let volumes: Vec<String> =
            places(&of("u:p", conf.as_bytes(), &flags, &variables)).unwrap().iter().map(volume).collect();
        let want = [("old", ":ro"), ("srv", ""), ("ca", ":ro"), ("key", ":ro"), ("known", ":ro")]
            .map(|(name, mode)| format!("{0}:{0}{mode}", path(name)));
        assert_eq!(volumes, want);
        assert!(dir.path().join("srv").is_dir() && !dir.path().join("old").exists());
        std::fs::remove_file(path("key")).unwrap();
        let error = places(&of("u:p", conf.as_bytes(), &flags, &variables)).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Settings, "{error:#}");
    }

    #[test]
    fn a_remote_of_variables_is_followed_too() {
        let variables =
            said(&[("RCLONE_CONFIG_MY_DISK_TYPE", "alias"), ("RCLONE_CONFIG_MY_DISK_REMOTE", "/srv/x")]);
        let found = of("my-disk:b", b"", &[], &variables);
        assert_eq!(found.folders, [Place { path: "/srv/x".into(), writable: true }]);
        // The environment wins over the file.
        let found = of("my-disk:b", b"[my-disk]\ntype = s3\n", &[], &variables);
        assert_eq!(found.folders.len(), 1);
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_and_nothing_is_known_of_an_encrypted_one() {
        let error = places(&of("d:/", b"[d]\ntype = local\n", &[], &[])).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Settings);
        assert!(error.to_string().contains("a container that does not see it"), "{error:#}");
        assert_eq!(of("d:/srv", b"RCLONE_ENCRYPT_V0:\nabc=", &[], &[]).folders, []);
    }
}
