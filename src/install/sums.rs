//! SHA256SUMS, as `sha256sum` writes it, and the checksum of a file.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use anyhow::{Result, bail, ensure};
use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub type Digest = [u8; 32];

/// Reads a list of checksums: file name to checksum. A name is one of the list's own folder, or the list is refused.
///
/// # Errors
/// A line is no checksum and name, a name is listed twice or leads out of the folder.
pub fn parse(text: &str) -> Result<BTreeMap<String, Digest>> {
    let mut sums = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some((digest, name)) = parse_line(line) else {
            bail!("line {number} is not a checksum and a file name");
        };
        ensure!(is_plain_name(name), "line {number} names {name:?}, which is not a file of the same folder");
        ensure!(sums.insert(name.to_owned(), digest).is_none(), "line {number} names {name} a second time");
    }
    Ok(sums)
}

fn parse_line(line: &str) -> Option<(Digest, &str)> {
    let (hex, rest) = line.split_at_checked(64)?;
    let name = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *"))?;
    Some((parse_digest(hex)?, name))
}

fn parse_digest(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let nibble = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(digest)
}

/// The checksum of some bytes.
pub fn of_bytes(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control)
}

/// Copies all of `from` to `to` in small pieces; the checksum of what went by.
///
/// # Errors
/// Reading or writing failed.
pub fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = [0; 16 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(n) => {
                hash.update(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::digest::to_hex;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_sha256sum_writes_is_read() {
        let text = format!("{EMPTY}  a\n{} *b c\n", EMPTY.to_uppercase());
        let sums = parse(&text).unwrap();
        let empty = copy(&b""[..], io::sink()).unwrap();
        assert_eq!(to_hex(&empty), EMPTY);
        assert_eq!(of_bytes(b""), empty);
        assert_eq!(sums, BTreeMap::from([("a".to_owned(), empty), ("b c".to_owned(), empty)]));
        assert_eq!(parse("").unwrap(), BTreeMap::new());
    }

    #[test]
    fn anything_else_is_refused() {
        let cases = [
            (format!("{EMPTY}  a\n\n"), "line 2 is not a checksum"),
            (format!("{EMPTY}  a\n{EMPTY}  a\n"), "line 2 names a a second time"),
            (format!("{EMPTY} a"), "line 1 is not"),
            (EMPTY.to_owned(), "line 1 is not"),
            (format!("{}  a", &EMPTY[1..]), "line 1 is not"),
            (format!("\\{EMPTY}  a"), "line 1 is not"),
            (format!("+{}  a", &EMPTY[1..]), "line 1 is not"),
            (format!("{}é  a", &EMPTY[1..]), "line 1 is not"),
            (format!("{EMPTY}  "), "not a file of the same folder"),
            (format!("{EMPTY}  ../a"), "line 1 names \"../a\""),
            (format!("{EMPTY}  /etc/passwd"), "not a file of the same folder"),
            (format!("{EMPTY}  .."), "not a file of the same folder"),
            (format!("{EMPTY}  a\u{7}"), "not a file of the same folder"),
            ("garbage".to_owned(), "line 1 is not"),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn copying_gives_content_and_checksum() {
        let content = vec![7; 100_000];
        let mut copied = Vec::new();
        let digest = copy(&content[..], &mut copied).unwrap();
        assert_eq!(copied, content);
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(&content)));
        assert_ne!(digest, copy(&content[1..], io::sink()).unwrap());
    }
}
