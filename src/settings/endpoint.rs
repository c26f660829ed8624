//! Where the backups lie, `remote:path`: its normal form, the same for the workstation's program, which reads it in the
//! site, and for the node's, which reads it in a drop-in. What is kept of a folder is kept under this text.

use super::rclone_section::{Lookup, Section};
use super::reach::places;

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
    /// It leads to a directory of the node that is another one wherever rclone is started.
    Relative {
        /// The remote.
        remote: String,
        /// The path, as rclone gets it.
        path: String,
        /// Whether it is the endpoint's own path.
        direct: bool,
    },
    /// The remote has buckets, and the path names none.
    NoBucket {
        /// The remote.
        remote: String,
        /// The endpoint without a slash at its end.
        place: String,
    },
}

impl Problem {
    /// The reason, to be read behind the endpoint.
    pub fn why(&self) -> String {
        match self {
            Self::Control => "has a control character".into(),
            Self::NoRemote => "does not name a remote".into(),
            Self::OnTheSpot => "begins with a colon instead of a remote's name".into(),
            Self::Options { remote, .. } => format!("has options after the name of the remote {remote:?}"),
            Self::Url { scheme, .. } => format!("is not an rclone path: \"{scheme}://\" has no place in it"),
            Self::Climbs => "has \"..\" in its path".into(),
            Self::Relative { path, .. } => {
                format!("leads to the directory {path:?}, relative to wherever rclone is started")
            }
            Self::NoBucket { remote, .. } => {
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
            Self::Relative { remote, path, direct: true } => {
                format!("write the whole path: {}", write(&format!("{remote}:/{path}")))
            }
            Self::Relative { path, .. } => {
                format!("write its whole path, for example /{path}, into rclone.conf where it is named")
            }
            Self::NoBucket { place, .. } => {
                let example = join(place, "bucket/path");
                format!("write it after the colon, for example {}", write(&example))
            }
        }
    }
}

/// Backends of which the first part of a path is a bucket, or what goes by another name there.
const BUCKETS: [&str; 13] = [
    "azureblob",
    "b2",
    "gcs",
    "google cloud storage",
    "googlecloudstorage",
    "internetarchive",
    "oos",
    "oracleobjectstorage",
    "qingstor",
    "s3",
    "storj",
    "swift",
    "tardigrade",
];
/// Folders of the node.
const LOCAL: &str = "local";
/// Backends that lie over one place of another remote, and add their own path to its.
const OVER_ONE: [&str; 6] = ["alias", "cache", "chunker", "compress", "crypt", "hasher"];
/// Who lays more remotes over each other does not expect to be followed.
const PLACES: usize = 64;

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
    let endpoint = format!("{name}:{path}");
    let name = name.to_owned();
    for (at, (section, path)) in places_of(&endpoint, remote).enumerate() {
        if is_of_buckets(&section) && path.split('/').all(str::is_empty) {
            let place = endpoint.trim_end_matches('/').to_owned();
            return Err(Problem::NoBucket { remote: name, place });
        }
        if section.kind == LOCAL && !path.starts_with('/') {
            return Err(Problem::Relative { remote: name, path, direct: at == 0 });
        }
    }
    Ok(endpoint)
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
        Some(section) if before == name && !is_of_buckets(&section) => {
            Problem::Url { scheme, remote: Some(name.to_owned()), path: format!("/{path}") }
        }
        _ => Problem::Url { scheme, remote: Some(name.to_owned()), path },
    }
}

/// What follows `name,option="a:b":`, where a colon between quotes ends nothing.
fn behind_options(endpoint: &str) -> Option<&str> {
    outside_quotes(endpoint, ':').map(|at| &endpoint[at + 1..])
}

/// Where a character first stands outside of quotes.
fn outside_quotes(text: &str, wanted: char) -> Option<usize> {
    let mut quote = None;
    text.find(|c: char| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        quote.is_none() && c == wanted
    })
}

