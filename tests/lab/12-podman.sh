#!/bin/bash
# The runner podman with a real container, of the rclone that the stock image has: back up, lose everything, restore, join.
# rclone: current
source "$(dirname "$0")/lib.sh"

remote_up
load_rclone_image "${nodes[@]}"
write_site e1 podman
build_tarball
install_on "${nodes[@]}"
write_keys e1 some 20
dump_keys e1 "$work_dir/before"
on e1 sudo systemctl start etcd2-backup.service
claim "a backup went through the container" has_more_parts e1 0
claim "of the rclone of the stock image, with no warning" await_word e1 etcd2-backup.service 'rclone v1\.75\.2 \(runner podman, image'
claim "nobody warns of it" on e1 "! sudo journalctl -u etcd2-backup.service -o cat | grep -i -e warn -e hint"

stop_all
for node in "${nodes[@]}"; do on "$node" "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
remote_down
refuses "a restore while the remote is down fails" 'etcd2-restore.service failed' \
    on e1 sudo systemctl start etcd2-restore.service
claim "and says so" await_word e1 etcd2-restore.service 'that the remote is up'
remote_up

on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: every key is as it was, the restore through the container" same_keys "$work_dir/before" e1
for node in e2 e3; do
    on $node "sudo systemctl start etcd2-join.service && sudo systemctl start etcd2.service"
    await_same_keys "$work_dir/before" $node
    ok "$node: joined, every key is as it was"
done
claim "3 members, all healthy" is_healthy e1 3
