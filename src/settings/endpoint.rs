//! Where the backups lie, `remote:path`: its normal form, the same for the workstation's program, which reads it in the
//! site, and for the node's, which reads it in a drop-in. What is kept of a folder is kept under this text.

use std::collections::BTreeMap;

/// What is wrong with an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is a control character in it.
    Control,
    /// There is no name of a remote in front of a colon.
    NoRemote,
    /// It begins with a colon: a backend and its options instead of a section's name.
    OnTheSpot,
    /// Options stand behind the remote's name.
    Options {
        /// The name.
        remote: String,
        /// What follows the colon.
        path: String,
    },
    /// It is a URL, or has one behind the remote.
    Url {
        /// `s3` of `s3://bucket`.
        scheme: String,
        /// The remote in front of it.
        remote: Option<String>,
        /// What follows the slashes.
        path: String,
    },
    /// A part of the path is `..`.
    Climbs,
    /// The remote has buckets, and the path names none.
    NoBucket {
        /// The remote.
        remote: String,
    },
}

impl Problem {
    /// The reason, to be read behind the endpoint.
    pub fn why(&self) -> String {
        match self {
            Self::Control => "has a control character".into(),
            Self::NoRemote => "does not name a remote".into(),
            Self::OnTheSpot => "begins with a colon instead of a remote's name".into(),
            Self::Options { remote, .. } => format!("has options behind the name of the remote {remote:?}"),
            Self::Url { scheme, .. } => format!("is not an rclone path: \"{scheme}://\" has no place in it"),
            Self::Climbs => "has \"..\" in its path".into(),
            Self::NoBucket { remote } => {
                format!("names no bucket of {remote:?}: each machine would make one, named by its machine ID")
            }
        }
    }

    /// What to do. `example` is a remote that there is, `write` says how an endpoint is written.
    pub fn hint(&self, example: &str, write: impl Fn(&str) -> String) -> String {
        match self {
            Self::Control => "write it on one line, in plain characters".into(),
            Self::NoRemote => format!(
                "write remote:path, where remote is a section of rclone.conf: {}",
                write(&format!("{example}:bucket/path"))
            ),
            Self::OnTheSpot => format!(
                "make a section for it with rclone config, and write its name: {}. Every process can read a command line",
                write("remote:path")
            ),
            Self::Options { remote, path } => format!(
                "put the options into the section [{remote}] of rclone.conf, and write {}",
                write(&format!("{remote}:{path}"))
            ),
            Self::Url { remote, path, .. } => {
                format!("write {}", write(&format!("{}:{path}", remote.as_deref().unwrap_or(example))))
            }
            Self::Climbs => "write the path that is meant, without \"..\"".into(),
            Self::NoBucket { remote } => {
                format!("write it behind the colon, for example {}", write(&format!("{remote}:bucket/path")))
            }
        }
    }
}

/// A remote, as far as it decides what an endpoint means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// Its backend, for example `s3`.
    pub kind: String,
    /// What it is laid over, `remote:path`, where that is one place.
    pub over: Option<String>,
    /// Whether rclone is told to take it for granted that the bucket is there (`no_check_bucket`).
    pub unchecked: bool,
}

/// Says what there is of a remote's name; nothing where that is not known.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<Remote>;

/// Backends of which the first part of a path is a bucket, or what goes by another name there.
const BUCKETS: [&str; 12] = [
    "azureblob",
    "b2",
    "gcs",
    "google cloud storage",
    "internetarchive",
    "oos",
    "oracleobjectstorage",
    "qingstor",
    "s3",
    "storj",
    "swift",
    "tardigrade",
];
/// Backends that lie over one place of another remote, and add their own path to its.
const OVER_ONE: [&str; 6] = ["alias", "cache", "chunker", "compress", "crypt", "hasher"];
/// Who lays more remotes over each other does not expect to be followed.
const DEPTH: usize = 16;

/// The normal form of an endpoint: no slash twice or at the end, no `.` in the path.
///
/// # Errors
/// It cannot be meant so.
pub fn normal(endpoint: &str, remote: Lookup) -> Result<String, Problem> {
    if endpoint.chars().any(char::is_control) {
        return Err(Problem::Control);
    }
    let (name, path) = split(endpoint, remote)?;
    if path.split('/').any(|part| part == "..") {
        return Err(Problem::Climbs);
    }
    let path = shortest(path);
    if is_bucketless(name, &path, remote, DEPTH) {
        return Err(Problem::NoBucket { remote: name.to_owned() });
    }
    Ok(format!("{name}:{path}"))
}

/// Name and path.
fn split<'a>(endpoint: &'a str, remote: Lookup) -> Result<(&'a str, &'a str), Problem> {
    let (name, path) = endpoint.split_once(':').ok_or(Problem::NoRemote)?;
    match name.split_once(',') {
        _ if name.is_empty() => Err(Problem::OnTheSpot),
        // A colon behind a slash is one of a file's name.
        _ if name.contains('/') => Err(Problem::NoRemote),
        Some(("", _)) => Err(Problem::NoRemote),
        Some((name, _)) => {
            let path = behind_options(endpoint).unwrap_or(path).to_owned();
            Err(Problem::Options { remote: name.to_owned(), path })
        }
        None => match endpoint.split_once("://") {
            Some((before, rest)) => Err(url(name, before, rest, remote)),
            None => Ok((name, path)),
        },
    }
}

