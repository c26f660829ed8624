#!/bin/bash
# The founding member is changed from e1 to e2, as docs/recovery.md says: the site is changed, built, and installed again on all nodes.
# Then e2's backup is what is restored, and e1 is one that joins.
source "$(dirname "$0")/lib.sh"

founder() { on "$1" systemctl show etcd2-"$2".service -p Environment; }
timer_is_off() { [ "$(on "$1" systemctl is-active etcd2-backup.timer)" = inactive ]; }

remote_up
write_site e1 host 'interval = "5s"' 'boot_delay = "5s"'
build_tarball
install_on "${nodes[@]}"
write_keys e1 first 20
for node in "${nodes[@]}"; do on $node sudo systemctl enable --now etcd2-backup.timer; done
for node in "${nodes[@]}"; do await_timer_backup $node; done
# What only e2's backup has: e1 makes none any more.
on e1 sudo systemctl stop etcd2-backup.timer etcd2-backup.service
parts_of_e1=$(parts e1)
write_keys e3 second 20
await_timer_backup e2
dump_keys e2 "$work_dir/before"
on e2 sudo systemctl stop etcd2-backup.timer etcd2-backup.service
claim "e2's backup has what e1's has not" test "$(parts e1)" = "$parts_of_e1"

# Name e2 the founder
write_site e2 host 'interval = "5s"' 'boot_delay = "5s"'
build_tarball
install_on "${nodes[@]}" >"$work_dir/installed" 2>&1
# One drop-in with the settings per service.
services=$(tar tzf "$dist_dir/etcd2-backup.tgz" | grep -c '^etcd2-.*\.service$')
claim "the installation replaces the settings, and only these" \
    test "$(grep -c "^installed: 0 placed, $services replaced, [0-9]* unchanged$" "$work_dir/installed")" = 3
for node in "${nodes[@]}"; do
    for service in backup restore join; do
        grep -q "ETCD_RESTORE_MASTER_ADV_PEER_URLS=$(peer_url e2)" <(founder $node $service)
    done
    ok "$node: e2 is the founder in all three services"
done
claim "the timer that was stopped was not started" timer_is_off e1
claim "etcd2 went on all the while: 3 members, all healthy" is_healthy e1 3

# Lose everything
stop_all
for node in "${nodes[@]}"; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
refuses "e1 is not restored any more" 'etcd2-restore.service failed' on e1 sudo systemctl start etcd2-restore.service
claim "and the journal says why" \
    journal_says e1 etcd2-restore.service "not the founding member \($(peer_url e2)\)"
claim "and what to do" journal_says e1 etcd2-restore.service 'on this node: sudo systemctl start etcd2-join.service'
refuses "e2 does not join any more" 'etcd2-join.service failed' on e2 sudo systemctl start etcd2-join.service
claim "and the journal says what to do" journal_says e2 etcd2-join.service 'systemctl start etcd2-restore.service'
refuses "e1 does not join a founder that is not there yet" 'etcd2-join.service failed' \
    on e1 sudo systemctl start etcd2-join.service
for node in e1 e2; do
    on $node "sudo sh -c 'test -z \"\$(ls -A /var/lib/etcd2)\"'"
done
ok "the refusals left the data directories as they were"

on e2 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e2: restored from its own backup, every key is as it was, indexes included" same_keys "$work_dir/before" e2
for node in e1 e3; do
    on $node sudo systemctl start etcd2-join.service
    await_same_keys "$work_dir/before" $node
    ok "$node: joined, every key is as it was"
done
claim "3 members, all healthy" is_healthy e2 3

# In the healthy cluster neither of them does harm.
refuses "e1: a restore of a running member is refused" 'etcd2-restore.service failed' \
    on e1 sudo systemctl start etcd2-restore.service
claim "e2: a join of the running founder finds that there is nothing to do" on e2 sudo systemctl start etcd2-join.service
claim "and the journal says so" journal_says e2 etcd2-join.service 'this node already runs as member'
claim "3 members, all healthy" is_healthy e2 3
for node in "${nodes[@]}"; do on $node sudo systemctl start etcd2-backup.timer; done
for node in "${nodes[@]}"; do await_timer_backup $node; done
claim "e1's timer goes on, in the same folder" has_more_parts e1 "$parts_of_e1"
await_same_keys "$work_dir/before" e1
ok "e1: every key is as it was"
