//! Which of rclone's variables it gets.
//!
//! rclone takes every flag, and every option of a remote, from a variable too. A dry run that was set to try things, and
//! stayed, would let each backup end well and send nothing. So it gets those that say how to reach a remote. What changes
//! what is transferred, listed or reported is left out, and with it all that is not known here: rclone has new flags with
//! each release.

use std::ffi::OsString;
use std::process::Command;
use std::sync::Once;

use crate::settings::rclone_flags;

/// Settings that look like rclone's own variables, but are ours.
const OURS: [&str; 2] = ["RCLONE_ENDPOINT", "RCLONE_CONFIG_PATH"];

/// Flags that a variable may say beside those that a site may: secrets have no place on a command line.
const MORE_FLAGS: [&str; 12] = [
    "bwlimit",
    "cache-dir",
    // Ours as well: how an object that is there already is compared.
    "checksum",
    "client-key",
    "client-pass",
    "header",
    "header-download",
    "header-upload",
    "http-proxy",
    "password-command",
    "temp-dir",
    "use-cookies",
];

/// What rclone 1.60 to 1.75 calls its backends in variables: RCLONE_S3_REGION is an option of each remote of type s3.
const BACKENDS: &str = "\
    acd alias archive azureblob azurefiles b2 box cache chunker cloudinary combine compress crypt doi drime \
    drive dropbox fichier filefabric filelu filen filescom ftp gcs gofile gphotos hasher hdfs hidrive http \
    huaweidrive iclouddrive imagekit internetarchive internxt jottacloud koofr linkbox local mailru mega memory \
    netstorage onedrive oos opendrive pcloud pikpak pixeldrain premiumizeme protondrive putio qingstor quatrix \
    s3 seafile sftp shade sharefile sia smb storj sugarsync swift tardigrade ulozto union uptobox webdav yandex \
    zoho";

/// Options that pick out what is seen of a remote, leave out some of what goes there, or take for sent what nobody has
/// looked at. Who wants them writes them into the remote's section of rclone.conf, where others see them.
const SELECTING: [&str; 34] = [
    "auth_owner_only",
    "batch_mode",
    "copy_shortcut_content",
    "decompress",
    "disable_checksum",
    "disable_hashcheck",
    "discard",
    "formats",
    "include_archived",
    "links",
    "max_age",
    "no_check_updated",
    "no_check_upload",
    "no_data_encryption",
    "no_head",
    "no_head_object",
    "one_file_system",
    "only_signed",
    "owncloud_exclude_mounts",
    "owncloud_exclude_shares",
    "owned_by",
    "pass_bad_blocks",
    "shared_files",
    "shared_folders",
    "shared_with_me",
    "starred_only",
    "start_year",
    "test_mode",
    "tmp_upload_path",
    "trashed_only",
    "unicode_normalization",
    "version_at",
    "version_deleted",
    "versions",
];

/// What variables begin with that rclone's backends read by themselves (`env_auth` and its like): which server, account, profile or
/// file of keys is meant.
const OF_BACKENDS: [&str; 9] =
    ["AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "GCLOUD_", "OS_", "ST_", "OCI_", "OCS_"];
/// How those end that are renewed by the hour, and say nothing of where.
const RENEWED: [&str; 3] = ["_SESSION_TOKEN", "_SECURITY_TOKEN", "_ACCESS_TOKEN"];

/// Whether a backend of rclone's may learn from a variable where something is.
fn decides_where(name: &str) -> bool {
    OF_BACKENDS.iter().any(|start| name.starts_with(start)) && !RENEWED.iter().any(|end| name.ends_with(end))
}

/// Whether a variable is one of rclone's, and left out.
pub fn is_left_out(name: &str) -> bool {
    name.starts_with("RCLONE_") && !OURS.contains(&name) && !is_passed(name)
}

/// Whether rclone gets this variable.
fn is_passed(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("RCLONE_").map(str::to_ascii_lowercase) else { return false };
    if OURS.contains(&name) {
        return false;
    }
    let flag = rest.replace('_', "-");
    if name == super::password::VARIABLE
        || rclone_flags::ALLOWED.iter().chain(&MORE_FLAGS).any(|f| *f == flag)
    {
        return true;
    }
    // RCLONE_CONFIG_<REMOTE>_<OPTION>, or RCLONE_<BACKEND>_<OPTION>.
    let of_remote = rest.strip_prefix("config_").is_some_and(|rest| rest.contains('_'));
    let of_backend = || {
        BACKENDS.split(' ').any(|name| rest.strip_prefix(name).is_some_and(|option| option.starts_with('_')))
    };
    (of_remote || of_backend()) && !selects(&rest)
}

/// Whether a variable ends with an option that picks out.
fn selects(rest: &str) -> bool {
    let is = |option: &&str| rest.strip_suffix(*option).is_some_and(|before| before.ends_with('_'));
    SELECTING.iter().any(is) || rest.contains("_skip_")
}

/// rclone's variables that are set where it is started.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// Those that it gets.
    pub(super) passed: Vec<String>,
    /// Those that it does not get.
    withheld: Vec<String>,
    /// Which proxy is to be used. On the node it inherits them; a container has to be given them.
    pub(super) proxies: Vec<String>,
    /// Those that are not rclone's own, and by which one of its backends may go.
    pub(super) of_backends: Vec<String>,
}

