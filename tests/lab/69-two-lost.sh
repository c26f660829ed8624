#!/bin/bash
# Two of three machines are lost, the founding member among them; their successors have other machine IDs and empty disks. By hand:
# the one that is left becomes the founding member and is restored from its own disk, the new ones join. Nothing written is missing.
source "$(dirname "$0")/lib.sh"

backed_up_cluster
# No backup has these.
write_keys e1 behind-the-backup 5
dump_keys e1 "$work_dir/before"
await_same_keys "$work_dir/before" e2

stop_all
for node in e1 e3; do
    on $node <<END
sudo sh -c 'rm -rf /var/lib/etcd2/* /var/lib/etcd2-backup /var/lib/etcd2-restore /etc/etcd2-backup/identity.json'
sudo sh -c 'tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id'
END
done
for node in "${nodes[@]}"; do on $node sudo /opt/bin/etcd2-backup set-founder "$(peer_url e2)"; done
claim "the plan says that this disk is fresher than any backup" \
    grep -q 'own data directory is intact' <(on e2 sudo /opt/bin/etcd2-backup restore --plan 2>&1)
on e2 "sudo /opt/bin/etcd2-backup restore --source local && sudo systemctl start $LAB_ETCD_UNIT"
claim "every key is on the one that is left" same_keys "$work_dir/before" e2
for node in e1 e3; do
    on $node sudo systemctl start etcd2-join.service
    ok "$node: joined as a new machine"
done
all_keys_on e1 e2 e3
on e1 sudo systemctl start etcd2-backup.service
claim "a new machine's backup is in a folder of its own" test "$(parts e1)" -gt 0
