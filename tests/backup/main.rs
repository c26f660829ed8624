//! One cycle of a backup after another, of a real, running etcd through a real rclone, faults included.

mod believed;
mod container;
mod cycle;
mod day;
mod doctor;
mod faults_folder;
mod faults_node;
mod faults_remote;
mod idle;
mod joined_backup;
mod leash;
mod promise;
mod room;
mod runner;
mod secrets;
mod sent;
mod status;
mod summary;
mod v3_archive;
mod v3_base;
mod v3_base_faults;
mod v3_data;
mod v3_faults;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_etcd2-backup");
