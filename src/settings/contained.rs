//! etcd in a container that its unit runs by an engine's command line: what it is given there, and where its folders are on this
//! node. A path behind such a command is the container's, and may be something else here, or nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::engine::{is_engine, on_node, variables};
use super::etcd_unit::{UnitEnvironment, flag_value, variable_of};
use super::values::{OURS, absolute};
use crate::exit::{Exit, fault};

/// Where etcd's folders are on this node.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// What the unit gives.
    pub(super) unit: &'a UnitEnvironment,
    /// Its name.
    pub(super) service: &'a str,
    /// What counts where the unit's is a container's, and not known here.
    pub(super) ours: Option<&'a Path>,
}

impl Place<'_> {
    /// A folder that etcd is given, as this node names it; `None` if it is not given.
    ///
    /// # Errors
    /// [`Exit::Settings`]: it is a container's, and which folder of this node that is cannot be told.
    pub(super) fn folder(&self, flag: &str, what: &str) -> Result<Option<PathBuf>> {
        let Self { unit, service, ours } = self;
        let Some(path) = unit.get(flag).map(|path| absolute(what, path)).transpose()? else {
            return Ok(None);
        };
        let said_inside = flag_value(&unit.command, flag).is_some()
            || variables(&unit.command).contains_key(&variable_of(flag));
        if !unit.seen.is_empty() || !is_engine(&unit.command) || !said_inside {
            return Ok(Some(path));
        }
        if let Some(here) = on_node(&unit.command, &path) {
            return absolute(what, &here.to_string_lossy()).map(Some);
        }
        let inside = path.display();
        let why = format!(
            "{service} runs etcd in a container, where {what} is {inside}: its command does not say which \
             directory of this node that is"
        );
        let hint = format!(
            "set ETCD_DATA_DIR to that directory of this node in {OURS}; or start etcd, whose container \
             shows it"
        );
        ours.map(|ours| Some(ours.to_owned())).ok_or_else(|| fault(Exit::Settings, why, hint))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::exit::hint_of;

    fn unit(command: &str) -> UnitEnvironment {
        let service = crate::sys::systemd::ServiceUnit {
            command: command.split(' ').map(str::to_owned).collect(),
            environment: vec!["ETCD_WAL_DIR=/wal".into()],
            ..Default::default()
        };
        UnitEnvironment::effective(&service, &[])
    }

    #[test]
    fn a_folder_of_the_container_is_one_of_the_node_or_not_known() {
        let lib = Some("/var/lib/etcd2");
        for (command, want) in [
            ("docker run --rm -v /var/lib/etcd2:/data img --data-dir=/data", lib),
            ("/usr/bin/docker run --volume=/var/lib/etcd2:/data:rw img etcd --data-dir /data", lib),
            ("/usr/bin/env podman run -v /var/lib:/data:Z img --data-dir=/data/etcd2", lib),
            ("docker run --mount type=bind,source=/var/lib/etcd2,target=/data img -data-dir=/data", lib),
            ("docker run --mount=type=bind,src=/var/lib/etcd2,dst=/data img --data-dir=/data/", lib),
            ("docker run -v /x:/ -v /var/lib/etcd2:/data img --data-dir=/data", lib),
            ("docker run -v /var/lib/etcd2:/data -e ETCD_DATA_DIR=/data img", lib),
            ("docker run -v /var/lib/etcd2:/var/lib/etcd2 img --data-dir=/var/lib/etcd2", lib),
            ("systemd-nspawn --bind=/var/lib/etcd2 -D /img etcd --data-dir=/var/lib/etcd2", lib),
            (
                "rkt run --volume d,kind=host,source=/var/lib/etcd2 --mount volume=d,target=/data img -- --data-dir=/data",
                lib,
            ),
            // The engine keeps it, or it is in the container alone.
            ("docker run -v /x:/ -v etcd:/data img --data-dir=/data", None),
            ("docker run --mount type=volume,source=etcd,target=/data img --data-dir=/data", None),
            ("docker run -v /var/lib/etcd2:/data img --data-dir=/database", None),
            ("docker start etcd --data-dir=/data", None),
            // No container.
            ("/usr/bin/etcd -v /x:/data --data-dir=/data", Some("/data")),
        ] {
            let (unit, what) = (unit(command), "etcd's data directory");
            let place = |ours| Place { unit: &unit, service: "etcd2.service", ours };
            match (place(None).folder("data-dir", what), want) {
                (Ok(got), Some(want)) => assert_eq!(got.as_deref(), Some(Path::new(want)), "{command}"),
                (Err(e), None) => {
                    assert!(hint_of(&e).unwrap().contains("set ETCD_DATA_DIR"), "{command}: {e}");
                    let got = place(Some(Path::new("/ours"))).folder("data-dir", what).unwrap();
                    assert_eq!(got, Some("/ours".into()), "{command}");
                }
                got => panic!("{command}: {got:?}"),
            }
        }
        // The unit's variable names a folder of the node; what was seen does, too.
        let of = |unit: &UnitEnvironment, flag: &str| {
            Place { unit, service: "etcd2.service", ours: None }.folder(flag, "it").unwrap()
        };
        let mut container = unit("docker run img --data-dir=/data");
        assert_eq!(of(&container, "wal-dir"), Some("/wal".into()));
        container.seen.insert("data-dir".into(), "/srv/etcd".into());
        assert_eq!((of(&container, "data-dir"), of(&container, "wal-dir")), (Some("/srv/etcd".into()), None));
    }

    #[test]
    fn an_engine_is_told_by_number_whose_the_data_is() {
        for (command, want) in [
            ("docker run --user=232:233 img etcd", Some((232, 233))),
            ("podman run --user 232 img etcd", Some((232, 0))),
            ("docker run -u 0 img etcd", Some((0, 0))),
            ("docker run -u etcd img etcd", None),
            ("docker run --user=232:etcd img etcd", None),
            ("docker run img etcd", None),
            ("/usr/bin/etcd --user=232", None),
        ] {
            assert_eq!(unit(command).owner, want, "{command}");
        }
    }

    #[test]
    fn what_an_engine_gives_its_etcd_counts() {
        let unit = unit("docker run -e ETCD_NAME=e1 --env=ETCD_WAL_DIR=/w --env PATH -e A=b=c img etcd");
        assert_eq!((unit.get("name"), unit.get("wal-dir")), (Some("e1"), Some("/w")));
        assert_eq!(unit.variables.get("A").map(String::as_str), Some("b=c"));
        let none = variables(&["etcd".into(), "-e".into(), "A=b".into()]);
        assert_eq!(none, BTreeMap::new());
    }
}
