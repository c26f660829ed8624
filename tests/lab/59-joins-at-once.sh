#!/bin/bash
# Both joins are started at the same moment, against the advice. Each gets in or is refused with nothing lost; run again, one
# after the other, they are in.
source "$(dirname "$0")/lib.sh"

state() { on "$1" systemctl show etcd2-join.service -p ActiveState --value; }
has_ended() { state "$1" | grep -xE 'inactive|failed'; }

backed_up_cluster
stop_all
restore_founder
for node in e2 e3; do freeze $node 1; done
joins=()
for node in e2 e3; do
    on $node "$(start_soon etcd2-join.service)" &
    joins+=($!)
done
for node in e2 e3; do freeze $node 0; done
wait "${joins[@]}"
for node in e2 e3; do
    wait_for 120 "end of the join on $node" has_ended $node
    ok "$node: join ended: $(state $node)"
done
claim "e1: every key is as it was" same_keys "$work_dir/before" e1
for node in e2 e3; do
    on $node sudo systemctl start etcd2-join.service
    ok "$node: join again"
done
all_keys_on e1 e2 e3