/// `s3://bucket/path` or `remote:s3://bucket/path`: rclone would look for a bucket called `s3:`.
fn url(name: &str, before: &str, rest: &str, remote: Lookup) -> Problem {
    let scheme = before.rsplit(':').next().unwrap_or(before).to_owned();
    let path = shortest(rest.trim_matches('/'));
    match remote(name) {
        None if before == name => Problem::Url { scheme, remote: None, path },
        // A folder of the server's, with a slash too many.
        Some(Remote { kind, .. }) if before == name && !BUCKETS.contains(&kind.as_str()) => {
            Problem::Url { scheme, remote: Some(name.to_owned()), path: format!("/{path}") }
        }
        _ => Problem::Url { scheme, remote: Some(name.to_owned()), path },
    }
}

/// What follows `name,option="a:b":`, where a colon between quotes ends nothing.
fn behind_options(endpoint: &str) -> Option<&str> {
    let mut quote = None;
    let end = endpoint.find(|c: char| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        quote.is_none() && c == ':'
    })?;
    Some(&endpoint[end + 1..])
}

fn shortest(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    // Where it begins means something to many remotes: a folder of the server's, or of the user's there.
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Whether a path leads to the top of a remote of buckets, directly or through remotes that are laid over it.
fn is_bucketless(name: &str, path: &str, remote: Lookup, depth: usize) -> bool {
    if path.split('/').any(|part| !part.is_empty()) || depth == 0 {
        return false;
    }
    let Some(Remote { kind, over, .. }) = remote(name) else { return false };
    if BUCKETS.contains(&kind.as_str()) {
        return true;
    }
    let below = over.as_deref().filter(|_| OVER_ONE.contains(&kind.as_str()));
    let below = below.and_then(|place| split(place, remote).ok());
    below.is_some_and(|(name, path)| is_bucketless(name, path, remote, depth - 1))
}

/// The remote of buckets that an endpoint leads to, directly or through remotes that are laid over it.
pub fn bucket_of(endpoint: &str, remote: Lookup) -> Option<(String, Remote)> {
    let mut place = endpoint.to_owned();
    for _ in 0..DEPTH {
        let (name, _) = split(&place, remote).ok()?;
        let found = remote(name)?;
        if BUCKETS.contains(&found.kind.as_str()) {
            return Some((name.to_owned(), found));
        }
        place = found.over.filter(|_| OVER_ONE.contains(&found.kind.as_str()))?;
    }
    None
}

/// A folder below an endpoint.
pub fn join(endpoint: &str, folder: &str) -> String {
    let separator = if endpoint.ends_with([':', '/']) || folder.is_empty() { "" } else { "/" };
    format!("{endpoint}{separator}{folder}")
}

/// A remote of rclone's configuration; `None` if it has no such section, or is encrypted.
pub fn in_conf(conf: &str, name: &str) -> Option<Remote> {
    let mut found: Option<Remote> = None;
    for line in conf.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            if found.is_some() {
                break;
            }
            found = (section.trim() == name).then(Remote::default);
        } else if let (Some(remote), Some((key, value))) = (&mut found, line.split_once('=')) {
            match key.trim() {
                "type" => value.trim().clone_into(&mut remote.kind),
                "remote" => remote.over = Some(value.trim().to_owned()),
                key if key.starts_with("no_check_") => remote.unchecked = value.trim() == "true",
                _ => {}
            }
        }
    }
    found
}

