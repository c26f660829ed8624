//! What systemd would read from a unit file or drop-in: the few things we need of it.

/// One `KEY=value` of a unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The section it stands in, without brackets; empty before the first one.
    pub section: String,
    /// The directive.
    pub key: String,
    /// Its value, trimmed, otherwise as it is written.
    pub value: String,
}

/// All settings in their order, with continued lines joined. What is neither section nor setting is left out.
pub fn parse_settings(text: &str) -> Vec<Directive> {
    let mut all = Vec::new();
    let mut section = String::new();
    for line in logical_lines(text) {
        if let Some(rest) = line.strip_prefix('[') {
            section = rest.trim_end().strip_suffix(']').unwrap_or_default().to_owned();
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim_end().to_owned(), value.trim().to_owned());
            all.push(Directive { section: section.clone(), key, value });
        }
    }
    all
}

/// The variables that the `Environment=` lines of `[Service]` set, in the order of their first mention; the last
/// assignment of a name counts, and an empty `Environment=` takes back all before it.
///
/// Quoting, C escapes and `%%` are resolved as systemd does; other specifiers stay as they are written. Like systemd,
/// this skips what is no assignment, and the rest of a line from a broken quote or escape on.
pub fn parse_environment(text: &str) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for Directive { section, key, value } in parse_settings(text) {
        if (section.as_str(), key.as_str()) != ("Service", "Environment") {
            continue;
        }
        if value.is_empty() {
            all.clear();
        }
        for (name, value) in words(&value).iter().filter_map(|w| assignment(w)) {
            match all.iter_mut().find(|(n, _)| *n == name) {
                Some(known) => known.1 = value,
                None => all.push((name, value)),
            }
        }
    }
    all
}

/// Lines without comments, with those that end in a backslash joined to the next one.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.starts_with(['#', ';']) {
            continue;
        }
        open.push_str(line);
        let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        if backslashes % 2 == 1 {
            open.pop();
            open.push(' ');
        } else {
            lines.push(std::mem::take(&mut open));
        }
    }
    lines.push(open);
    lines
}

fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = value.trim_ascii_start();
    while !rest.is_empty() {
        let Some((word, after)) = first_word(rest.as_bytes()) else { break };
        // Bytes that are no text can only come from an escape; systemd refuses such a value too.
        words.extend(String::from_utf8(word).ok());
        rest = rest.get(after..).unwrap_or_default().trim_ascii_start();
    }
    words
}

/// The first word, unquoted, and where it ends.
fn first_word(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    let mut quote = None;
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        at += 1;
        match c {
            b'\\' => at += unescape(text.get(at..)?, &mut word)?,
            _ if quote == Some(c) => quote = None,
            b'"' | b'\'' if quote.is_none() => quote = Some(c),
            _ if quote.is_none() && c.is_ascii_whitespace() => break,
            _ => word.push(c),
        }
    }
    quote.is_none().then_some((word, at))
}

/// Resolves the escape that `text` begins with (behind its backslash); how many bytes it takes.
fn unescape(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let simple = match text.first()? {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b's' => b' ',
        c @ (b'\\' | b'"' | b'\'') => *c,
        b'x' => return numeric(text.get(1..3)?, 16, word).map(|()| 3),
        b'u' => return unicode(text.get(1..5)?, word).map(|()| 5),
        b'U' => return unicode(text.get(1..9)?, word).map(|()| 9),
        b'0'..=b'7' => return numeric(text.get(..3)?, 8, word).map(|()| 3),
        _ => return None,
    };
    word.push(simple);
    Some(1)
}

fn digits(text: &[u8], radix: u32) -> Option<u32> {
    // from_str_radix alone would take a sign.
    let all = text.iter().all(|b| char::from(*b).is_digit(radix));
    all.then(|| u32::from_str_radix(std::str::from_utf8(text).ok()?, radix).ok())?
}

fn numeric(text: &[u8], radix: u32, word: &mut Vec<u8>) -> Option<()> {
    let byte = u8::try_from(digits(text, radix)?).ok().filter(|b| *b != 0)?;
    word.push(byte);
    Some(())
}

fn unicode(text: &[u8], word: &mut Vec<u8>) -> Option<()> {
    let c = char::from_u32(digits(text, 16)?).filter(|c| *c != '\0')?;
    word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let valid = starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    valid.then(|| (name.to_owned(), value.replace("%%", "%")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_lines_are_read_as_systemd_reads_them() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("Environment=A=1", &[("A", "1")]),
            ("Environment=\"A=one two\" B=2 'C=3 4'", &[("A", "one two"), ("B", "2"), ("C", "3 4")]),
            ("  Environment = A=1  ", &[("A", "1")]),
            ("Environment=A=\"x y\"z", &[("A", "x yz")]),
            ("Environment=A=", &[("A", "")]),
            ("Environment=A=b=c", &[("A", "b=c")]),
            ("Environment=A=1\nEnvironment=B=2\nEnvironment=A=3", &[("A", "3"), ("B", "2")]),
            ("Environment=A=1\nEnvironment=\nEnvironment=B=2", &[("B", "2")]),
            ("Environment=\"A=100%% of %%m, %m\"", &[("A", "100% of %m, %m")]),
            (r#"Environment="A=a\"b\\c\td\s\x41\101\u00e9\U0001f600""#, &[("A", "a\"b\\c\td AAé😀")]),
            (r"Environment=A=\xc3\xa9", &[("A", "é")]),
            (
                "Environment=A=1 \\\n  B=2 \\\n# a comment in between\n  C=3",
                &[("A", "1"), ("B", "2"), ("C", "3")],
            ),
            ("# Environment=A=1\n; Environment=B=2\n#Environment=C=3 \\\nEnvironment=D=4", &[("D", "4")]),
            (
                "[Unit]\nEnvironment=A=1\n[Service]\nEnvironment=B=2\n[Install]\nEnvironment=C=3",
                &[("B", "2")],
            ),
            ("EnvironmentFile=/x\nEnvironment=A=1\nPassEnvironment=B", &[("A", "1")]),
            // Left out by systemd too.
            ("Environment=noassignment A=1 9B=2 -C=3 =4", &[("A", "1")]),
            ("Environment=A=1 \"B=2", &[("A", "1")]),
            (r"Environment=A=1 B=\q C=3", &[("A", "1")]),
            (r"Environment=A=1 B=\x00 C=3", &[("A", "1")]),
            (r"Environment=A=1 B=\x+1 C=3", &[("A", "1")]),
            (r"Environment=A=1 B=\400 C=3", &[("A", "1")]),
            (r"Environment=A=\xff B=2", &[("B", "2")]),
            ("Environment=A=1 B=2\\", &[("A", "1"), ("B", "2")]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let text = if text.contains('[') { (*text).to_owned() } else { format!("[Service]\n{text}\n") };
            let found = parse_environment(&text);
            let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn settings_know_their_section() {
        let text = "A=0\n[Unit]\n# B=1\n C = a \\\n  b \nnothing\n[Service] \nD=\n[broken\nE=5=6\n";
        let found = parse_settings(text);
        let found: Vec<_> = found.iter().map(|s| [s.section.as_str(), &s.key, &s.value]).collect();
        assert_eq!(found, [["", "A", "0"], ["Unit", "C", "a  b"], ["Service", "D", ""], ["", "E", "5=6"]]);
    }
}
