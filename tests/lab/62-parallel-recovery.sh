#!/bin/bash
# All nodes at once: e1 makes a new cluster of e1, e2 and e3, the others write their part of it, all start together. From the
# archive, then from e1's disk with the remote away. A node of the first recovery gets neither into the second one nor in its way.
source "$(dirname "$0")/lib.sh"

list=e1=$(peer_url e1),e2=$(peer_url e2),e3=$(peer_url e3)
start_together() { for node in "$@"; do on "$node" "sudo systemctl start --no-block $LAB_ETCD_UNIT"; done; }
mismatch() { journal e3 "$LAB_ETCD_UNIT" | grep -E 'cluster ID mismatch|request sent was ignored'; }

backed_up_cluster
stop_all
for node in e1 e2 e3; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
on e1 "sudo /opt/bin/etcd2-backup restore --json --initial-cluster $list" >"$work_dir/first"
first=$(jq -r .token "$work_dir/first")
for node in e2 e3; do on $node "sudo /opt/bin/etcd2-backup restore --recovery $first"; done
start_together e1 e2 e3
all_keys_on e1 e2 e3

# From the disk of e1, by hand; e3 is left behind with what it has of the first one.
write_keys e1 behind-the-backup 5
dump_keys e1 "$work_dir/before"
stop_all
on e1 "sudo /opt/bin/etcd2-backup restore --source local --json --initial-cluster $list" >"$work_dir/second"
put "$work_dir/second" e1
put "$work_dir/second" e2
on e1 sudo /opt/bin/etcd2-backup export --recovery-file second >"$work_dir/data"
put "$work_dir/data" e2
remote_down
on e2 sudo /opt/bin/etcd2-backup restore --recovery-file second --source-file data
ok "e2: written without the remote"
start_together e1 e2 e3
await_leader e1
wait_for 60 "refusal of the member of the first recovery" mismatch
ok "e3: the second recovery's cluster wants nothing of the first one's member"
on e3 "sudo systemctl stop $LAB_ETCD_UNIT"
put "$work_dir/second" e3
put "$work_dir/data" e3
on e3 sudo /opt/bin/etcd2-backup restore --recovery-file second --source-file data
start_together e3
all_keys_on e1 e2 e3
remote_up
