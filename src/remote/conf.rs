//! Two rclone.confs compared: rclone writes OAuth tokens back into its file, and what its sftp backend found out about the
//! server, and that is no edit. An encrypted one it encrypts anew for that, so that nothing of it stays the same.

use sha2::{Digest as _, Sha256};

use crate::settings::rclone_section::ENCRYPTED;
pub use crate::settings::rclone_section::is_encrypted;

/// The checksum of what an operator writes into a rclone.conf: without the keys that rclone sets itself, empty lines, and
/// the spaces that rclone lays out anew when it writes the file. Of an encrypted one, that it is encrypted.
pub fn digest_of_the_operators(conf: &[u8]) -> [u8; 32] {
    Sha256::digest(the_operators(conf)).into()
}

/// What an operator writes into a rclone.conf, in one form: see [`digest_of_the_operators`].
pub(super) fn the_operators(conf: &[u8]) -> Vec<u8> {
    if is_encrypted(conf) {
        return ENCRYPTED.to_vec();
    }
    let mut kept = Vec::with_capacity(conf.len());
    for line in conf.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()) {
        match line.iter().position(|b| *b == b'=') {
            Some(at) => {
                let (key, value) = (line[..at].trim_ascii(), line[at + 1..].trim_ascii());
                if is_rclones_own(key) {
                    continue;
                }
                kept.extend_from_slice(key);
                kept.push(b'=');
                kept.extend_from_slice(value);
            }
            None => kept.extend_from_slice(line),
        }
        kept.push(b'\n');
    }
    kept
}

/// Keys that rclone sets while it works: `md5sum_command` and its like, and `shell_type`, are of sftp.
fn is_rclones_own(key: &[u8]) -> bool {
    key == b"token" || key == b"shell_type" || key.ends_with(b"sum_command")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rclones_own_keys_and_layout_may_differ() {
        let placed =
            "[drive]\ntype = drive\ntoken = {\"access_token\":\"a\"}\n\n[s3]\ntype=s3\nsecret = x=y\n";
        for (other, same) in [
            (placed.to_owned(), true),
            (placed.replace("\"a\"", "\"b=c\""), true),
            (placed.replace("token = {\"access_token\":\"a\"}\n", ""), true),
            (placed.replace("type=s3", "  type = s3\r"), true),
            (format!("{placed}md5sum_command = md5sum\nsha1sum_command = none\nshell_type = unix\n"), true),
            (placed.replace("\n\n", "\n"), true),
            (placed.replace("x=y", "x=z"), false),
            (placed.replace("token = ", "tokens = "), false),
            (placed.replace("[s3]", "[s4]"), false),
            (placed.replace("secret = x=y\n", ""), false),
            (format!("{placed}bearer_token = x\n"), false),
            (format!("# {placed}"), false),
            (String::new(), false),
        ] {
            let equal =
                digest_of_the_operators(other.as_bytes()) == digest_of_the_operators(placed.as_bytes());
            assert_eq!(equal, same, "{other}");
        }
    }

    #[test]
    fn an_encrypted_one_is_like_any_other_encrypted_one_alone() {
        let encrypted =
            |text: &str| format!("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\n{text}\n");
        let digest = |text: &str| digest_of_the_operators(text.as_bytes());
        assert_eq!(digest(&encrypted("abc")), digest(&encrypted("def=")));
        assert_ne!(digest(&encrypted("abc")), digest("[s3]\ntype = s3\n"));
        assert!(!is_encrypted(b"[s3]\nsecret = RCLONE_ENCRYPT_V0:\n"));
    }

    #[test]
    fn any_bytes_will_do() {
        assert_eq!(the_operators(b"\xff = \xfe\n=\n\n token\t=x"), b"\xff=\xfe\n=\n");
    }
}
