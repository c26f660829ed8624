//! The drop-in that makes etcd start as a new member of an existing cluster. It lives until the member has caught up.

use std::path::Path;

use anyhow::{Result, bail};

use super::Membership;
use crate::settings::etcd_config::{ConfigFile, Problem};
use crate::settings::unit::{UnitEnvironment, as_flag};

/// Flags that would send etcd elsewhere: their variables are emptied, which etcd takes as not set.
const CLEARED: [&str; 6] =
    ["discovery", "discovery-srv", "discovery-fallback", "discovery-proxy", "proxy", "force-new-cluster"];
const STATE: &str = "initial-cluster-state";
const CLUSTER: &str = "initial-cluster";
const PEER_URLS: &str = "initial-advertise-peer-urls";

/// The exact member list etcd wants to see: every URL of every member, ours under our name even before we are listed.
pub fn initial_cluster(members: &Membership, own_name: &str, own_urls: &[String]) -> String {
    let own = members.by_peer_urls(own_urls).map(|m| m.id);
    let mut pairs = Vec::new();
    for member in &members.members {
        let unnamed = format!("{:x}", member.id);
        let name = match member.name.as_str() {
            _ if Some(member.id) == own => own_name,
            "" => &unnamed,
            name => name,
        };
        pairs.extend(member.peer_urls.iter().map(|url| format!("{name}={url}")));
    }
    if own.is_none() {
        pairs.extend(own_urls.iter().map(|url| format!("{own_name}={url}")));
    }
    pairs.join(",")
}