fn shortest(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    // Where it begins means something to many remotes: a folder of the server's, or of the user's there.
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Every place that an endpoint leads to, through all remotes that are laid over others, itself first: what is configured of
/// it, and the path there.
fn places_of<'a>(endpoint: &str, remote: Lookup<'a>) -> impl Iterator<Item = (Section, String)> + use<'a> {
    let mut next = vec![endpoint.to_owned()];
    let more = move || {
        loop {
            let (section, path) = match open(&next.pop()?, remote) {
                Some(found) => found,
                None => continue,
            };
            next.extend(below(&section, &path));
            return Some((section, path));
        }
    };
    std::iter::from_fn(more).take(PLACES)
}

/// A place as a configuration names it: `remote:path`, `remote,option=value:path`, `:backend,option=value:path`, or a folder.
fn open(place: &str, remote: Lookup) -> Option<(Section, String)> {
    let folder = || Section { kind: LOCAL.to_owned(), ..Section::default() };
    let on_the_spot = place.starts_with(':');
    let body = place.strip_prefix(':').unwrap_or(place);
    let Some(colon) = outside_quotes(body, ':').filter(|at| !body[..*at].starts_with(['/', '.'])) else {
        return Some((folder(), place.to_owned()));
    };
    let (head, path) = (&body[..colon], &body[colon + 1..]);
    let (name, mut options) = head.split_once(',').unwrap_or((head, ""));
    if name.contains('/') {
        return Some((folder(), place.to_owned()));
    }
    let mut section = match on_the_spot {
        true => Section { kind: name.to_owned(), ..Section::default() },
        false => remote(name)?,
    };
    while !options.is_empty() {
        let end = outside_quotes(options, ',').unwrap_or(options.len());
        let (key, value) = options[..end].split_once('=').unwrap_or((&options[..end], "true"));
        section.set(key, value.trim_matches(['"', '\'']));
        options = options.get(end + 1..).unwrap_or_default();
    }
    Some((section, path.to_owned()))
}

/// What a remote is laid over, with the path that is asked for in it.
fn below(section: &Section, path: &str) -> Vec<String> {
    let Some(over) = section.over.last() else { return Vec::new() };
    let path = path.trim_end_matches('/');
    match section.kind.as_str() {
        kind if OVER_ONE.contains(&kind) => vec![with(over, path)],
        "union" => {
            let written = places("union", over).into_iter().filter(|(_, is_written)| *is_written);
            written.map(|(place, _)| with(&place, path)).collect()
        }
        "combine" => {
            let (folder, rest) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            let named = over.split_ascii_whitespace().filter_map(|word| word.split_once('='));
            named.filter(|(name, _)| *name == folder).map(|(_, place)| with(place, rest)).collect()
        }
        _ => Vec::new(),
    }
}

/// As rclone joins them: what is at the top of a remote may begin with a slash.
fn with(place: &str, path: &str) -> String {
    if path.is_empty() || place.ends_with(':') {
        return format!("{place}{path}");
    }
    format!("{}/{}", place.trim_end_matches('/'), path.trim_start_matches('/'))
}

fn is_of_buckets(section: &Section) -> bool {
    BUCKETS.contains(&section.kind.as_str())
}

/// The remote of buckets that an endpoint leads to, directly or through remotes that are laid over it.
pub fn bucket_of(endpoint: &str, remote: Lookup) -> Option<Section> {
    places_of(endpoint, remote).map(|(section, _)| section).find(|s| is_of_buckets(s) && !s.name.is_empty())
}

/// A folder below an endpoint.
pub fn join(endpoint: &str, folder: &str) -> String {
    let separator = if endpoint.ends_with([':', '/']) || folder.is_empty() { "" } else { "/" };
    format!("{endpoint}{separator}{folder}")
}

#[cfg(test)]
mod tests {
    use super::super::rclone_section::parse_sections;
    use super::*;

