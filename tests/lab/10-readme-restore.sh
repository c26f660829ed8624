#!/bin/bash
# The example of docs/installation.md and docs/recovery.md as a user types it: from build to recovery, with backups made by the
# timer. The commands that stand there stand here in the same words; claims come between them.
source "$(dirname "$0")/lib.sh"

remote_up
write_site e1 host 'interval = "5s"' 'boot_delay = "5s"'

# Installation
./build --site "$site_dir" --dist "$dist_dir"
cd "$LAB_DIR"
for node in e1 e2 e3; do
    scp dist/etcd2-backup.tgz core@$node:
    ssh core@$node 'mkdir -p etcd2-backup && mv etcd2-backup.tgz etcd2-backup/ && cd etcd2-backup &&
        tar zxf etcd2-backup.tgz && ./etcd2-backup-install && cd && rm -r etcd2-backup &&
        sudo systemctl enable etcd2-backup.timer && sudo systemctl start etcd2-backup.timer'
    ok "$node: unpacked, installed, timer enabled and started"
done

write_keys e1 first 20
for node in e1 e2 e3; do await_timer_backup $node; done
for node in e1 e2 e3; do
    claim "$node: the timer's backup is in the remote, in the folder of its machine ID" has_more_parts $node 0
done
parts_before=$(parts e1)
write_keys e2 second 30
for node in e1 e2 e3; do await_timer_backup $node; done
claim "a later backup adds to it" has_more_parts e1 "$parts_before"
claim "3 members are healthy with the package installed" is_healthy e1 3
dump_keys e1 "$work_dir/before"

# The mischievous friend: first everything stops, as docs/recovery.md says, then the data goes.
for node in e1 e2 e3; do
    ssh core@$node "sudo systemctl stop etcd2-backup.timer etcd2-backup.service etcd2.service"
done
for node in e1 e2 e3; do
    ssh core@$node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"
done
for node in e1 e2 e3; do
    refuses "$node: etcd2 does not start on an emptied data directory" 'failed' \
        ssh core@$node "sudo systemctl start etcd2.service"
    ssh core@$node "sudo systemctl stop etcd2.service"
done
claim "and the journal says why" await_word e1 etcd2.service allow-empty-data-dir

# Restore the cluster
ssh core@e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
ok "e1: etcd2-restore.service, then etcd2.service"
claim "e1: every key is as it was, indexes included" same_keys "$work_dir/before" e1

for node in e2 e3; do
    ssh core@$node "sudo systemctl start etcd2-join.service" || break
    ok "$node: etcd2-join.service"
done

for node in e1 e2 e3; do
    await_same_keys "$work_dir/before" $node
    ok "$node: every key is as it was, indexes included"
done
claim "3 members, all healthy" is_healthy e1 3

# Data is sane: the timers again.
parts_before=$(parts e1)
for node in e1 e2 e3; do
    ssh core@$node "sudo systemctl start etcd2-backup.timer"
done
write_keys e3 after 10
for node in e1 e2 e3; do await_timer_backup $node; done
claim "the recovered cluster is backed up by the timer" has_more_parts e1 "$parts_before"
