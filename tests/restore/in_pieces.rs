//! Generations that begin with the v3 store in pieces, made of a node's disk by the library.

use std::fs;
use std::path::PathBuf;

use etcd2_backup::archive::part::{self, Head};
use etcd2_backup::archive::pieces::Pieces;
use etcd2_backup::backup::capture::{self, Capture};
use etcd2_backup::backup::state::State;
use etcd2_backup::etcd::datadir::DataDir;
use testkit::node::Node;

/// One that is being written.
pub(crate) struct Generation {
    state: State,
    /// The last entry of the v3 store that it begins with: nothing before it can be restored.
    pub(crate) lowest: u64,
}

impl Generation {
    /// Begins one with all that the disk of a node has whose etcd does not run, captured at this time.
    pub(crate) fn begin(node: &Node, number: u64, time: u64) -> Self {
        let mut capture = capture::with_v3(&disk(node), "a test").unwrap();
        let v3 = capture.v3.take().unwrap();
        let head = Head { generation: number, time, db: Some(v3.size), ..head(node, &capture) };
        let folder = folder(node, &head);
        fs::create_dir_all(&folder).unwrap();
        let (db, mut pieces) = (fs::read(&v3.path).unwrap(), Pieces::default());
        for mut piece in db.chunks(db.len().div_ceil(3)) {
            pieces.write(&folder, v3.applied(), &mut piece).unwrap();
        }
        let head = Head { predecessor: pieces.link, ..head };
        Self { lowest: v3.applied(), state: written(node, &capture, None, &head) }
    }

    /// Goes on with what the log has more, captured at this time.
    pub(crate) fn add(&mut self, node: &Node, time: u64) {
        let capture = capture::next(&disk(node), Some(&self.state)).unwrap().new.unwrap();
        let State { generation, sequence, link, .. } = self.state.clone();
        let more =
            Head { generation, sequence: sequence + 1, predecessor: link, time, ..head(node, &capture) };
        self.state = written(node, &capture, Some(&self.state), &more);
    }

    /// The last entry in it.
    pub(crate) fn last(&self) -> u64 {
        self.state.last.index
    }
}

fn disk(node: &Node) -> DataDir {
    DataDir::open(&node.path("/var/lib/etcd2"), None).unwrap()
}

fn folder(node: &Node, head: &Head) -> PathBuf {
    node.folder().join(head.generation_name().to_string())
}

fn written(node: &Node, capture: &Capture, before: Option<&State>, head: &Head) -> State {
    let written = part::write(&folder(node, head), head, |out| capture.write_payload(out)).unwrap();
    let whose = node.folder().file_name().unwrap().to_str().unwrap().to_owned();
    capture.state_behind(before, &whose, head, &written, head.time)
}

fn head(node: &Node, capture: &Capture) -> Head {
    Head {
        generation: 0,
        sequence: 0,
        cluster_id: capture.metadata.cluster_id,
        member_id: capture.metadata.member_id,
        writer: 7,
        member_name: node.etcd.name.clone(),
        peer_urls: vec![node.etcd.peer_url.clone()],
        family: capture.family,
        time: 0,
        first: capture.first,
        last: capture.last(),
        commit: Some(capture.commit()),
        start_state: capture.start_state,
        predecessor: String::new(),
        marks: Vec::new(),
        parent: None,
        v3_data: capture.v3_data.is_some(),
        snapshot: capture.base.as_ref().map(|b| (b.name.to_string(), b.size)),
        db: None,
        log: capture.tail.extents.clone(),
    }
}
