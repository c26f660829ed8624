#!/bin/bash
# The founding member loses its power during a restore, at one moment after the other. Booted again it has the old data or
# the new or the fence, and the restore run again gives every key back. What only its disk had is still there each time.
# nodes: 1
source "$(dirname "$0")/lib.sh"

backed_up_cluster
data=/var/lib/etcd2
count_records() { records=$(find "$remote_dir" -path '*/recovery/*' | wc -l); }
more_records() {
    local before=$records
    count_records
    ((records > before)) || return 1
}
more_aside() {
    count_there e1 "$data/member.before-restore-*"
    ((counted > aside))
}
# healthy, with the old keys or with the restored ones
runs_on_old_or_new() { same_keys "$work_dir/old" e1 || same_keys "$work_dir/before" e1; }
is_safe() { was_fenced e1 || runs_on_old_or_new; }

# restore_is_cut TEXT MOMENT…
restore_is_cut() {
    local text=$1 state
    shift
    round=$((round + 1))
    write_keys e1 "only-here-$round" 3
    dump_keys e1 "$work_dir/old"
    count_records
    count_there e1 "$data/member.before-restore-*"
    aside=$counted
    stop_all
    cut_power_during e1 "$(start_soon etcd2-restore.service)" "$@"
    state=$(there e1 /etc/etcd2-backup/fence && echo "fence up" || echo "fence down")
    boot e1
    wait_for 60 "fence, or etcd with the old keys or the new" is_safe
    ok "cut when $text ($state): booted, etcd2 is stopped by the fence or has the old keys or the new"
    stop_all
    restore_founder
    claim "   restored again: every key is as it was" same_keys "$work_dir/before" e1
    claim "   fence and half-made data are gone" not_there e1 /etc/etcd2-backup/fence $data/member.restoring
    claim "   what was not in the backup is still on the disk" \
        on e1 "sudo grep -rqs 'of only-here-$round' $data"
}

round=0
restore_is_cut "the backup is being fetched" there e1 '/var/lib/etcd2-restore/incoming*'
restore_is_cut "the new data is being written" there e1 $data/member.restoring
restore_is_cut "the fence is there" there e1 /etc/etcd2-backup/fence
restore_is_cut "the old data is aside" more_aside
restore_is_cut "the remote has the record of the recovery" more_records
claim "and all is as after a restore that nothing disturbed" is_healthy e1 1
