//! rclone.conf, as far as we look into it: the names of its sections, their `type`, which remotes they lead to, and whether
//! rclone keeps a token there. It ships byte for byte.

/// One remote of an rclone configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    /// The remote's name.
    pub(crate) name: String,
    /// Its backend, for example `s3`; empty if the section does not say.
    pub(crate) kind: String,
    /// What it is laid over: `remote` of a crypt or an alias, `upstreams` of a union, as they stand there.
    pub(crate) over: Vec<String>,
    /// Whether it has an OAuth token or the like, which rclone renews and writes back.
    pub(crate) has_token: bool,
}

/// The sections, in the order of the file. Of the rest, secrets above all, nothing is kept.
pub(crate) fn parse_sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            sections.push(Section { name: name.trim().to_owned(), ..Section::default() });
        } else if let (Some(section), Some((key, value))) = (sections.last_mut(), line.split_once('=')) {
            match key.trim() {
                "type" => value.trim().clone_into(&mut section.kind),
                "remote" | "remotes" | "upstreams" => section.over.push(value.trim().to_owned()),
                key => section.has_token |= key.contains("token"),
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

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
