//! The outside world: processes, files, locks, systemd, HTTP. Knows nothing of etcd.

pub mod command;
pub mod container;
pub mod decimal;
pub mod digest;
pub mod folder;
pub mod fs;
pub mod held;
pub mod http;
pub mod json;
pub mod leash;
pub mod lock;
pub mod log;
pub mod look;
pub mod os_release;
pub mod private_net;
pub mod privilege;
pub mod random;
pub mod redact;
pub mod room;
pub mod secret_file;
pub mod summed;
pub mod systemd;
pub mod terminal;
pub mod time;
pub mod unit_file;
