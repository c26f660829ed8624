#!/bin/bash
# `recover` is killed at each of its steps, and run again: it goes on where it was, every key is there.
source "$(dirname "$0")/lib.sh"

all=(core@e1 core@e2 core@e3)
recover=("$dist_dir/etcd2-backup" recover --yes --ssh "ssh -F $LAB_DIR/ssh/config" "${all[@]}")
# killed_at PATTERN: as soon as it has said that.
killed_at() {
    local end=$((SECONDS + 180)) pid
    : >"$work_dir/killed"
    "${recover[@]}" >"$work_dir/killed" 2>&1 &
    pid=$!
    until grep -Eq -- "$1" "$work_dir/killed"; do
        ((SECONDS < end)) || fail "it did not say '$1': $(tail -n 3 "$work_dir/killed")"
    done
    kill -9 "$pid" || true # it may have ended
    wait "$pid" 2>/dev/null || true
}

backed_up_cluster
for moment in 'all nodes have answered' 'etcd is fenced' 'has the new data: cluster' 'received the data of' 'e[123] has the new data$' 'etcd is started' \
    'core@e1 serves'; do
    write_keys e1 "before-$RANDOM" 3
    dump_keys e1 "$work_dir/before"
    for node in "${nodes[@]}"; do await_same_keys "$work_dir/before" "$node"; done
    stop_all
    on e1 "sudo sh -c 'rm -rf /var/lib/etcd2/*'"
    killed_at "$moment"
    claim "killed when it had said '$moment', and run again" "${recover[@]}"
    all_keys_on e1 e2 e3
done

