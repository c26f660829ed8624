//! An upload that was denied, although the key may write: rclone makes sure of the bucket before it, by creating it.

use crate::settings::endpoint::bucket_of;
use crate::settings::rclone_section::{Lookup, Section};

/// What the remotes say of a right that is missing.
const DENIED: [&str; 8] = [
    "AccessDenied",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "Error 403",
    "Forbidden",
    "NotAuthorizedOrNotFound",
    "StatusCode: 403",
    "status code: 403",
];

/// A way out, if a call may have failed of that. `target` is where an upload went to, `remote` says what is known of
/// rclone's remotes.
pub(super) fn hint(arguments: &[&str], endpoint: &str, stderr: &str, remote: Lookup) -> Option<String> {
    let is_upload =
        arguments.first() == Some(&"copy") && arguments.last().is_some_and(|to| to.starts_with(endpoint));
    if !is_upload || !DENIED.iter().any(|text| stderr.contains(text)) {
        return None;
    }
    let (option, section) = match bucket_of(endpoint, remote) {
        Some(Section { unchecked: true, .. }) => return None,
        Some(Section { name, kind, .. }) => (option_of(&kind)?, format!("the section [{name}]")),
        // Of an encrypted rclone.conf nothing is known; only S3 says it like this.
        None if remote(endpoint.split(':').next()?).is_none() && stderr.contains("AccessDenied") => {
            ("no_check_bucket", "the remote's section".to_owned())
        }
        None => return None,
    };
    Some(format!(
        "rclone tries to create the bucket before it uploads. If the bucket exists and the key may not create one, add \
         {option} = true to {section} of rclone.conf, then build and install again; otherwise give the key the right to \
         write there"
    ))
}

/// What keeps rclone from creating a bucket, or what goes by another name there.
fn option_of(kind: &str) -> Option<&'static str> {
    match kind {
        "s3" | "gcs" | "google cloud storage" | "oos" | "oracleobjectstorage" => Some("no_check_bucket"),
        "azureblob" => Some("no_check_container"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::rclone_section::parse_sections;

    fn in_conf(name: &str) -> Option<Section> {
        parse_sections(CONF).into_iter().find(|section| section.name == name)
    }

    const CONF: &str = "[s3]\ntype = s3\n[told]\ntype = s3\nno_check_bucket = true\n[no]\ntype = s3\nno_check_bucket = false\n\
        [crypt]\ntype = crypt\nremote = s3:bucket\n[azure]\ntype = azureblob\n[b2]\ntype = b2\n[dav]\ntype = webdav\n";
    /// As 1.60 and 1.75 say it.
    const OLD: &str =
        "Failed to copy: AccessDenied: Access Denied\n\tstatus code: 403, request id: , host id: ";
    const NEW: &str = "Failed to copy: failed to prepare upload: operation error S3: CreateBucket, https response error \
        StatusCode: 403, RequestID: , HostID: , api error AccessDenied: Access Denied";

    fn of(endpoint: &str, stderr: &str) -> String {
        let to = format!("{endpoint}/id");
        let arguments = ["copy", "--size-only", "--no-traverse", "--", "/spool", &to];
        hint(&arguments, endpoint, stderr, &in_conf).unwrap_or_default()
    }

    #[test]
    fn an_upload_that_is_denied_names_the_option() {
        for (endpoint, stderr, want) in [
            ("s3:bucket/p", OLD, "no_check_bucket = true to the section [s3] of rclone.conf"),
            ("s3:bucket/p", NEW, "no_check_bucket = true to the section [s3] of rclone.conf"),
            ("no:bucket", NEW, "no_check_bucket = true to the section [no]"),
            ("crypt:p", OLD, "no_check_bucket = true to the section [s3]"),
            (
                "azure:c",
                "AuthorizationPermissionMismatch",
                "no_check_container = true to the section [azure]",
            ),
            // What an encrypted one has, nobody knows.
            ("secret:bucket", NEW, "no_check_bucket = true to the remote's section of rclone.conf"),
            ("secret:bucket", "403 Forbidden", ""),
            ("told:bucket", NEW, ""),
            ("b2:bucket", "AccessDenied", ""),
            ("dav:p", "403 Forbidden", ""),
            ("s3:bucket/p", "SignatureDoesNotMatch", ""),
            ("s3:bucket/p", "dial tcp 127.0.0.1:1: connect: connection refused", ""),
        ] {
            let said = of(endpoint, stderr);
            assert!(said.contains(want) && said.is_empty() == want.is_empty(), "{endpoint} {stderr}: {said}");
        }
    }

    #[test]
    fn no_other_call_creates_a_bucket() {
        let lookup: Lookup = &in_conf;
        for arguments in [
            &["copy", "--", "s3:bucket/p/id", "/restore"][..],
            &["lsjson", "--", "s3:bucket/p/id"],
            &["delete", "--", "s3:bucket/p/id"],
            &["cat", "--", "s3:bucket/p/id"],
            &[],
        ] {
            assert_eq!(hint(arguments, "s3:bucket/p", OLD, lookup), None, "{arguments:?}");
        }
    }
}
