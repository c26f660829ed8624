#!/bin/bash
# Two joiners lose power after their old data was moved aside and before they are in the cluster. They boot again with their old
# flags, which name each other: together they would have the quorum for a new, empty cluster.
source "$(dirname "$0")/lib.sh"

# etcd does not answer, as the fence keeps it down, or as it waits for a cluster that nobody has.
serves_nobody() { ! curl_etcd -o /dev/null "$(client_url "$1")/v2/keys/"; }
has_tried() { was_fenced "$1" || on "$1" "systemctl is-active $LAB_ETCD_UNIT | grep activ"; }

backed_up_cluster
stop_all
restore_founder

for node in e2 e3; do
    cut_power_during $node "$(start_soon etcd2-join.service)" there $node '/var/lib/etcd2/member.before-join-*'
    ok "$node: lost power after its old data was moved aside"
done
claim "e1: one member is listed, and healthy" is_healthy e1 1

boot e2
boot e3
for node in e2 e3; do wait_for 60 "start of etcd2 on $node" has_tried $node; done
# Longer than an election takes.
for _ in 1 2 3 4 5; do
    for node in e2 e3; do serves_nobody $node || fail "$node: it serves somebody, without having joined"; done
    sleep 1
done
ok "e2 and e3: booted, and neither of them serves anybody"
claim "e1: still has every key" same_keys "$work_dir/before" e1

on e3 sudo systemctl start etcd2-join.service
ok "e3: join again"
on e2 sudo systemctl start etcd2-join.service
ok "e2: join again"
all_keys_on e1 e2 e3
