//! A piece of a v3 store: a file of any bytes under the name that its bytes ask for, or bytes that were written as one, and read.
#![no_main]

use etcd2_backup::archive::link;
use etcd2_backup::archive::names::PieceName;
use etcd2_backup::archive::part::prefix;
use etcd2_backup::archive::pieces::Pieces;
use etcd2_backup::sys::digest::to_hex;
use etcd2_backup_fuzz::input::Input;
use etcd2_backup_fuzz::scratch;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fuzz_target!(|data: &[u8]| {
    let work = scratch::empty();
    let mut input = Input(data);
    let written = input.byte() & 1 != 0;
    let applied = u64::from(input.byte());
    let content = input.0;
    let mut pieces = Pieces::default();
    let name = if written {
        pieces.write(&work, applied, &mut { content }).expect("there is room")
    } else {
        let next = link::content("", &to_hex(&Sha256::digest(content)));
        let size = content.len() as u64;
        let name = PieceName { number: 0, applied, size, predecessor: 0, link: prefix(&next) };
        std::fs::write(work.join(name.to_string()), content).expect("there is room");
        name
    };
    assert_eq!(PieceName::parse(&name.to_string()), Some(name));
    let (mut read, mut again) = (Pieces::default(), Vec::new());
    let whole = read.read(&work.join(name.to_string()), name, &mut again);
    if written {
        whole.expect("what was written is read");
        assert_eq!((again.as_slice(), read), (content, pieces));
    } else if whole.is_ok() {
        assert_eq!((read.count, read.bytes), (1, again.len() as u64));
    }
});
