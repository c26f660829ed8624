//! Which operating system this is: os-release(5).

/// The fields we look at; empty where the file does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`, for example `flatcar`.
    pub id: String,
    /// `VARIANT_ID`, for example `coreos`.
    pub variant_id: String,
    /// `PRETTY_NAME`, for people.
    pub pretty_name: String,
}

/// Reads the text of an os-release file. Lines that are no assignment are skipped; the last assignment counts.
pub fn parse(text: &str) -> OsRelease {
    let mut found = OsRelease::default();
    for (key, value) in text.lines().filter_map(|l| l.trim().split_once('=')) {
        let field = match key {
            "ID" => &mut found.id,
            "VARIANT_ID" => &mut found.variant_id,
            "PRETTY_NAME" => &mut found.pretty_name,
            _ => continue,
        };
        *field = unquote(value);
    }
    found
}

/// One shell word: single quotes keep everything, double quotes and bare text know the backslash.
fn unquote(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_their_quotes() {
        let cases = [
            (
                "ID=coreos\nPRETTY_NAME=\"Container Linux by CoreOS 1800\"",
                ("coreos", "", "Container Linux by CoreOS 1800"),
            ),
            ("NAME=Flatcar\nID=flatcar\nID_LIKE=coreos\n", ("flatcar", "", "")),
            ("ID='fedora'\nVARIANT_ID=\"coreos\"", ("fedora", "coreos", "")),
            ("# ID=coreos\n#\nID=debian", ("debian", "", "")),
            (r#"PRETTY_NAME="a \"b\" \$c \\ d""#, ("", "", r#"a "b" $c \ d"#)),
            ("MY_ID=coreos\nID", ("", "", "")),
            ("ID=a\nID=b\n", ("b", "", "")),
            ("ID=\"", ("\"", "", "")),
            ("", ("", "", "")),
        ];
        for (text, (id, variant_id, pretty_name)) in cases {
            let expected =
                OsRelease { id: id.into(), variant_id: variant_id.into(), pretty_name: pretty_name.into() };
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
