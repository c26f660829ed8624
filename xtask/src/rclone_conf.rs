//! rclone.conf, as far as we look into it: the names of its sections and their `type`. It ships byte for byte.

/// One remote of an rclone configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// The remote's name.
    pub(crate) name: String,
    /// Its backend, for example `s3`; empty if the section does not say.
    pub(crate) kind: String,
}

/// The sections, in the order of the file. What is neither a section nor a `type` is not looked at.
pub(crate) fn parse_sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            sections.push(Section { name: name.trim().to_owned(), kind: String::new() });
        } else if let (Some(section), Some((key, value))) = (sections.last_mut(), line.split_once('='))
            && key.trim() == "type"
        {
            value.trim().clone_into(&mut section.kind);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_types_are_read() {
        let text = "type = stray\n# [commented]\n[s3-conf]\r\ntype = s3\r\nsecret = a=b[c]\n; type = x\n\n[ b 2 ]\ntypes = no\n";
        let section = |name: &str, kind: &str| Section { name: name.into(), kind: kind.into() };
        assert_eq!(parse_sections(text), [section("s3-conf", "s3"), section("b 2", "")]);
        assert_eq!(parse_sections(""), []);
    }
}