/// In both ways of writing: programs differ in which they look at.
const PROXIES: [&str; 4] = ["all_proxy", "http_proxy", "https_proxy", "no_proxy"];

impl Variables {
    /// Those of this process. What is left out is told once.
    pub(super) fn of_process() -> Self {
        static TOLD: Once = Once::new();
        let this = Self::among(std::env::vars_os().map(|(name, _)| name));
        if let Some(warning) = this.warning() {
            TOLD.call_once(|| log::warn!("{warning}"));
        }
        this
    }

    fn among(names: impl IntoIterator<Item = OsString>) -> Self {
        let mut all: Vec<String> = names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        all.sort();
        let is_proxy = |name: &String| PROXIES.iter().any(|p| name == p || *name == p.to_ascii_uppercase());
        let proxies = all.iter().filter(|name| is_proxy(name)).cloned().collect();
        let of_backends = all.iter().filter(|name| decides_where(name)).cloned().collect();
        all.retain(|name| name.starts_with("RCLONE_"));
        let (passed, withheld) = all.into_iter().partition(|name| is_passed(name));
        Self { passed, withheld, proxies, of_backends }
    }

    fn warning(&self) -> Option<String> {
        let names: Vec<&str> = self.withheld.iter().map(String::as_str).filter(|n| is_left_out(n)).collect();
        (!names.is_empty()).then(|| {
            format!(
                "ignoring {}: only variables that say how to reach a remote are passed to rclone, since others can \
                 change what is transferred; remove them from the service's environment",
                names.join(", ")
            )
        })
    }

    /// What those that it gets say.
    pub(super) fn said(&self) -> Vec<(String, String)> {
        self.passed.iter().filter_map(|name| Some((name.clone(), std::env::var(name).ok()?))).collect()
    }

