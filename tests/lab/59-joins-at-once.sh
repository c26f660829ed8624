#!/bin/bash
# Both joins are started at the same moment. They take turns by themselves: both end well, and nothing is to be run again.
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
    [ "$(state $node)" = inactive ] || fail "$node: the join failed: $(journal $node etcd2-join.service | tail -n 3)"
    ok "$node: the join ended well"
done
all_keys_on e1 e2 e3
