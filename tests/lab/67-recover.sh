#!/bin/bash
# One command from a workstation: a dead cluster of three, by ssh. From the disks, from the remote alone, with the founding member's
# disk lost, with two of three lost, one by one, on a cluster that needs nothing, and back to before a mistake.
source "$(dirname "$0")/lib.sh"

all=(core@e1 core@e2 core@e3)
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" "$@" "${all[@]}" 2>&1 | tee "$work_dir/said"; }
said() { grep -Eq -- "$1" "$work_dir/said"; }
# What is longer than a line goes on in the next one.
said_in_lines() { tr "\n" " " <"$work_dir/said" | grep -Eq -- "$1"; }
lose() { for node in "$@"; do on "$node" "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done; }
timer_is_on() { [ "$(on "$1" systemctl is-active etcd2-backup.timer)" = active ]; }
timer_is_off() { ! timer_is_on "$1"; }
# new_keys: nobody's backup has them.
new_keys() {
    write_keys e1 "$1" 5
    dump_keys e1 "$work_dir/before"
    for node in "${nodes[@]}"; do await_same_keys "$work_dir/before" "$node"; done
}
# backup_of NODE: of what is there now.
backup_of() { on "$1" sudo systemctl start etcd2-backup.service; }

backed_up_cluster
on e2 sudo systemctl enable --now etcd2-backup.timer
claim "a cluster that lives is left alone" recover
claim "   and is said to need nothing" said 'there is nothing to recover'

# The disks are there, one is behind.
on e3 "sudo systemctl stop $LAB_ETCD_UNIT"
new_keys_of_two() { write_keys e1 behind-e3 5 && dump_keys e1 "$work_dir/before" && await_same_keys "$work_dir/before" e2; }
new_keys_of_two
stop_all
claim "the plan is shown and nothing is changed" recover --dry-run
claim "   with the freshest disk" said 'plan: core@e[12] makes a new cluster from its own disk'
claim "   and nothing is fenced" not_there e1 /etc/etcd2-backup/fence
refuses "without a terminal nobody is asked" 'add --yes' recover
claim "from the disks" recover --yes
all_keys_on e1 e2 e3
claim "the timer goes on where it was" timer_is_on e2
claim "   and nowhere else" timer_is_off e1

# All disks are lost.
backup_of e1
stop_all
lose e1 e2 e3
claim "from the remote" recover --yes
claim "   by the founding member's backup" said_in_lines "plan: core@e1 makes a new cluster from generation [0-9]+ of +$(machine_id e1)"
all_keys_on e1 e2 e3

# The founding member's disk is lost, and what only the disks had is kept.
new_keys founder-lost
power_cut e1
boot e1
stop_all
lose e1
claim "the founding member's disk lost: from another one" recover --yes
all_keys_on e1 e2 e3

new_keys two-lost
stop_all
lose e1 e3
claim "two of three disks lost: from the one that is left" recover --yes
claim "   by that node" said 'plan: core@e2 makes a new cluster from its own disk'
all_keys_on e1 e2 e3

new_keys one-by-one
stop_all
lose e1
claim "one by one" recover --yes --one-by-one
claim "   in turn" said 'core@e[23] has joined'
all_keys_on e1 e2 e3

# One that is out of a cluster with a quorum.
on e3 "sudo systemctl stop $LAB_ETCD_UNIT etcd2-backup.timer"
lose e3
refuses "a quorum is healed, not recovered" 'add --one-by-one' recover --yes
claim "and it is" recover --yes --one-by-one
all_keys_on e1 e2 e3

# Everything is removed by mistake. The leader's clock in the log, which it writes while keys live for a time, tells the moments.
new_keys before-the-mistake
now_on() { on "$1" date -u +%FT%TZ; }
is_past() { [[ $(now_on e1) > $1 ]]; }
written=$(now_on e1)
wait_for 10 "next second" is_past "$written"
moment=$(now_on e1)
wait_for 10 "next second" is_past "$moment"
for key in $(etcdctl_on e1 ls /); do etcdctl_on e1 rm --recursive "$key"; done
write_keys e1 after-the-mistake 5
claim "the keys are gone" test "$(etcdctl_on e1 ls /)" = /after-the-mistake
backup_of e1
claim "what it would go back to is shown" recover --dry-run --at "$moment"
claim "   and that it gives up what was written since" said 'what was written after that point is given up'
claim "back to the moment before the mistake" recover --yes --at "$moment"
all_keys_on e1 e2 e3
