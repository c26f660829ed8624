//! Member directories written offline, for one new member, for several and for one that joins, started under the real
//! etcd of this machine.

use etcd2_backup::etcd::datadir::DataDir;
use etcd2_backup::etcd::log::Log;
use etcd2_backup::etcd::wal::{self, Reading};
use testkit::fixtures::{Fixture, NAMES};

#[test]
fn what_a_scan_says_of_the_log_behind_the_snapshot_is_what_reading_it_from_there_says() {
    for name in NAMES.iter().filter(|n| !n.contains("flipped")) {
        let work = tempfile::tempdir().unwrap();
        let fixture = Fixture::unpack(name, work.path()).unwrap();
        let dir = DataDir::open(&fixture.data_dir, None).unwrap();
        let contents = dir.scan(Reading::Still).unwrap();
        let from = contents.base.as_ref().map(|b| b.metadata.position).unwrap_or_default();
        let mut log = Log { metadata: Some(contents.metadata), ..Log::behind(from, contents.start_state) };
        let tail =
            wal::walk(&dir.wal, contents.start, Reading::Still, &mut |_, record| log.add(record)).unwrap();
        assert_eq!((contents.log, contents.tail), (log, tail), "{name}");
    }
}
