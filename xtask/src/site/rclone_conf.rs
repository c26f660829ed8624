//! rclone.conf, as far as we look into it: the node's program does so in the same way. It ships byte for byte.

pub(crate) use etcd2_backup::settings::rclone_section::{Section, parse_sections};