    const CONF: &str = "[s3]\ntype = s3\n; type = x\n[disk]\r\ntype = local\r\n[gcs]\ntype = google cloud storage\n\
        [drive]\ntype = drive\n[all]\ntype = crypt\nremote = s3:\n[one]\ntype = crypt\nremote = s3:bucket\n\
        [twice]\ntype = alias\nremote = all:/\n[loop]\ntype = alias\nremote = loop:\n[here]\ntype = alias\nremote = /srv\n\
        [bare]\n\
        [many]\ntype = union\nupstreams = s3:b s3:\n[some]\ntype = union\nupstreams = s3:b s3::ro disk:/srv\n\
        [rooms]\ntype = combine\nupstreams = a=s3: b=s3:b c=disk:srv\n[spot]\ntype = alias\nremote = :s3,provider=Other:\n\
        [with]\ntype = alias\nremote = s3,endpoint=\"http://e1:9\",no_check_bucket=true:\n[colon]\ntype: s3\n\
        [rel]\ntype = crypt\nremote = disk:\n[home]\ntype = alias\nremote = ~/x\n[half]\ntype = union\nupstreams = /srv srv\n\
        [over]\ntype = alias\nremote = :alias,remote=\"disk:x\":\n[wide]\ntype = union\nupstreams = wide:a wide:b wide:c\n";

    fn of(endpoint: &str) -> Result<String, Problem> {
        let sections = parse_sections(CONF);
        normal(endpoint, &|name| sections.iter().find(|s| s.name == name).cloned())
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
            ("wide:", "wide:"),
            ("many:b", "many:b"),
            ("some:", "some:"),
            ("rooms:b", "rooms:b"),
            ("rooms:a/x", "rooms:a/x"),
            ("spot:x", "spot:x"),
            ("rel:/srv", "rel:/srv"),
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
                "options after the name of the remote \"s3\"",
                "put the options into the section [s3] of rclone.conf, and write E=s3:bucket/x",
            ),
            ("s3,a=\"b:c\",d='e:\"f':x/y", "options after the name", "write E=s3:x/y"),
            ("s3,endpoint=\"http://e1:9\":b/p", "options after the name", "write E=s3:b/p"),
            ("s3,a=\"b:c", "options after the name", "E=s3:c"),
            ("disk:/srv/../etc", "\"..\" in its path", "without \"..\""),
            ("s3:..", "\"..\" in its path", "without \"..\""),
            ("s3:", "names no bucket of \"s3\"", "after the colon, for example E=s3:bucket/path"),
            ("s3:/", "names no bucket", "E=s3:bucket/path"),
            ("s3:./", "names no bucket", "E=s3:bucket/path"),
            ("gcs:", "names no bucket", "E=gcs:bucket/path"),
            ("all:", "names no bucket of \"all\"", "E=all:bucket/path"),
            ("twice:", "names no bucket", "E=twice:bucket/path"),
            ("many:", "names no bucket", "E=many:bucket/path"),
            ("rooms:a/", "names no bucket", "E=rooms:a/bucket/path"),
            ("spot:", "names no bucket", "E=spot:bucket/path"),
            ("with:/", "names no bucket", "E=with:bucket/path"),
            ("colon:", "names no bucket", "E=colon:bucket/path"),
            ("disk:srv/b", "leads to the directory \"srv/b\", relative to", "the whole path: E=disk:/srv/b"),
            ("disk:", "leads to the directory \"\", relative to", "the whole path: E=disk:/"),
            ("rel:x", "leads to the directory \"x\", relative", "for example /x, into rclone.conf"),
            ("home:", "leads to the directory \"~/x\", relative", "into rclone.conf"),
            ("half:y", "leads to the directory \"srv/y\", relative", "into rclone.conf"),
            ("over:y", "leads to the directory \"x/y\", relative", "into rclone.conf"),
            ("rooms:c/y", "leads to the directory \"srv/y\", relative", "into rclone.conf"),
        ] {
            let problem = of(endpoint).unwrap_err();
            assert!(problem.why().contains(why), "{endpoint:?}: {}", problem.why());
            let said = problem.hint("s3", |endpoint| format!("E={endpoint}"));
            assert!(said.contains(hint), "{endpoint:?}: {said}");
        }
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
