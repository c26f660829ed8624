#!/bin/bash
# A cluster that was bootstrapped by a discovery URL, and so has no member list in its settings. The discovery service is
# long gone when everything is lost: restore, join and reboots must not ask it.
# settings: discovery
source "$(dirname "$0")/lib.sh"

settings() { on "$1" systemctl show etcd2.service -p Environment; }
has_no_member_list() { ! grep -q 'ETCD_INITIAL_CLUSTER=' <(settings "$1"); }

remote_up
discovery_up 3
wait_for 90 "healthy cluster" is_healthy e1 3
ok "3 members found each other by discovery"
for node in "${nodes[@]}"; do
    claim "$node: its settings name a discovery URL" grep -q 'ETCD_DISCOVERY=http' <(settings $node)
    claim "$node: and no member list" has_no_member_list $node
done

write_site e1 host
build_tarball
install_on "${nodes[@]}"
write_keys e1 some 20
dump_keys e1 "$work_dir/before"
for node in "${nodes[@]}"; do
    on $node sudo systemctl start etcd2-backup.service
    claim "$node: a backup is in the remote" has_more_parts $node 0
done

stop_all
for node in "${nodes[@]}"; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
# The discovery service still knows the three: an empty node would make an empty cluster with their addresses.
refuses "e3: etcd2 does not start empty while the discovery service is there" 'failed' \
    on e3 sudo systemctl start etcd2.service
on e3 sudo systemctl stop etcd2.service
discovery_down

on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: restored without the discovery service, every key is as it was" same_keys "$work_dir/before" e1
for node in e2 e3; do
    on $node sudo systemctl start etcd2-join.service
    await_same_keys "$work_dir/before" $node
    ok "$node: joined without it, every key is as it was"
    claim "$node: the discovery URL is in its settings again" grep -q 'ETCD_DISCOVERY=http' <(settings $node)
done
claim "3 members, all healthy" is_healthy e1 3

for node in "${nodes[@]}"; do power_cut $node; done
for node in "${nodes[@]}"; do boot $node; done
wait_for 90 "healthy cluster" is_healthy e1 3
for node in "${nodes[@]}"; do await_same_keys "$work_dir/before" $node; done
ok "after a power cut of all three: 3 members, all healthy, every key is as it was"
