#!/bin/bash
# The timer keeps its 30 s, measured over 5 minutes by the journal, while keys are written and a backup takes its time.
# nodes: 1
# long
source "$(dirname "$0")/lib.sh"

runs=11
tolerance_ms=1500

# The moments, in milliseconds, at which the unit's program was started since the cursor was taken.
starts() {
    on e1 "sudo journalctl --no-pager -o json --after-cursor='$cursor' -u etcd2-backup.service" |
        jq -r 'select(.MESSAGE | tostring | startswith("Starting etcd2-backup.service")) | .__MONOTONIC_TIMESTAMP | tonumber / 1000 | floor'
}
has_run_often_enough() { (($(starts | wc -l) >= runs)); }

remote_up
write_site e1 host
build_tarball
install_on e1
write_keys e1 first 20
cursor=$(on e1 "sudo journalctl --no-pager -n 0 --show-cursor" | sed -n 's/^-- cursor: //p')
on e1 sudo systemctl enable --now etcd2-backup.timer

for ((i = 1; i < runs; i++)); do
    wait_for 90 "run $i of the timer" eval "((\$(starts | wc -l) >= $i))"
    write_keys e1 "round-$i" 20
done
wait_for 90 "last run of the timer" has_run_often_enough

mapfile -t moments < <(starts)
for ((i = 1; i < runs; i++)); do
    interval=$((moments[i] - moments[i - 1]))
    ((interval >= 30000 - tolerance_ms && interval <= 30000 + tolerance_ms)) || fail "interval $i: $interval ms"
    ok "interval $i: $((interval / 1000)).$(printf %03d $((interval % 1000))) s"
done
total=$((moments[runs - 1] - moments[0]))
((total >= 300000 - tolerance_ms))
ok "5 minutes: $((runs - 1)) intervals in $((total / 1000)) s, each within 1.5 s of 30 s"
wait_for 60 "end of the last backup" on e1 '[ "$(systemctl is-active etcd2-backup.service)" = inactive ]'
claim "the backups arrived" has_more_parts e1 9
