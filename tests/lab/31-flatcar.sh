#!/bin/bash
# Flatcar: etcd-member.service, set up by flags only, its data in /var/lib/etcd. Back up, lose everything, restore, join;
# then the nodes restart with their own flags again.
# settings: flatcar
source "$(dirname "$0")/lib.sh"

command_line() { on "$1" "tr '\\0' ' ' </proc/\$(pidof -s etcd)/cmdline"; }
has_flag() { grep -q -- " --$2=" <(command_line "$1"); }

remote_up
write_site e1 host
build_tarball
install_on e1
on e1 sudo systemctl start etcd2-backup.service
claim "where the site says another data directory, what etcd has open is backed up" has_more_parts e1 0
claim "and the journal names both" \
    await_word e1 etcd2-backup.service 'is /var/lib/etcd2 in .* was seen to use /var/lib/etcd\. Using the latter'

write_site e1 host 'data_dir = "/var/lib/etcd"' 'interval = "5s"' 'boot_delay = "5s"'
build_tarball
install_on "${nodes[@]}"
write_keys e1 some 20
for node in "${nodes[@]}"; do on $node sudo systemctl enable --now etcd2-backup.timer; done
for node in "${nodes[@]}"; do await_timer_backup $node; done
for node in "${nodes[@]}"; do
    claim "$node: the timer's backup is in the remote" has_more_parts $node 0
done
dump_keys e1 "$work_dir/before"

stop_all
# The disks were replaced: e1 has a new one that belongs to root, e2 not even the directory. etcd must own what comes in.
on e1 'sudo rm -r /var/lib/etcd && sudo mkdir /var/lib/etcd'
on e2 sudo rm -r /var/lib/etcd
on e3 "sudo sh -c 'rm -rf /var/lib/etcd/*'"
refuses "etcd-member.service does not start empty" 'failed' on e2 sudo systemctl start etcd-member.service
on e2 sudo systemctl stop etcd-member.service

on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd-member.service"
claim "e1: restored, every key is as it was, indexes included" same_keys "$work_dir/before" e1

on e2 sudo systemctl start etcd2-join.service
# e3 with nothing but its IDs.
on e3 sudo /opt/bin/etcd2-backup join --plain
claim "e3: it was started with the flag that names its old cluster, and did not heed it" has_flag e3 initial-cluster
for node in e2 e3; do
    await_same_keys "$work_dir/before" $node
    ok "$node: joined, every key is as it was"
    claim "$node: its other flags were kept" has_flag $node advertise-client-urls
done
claim "3 members, all healthy" is_healthy e1 3

on e2 sudo systemctl restart etcd-member.service
claim "e2: restarted with its own flags" has_flag e2 initial-cluster
reboot_node e3
wait_for 90 "healthy cluster" is_healthy e1 3
ok "e2 restarted, e3 rebooted: 3 members, all healthy"
for node in "${nodes[@]}"; do
    await_same_keys "$work_dir/before" $node
    ok "$node: every key is as it was"
done
