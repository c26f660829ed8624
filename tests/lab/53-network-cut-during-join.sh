#!/bin/bash
# The cable to the founding member breaks in the middle of a join, at one moment after the other. The join waits or fails;
# with the cable back it ends, or run again gets in: one entry, every key.
# nodes: 2
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/joining.sh"

state() { on e2 systemctl show $unit -p ActiveState --value; }
has_ended() { state | grep -xE 'inactive|failed'; }
# It noticed: it has ended, or says since CURSOR that it waits.
noticed() { has_ended || on e2 "sudo journalctl -o cat -u $unit --since=@$since | grep -E 'waiting: .*10\.77\.0\.11'"; }

says_run_it_again() { ended_with e2 $unit Cluster && on e2 "sudo journalctl -o cat -u $unit --since=@$since | grep 'run join again'"; }

# join_until_cut MOMENT…: the join has noticed that the cable is cut.
join_until_cut() {
    to_be_joined
    run_until e2 "$command" "$@"
    freeze e2 1
    cut_network e1
    freeze e2 0
    wait "$starter" || true
    wait_for 60 "word from the join" noticed
}

# cable_breaks TEXT MOMENT…
cable_breaks() {
    local text=$1
    shift
    join_until_cut "$@"
    ok "cut when $text: join $(has_ended >/dev/null && echo 'has failed' || echo 'waits')"
    restore_network e1
    wait_for 120 "end of the join" has_ended
    if [ "$(state)" = failed ]; then
        claim "   it says that the cluster does not answer, and to run it again" says_run_it_again
        on e2 sudo systemctl start etcd2-join.service
        ok "   run again with the cable back, it gets in"
    else
        ok "   with the cable back, it got in by itself"
    fi
    is_in
}

backed_up_cluster
command=$(start_soon $unit)
cable_breaks "the old data is aside" not_there e2 $data/member
cable_breaks "etcd2 is tried" is_tried
cable_breaks "etcd2 may start" may_start

# One that waits for 5 s only, as it would for 10 min.
unit=short-join.service
command="sudo systemd-run -q --no-block --unit=$unit /opt/bin/etcd2-backup join --wait 5s"
# One that got in before the cable was cut shows nothing: another one is disturbed then.
for _ in 1 2 3 4 5; do
    join_until_cut may_start
    wait_for 60 "end of the join" has_ended
    [ "$(state)" = inactive ] || break
    restore_network e1
done
claim "cut for too long: join fails" [ "$(state)" = failed ]
claim "   with the exit code for a cluster that does not answer" ended_with e2 $unit Cluster
claim "   and says what to do" await_word e2 $unit 'allow more time with --wait'
restore_network e1
on e2 sudo systemctl start etcd2-join.service
ok "   run again with the cable back, it gets in"
is_in
