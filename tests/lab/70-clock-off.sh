#!/bin/bash
# A node whose clock is two hours behind, on a kernel of its own. A restore is refused there, as keys would outlive their TTL; it is
# made where the clock is right. The node joins all the same, and which backup goes further is told by term and index, not by what a
# clock said.
# nodes: 2
# limit: 30m
source "$(dirname "$0")/lib.sh"

# clock_is NODE SECONDS: from the right time, but for a minute.
clock_is() {
    local off=$(($(on "$1" date +%s) - $(date +%s) - $2))
    ((off > -60 && off < 60))
}

raft_index() { curl_etcd -o /dev/null -D - "$(client_url e1)/v2/keys/" | tr -d '\r' | awk '/^X-Raft-Index:/ { print $2 }'; }
has_reached() { (($(raft_index) >= $1)); }

backed_up_cluster
# The leader writes the time into the log twice a second, once a key has a TTL. A backup waits for a write behind it.
wait_for 20 "the time in etcd's log" has_reached $(($(raft_index) + 2))
write_keys e1 behind-it 2
dump_keys e1 "$work_dir/before"
on e1 sudo systemctl start etcd2-backup.service
stop_all
for node in "${nodes[@]}"; do on "$node" "sudo sh -c 'rm -rf /var/lib/etcd2/*; sync'"; done
power_cut e2
boot_with_clock e2 -7200
# etcd2 tries to start there again and again.
stop_all
claim "e2 is two hours behind" clock_is e2 -7200

refuses "e2: it is not restored by a clock that is behind the data" 'the clock is [0-9]+ (min|h|d) slow' \
    on e2 sudo /opt/bin/etcd2-backup restore --as-founder --from "$(machine_id e1)"
claim "e2: nothing was touched" on e2 'sudo test -z "$(sudo ls -A /var/lib/etcd2)" -a ! -e /etc/etcd2-backup/fence'
restore_founder
ok "e1: with the right time it is restored"
on e2 sudo systemctl start etcd2-join.service
ok "e2: two hours behind, it joined"
all_keys_on e1 e2

# Backed up by e2 alone, which believes that it is two hours ago.
on e1 sudo systemctl start etcd2-backup.service
write_keys e1 later 5
dump_keys e1 "$work_dir/before"
await_same_keys "$work_dir/before" e2
on e2 sudo systemctl start etcd2-backup.service
claim "the plan on e1 says that e2's backup goes further" \
    grep -q "older source was chosen: the backup of machine $(machine_id e2)" \
    <(on e1 sudo /opt/bin/etcd2-backup restore --plan 2>&1)
stop_all
on e1 "sudo /opt/bin/etcd2-backup restore --from $(machine_id e2) && sudo systemctl start $LAB_ETCD_UNIT"
claim "every key is there again, from the backup whose clock was behind" same_keys "$work_dir/before" e1
