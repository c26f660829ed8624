//! rclone's remotes, as rclone.conf and variables configure them. The same reading for all that looks into them. Pure.

/// One remote of an rclone configuration. Of the rest, secrets above all, nothing is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// The remote's name.
    pub name: String,
    /// Its backend, for example `s3`; empty if the section does not say.
    pub kind: String,
    /// What it is laid over: `remote` of a crypt or an alias, `upstreams` of a union, as they stand there.
    pub over: Vec<String>,
    /// Whether it has an OAuth token or the like, which rclone renews and writes back.
    pub has_token: bool,
    /// Options that name files: a key, a certificate.
    pub files: Vec<(String, String)>,
    /// Options that name programs which rclone is to start.
    pub programs: Vec<(String, String)>,
    /// Whether rclone is told to take it for granted that the bucket is there (`no_check_bucket`).
    pub unchecked: bool,
}

impl Section {
    /// Takes an option.
    pub fn set(&mut self, key: &str, value: &str) {
        let pair = || (key.to_owned(), value.to_owned());
        match key {
            "type" => value.clone_into(&mut self.kind),
            "remote" | "remotes" | "upstreams" => self.over.push(value.to_owned()),
            _ if value.is_empty() => {}
            _ if key.starts_with("no_check_") => self.unchecked = value == "true",
            "ssh" | "bearer_token_command" => self.programs.push(pair()),
            _ if names_a_file(key) => self.files.push(pair()),
            _ => self.has_token |= key.contains("token"),
        }
    }
}

/// What rclone writes before the encrypted part.
pub const ENCRYPTED: &[u8] = b"RCLONE_ENCRYPT_V";

/// Whether rclone needs a password to read a configuration.
pub fn is_encrypted(conf: &[u8]) -> bool {
    conf.split(|b| *b == b'\n').any(|line| line.trim_ascii().starts_with(ENCRYPTED))
}

/// Whether an option, or a flag with `_` for `-`, says where a file is.
pub fn names_a_file(key: &str) -> bool {
    ["_file", "_cert", "_certificate_path", "_ccache", "client_key"].iter().any(|end| key.ends_with(end))
}

/// Says what is configured for a remote's name; nothing where that is not known.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<Section>;

/// The sections, in the order of the file; one that is there twice is one, as for rclone.
pub fn parse_sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut current = None;
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).map(str::trim) {
            let known = sections.iter().position(|s| s.name == name);
            current = Some(known.unwrap_or_else(|| {
                sections.push(Section { name: name.to_owned(), ..Section::default() });
                sections.len() - 1
            }));
        } else if let (Some(at), Some((key, value))) = (current, option(line)) {
            sections[at].set(key, value);
        }
    }
    sections
}

/// `key = value`, with the same meaning `key: value`. Backquotes around either, and quotes around the key, go.
fn option(line: &str) -> Option<(&str, &str)> {
    let quoted = line.chars().next().filter(|c| ['"', '`'].contains(c)).and_then(|quote| {
        let (key, rest) = line[1..].split_once(quote)?;
        Some((key, &rest[rest.find(['=', ':'])? + 1..]))
    });
    let (key, value) = match quoted {
        Some(pair) => pair,
        None => line.split_once(['=', ':']).map(|(key, value)| (key.trim(), value))?,
    };
    let value = value.trim();
    let bare = value.strip_prefix('`').and_then(|v| Some(&v[..v.rfind('`')?]));
    Some((key, bare.unwrap_or(value)))
}

/// What the file and rclone's variables (`RCLONE_CONFIG_NAME_TYPE`) configure for a name, the variables first.
pub fn configured<'a>(
    sections: &[Section],
    variables: impl Iterator<Item = (&'a str, &'a str)>,
    name: &str,
) -> Option<Section> {
    let in_file = sections.iter().find(|s| s.name == name).cloned();
    let prefix = format!("RCLONE_CONFIG_{}_", name.to_ascii_uppercase().replace('-', "_"));
    let options = variables.filter_map(|(n, value)| Some((n.strip_prefix(&prefix)?, value)));
    options.fold(in_file, |section, (option, value)| {
        let mut section = section.unwrap_or_else(|| Section { name: name.to_owned(), ..Section::default() });
        section.set(&option.to_ascii_lowercase(), value);
        Some(section)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As rclone 1.60 and 1.75 show it: `rclone config dump`.
    #[test]
    fn options_are_read_as_rclone_reads_them() {
        let text = "[a]\ntype: s3\n[b]\n\"type\" = `local`\n[c]\ntype = \"s3\"\nremote : x:y=z\n[ d ]\n# type = x\n; type = y\n\
            TYPE = z\n[a]\nno_check_bucket: true\nkey_file = /a\n[e]\n`type`:sftp\n";
        let sections = parse_sections(text);
        let found: Vec<(&str, &str)> = sections.iter().map(|s| (s.name.as_str(), s.kind.as_str())).collect();
        assert_eq!(found, [("a", "s3"), ("b", "local"), ("c", "\"s3\""), ("d", ""), ("e", "sftp")]);
        assert_eq!((sections[2].over.as_slice(), sections[0].unchecked), (&["x:y=z".to_owned()][..], true));
        assert_eq!(sections[0].files, [("key_file".to_owned(), "/a".to_owned())]);
    }

    #[test]
    fn variables_come_before_the_file() {
        let sections = parse_sections("[my-s3]\ntype = local\nkey_file = /a\n[x]\ntype = s3\n");
        let variables =
            [("RCLONE_CONFIG_MY_S3_TYPE", "s3"), ("RCLONE_CONFIG_Y_TYPE", "b2"), ("RCLONE_S3_X", "y")];
        let kind = |name| configured(&sections, variables.into_iter(), name).map(|s| (s.kind, s.files.len()));
        assert_eq!(kind("my-s3"), Some(("s3".into(), 1)));
        assert_eq!(kind("x"), Some(("s3".into(), 0)));
        assert_eq!((kind("y"), kind("z")), (Some(("b2".into(), 0)), None));
    }

    #[test]
    fn names_and_types_are_read() {
        let text = "type = stray\n# [commented]\n[s3-conf]\r\ntype = s3\r\nsecret = a=b[c]\n; type = x\n\n[ b 2 ]\ntypes = no\n";
        let section =
            |name: &str, kind: &str| Section { name: name.into(), kind: kind.into(), ..Section::default() };
        assert_eq!(parse_sections(text), [section("s3-conf", "s3"), section("b 2", "")]);
        assert_eq!(parse_sections(""), []);
    }

    #[test]
    fn what_a_section_leads_to_and_whether_it_has_a_token() {
        let text = "[c]\ntype = crypt\nremote = d:/srv/a b\npassword = x\n[u]\nupstreams = c:x d:y:nc\n\
                    [o]\ntype = onedrive\ntoken = {\"access_token\":\"secret\"}\n[i]\ntrust_token = secret\n";
        let sections = parse_sections(text);
        let got: Vec<_> = sections.iter().map(|s| (s.over.join(" "), s.has_token)).collect();
        let want = [("d:/srv/a b", false), ("c:x d:y:nc", false), ("", true), ("", true)]
            .map(|(o, t)| (o.to_owned(), t));
        assert_eq!(got, want);
        assert!(!format!("{sections:?}").contains("secret"));
    }
}
