//! Objects as Kubernetes writes them to etcd, for benchmarks.

use serde_json::json;

pub(crate) fn key(number: u64) -> String {
    format!("/registry/pods/team-{}/web-{number:06}", number % 40)
}

/// An object as Kubernetes has them, of about 1 KB. Its names and its shape recur in others; its UIDs and digests, of which there are
/// 150 bytes, do not. A later version has another state, time and container.
pub(crate) fn object(number: u64, version: u64) -> String {
    let mut own = Random::of(number);
    let (uid, owner, config, address) = (own.uid(), own.uid(), own.hex(64), own.next());
    let mut kind = Random::of((1 << 40) | (number % 300));
    let (template, image) = (kind.hex(10), kind.hex(64));
    let mut now = Random::of(1 << 41 | number << 20 | version);
    let (second, restarts) = (version * 7 % 60, now.next() % 20);
    let time =
        format!("2026-11-{:02}T{:02}:{:02}:{second:02}Z", 1 + version % 28, now.next() % 24, now.next() % 60);
    let (team, app, host) = (number % 40, number % 300, address % 200);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-{number:06}"), "namespace": format!("team-{team}"), "uid": uid,
            "creationTimestamp": "2026-11-01T06:00:00Z",
            "labels": {"app": format!("web-{app}"), "pod-template-hash": template},
            "annotations": {"checksum/config": config},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{app}-{template}"),
                "uid": owner, "controller": true}],
        },
        "spec": {"nodeName": format!("node-{host}"), "containers": [{"name": "main",
            "image": format!("registry.example.org/team-{team}/web@sha256:{image}")}]},
        "status": {
            "phase": "Running", "hostIP": format!("10.0.0.{host}"),
            "podIP": format!("10.244.{}.{}", address >> 8 & 255, address >> 16 & 255),
            "conditions": [
                {"type": "Ready", "status": if restarts == 0 { "False" } else { "True" }, "lastTransitionTime": time},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-01T06:00:00Z"}],
            "containerStatuses": [{"name": "main", "ready": true, "restartCount": restarts,
                "containerID": format!("containerd://{}", now.hex(64))}],
        },
    })
    .to_string()
}

/// Numbers that look like chance and are the same in each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hex(&mut self, letters: usize) -> String {
        let mut text = String::new();
        while text.len() < letters {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(letters);
        text
    }

    fn uid(&mut self) -> String {
        let hex = self.hex(32);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}
