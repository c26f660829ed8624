#!/bin/bash
# The remote is down when it is needed most: the restore refuses and leaves the disk as it was; the disk itself can be restored
# from; and when the remote is up again, so can the backup. A backup that could not be sent goes with the next one.
# nodes: 1
source "$(dirname "$0")/lib.sh"

data=/var/lib/etcd2
# Every file below the data directory, with its content.
disk() { on e1 "sudo find $data -type f -exec sha256sum {} + | sort -k 2; sudo find $data | sort"; }

backed_up_cluster
write_keys e1 later 5
dump_keys e1 "$work_dir/later"
remote_down
fails_with "a backup while the remote is down fails" e1 etcd2-backup.service Remote 'that the remote is up'
claim "etcd2 does not care" same_keys "$work_dir/later" e1

stop_all
disk >"$work_dir/disk"
fails_with "a restore while the remote is down is refused, with its own exit code" e1 etcd2-restore.service Remote 'that the remote is up'
disk | diff -u "$work_dir/disk" -
ok "the disk is as it was, byte for byte"
claim "no fence stands" not_there e1 /etc/etcd2-backup/fence
on e1 sudo systemctl start etcd2.service
claim "etcd2 starts on it, every key as it was" same_keys "$work_dir/later" e1

stop_all
on e1 "sudo /opt/bin/etcd2-backup restore --source local && sudo systemctl start etcd2.service"
claim "restored from the disk without the remote: every key is as it was, the latest too" same_keys "$work_dir/later" e1

remote_up
stop_all
restore_founder
ok "the remote is up again: restored from it, every key of the backup is as it was"
on e1 sudo systemctl start etcd2-backup.service
ok "and backups go on"

