//! A data directory: scanned, restored for a new member, scanned again.
#![no_main]

use std::fs;

use etcd2_backup::etcd::datadir::{Contents, DataDir};
use etcd2_backup::etcd::frame::Kind;
use etcd2_backup::etcd::proto::{Entry, EntryKind};
use etcd2_backup::etcd::rewrite::{NewMember, Purpose, Rewrite, Target, prove, write_member_dir};
use etcd2_backup::etcd::wal::{self, Reading};
use etcd2_backup_fuzz::input::Input;
use etcd2_backup_fuzz::{scratch, tree};
use libfuzzer_sys::fuzz_target;

/// Index, term, kind and data of the entries behind the base, those left out that a later one replaced.
fn entries(dir: &DataDir, contents: &Contents) -> Vec<(u64, u64, EntryKind, Vec<u8>)> {
    let (mut all, base) = (Vec::new(), contents.base_index());
    let walk = wal::walk(&dir.wal, contents.start, Reading::Still, &mut |_, record| {
        if record.kind == Kind::Entry {
            let e = Entry::decode(record.data)?;
            if e.index > base {
                all.truncate((e.index - base - 1) as usize);
                all.push((e.index, e.term, e.kind, e.data.to_vec()));
            }
        }
        Ok(())
    });
    assert_eq!(walk.expect("it was read before"), contents.tail);
    // A received snapshot may have taken the place of the last ones.
    all.truncate((contents.last().index - base) as usize);
    assert!(all.iter().zip(base + 1..).all(|(e, index)| e.0 == index), "no gap behind the base");
    all
}

fuzz_target!(|data: &[u8]| {
    let work = scratch::empty();
    tree::write(Input(data), &work);
    let Ok(dir) = DataDir::open(&work, None) else { return };
    let Ok(contents) = dir.scan(Reading::Still) else { return };

    let length = |s: wal::SegmentName| fs::metadata(s.path(&dir.wal)).expect("it was read").len();
    assert!(contents.start.offset <= length(contents.start.segment));
    assert!(contents.tail.end.offset <= length(contents.tail.end.segment));
    assert!(contents.tail.extents.iter().all(|e| e.from.offset < e.to && e.to <= length(e.from.segment)));
    let old = entries(&dir, &contents);
    assert_eq!(old.last().map_or(contents.base_index(), |e| e.0), contents.last().index);

    let Ok(members) = contents.members() else { return };
    let id = (1..).find(|id| !members.contains_key(id)).expect("there are fewer members than numbers");
    let new = NewMember { id, peer_urls: vec!["http://new:2380".into()] };
    let purpose = Purpose::Found(vec![new]);
    let rewrite = Rewrite { cluster_id: 7, purpose, up_to: None, family: contents.family, bump: None };
    let target = Target { member_id: id, path: &work.join("restored") };
    write_member_dir(&dir, &contents, &rewrite, target).expect("what was scanned can be restored");
    prove(&contents, &rewrite, target).expect("what was restored reads back");

    let restored = DataDir { snap: target.path.join("snap"), wal: target.path.join("wal") };
    let found = restored.scan(Reading::Still).expect("what was restored can be scanned");
    let new = entries(&restored, &found);
    assert_eq!(new[..old.len()], old);
    assert!(new[old.len()..].iter().all(|e| e.2 == EntryKind::ConfChange));
    let read = |c: &Contents| c.base.as_ref().map(|b| fs::read(&b.path).expect("it was read"));
    assert_eq!(read(&found), read(&contents));
});
