//! Makes the seeds: `seeds OUT` writes a folder for each target, from the fixtures of the tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use etcd2_backup::archive::part::{self, Head};
use etcd2_backup::archive::pieces::Pieces;
use etcd2_backup::etcd::datadir::{Contents, DataDir};
use etcd2_backup::etcd::frame::FrameReader;
use etcd2_backup::etcd::proto::Entry;
use etcd2_backup::etcd::wal::{Extent, Reading};
use etcd2_backup_fuzz::input::put_sized;
use etcd2_backup_fuzz::{db, script, tree};
// What the code is instrumented with calls it.
use libfuzzer_sys as _;
use testkit::fixtures::{Fixture, NAMES, V3_NAMES, unpack_v3};

/// Larger files than this say nothing new, and make each run slow.
const MAX_RAW: usize = 16 << 10;
/// Records of each segment that become seeds of their own.
const RECORDS: usize = 12;

/// Where the seeds go, counted by target.
struct Seeds {
    out: PathBuf,
    count: usize,
}

impl Seeds {
    fn put(&mut self, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let dir = self.out.join(target);
        fs::create_dir_all(&dir)?;
        self.count += 1;
        fs::write(dir.join(format!("{}-{name}", self.count)), bytes).context("writing a seed")
    }

    /// The db as a script, and what the entries of the log ask for.
    fn v3(&mut self, name: &str, data_dir: &Path) -> Result<()> {
        let bytes = fs::read(data_dir.join("member/snap/db"))?;
        for rows in [1, 3, 12] {
            self.put("bolt", name, &db::describe(&bytes, rows))?;
        }
        for path in files(&data_dir.join("member/wal"))? {
            let bytes = fs::read(path)?;
            let mut reader = FrameReader::new(&bytes[..], 0, 0);
            let mut lengths = BTreeSet::new();
            while let Ok(record) = reader.next_record()? {
                // Of each length one, which is of each kind some.
                if let Ok(entry) = Entry::decode(record.data)
                    && lengths.insert(entry.data.len())
                {
                    self.put("proto", name, entry.data)?;
                }
            }
        }
        Ok(())
    }

    fn fixture(&mut self, name: &str, data_dir: &Path) -> Result<()> {
        self.put("data_dir", name, &tree::describe(data_dir))?;
        for path in files(&data_dir.join("member/wal"))? {
            let bytes = fs::read(path)?;
            let some = &bytes[..bytes.len().min(MAX_RAW)];
            self.put("segment", name, &[&[0], some].concat())?;
            self.put("segment", name, &[vec![1], script::describe(&bytes)].concat())?;
            let mut reader = FrameReader::new(&bytes[..], 0, 0);
            for _ in 0..RECORDS {
                let Ok(record) = reader.next_record()? else { break };
                let frame = &bytes[record.start as usize..record.end as usize];
                let place =
                    [&record.crc_before.to_le_bytes()[..], &(record.start as u16).to_le_bytes()].concat();
                self.put("record", name, &[&[0], &place[..], frame].concat())?;
                self.put("proto", name, record.data)?;
            }
        }
        for path in files(&data_dir.join("member/snap"))? {
            let Some(message) = tree::message(&fs::read(path)?) else { continue };
            self.put("snapshot", name, &[&[1], &message[..]].concat())?;
            self.put("snapshot", name, &[vec![0], tree::with_crc(&message)].concat())?;
            let store = message.get(3..).unwrap_or_default();
            self.put("members_json", name, &store[store.iter().position(|b| *b == b'{').unwrap_or(0)..])?;
        }
        if let Ok(contents) = DataDir::open(data_dir, None).and_then(|dir| dir.scan(Reading::Still)) {
            self.part(name, data_dir, &contents)?;
        }
        Ok(())
    }

    /// The start of the log as a part, as a file and as a head with its payload.
    fn part(&mut self, name: &str, data_dir: &Path, contents: &Contents) -> Result<()> {
        let from = contents.start;
        let wal = fs::read(from.segment.path(&data_dir.join("member/wal")))?;
        let mut reader = FrameReader::new(&wal[from.offset as usize..], from.offset, from.crc);
        for _ in 0..RECORDS {
            if reader.next_record()?.is_err() {
                break;
            }
        }
        let (to, crc) = (reader.offset(), reader.crc());
        let head = Head {
            log: vec![Extent { from, to, crc }],
            ..serde_json::from_value(serde_json::json!({
                "generation": 1, "sequence": 0, "cluster_id": contents.metadata.cluster_id,
                "member_id": contents.metadata.member_id, "writer": 7, "member_name": "e1",
                "peer_urls": ["http://e1:2380"],
                "family": contents.family, "time": 1_769_903_999, "first": 1, "last": contents.last(),
                "start_state": contents.start_state, "predecessor": "", "log": [],
            }))?
        };
        let payload = &wal[from.offset as usize..to as usize];
        let mut seed = vec![1];
        put_sized(&mut seed, &serde_json::to_vec(&head)?, 2);
        self.put("archive_part", name, &[&seed, payload].concat())?;
        let work = self.out.join("work");
        fs::create_dir_all(&work)?;
        let written = part::write(&work, &head, |out| Ok(out.write_all(payload)?))?;
        let file = fs::read(work.join(written.name.to_string()))?;
        let piece = Pieces::default().write(&work, 7, &mut { payload })?;
        let packed = fs::read(work.join(piece.to_string()))?;
        fs::remove_dir_all(work)?;
        self.put("pieces", name, &[&[1, 7], payload].concat())?;
        self.put("pieces", name, &[&[0, 7], &packed[..]].concat())?;
        self.put("archive_part", name, &[&[0], &file[..file.len() - 32]].concat())
    }
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    all.sort();
    Ok(all)
}

