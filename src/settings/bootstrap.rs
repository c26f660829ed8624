//! Settings for a first start that etcd heeds although it finds a log, so that it does not become the member that it was made.

use super::etcd_unit::{UnitEnvironment, as_flag};

/// The one flag that founds a new cluster out of any log.
const FORCE: &str = "force-new-cluster";
/// Of these etcd takes one; with more of them it ends at once, whatever its log says.
const EITHER: [&str; 3] = ["initial-cluster", "discovery", "discovery-srv"];

/// What it is, if there is one.
pub fn objection(etcd: &UnitEnvironment) -> Option<String> {
    if forces(etcd) {
        return Some(format!(
            "etcd is given {FORCE}, which makes it create a new one-member cluster from whatever data it has"
        ));
    }
    let given: Vec<&str> = EITHER.into_iter().filter(|flag| etcd.get(flag).is_some()).collect();
    (given.len() > 1).then(|| format!("etcd is given {}, and does not start with both", given.join(" and ")))
}

/// Also in a shell's line and among the arguments of a container's engine.
fn forces(etcd: &UnitEnvironment) -> bool {
    let words =
        etcd.command.iter().flat_map(|word| word.split(|c: char| c.is_whitespace() || "'\";".contains(c)));
    let by_word = |word: &str| {
        let word = word.replace("ETCD_FORCE_NEW_CLUSTER", "--force-new-cluster");
        match as_flag(&word) {
            Some((name, value)) => name == FORCE && is_true(value.unwrap_or("true")),
            None => false,
        }
    };
    let in_file = etcd.file.is_some() && etcd.get(FORCE).is_some_and(is_true);
    let variable = etcd.variables.get("ETCD_FORCE_NEW_CLUSTER").is_some_and(|value| is_true(value));
    // A variable among the arguments that has no value is that of the process.
    in_file
        || variable
        || words.map(str::to_owned).any(|word| word != "ETCD_FORCE_NEW_CLUSTER" && by_word(&word))
}

/// As Go's flags read a truth value. What etcd would not start with counts as true.
fn is_true(value: &str) -> bool {
    !["", "0", "f", "F", "false", "False", "FALSE"].contains(&value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::etcd_config::{self, ConfigFile, Problem};

    fn given(command: &[&str], variables: &[(&str, &str)]) -> Option<String> {
        objection(&UnitEnvironment {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            variables: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ..UnitEnvironment::default()
        })
    }

    #[test]
    fn forcing_a_new_cluster_is_found_however_it_is_said() {
        for command in [
            &["/usr/bin/etcd", "--force-new-cluster"][..],
            &["/usr/bin/etcd", "-force-new-cluster=true", "--name=e1"],
            &["/usr/bin/etcd", "--force-new-cluster", "--name=e1"],
            &["/bin/sh", "-c", "exec etcd --name e1 --force-new-cluster"],
            &["/usr/bin/docker", "run", "-e", "ETCD_FORCE_NEW_CLUSTER=1", "quay.io/coreos/etcd", "etcd"],
        ] {
            assert!(given(command, &[]).unwrap().contains("force-new-cluster"), "{command:?}");
        }
        assert!(given(&["etcd"], &[("ETCD_FORCE_NEW_CLUSTER", "true")]).is_some());
        let file = |text: &str| {
            let values = etcd_config::parse(text.as_bytes()).map_err(Problem::Wrong);
            let file = Some(ConfigFile { path: "/etc/etcd.yml".into(), values });
            objection(&UnitEnvironment { file, ..UnitEnvironment::default() })
        };
        assert!(file("force-new-cluster: true").is_some() && file("force-new-cluster: false").is_none());
        assert!(file("initial-cluster: a=http://a:1\ndiscovery: http://d").is_some());
        for command in [
            &["/usr/bin/etcd"][..],
            &["/usr/bin/etcd", "--force-new-cluster=false"],
            &["/usr/bin/docker", "run", "-e", "ETCD_FORCE_NEW_CLUSTER=false", "etcd"],
            &["/usr/bin/docker", "run", "-e", "ETCD_FORCE_NEW_CLUSTER", "etcd"],
            &["/usr/bin/etcd", "--data-dir", "/var/lib/force-new-cluster"],
        ] {
            assert_eq!(given(command, &[("ETCD_FORCE_NEW_CLUSTER", "")]), None, "{command:?}");
        }
    }

    #[test]
    fn of_settings_for_a_first_start_there_is_one() {
        let list = ("ETCD_INITIAL_CLUSTER", "e1=http://e1:2380");
        assert_eq!(given(&["etcd"], &[list]), None);
        assert_eq!(given(&["etcd"], &[("ETCD_DISCOVERY", "https://d/1")]), None);
        assert_eq!(given(&["etcd"], &[list, ("ETCD_DISCOVERY", "")]), None);
        let said = given(&["etcd", "--discovery=https://d/1"], &[list]).unwrap();
        assert_eq!(said, "etcd is given initial-cluster and discovery, and does not start with both");
    }
}
