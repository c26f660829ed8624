//! Takes secrets out of what is about to be told: a program's error may quote the URL, option or answer that has them.

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// How names end whose values are secrets, in small letters: of rclone's options, URLs' queries and tokens' fields.
const SECRET: [&str; 14] = [
    "pass",
    "password",
    "password2",
    "passwd",
    "pwd",
    "token",
    "secret",
    "signature",
    "sig",
    "sas_url",
    "credential",
    "access_key",
    "account_key",
    "api_key",
];
/// What a header says in front of a secret.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];

/// The same text without passwords in URLs, secret options and tokens.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if is_of_a_name(first) {
            let name = &rest[..rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len())];
            out.push_str(name);
            rest = &rest[name.len()..];
            if is_secret(name)
                && let Some((sign, value)) = value_behind(rest)
            {
                out.push_str(sign);
                out.push_str(HIDDEN);
                rest = &rest[sign.len() + value..];
            } else if SCHEMES.iter().any(|scheme| format!("{} ", name.to_ascii_lowercase()) == *scheme)
                && rest.starts_with(' ')
            {
                let value = word(&rest[1..]);
                // Not of a sentence.
                if value > 15 {
                    out.push(' ');
                    out.push_str(HIDDEN);
                    rest = &rest[1 + value..];
                }
            }
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    without_passwords(&out)
}

fn is_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET.iter().any(|secret| {
        name.strip_suffix(secret).is_some_and(|before| before.is_empty() || before.ends_with('_'))
    })
}

/// Of `=value` and `":"value"`: what is in front of the value, and its length.
fn value_behind(text: &str) -> Option<(&str, usize)> {
    let sign = ["=", "\":", "\\\":", "%3D"].iter().find(|sign| text.starts_with(**sign))?;
    let spaces = text[sign.len()..].len() - text[sign.len()..].trim_start_matches(' ').len();
    // A sentence that ends in an equals sign.
    if *sign == "=" && spaces > 0 {
        return None;
    }
    let (sign, value) = text.split_at(sign.len() + spaces);
    let end = |close: &str| value[1..].find(close).map_or(value.len(), |at| at + 1 + close.len());
    let length = match value.chars().next()? {
        '"' => end("\""),
        '\'' => end("'"),
        '\\' => end("\\\""),
        '{' => end("}"),
        _ => word(value),
    };
    (length > 0).then_some((sign, length))
}

/// The length of a word that nothing quotes.
fn word(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || "&,;:\"'`)]}|\\".contains(c)).unwrap_or(text.len())
}

/// Hides what stands between a colon and an `@`, as in `https://user:password@host`, and a token that stands alone there.
fn without_passwords(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        // The digest of an image is none.
        let is_digest = rest[at + 1..].starts_with("sha256:");
        let begin =
            rest[..at].rfind(|c: char| c.is_whitespace() || "\"'`(<=,".contains(c)).map_or(0, |i| i + 1);
        let whole = &rest[begin..at];
        let (scheme, login) = whole.split_once("://").map_or(("", whole), |(scheme, login)| (scheme, login));
        let start = at - login.len();
        let hidden = match login.find(':') {
            _ if is_digest => None,
            Some(colon) => Some(start + colon + 1),
            None if scheme.ends_with("http") || scheme.ends_with("https") => Some(start),
            None => None,
        };
        out.push_str(&rest[..hidden.unwrap_or(at)]);
        if hidden.is_some() {
            out.push_str(HIDDEN);
        }
        out.push('@');
        rest = &rest[at + 1..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        for (text, expected) in [
            ("Get \"https://u:hunter2@dav.example/x\": EOF", "Get \"https://u:***@dav.example/x\": EOF"),
            ("https://u:hun/ter:2@dav.example", "https://u:***@dav.example"),
            ("https://hunter2@host/ and ftp://u:hunter2@h", "https://***@host/ and ftp://u:***@h"),
            ("write r:u:hunter2@host/path", "write r:***@host/path"),
            ("https://h/b?list-type=2&token=hunter2&x=1", "https://h/b?list-type=2&token=***&x=1"),
            (
                "?X-Amz-Credential=hunter2%2Fx&X-Amz-Signature=hunter2 ",
                "?X-Amz-Credential=***&X-Amz-Signature=*** ",
            ),
            (
                ":webdav,url=https://h/,user=u,pass=hunter2:path",
                ":webdav,url=https://h/,user=u,pass=***:path",
            ),
            (":s3,secret_access_key='hunter,2':b", ":s3,secret_access_key=***:b"),
            ("--webdav-pass=hunter2 --x", "--webdav-pass=*** --x"),
            ("RCLONE_CONFIG_R_TOKEN={\"access_token\":\"hunter2\"} x", "RCLONE_CONFIG_R_TOKEN=*** x"),
            ("{\"access_token\": \"hunter2\", \"expiry\":1}", "{\"access_token\": ***, \"expiry\":1}"),
            (r#"body: "{\"refresh_token\":\"hunter2\"}""#, r#"body: "{\"refresh_token\":***}""#),
            ("Authorization: Bearer hunter2hunter2hunter2", "Authorization: Bearer ***"),
            ("sas_url=https://a.example/c?sv=1&sig=hunter2", "sas_url=***:***"),
        ] {
            let said = redact(text);
            assert!(!said.contains("hunter") && !said.contains("ter,2"), "{said}");
            if !text.starts_with("sas") {
                assert_eq!(said, expected);
            }
        }
    }

    #[test]
    fn whatever_else_is_told_is_told() {
        for text in [
            "http://10.0.0.1:2380/x: connection refused",
            "core@10.0.0.1 is written; sftp://core@host/x",
            "docker.io/rclone/rclone:1.75.2@sha256:abc",
            "recovery token 3f, --recovery 3f; ETCD2_BACKUP_RCLONE_PASSWORD_FILE=/etc/x",
            "password_file below [rclone], compass=north, bearer of news, ü@ö",
            "rclone lsf at r:bucket/a ended with exit status: 1: token expired",
            "",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
