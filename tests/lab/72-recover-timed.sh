#!/bin/bash
# How long `recover` takes for three dead nodes with 100,000 keys, beside etcd's own start on the very same data. Three rounds;
# the times are printed and not judged: they are the machine's.
# long
# limit: 20m
source "$(dirname "$0")/lib.sh"

keys=100000
all=(core@e1 core@e2 core@e3)
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" --yes "${all[@]}"; }
lose() { for node in "$@"; do on "$node" "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done; }

# fill COUNT: keys of 256 letters at random, through eight connections.
fill() {
    local part pids=()
    seq -f '%06.0f' "$1" | awk -v url="$(client_url e1)/v2/keys/many" -v to="$work_dir/fill-" '
        BEGIN { srand(1) }
        {
            value = ""
            for (i = 0; i < 256; i++) value = value sprintf("%c", 97 + int(rand() * 26))
            print "url = \"" url "/" $1 "\"\ndata = \"value=" value "\"\nrequest = PUT\noutput = /dev/null\nnext" >(to NR % 8)
        }'
    for part in "$work_dir"/fill-*; do
        sed -i '$d' "$part"
        curl -sS --fail --fail-early -K "$part" &
        pids+=($!)
    done
    for part in "${pids[@]}"; do wait "$part"; done
}
serves_all() { [ "$(curl_etcd "$(client_url "$1")/v2/keys/many/$(printf '%06d' $keys)?quorum=true" | jq -r .node.key)" = "/many/$(printf '%06d' $keys)" ]; }
all_serve() { for node in "${nodes[@]}"; do serves_all "$node" || return 1; done; }
now() { date +%s%N; }
# took WHAT SINCE
took() { awk -v what="$1" -v ns=$(($(now) - $2)) 'BEGIN { printf "%s: %.1f s\n", what, ns / 1e9 }'; }

backed_up_cluster
fill $keys
dump_keys e1 "$work_dir/before"
for node in "${nodes[@]}"; do await_same_keys "$work_dir/before" "$node"; done
on e1 sudo systemctl start etcd2-backup.service

# timed_recover FROM: etcd is stopped on all nodes.
timed_recover() {
    local began
    began=$(now)
    claim "round $round: recover $1" recover
    wait_for 120 "answer of all three" all_serve
    took "round $round: recover $1, until each serves the last key" "$began"
    on e1 sudo systemctl start etcd2-backup.service
}

for round in 1 2 3; do
    stop_all
    began=$(now)
    starting=()
    for node in "${nodes[@]}"; do
        on "$node" "sudo systemctl start --no-block $LAB_ETCD_UNIT" &
        starting+=($!)
    done
    for pid in "${starting[@]}"; do wait "$pid"; done
    wait_for 120 "answer of all three" all_serve
    took "round $round: etcd's own start of three whole disks, until each serves the last key" "$began"

    stop_all
    lose e1 e2 e3
    timed_recover "from the remote"
    stop_all
    timed_recover "from the disks"
done
all_keys_on e1 e2 e3