fn main() -> Result<()> {
    let out = PathBuf::from(env::args_os().nth(1).context("usage: seeds OUT")?);
    fs::create_dir_all(&out)?;
    let mut seeds = Seeds { out, count: 0 };
    let work = seeds.out.join("fixtures");
    for name in NAMES {
        let fixture = Fixture::unpack(name, &work)?;
        seeds.fixture(name, &fixture.data_dir)?;
    }
    for name in V3_NAMES {
        let (data_dir, _) = unpack_v3(name, &work)?;
        seeds.v3(name, &data_dir)?;
    }
    fs::remove_dir_all(work)?;
    for text in MEMBERS {
        seeds.put("members_json", "answer", text.as_bytes())?;
    }
    for (at, answer) in V3_ANSWERS.iter().enumerate() {
        seeds.put("v3_answers", &format!("answer{at}"), answer)?;
    }
    for text in UNITS {
        seeds.put("unit_environment", "unit", text.as_bytes())?;
    }
    for text in CONFIGS {
        seeds.put("etcd_config", "file", text.as_bytes())?;
    }
    Ok(())
}

/// Behind a byte that says in which pieces they come: frames, a head, JSON.
const V3_ANSWERS: [&[u8]; 5] = [
    b"\x03\0\0\0\0\x1a\x0a\x04\x08\x07\x10\x05\x12\x12\x08\x05\x12\x02e1\x1a\x04u:\x2f1\x22\x02u2\x28\x01",
    b"\x01\0\0\0\0\x17\x0a\x04\x08\x07\x10\x05\x12\x053.4.2\x18\x05\x20\x05\x28\x09\x38\x09",
    b"\x00HTTP/2 200 \r\ncontent-type: application/grpc\r\n\r\ngrpc-status: 9\r\ngrpc-message: 50%25%0a\r\n",
    br#"0{"header":{"cluster_id":"7","member_id":"5"},"members":[{"ID":"5","name":"e1","peerURLs":["u"]}]}"#,
    br#"0{"error":"a","message":"etcdserver: member not found","code":5}"#,
];

const MEMBERS: [&str; 4] = [
    r#"{"members":[{"id":"24640107e757f215","name":"h1","peerURLs":["http://127.0.0.1:48010"],"clientURLs":["http://127.0.0.1:48000"]}]}"#,
    r#"[{"id":18446744073709551615,"peerURLs":["http://127.0.0.1:48011"],"name":""}]"#,
    r#"{"id":7,"peerURLs":["http://a:1"],"name":"n"}"#,
    r#"{"raft.status":{"id":"a","term":2,"vote":"a","commit":9,"lead":"a","raftState":"StateLeader","progress":{"a":{"match":9,"next":10,"state":"ProgressStateReplicate"}}}}"#,
];

const UNITS: [&str; 3] = [
    "as 3 \"ETCD_NAME=e1\" \"A=say \\\"x\\\" \\\\ \\303\\274\\n\" \"ETCD_DATA_DIR=/d\"\na(sb) 1 \"/etc/a b\" true\na(sasbttttuii) 1 \"/usr/bin/etcd2\" 3 \"/usr/bin/etcd2\" \"--name=a b\" \"$OPTS\" false 0 0 0 0 0 0 0\ns \"etcd\"\nRCLONE_ENDPOINT=r:b/p\tETCD_BACKUP_DIR=/b\nOPTS=--wal-dir /w --debug\n# comment\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"http://a:1,http://b:2\"\n",
    "as 0\na(sb) 0\na(sasbttttuii) 1 \"/e\" 2 \"/e\" \"--data-dir=${D}/x\" false 0\ns \"\"\nETCD2_BACKUP_RCLONE_RUNNER=podman\tETCD2_BACKUP_RCLONE_IMAGE=i:1\tETCD2_BACKUP_RCLONE_TIMEOUT=90s\nD=/d \\\n  e\n",
    "as 1 \"ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379\"\na(sb) 0\na(sasbttttuii) 0\ns \"\"\nETCD_RESTORE_MASTER_ADV_PEER_URLS=http://m:2380\n[Service]\nEnvironment=\"A=a\\x41\\101\\u00e9\" B=%%m\nEnvironment=\nEnvironment=C=1 \\\n  D=2\n",
];

const CONFIGS: [&str; 4] = [
    "# etcd\nname: 'e1'\ndata-dir: /d\nwal-dir:\ninitial-advertise-peer-urls: http://a:1,http://b:2\nadvertise-client-urls: \"http://a:3\"\ndiscovery-fallback: 'proxy'\ninitial-cluster: e1=http://a:1\ninitial-cluster-state: 'new'\nproxy: 'off'\nclient-transport-security:\n  # c\n  cert-file: /c\n  key-file: /k\n  client-cert-auth: true\n  trusted-ca-file: /ca\nforce-new-cluster: false\nlog-outputs: [stderr]\n",
    "\u{feff}%YAML 1.1\n---\nclient-transport-security: &tls {cert-file: &c /c, ca-file: /ca}\npeer-transport-security: *tls\nname: *c\n<<: *tls\n...\n",
    "{\"name\": \"\\u0065\", \"Data-Dir\": !!str 007, \"wal-dir\": 0x10}\n? [a]\n: - b\n",
    "name: |2-\n   e1\nDATA-DIR: >+\n  /a\n  b\n\ndiscovery: ~\nforce-new-cluster: On\n",
];
