#!/bin/bash
# How many commands and seconds an operator needs, in the words of the runbook: the first backup, one node lost, the founding member
# lost, all lost, back to before a deletion. Prints a table for docs/recovery.md; the seconds are the machine's, and are not judged.
# Migration is timed in 20-migrate.
# long
source "$(dirname "$0")/lib.sh"

table=$work_dir/table
: >"$table"
all=(core@e1 core@e2 core@e3)
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" --yes "$@" "${all[@]}"; }
lose() { for node in "$@"; do on "$node" "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done; }
# timed COMMANDS WHAT COMMAND…: until the command has ended.
timed() {
    local commands=$1 what=$2 began
    shift 2
    began=$(date +%s%N)
    "$@"
    awk -v what="$what" -v commands="$commands" -v ns=$(($(date +%s%N) - began)) \
        'BEGIN { printf "| %s | %s | %.0f s |\n", what, commands, ns / 1e9 }' >>"$table"
}

remote_up
write_site e1 host
build_tarball
write_keys e1 before 20
first_backup() {
    scp "$dist_dir/etcd2-backup.tgz" core@e1:
    ssh core@e1 'mkdir -p etcd2-backup && mv etcd2-backup.tgz etcd2-backup/ && cd etcd2-backup && tar zxf etcd2-backup.tgz &&
        ./etcd2-backup-install --enable-timer --remove-source'
    wait_for 60 "first backup" has_more_parts e1 0
}
timed 2 "first backup of a node, from its tarball on" first_backup
install_on e2 e3
dump_keys e1 "$work_dir/before"
for node in e2 e3; do
    await_same_keys "$work_dir/before" "$node"
    on "$node" sudo systemctl start etcd2-backup.service
done

# join_again NODE: with a quorum of the others.
join_again() {
    on "$1" "sudo systemctl stop etcd2.service; sudo systemctl start etcd2-join.service"
    all_keys_on e1 e2 e3
}
on e3 sudo systemctl stop etcd2.service
lose e3
timed 1 "one node lost" join_again e3
on e1 sudo systemctl stop etcd2.service
lose e1
timed 1 "the founding member lost, the others run" join_again e1

recovered() {
    recover "$@"
    all_keys_on e1 e2 e3
}
dump_keys e1 "$work_dir/before"
on e1 sudo systemctl start etcd2-backup.service
stop_all
lose e1 e2 e3
timed 1 "all three lost" recovered

now_on() { on "$1" date -u +%FT%TZ; }
is_past() { [[ $(now_on e1) > $1 ]]; }
write_keys e1 kept 10
dump_keys e1 "$work_dir/before"
written=$(now_on e1)
wait_for 10 "next second" is_past "$written"
moment=$(now_on e1)
wait_for 10 "next second" is_past "$moment"
for key in $(etcdctl_on e1 ls /); do etcdctl_on e1 rm --recursive "$key"; done
write_keys e1 after-the-mistake 5
on e1 sudo systemctl start etcd2-backup.service
timed 1 "back to before a deletion" recovered --at "$moment"
cat "$table"
claim "each of them was timed" test "$(wc -l <"$table")" = 5