/// The drop-in's text. Flags win over variables in etcd (and 3.4 does not start with both), so a command line that has
/// any of the flags we decide is given anew without them.
///
/// # Errors
/// A value cannot be written into a unit.
pub fn text(initial_cluster: &str, own_urls: &[String], command: &[String]) -> Result<String> {
    let mut lines = vec![
        "# Written by `etcd2-backup join`, which removes it once this member has caught up.".to_owned(),
        "[Service]".to_owned(),
    ];
    let urls = own_urls.join(",");
    let set = [(STATE, "existing"), (CLUSTER, initial_cluster), (PEER_URLS, &urls)];
    for (flag, value) in set.into_iter().chain(CLEARED.map(|f| (f, ""))) {
        let variable = format!("ETCD_{}", flag.replace('-', "_").to_ascii_uppercase());
        lines.push(format!("Environment={}", quoted(&format!("{variable}={value}"))?));
    }
    let kept = without_flags(command);
    if kept.len() != command.len() {
        let words: Vec<String> =
            kept.iter().map(|w| quoted(w).map(|q| q.replace('$', "$$"))).collect::<Result<_>>()?;
        lines.push("ExecStart=".to_owned());
        lines.push(format!("ExecStart={}", words.join(" ")));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Why etcd would not start as this drop-in says, though it is loaded: something later overrides it.
pub fn overridden(effective: &UnitEnvironment, initial_cluster: &str) -> Option<String> {
    let wrong = |flag: &str, wanted: Option<&str>| {
        let got = effective.get(flag);
        (got != wanted).then(|| {
            if let Some(file) = &effective.file {
                return format!("{} says {flag}: {:?}", file.path.display(), got.unwrap_or_default());
            }
            let variable = format!("ETCD_{}", flag.replace('-', "_").to_ascii_uppercase());
            format!("{variable} is {:?} all the same", got.unwrap_or_default())
        })
    };
    [(STATE, Some("existing")), (CLUSTER, Some(initial_cluster))]
        .into_iter()
        .chain(CLEARED.map(|f| (f, None)))
        .find_map(|(flag, wanted)| wrong(flag, wanted))
}

/// Why etcd would not start as a new member, since it reads a file instead of what the drop-in sets.
pub fn contradicted(file: &ConfigFile, initial_cluster: &str) -> Option<String> {
    if let Err(Problem::Unread(why) | Problem::Wrong(why)) = &file.values {
        return Some(format!("what {} says is not known here: {why}", file.path.display()));
    }
    let effective = UnitEnvironment { file: Some(file.clone()), ..UnitEnvironment::default() };
    overridden(&effective, initial_cluster)
}

/// What has to be written into a configuration file for that.
pub fn in_file(file: &Path, initial_cluster: &str) -> String {
    format!(
        "in {} write `{STATE}: existing` and `{CLUSTER}: \"{initial_cluster}\"`, and take out {}; then run join again (it can stay \
         so: etcd reads these only as long as it has no data)",
        file.display(),
        CLEARED.join(", ")
    )
}

/// The flags that [`text`] leaves out of a command line, by name.
pub fn left_out(command: &[String]) -> Vec<&str> {
    command.iter().filter_map(|w| as_flag(w)).map(|(name, _)| name).filter(|n| decided(n)).collect()
}

/// The peer URLs of a member list, in order: etcd compares these with those of the running members when it starts.
pub fn urls(members: &Membership) -> Vec<String> {
    let mut all: Vec<String> = members.members.iter().flat_map(|m| m.peer_urls.clone()).collect();
    all.sort();
    all
}

/// Whether a flag's value is ours to say.
fn decided(name: &str) -> bool {
    [STATE, CLUSTER, PEER_URLS].contains(&name) || CLEARED.contains(&name)
}

fn without_flags(command: &[String]) -> Vec<&String> {
    let mut kept = Vec::new();
    let mut words = command.iter();
    while let Some(word) = words.next() {
        match as_flag(word) {
            // The only truth value among them takes no second word.
            Some((name, None)) if decided(name) && name != "force-new-cluster" => {
                words.next();
            }
            Some((name, _)) if decided(name) => {}
            _ => kept.push(word),
        }
    }
    kept
}

/// A value in systemd's quotes, specifiers kept from being expanded.
fn quoted(value: &str) -> Result<String> {
    if value.chars().any(char::is_control) {
        bail!("{value:?} has a control character and cannot be written into a unit");
    }
    Ok(format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Member;
    use crate::settings::etcd_config;

    fn member(id: u64, name: &str, urls: &[&str]) -> Member {
        let peer_urls = urls.iter().map(|u| (*u).to_owned()).collect();
        Member { id, name: name.into(), peer_urls, client_urls: vec![] }
    }

    fn own(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn the_list_is_the_same_before_and_after_the_addition() {
        let mut members = Membership {
            cluster_id: 1,
            members: vec![member(1, "e1", &["http://a:1", "http://a:2"]), member(0xab, "", &["http://b:1"])],
        };
        let expected = "e1=http://a:1,e1=http://a:2,ab=http://b:1,e3=http://c:1";
        assert_eq!(initial_cluster(&members, "e3", &own(&["http://c:1"])), expected);
        members.members.push(member(3, "", &["http://c:1"]));
        assert_eq!(initial_cluster(&members, "e3", &own(&["http://c:1"])), expected);
    }

    #[test]
    fn variables_decide_and_are_quoted() {
        let text =
            text("e%1=http://a:1,e\"2=http://b:1", &own(&["http://b:1"]), &own(&["/usr/bin/etcd2"])).unwrap();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        let expected = [
            "[Service]",
            "Environment=\"ETCD_INITIAL_CLUSTER_STATE=existing\"",
            "Environment=\"ETCD_INITIAL_CLUSTER=e%%1=http://a:1,e\\\"2=http://b:1\"",
            "Environment=\"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://b:1\"",
            "Environment=\"ETCD_DISCOVERY=\"",
            "Environment=\"ETCD_DISCOVERY_SRV=\"",
            "Environment=\"ETCD_DISCOVERY_FALLBACK=\"",
            "Environment=\"ETCD_DISCOVERY_PROXY=\"",
            "Environment=\"ETCD_PROXY=\"",
            "Environment=\"ETCD_FORCE_NEW_CLUSTER=\"",
        ];
        assert_eq!(lines, expected);
        assert!(super::text("a\n[Unit]", &[], &[]).is_err());
    }

    #[test]
    fn flags_we_decide_are_taken_off_the_command_line() {
        let command = own(&[
            "/usr/bin/etcd",
            "--name=e2",
            "--initial-cluster",
            "x=http://x:1",
            "-discovery=http://d",
            "--cost=$5",
            "--force-new-cluster",
            "--initial-cluster-token=t",
            "--initial-cluster-state=new",
            "--data-dir",
            "/d",
        ]);
        let text = text("e2=http://b:1", &own(&["http://b:1"]), &command).unwrap();
        let end = "ExecStart=\nExecStart=\"/usr/bin/etcd\" \"--name=e2\" \"--cost=$$5\" \"--initial-cluster-token=t\" \"--data-dir\" \"/d\"\n";
        assert!(text.ends_with(end), "{text}");
        let names = ["initial-cluster", "discovery", "force-new-cluster", "initial-cluster-state"];
        assert_eq!(left_out(&command), names);
    }

    #[test]
    fn a_configuration_file_has_to_say_it_itself() {
        let file = |text: &str| ConfigFile {
            path: "/c.yml".into(),
            values: etcd_config::parse(text.as_bytes()).map_err(Problem::Wrong),
        };
        let good = "initial-cluster-state: existing\ninitial-cluster: a=http://a:1,b=http://b:1\n";
        let list = "a=http://a:1,b=http://b:1";
        assert_eq!(contradicted(&file(good), list), None);
        for (more, expected) in [
            ("initial-cluster-state: new", "/c.yml says initial-cluster-state: \"new\""),
            ("initial-cluster-state:", "/c.yml says initial-cluster-state: \"\""),
            ("initial-cluster: a=http://a:1", "/c.yml says initial-cluster: \"a=http://a:1\""),
            ("force-new-cluster: true", "/c.yml says force-new-cluster: \"true\""),
            ("discovery: http://d", "/c.yml says discovery: \"http://d\""),
            (
                "proxy: []",
                "what /c.yml says is not known here: line 3: proxy is a list, and etcd takes one text there, with commas in it",
            ),
        ] {
            assert_eq!(contradicted(&file(&format!("{good}{more}\n")), list).as_deref(), Some(expected));
        }
        let hint = in_file(Path::new("/c.yml"), list);
        for part in [
            "in /c.yml write `initial-cluster-state: existing` and `initial-cluster: \"a=http://a:1,b",
            "discovery",
        ] {
            assert!(hint.contains(part), "{hint}");
        }
    }

    #[test]
    fn what_overrides_it_is_named() {
        let with = |pairs: &[(&str, &str)]| {
            let mut all = vec![
                ("ETCD_INITIAL_CLUSTER_STATE", "existing"),
                ("ETCD_INITIAL_CLUSTER", "l"),
                ("ETCD_PROXY", ""),
            ];
            all.extend(pairs);
            let variables = all.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            overridden(&UnitEnvironment { variables, ..UnitEnvironment::default() }, "l")
        };
        assert_eq!(with(&[]), None);
        for (name, value) in [
            ("ETCD_INITIAL_CLUSTER", "x"),
            ("ETCD_INITIAL_CLUSTER_STATE", "new"),
            ("ETCD_DISCOVERY", "http://d"),
        ] {
            assert_eq!(with(&[(name, value)]), Some(format!("{name} is {value:?} all the same")));
        }
    }
}
