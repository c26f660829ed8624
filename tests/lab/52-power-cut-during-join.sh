#!/bin/bash
# A joining node loses its power, at one moment of the join after the other. Booted again it is fenced, or it goes on by
# itself as the member it was made, or waits as a member that nobody has; join run again gets it in, as one entry, with every key.
# nodes: 2
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/joining.sh"

# It was cut in the trial: etcd waits for a cluster that nobody has.
waits() { on e2 "systemctl is-active $LAB_ETCD_UNIT | grep activ" && ! curl_etcd -o /dev/null "$(client_url e2)/v2/keys/"; }
is_safe() { was_fenced e2 || same_keys "$work_dir/before" e2 || waits; }

# join_is_cut TEXT MOMENT…
join_is_cut() {
    local text=$1 state
    shift
    to_be_joined
    cut_power_during e2 "$(start_soon etcd2-join.service)" "$@"
    state=$(there e2 /etc/etcd2-backup/fence && echo "fence up" || echo "fence down")
    boot e2
    wait_for 60 "fence, or etcd with every key or no client" is_safe
    ok "cut when $text ($state): booted, etcd2 is stopped by the fence, has every key, or serves nobody"
    on e2 sudo systemctl start etcd2-join.service
    ok "   join again gets it in"
    is_in
}

backed_up_cluster
join_is_cut "the fence is there" there e2 /etc/etcd2-backup/fence
join_is_cut "the old data is aside" not_there e2 $data/member
join_is_cut "etcd2 is tried" is_tried
join_is_cut "it is in the list" has_one_entry
join_is_cut "etcd2 may start" may_start
