#!/bin/bash
# The remote is down for ten minutes while the timer goes on and keys are written. Each run fails by itself and soon, the next one
# is not delayed, one part at most waits on the disk, and when the remote is back the next run sends everything.
# nodes: 1
# long
# limit: 20m
source "$(dirname "$0")/lib.sh"

spool=/var/lib/etcd2-backup/spool
# How many runs of the unit the journal has that ended so since the cursor was taken.
ended() { on e1 "sudo journalctl --no-pager -o cat --after-cursor='$cursor' -u etcd2-backup.service" | grep -cE "$1" || true; }
waiting() { on e1 "sudo find $spool -name '*.part' | wc -l"; }

backed_up_cluster
on e1 sudo systemctl enable --now etcd2-backup.timer
await_timer_backup e1
parts_before=$(parts e1)
cursor=$(on e1 "sudo journalctl --no-pager -n 0 --show-cursor" | sed -n 's/^-- cursor: //p')

remote_down
end=$((SECONDS + 600)) round=0 most=0
while ((SECONDS < end)); do
    round=$((round + 1))
    write_keys e1 "round-$round" 20
    failures=$(ended 'Failed with result')
    wait_for 90 "failed run $((failures + 1))" eval "((\$(ended 'Failed with result') > failures))"
    if (($(waiting) > most)); then most=$(waiting); fi
done
failures=$(ended 'Failed with result')
claim "10 minutes without a remote: $failures runs failed, each by itself" [ "$failures" -ge 10 ]
claim "never more than one part waited on the disk" [ "$most" -le 1 ]
claim "etcd2 does not care" is_healthy e1 1
dump_keys e1 "$work_dir/before"

remote_up
await_timer_backup e1
claim "the remote is back: the next run of the timer sends all" has_more_parts e1 "$parts_before"
claim "nothing waits any more" [ "$(waiting)" = 0 ]
on e1 sudo systemctl stop etcd2-backup.timer
stop_all
on e1 "sudo sh -c 'rm -rf /var/lib/etcd2/* /var/lib/etcd2-backup'"
claim "restored from it on an emptied disk: every key is as it was" restore_founder
