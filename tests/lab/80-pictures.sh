#!/bin/bash
# What a terminal shows when a cluster is lost and recovered, drawn for the docs: status, plan, recover. The pictures are left in
# target/lab/NAME/pictures; `cp` them to docs/pictures.
# long
source "$(dirname "$0")/lib.sh"

pictures=$LAB_DIR/pictures
mkdir -p "$pictures"
targets="core@e1 core@e2 core@e3"
# draw NAME PROMPT: of what comes on standard input.
draw() { "$LAB_XTASK" picture "\$ $2" >"$pictures/$1.svg"; }
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" "$@" core@e1 core@e2 core@e3 2>&1; }

backed_up_cluster
on e1 "sudo systemctl enable --now etcd2-backup.timer"
on e1 "sudo /opt/bin/etcd2-backup status || true" 2>&1 | draw status "sudo /opt/bin/etcd2-backup status"
write_keys e2 later 5
dump_keys e2 "$work_dir/before"
for node in "${nodes[@]}"; do await_same_keys "$work_dir/before" "$node"; done
stop_all
on e1 "sudo sh -c 'rm -rf /var/lib/etcd2/*'"
recover --dry-run | draw plan "etcd2-backup recover --dry-run $targets"
recover --yes | draw recover "etcd2-backup recover --yes $targets"
all_keys_on e1 e2 e3
for name in status plan recover; do
    claim "$name is drawn" grep -q "</svg>" "$pictures/$name.svg"
done
