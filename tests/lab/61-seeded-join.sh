#!/bin/bash
# e2 and e3 begin with what e1 was restored from: nobody sends or takes a snapshot. A member that is told to begin empty gets one
# once there is one, and with the remote away a join goes on without a seed.
source "$(dirname "$0")/lib.sh"

# etcd says it where its log level lets it: what the member takes it says always.
takes_a_snapshot() { grep -qE 'starts to restore snapshot|applying snapshot' <(on "$1" "sudo journalctl --no-pager -o cat -u $LAB_ETCD_UNIT --since '$2'"); }
now_on() { on "$1" "date '+%F %T'"; }

backed_up_cluster
stop_all
restore_founder
for node in e2 e3; do
    since=$(now_on $node)
    on $node sudo systemctl start etcd2-join.service
    await_word $node etcd2-join.service 'will be seeded from what the founding member was restored from'
    if journal_says $node etcd2-join.service 'starts empty after all'; then fail "$node: began without its seed"; fi
    if takes_a_snapshot $node "$since"; then fail "$node: took a snapshot"; fi
    ok "$node: joined with a seed, and was sent no snapshot"
done
all_keys_on e1 e2 e3

# Without the remote.
on e3 "sudo systemctl stop $LAB_ETCD_UNIT"
on e3 "sudo sh -c 'rm -rf /var/lib/etcd2/*'"
remote_down
on e3 sudo systemctl start etcd2-join.service
await_word e3 etcd2-join.service 'will start empty, and the leader will send it everything'
remote_up
ok "e3: without the remote it joins all the same"
all_keys_on e1 e2 e3
