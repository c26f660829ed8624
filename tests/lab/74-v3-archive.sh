#!/bin/bash
# A v3 store from the archive: etcd as kubespray lays it out, backups by the timer and by hand. All three machines are lost, and all keys
# come back from the remote; a prefix is deleted by mistake, and the whole cluster goes back to before it; then one machine's folder is
# made a data directory by the program in docs/format.md alone.
# settings: none
# limit: 30m
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/kubespray.sh"

# back_up NODE…: what is there now; a member may still be catching up.
back_up() {
    local node
    for node in "$@"; do
        await_same "$work_dir/before" "$node"
        on "$node" sudo systemctl start etcd2-backup.service
    done
}
# settle: what the keys are, in every backup.
settle() {
    dump e1 "$work_dir/before"
    back_up "${nodes[@]}"
}
# all_back WHAT: on each node, the keys are what they were.
all_back() {
    local node
    for node in "${nodes[@]}"; do
        await_same "$work_dir/before" "$node"
        ok "   $node: $1"
    done
    claim "   three members" is_whole e1 3
}
# generations NODE: how many it has in the remote.
generations() { on "$1" sudo /opt/bin/etcd2-backup list --json | jq '.machines[0].generations | length'; }
now_on() { on "$1" date -u +%FT%TZ; }
is_past() { [[ $(now_on e1) > $1 ]]; }
# next_second: captures are known by the second, and so are moments.
next_second() { wait_for 10 "next second" is_past "$(now_on e1)"; }
# under PREFIX: how many keys e1 has there.
under() { ctl e1 get --prefix "$1" --keys-only -w json | jq '.kvs | length'; }

kubespray_cluster
remote_up
write_site e1 host
build_tarball
install_on "${nodes[@]}"
write pods 60
write secrets 10
settle
for node in "${nodes[@]}"; do claim "$node: a base is in the remote" test "$(generations "$node")" = 1; done
on e1 sudo systemctl enable --now etcd2-backup.timer
write pods 30
dump e1 "$work_dir/before"
await_timer_backup e1
ok "the timer ships what was written behind it"
back_up e2 e3

# A base that is due begins a generation.
on e2 sudo /opt/bin/etcd2-backup base --now
write configmaps 10
settle
claim "e2: base --now, and the next backup begins a generation" test "$(generations e2)" = 2

# All three disks are lost.
old=$(revision e1)
on e1 sudo systemctl stop etcd2-backup.timer
stop_etcd
lose "${nodes[@]}"
claim "all three lost: recover, from the archive" recover
claim "   by a machine's backup" said 'makes a new cluster from generation [0-9]+ of'
all_back "every key is as it was, revisions and leases included"
claim "   what is written now has a revision above every old one" test "$(revision e3)" -gt $((old + 100000))

# A prefix is deleted by mistake. The log has no clock in it: a moment is known by the backups around it.
write services 10
settle
next_second
moment=$(now_on e1)
next_second
ctl e2 del --prefix /registry/pods >/dev/null
write services 5
claim "the prefix is gone" test "$(under /registry/pods)" = 0
for node in "${nodes[@]}"; do on "$node" sudo systemctl start etcd2-backup.service; done
claim "what it would go back to is shown" recover --dry-run --at "$moment"
claim "   and that it gives up what was written since" said 'what was written after that point is given up'
claim "recover --at the moment before" recover --at "$moment"
claim "   the prefix is there again" test "$(under /registry/pods)" -gt 20
all_back "every key is as it was before the mistake"

# One machine's folder, and no program of ours.
settle
if ! command -v python3 zstd >"$work_dir/found" || [ "$(wc -l <"$work_dir/found")" != 2 ]; then
    echo "left out: the folder by hand needs python3 and zstd on this machine"
    exit 0
fi
bin=$LAB_DIR/../base/usr/bin
by_hand=$work_dir/by-hand
mkdir "$by_hand"
sed -n '/^```python$/,/^```$/{//!p}' "$(dirname "$0")/../../docs/format.md" >"$by_hand/by-hand.py"
claim "e3's folder by hand" python3 "$by_hand/by-hand.py" "$remote_dir/backups/$(machine_id e3)" "$by_hand/data"
"$bin/etcd" --data-dir "$by_hand/data" --name e3 --force-new-cluster --listen-client-urls http://127.0.0.1:4011 \
    --advertise-client-urls http://127.0.0.1:4011 --listen-peer-urls http://127.0.0.1:4012 >"$by_hand/etcd.log" 2>&1 &
echo $! >"$by_hand/pid"
has_keys() {
    ETCDCTL_API=3 "$bin/etcdctl3" --endpoints http://127.0.0.1:4011 get --prefix '' -w json | keys_in >"$by_hand/keys" &&
        diff -u "$work_dir/before" "$by_hand/keys" | head -n 20
}
wait_for 60 "equal keys by hand" has_keys
ok "   every key is there, revisions and leases included"
kill -9 "$(cat "$by_hand/pid")"
wait "$(cat "$by_hand/pid")" 2>/dev/null || true