/// A remote that is configured by variables: `RCLONE_CONFIG_NAME_TYPE`.
pub fn in_variables(variables: &BTreeMap<String, String>, name: &str) -> Option<Remote> {
    let name = name.to_ascii_uppercase().replace('-', "_");
    let get = |option: &str| variables.get(&format!("RCLONE_CONFIG_{name}_{option}")).cloned();
    Some(Remote { kind: get("TYPE")?, over: get("REMOTE"), unchecked: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "[s3]\ntype = s3\n; type = x\n[disk]\r\ntype = local\r\n[gcs]\ntype = google cloud storage\n\
        [drive]\ntype = drive\n[all]\ntype = crypt\nremote = s3:\n[one]\ntype = crypt\nremote = s3:bucket\n\
        [twice]\ntype = alias\nremote = all:/\n[loop]\ntype = alias\nremote = loop:\n[here]\ntype = alias\nremote = /srv\n\
        [many]\ntype = union\nremote = s3:\n[bare]\n";

    fn of(endpoint: &str) -> Result<String, Problem> {
        normal(endpoint, &|name| in_conf(CONF, name))
    }

    #[test]
    fn one_place_has_one_form() {
        for (endpoint, want) in [
            ("s3:bucket/path", "s3:bucket/path"),
            ("s3:bucket/path//", "s3:bucket/path"),
            ("s3:bucket//path", "s3:bucket/path"),
            ("s3:bucket/./path/.", "s3:bucket/path"),
            ("s3:bucket/", "s3:bucket"),
            ("s3:a b/c:d/...", "s3:a b/c:d/..."),
            ("disk:/srv///backups/", "disk:/srv/backups"),
            ("disk:/", "disk:/"),
            ("drive:", "drive:"),
            ("drive:./", "drive:"),
            ("one:", "one:"),
            ("here:", "here:"),
            ("loop:", "loop:"),
            ("many:", "many:"),
            ("bare:", "bare:"),
            ("unknown:", "unknown:"),
            ("all:path", "all:path"),
        ] {
            assert_eq!(of(endpoint).as_deref(), Ok(want), "{endpoint}");
            assert_eq!(of(want).as_deref(), Ok(want), "the form of {want}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_can() {
        for (endpoint, why, hint) in [
            (
                "",
                "does not name a remote",
                "remote:path, where remote is a section of rclone.conf: E=s3:bucket/path",
            ),
            ("/srv/backups", "does not name a remote", "remote:path"),
            ("./a:b", "does not name a remote", "remote:path"),
            (",a=b:c", "does not name a remote", "remote:path"),
            ("s3:a\nb", "has a control character", "one line"),
            ("s3://b//p/", "\"s3://\" has no place in it", "write E=s3:b/p"),
            ("disk://srv/x/", "\"disk://\" has no place in it", "write E=disk:/srv/x"),
            ("abc://b/p", "\"abc://\" has no place in it", "write E=s3:b/p"),
            ("https://e1/b", "\"https://\" has no place in it", "write E=s3:e1/b"),
            ("mine:s3://b/p", "\"s3://\" has no place in it", "write E=mine:b/p"),
            (":path", "begins with a colon", "section"),
            (":s3,env_auth=true:b", "begins with a colon", "write its name: E=remote:path"),
            (
                "s3,no_check_bucket=true:bucket/x",
                "options behind the name of the remote \"s3\"",
                "put the options into the section [s3] of rclone.conf, and write E=s3:bucket/x",
            ),
            ("s3,a=\"b:c\",d='e:\"f':x/y", "options behind the name", "write E=s3:x/y"),
            ("s3,endpoint=\"http://e1:9\":b/p", "options behind the name", "write E=s3:b/p"),
            ("s3,a=\"b:c", "options behind the name", "E=s3:c"),
            ("disk:/srv/../etc", "\"..\" in its path", "without \"..\""),
            ("s3:..", "\"..\" in its path", "without \"..\""),
            ("s3:", "names no bucket of \"s3\"", "behind the colon, for example E=s3:bucket/path"),
            ("s3:/", "names no bucket", "E=s3:bucket/path"),
            ("s3:./", "names no bucket", "E=s3:bucket/path"),
            ("gcs:", "names no bucket", "E=gcs:bucket/path"),
            ("all:", "names no bucket of \"all\"", "E=all:bucket/path"),
            ("twice:", "names no bucket", "E=twice:bucket/path"),
        ] {
            let problem = of(endpoint).unwrap_err();
            assert!(problem.why().contains(why), "{endpoint:?}: {}", problem.why());
            let said = problem.hint("s3", |endpoint| format!("E={endpoint}"));
            assert!(said.contains(hint), "{endpoint:?}: {said}");
        }
    }

    #[test]
    fn remotes_are_read_where_they_are_configured() {
        let of = |kind: &str| Remote { kind: kind.into(), ..Remote::default() };
        let s3 = of("s3");
        assert_eq!(in_conf(CONF, "s3"), Some(s3.clone()));
        assert_eq!(in_conf(CONF, "all"), Some(Remote { over: Some("s3:".into()), ..of("crypt") }));
        assert_eq!(in_conf(CONF, "bare"), Some(Remote::default()));
        let unchecked = "[a]\ntype = s3\n[b]\ntype = s3\nno_check_bucket = true\n";
        assert_eq!(["a", "b"].map(|name| in_conf(unchecked, name).unwrap().unchecked), [false, true]);
        assert_eq!(in_conf(CONF, "s"), None);
        assert_eq!(in_conf("RCLONE_ENCRYPT_V0:\nabc=", "s3"), None);
        let variables = BTreeMap::from([("RCLONE_CONFIG_MY_S3_TYPE".to_owned(), "s3".to_owned())]);
        assert_eq!(in_variables(&variables, "my-s3"), Some(s3));
        assert_eq!(in_variables(&variables, "s3"), None);
    }

    #[test]
    fn folders_are_joined_to_the_endpoint() {
        for (endpoint, folder, want) in [
            ("r:bucket/backups", "id", "r:bucket/backups/id"),
            ("r:bucket/backups", "", "r:bucket/backups"),
            ("r:", "id", "r:id"),
            ("r:/", "id", "r:/id"),
        ] {
            assert_eq!(join(endpoint, folder), want);
        }
    }
}