    /// Takes the others out of what a command inherits.
    pub(super) fn withhold_from(&self, command: &mut Command) {
        for name in &self.withheld {
            command.env_remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_how_to_reach_a_remote_is_passed() {
        for name in [
            "RCLONE_CONFIG_PASS",
            "RCLONE_PASSWORD_COMMAND",
            "RCLONE_CONFIG_MYS3_TYPE",
            "RCLONE_CONFIG_MY_S3_ACCESS_KEY_ID",
            "RCLONE_CONFIG_S3_NO_CHECK_BUCKET",
            "RCLONE_S3_REGION",
            "RCLONE_S3_NO_CHECK_BUCKET",
            "RCLONE_S3_LIST_VERSION",
            "RCLONE_SWIFT_AUTH_VERSION",
            "RCLONE_GCS_BUCKET_POLICY_ONLY",
            "RCLONE_SFTP_KEY_FILE",
            "RCLONE_CRYPT_PASSWORD",
            "RCLONE_LOCAL_NO_PREALLOCATE",
            "RCLONE_BWLIMIT",
            "RCLONE_BUFFER_SIZE",
            "RCLONE_CA_CERT",
            "RCLONE_CACHE_DIR",
            "RCLONE_CHECKSUM",
            "RCLONE_HEADER",
            "RCLONE_HTTP_PROXY",
            "RCLONE_TRANSFERS",
            "RCLONE_USER_AGENT",
        ] {
            assert!(is_passed(name) && !is_left_out(name), "{name}");
        }
        for name in [
            "RCLONE_DRY_RUN",
            "RCLONE_INTERACTIVE",
            // Filters.
            "RCLONE_EXCLUDE",
            "RCLONE_EXCLUDE_FROM",
            "RCLONE_EXCLUDE_IF_PRESENT",
            "RCLONE_FILES_FROM",
            "RCLONE_FILES_FROM_RAW",
            "RCLONE_FILTER",
            "RCLONE_FILTER_FROM",
            "RCLONE_HASH_FILTER",
            "RCLONE_IGNORE_CASE",
            "RCLONE_INCLUDE",
            "RCLONE_INCLUDE_FROM",
            "RCLONE_MAX_AGE",
            "RCLONE_MAX_DEPTH",
            "RCLONE_MAX_SIZE",
            "RCLONE_METADATA_INCLUDE",
            "RCLONE_MIN_AGE",
            "RCLONE_MIN_SIZE",
            // How much, and whether at all.
            "RCLONE_BACKUP_DIR",
            "RCLONE_COMPARE_DEST",
            "RCLONE_COPY_DEST",
            "RCLONE_CUTOFF_MODE",
            "RCLONE_DELETE_EXCLUDED",
            "RCLONE_DISABLE",
            "RCLONE_ERROR_ON_NO_TRANSFER",
            "RCLONE_IGNORE_CHECKSUM",
            "RCLONE_IGNORE_ERRORS",
            "RCLONE_IGNORE_EXISTING",
            "RCLONE_IGNORE_SIZE",
            "RCLONE_IGNORE_TIMES",
            "RCLONE_IMMUTABLE",
            "RCLONE_LINKS",
            "RCLONE_LIST_CUTOFF",
            "RCLONE_MAX_DELETE",
            "RCLONE_MAX_DURATION",
            "RCLONE_MAX_TRANSFER",
            "RCLONE_METADATA_MAPPER",
            "RCLONE_NAME_TRANSFORM",
            "RCLONE_ONE_FILE_SYSTEM",
            "RCLONE_PARTIAL_SUFFIX",
            "RCLONE_SIZE_ONLY",
            "RCLONE_SKIP_LINKS",
            "RCLONE_SUFFIX",
            "RCLONE_TRACK_RENAMES",
            "RCLONE_UPDATE",
            // What is reported, and where.
            "RCLONE_LOG_FILE",
            "RCLONE_QUIET",
            "RCLONE_RC",
            "RCLONE_SYSLOG",
            "RCLONE_USE_JSON_LOG",
            // The same as options.
            "RCLONE_B2_VERSIONS",
            "RCLONE_CONFIG_MYS3_VERSION_AT",
            "RCLONE_CRYPT_NO_DATA_ENCRYPTION",
            "RCLONE_DRIVE_SKIP_GDOCS",
            "RCLONE_DRIVE_TRASHED_ONLY",
            "RCLONE_DROPBOX_BATCH_MODE",
            "RCLONE_LOCAL_SKIP_LINKS",
            "RCLONE_MEMORY_DISCARD",
            "RCLONE_ONEDRIVE_NO_VERSIONS",
            // Ours, or nobody's.
            "RCLONE_ENDPOINT",
            "RCLONE_CONFIG",
            "RCLONE_CONFIG_DIR",
            "RCLONE_CONFIG_PATH",
            "RCLONE_FLAG_OF_TOMORROW",
            "RCLONE_S3",
            "RCLONE_",
            "rclone_transfers",
            "PATH",
        ] {
            assert!(!is_passed(name), "{name}");
        }
        assert!(MORE_FLAGS.is_sorted() && SELECTING.is_sorted());
        assert!(BACKENDS.split(' ').is_sorted() && BACKENDS.split(' ').all(|name| !name.is_empty()));
    }

    #[test]
    fn what_a_backend_reads_by_itself_decides_where() {
        let names = [
            "AWS_ENDPOINT_URL",
            "AWS_PROFILE",
            "OS_AUTH_URL",
            "AZURE_CLIENT_ID",
            "AWS_SESSION_TOKEN",
            "PATH",
            "ETCD_NAME",
        ];
        let found = Variables::among(names.iter().map(Into::into)).of_backends;
        assert_eq!(found, ["AWS_ENDPOINT_URL", "AWS_PROFILE", "AZURE_CLIENT_ID", "OS_AUTH_URL"]);
    }

    #[test]
    fn what_is_left_out_is_named() {
        let of = |names: &[&str]| Variables::among(names.iter().map(Into::into));
        let some = of(&["RCLONE_MAX_AGE", "HOME", "RCLONE_S3_REGION", "RCLONE_ENDPOINT", "RCLONE_DRY_RUN"]);
        assert_eq!(some.passed, ["RCLONE_S3_REGION"]);
        let proxied =
            of(&["no_proxy", "HTTPS_PROXY", "https_proxy", "HOME", "Http_Proxy", "NO_PROXY", "http_proxy"]);
        assert_eq!(proxied.proxies, ["HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"]);
        let warning = some.warning().unwrap();
        assert!(warning.starts_with("ignoring RCLONE_DRY_RUN, RCLONE_MAX_AGE: only variables"), "{warning}");
        let mut command = Command::new("rclone");
        some.withhold_from(&mut command);
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).collect();
        assert_eq!(removed.len(), 3, "{removed:?}");
        assert_eq!(of(&["RCLONE_ENDPOINT", "RCLONE_TRANSFERS"]).warning(), None);
    }
}
