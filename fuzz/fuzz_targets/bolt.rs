//! A bolt file, raw or from a script: what the walk takes is found by key, the same backward, and of bounded size.
#![no_main]

use std::io::Cursor;

use etcd2_backup::etcd::bolt::filled::first_filled;
use etcd2_backup::etcd::bolt::{Db, Order, sum};
use etcd2_backup::etcd::v3::mvcc::{hash_kv, visit_live};
use etcd2_backup::etcd::v3::state::{V3State, consistent_index, last_row};
use etcd2_backup_fuzz::db::write;
use etcd2_backup_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let file = if *mode == 0xff { rest.to_vec() } else { write(Input(data)) };
    let _ = first_filled(&mut Cursor::new(&file), &["key", "lease"]);
    let _ = sum::check(&mut Cursor::new(&file)).expect("a file in memory is read");
    let Ok(mut db) = Db::open(Cursor::new(&file)) else { return };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let checked = db.check(&mut |bucket, key, value| {
        bytes += key.len() + value.len();
        rows.push((String::from_utf8(bucket.to_vec()), key.to_vec(), value.to_vec()));
        Ok(())
    });
    assert!(bytes <= file.len() * 2, "no row is visited twice");
    if let Ok(reached) = checked {
        assert_eq!(reached.rows, rows.len() as u64);
        assert!(reached.pages.len() <= db.page_count());
        let names: Vec<_> = rows.iter().filter_map(|r| r.0.clone().ok()).collect();
        for name in names.iter().collect::<std::collections::BTreeSet<_>>() {
            let mut own: Vec<_> = rows.iter().filter(|r| r.0.as_ref() == Ok(name)).collect();
            let mut bucket = db.bucket(name).expect("it was walked").expect("it has rows");
            assert!(!bucket.is_empty().expect("it was walked"));
            let last = bucket.last().expect("it was walked").expect("it has rows");
            assert_eq!(own.last().map(|r| (&r.1, &r.2)), Some((&last.0, &last.1)));
            for (_, key, value) in &own {
                assert_eq!(bucket.get(key).expect("it was walked").as_ref(), Some(value));
            }
            bucket
                .walk(Order::Backward, &mut |key, value| {
                    let row = own.pop().expect("no more rows than forward");
                    assert_eq!((&row.1[..], &row.2[..]), (key, value));
                    Ok(())
                })
                .expect("it was walked");
            assert!(own.is_empty());
        }
    }
    let (_, _) = (consistent_index(&mut db), last_row(&mut db));
    if let Ok(state) = V3State::read(&mut db) {
        let mut live = 0;
        visit_live(&mut db, &mut |_| {
            live += 1;
            Ok(())
        })
        .expect("it was read");
        assert!(live + state.deletions <= state.revisions);
        hash_kv(&mut db, state.compacted).expect("it was read");
        assert!(state.revision >= last_row(&mut db).expect("it was read"));
    }
});
