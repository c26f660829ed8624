//! Which operating system this is: os-release(5).

/// The fields we look at; empty where the file does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`, for example `flatcar`.
    pub id: String,
    /// `ID_LIKE`, the systems that it is made from or behaves like, for example `rhel`, `fedora`.
    pub id_like: Vec<String>,
    /// `PRETTY_NAME`, for people.
    pub pretty_name: String,
}

/// Reads the text of an os-release file. Lines that are no assignment are skipped; the last assignment counts.
pub fn parse(text: &str) -> OsRelease {
    let mut found = OsRelease::default();
    for (key, value) in text.lines().filter_map(|l| l.trim().split_once('=')) {
        match key {
            "ID" => found.id = unquote(value),
            "ID_LIKE" => found.id_like = unquote(value).split_whitespace().map(str::to_owned).collect(),
            "PRETTY_NAME" => found.pretty_name = unquote(value),
            _ => {}
        }
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
            ("NAME=Flatcar\nID=flatcar\nID_LIKE=coreos\n", ("flatcar", "coreos", "")),
            ("ID='centos'\nID_LIKE=\"rhel  fedora \"", ("centos", "rhel fedora", "")),
            ("# ID=coreos\n#\nID=debian", ("debian", "", "")),
            (r#"PRETTY_NAME="a \"b\" \$c \\ d""#, ("", "", r#"a "b" $c \ d"#)),
            ("MY_ID=coreos\nID\nID =coreos", ("", "", "")),
            ("ID=a\nID_LIKE=c\nID=b\nID_LIKE=\n", ("b", "", "")),
            ("ID=debian\r\nID_LIKE=\"x y\"\r\n", ("debian", "x y", "")),
            ("ID=\"", ("\"", "", "")),
            ("", ("", "", "")),
        ];
        for (text, (id, id_like, pretty_name)) in cases {
            let expected = OsRelease {
                id: id.into(),
                id_like: id_like.split_whitespace().map(str::to_owned).collect(),
                pretty_name: pretty_name.into(),
            };
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
