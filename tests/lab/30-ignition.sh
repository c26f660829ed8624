#!/bin/bash
# Ignition: etcd's settings lie in a drop-in below /etc whose name is the operator's choice. Back up, lose everything, restore,
# join, with three such names; nothing of the operator's is changed.
# settings: ignition
source "$(dirname "$0")/lib.sh"

drop_ins=/etc/systemd/system/etcd2.service.d
own_files() { on "$1" "cd $drop_ins && sha256sum [!z]* && ls"; }

# `systemctl edit` calls it override.conf. Whatever sorts later is what counts for systemd.
on e2 "sudo mv $drop_ins/40-etcd-cluster.conf $drop_ins/override.conf && sudo systemctl daemon-reload"
on e3 "sudo mv $drop_ins/40-etcd-cluster.conf $drop_ins/99-etcd.conf && sudo systemctl daemon-reload"

remote_up
write_site e1 host
build_tarball
install_on "${nodes[@]}"
for node in "${nodes[@]}"; do own_files $node >"$work_dir/files-$node"; done
write_keys e1 some 20
dump_keys e1 "$work_dir/before"
for node in "${nodes[@]}"; do
    on $node sudo systemctl start etcd2-backup.service
    claim "$node: a backup is in the remote" has_more_parts $node 0
done

stop_all
for node in "${nodes[@]}"; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
# etcd2 is enabled here: a reboot would start it.
reboot_node e2
wait_for 60 "refusal of the guard" journal_says e2 etcd2.service 'allow-empty-data-dir'
ok "e2: etcd2, which is enabled, does not start empty after a reboot"
on e2 sudo systemctl stop etcd2.service

on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: restored, every key is as it was, indexes included" same_keys "$work_dir/before" e1
for node in e2 e3; do
    on $node sudo systemctl start etcd2-join.service
    await_same_keys "$work_dir/before" $node
    ok "$node: joined, every key is as it was"
done
claim "3 members, all healthy" is_healthy e1 3
for node in "${nodes[@]}"; do
    own_files $node | diff -u "$work_dir/files-$node" -
    ok "$node: the operator's drop-in is as it was, and no other is left beside it"
done

for node in "${nodes[@]}"; do power_cut $node; done
for node in "${nodes[@]}"; do boot $node; done
wait_for 90 "healthy cluster" is_healthy e1 3
for node in "${nodes[@]}"; do await_same_keys "$work_dir/before" $node; done
ok "after a power cut of all three: 3 members, all healthy, every key is as it was"
