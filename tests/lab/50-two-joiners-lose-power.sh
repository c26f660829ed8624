#!/bin/bash
# Two joiners lose their power between "old data set aside" and "etcd2 started", and boot again with their old flags, which
# name each other: together they would have the quorum for a new, empty cluster.
source "$(dirname "$0")/lib.sh"

backed_up_cluster
stop_all
restore_founder

cut_power_during e2 "$(start_soon etcd2-join.service)" there e2 '/var/lib/etcd2/member.before-join-*'
claim "e2: cut with its old data set aside and the fence up" there e2 /etc/etcd2-backup/fence
claim "e2: no new data" not_there e2 /var/lib/etcd2/member

# With one member started, the cluster cannot go on without e2; so the operator takes it back, as join's message says.
refuses "e3: waits for e2, which is half in, and gives up in time" 'was added and has not started' \
    on e3 sudo /opt/bin/etcd2-backup join --wait 5s
on e1 "sudo systemctl stop etcd2.service && sudo /opt/bin/etcd2-backup restore --source local && sudo systemctl start etcd2.service"
claim "e1: restored from its own disk, every key is as it was" same_keys "$work_dir/before" e1
cut_power_during e3 "$(start_soon etcd2-join.service)" there e3 '/var/lib/etcd2/member.before-join-*'
claim "e3: cut with its old data set aside and the fence up" there e3 /etc/etcd2-backup/fence

boot e2
boot e3
for node in e2 e3; do
    wait_for 60 "refused start of etcd2 on $node" was_fenced $node
    refuses "$node: booted; etcd2 does not start" 'failed|[Aa]ssert' on $node sudo systemctl start etcd2.service
    claim "$node: no data directory was made" not_there $node /var/lib/etcd2/member
done
claim "e1: still has every key" same_keys "$work_dir/before" e1

on e3 sudo systemctl start etcd2-join.service
ok "e3: join again"
on e2 sudo systemctl start etcd2-join.service
ok "e2: join again"
all_keys_on e1 e2 e3
