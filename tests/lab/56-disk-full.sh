#!/bin/bash
# A disk is full: the one of the backup, of the download, or of etcd's data. What was there before stays as it was, the exit
# code says so, and with room made it works.
# nodes: 2
source "$(dirname "$0")/lib.sh"

data=/var/lib/etcd2
disk() { on e1 "sudo find $data -type f -exec sha256sum {} + | sort -k 2; sudo find $data | sort"; }
# small_disk NODE DIR SIZE: DIR is a file system of its own from now on, with what was in it.
small_disk() {
    on "$1" "sudo sh -euc 'mkdir -p $2; cp -a $2 /tmp/copy; mount -t tmpfs -o size=$3 small $2; cp -aT /tmp/copy $2; rm -r /tmp/copy'"
}
fill() { on "$1" "sudo sh -c 'head -c 1G /dev/zero >$2/filler' 2>/dev/null || true"; }
make_room() { on "$1" sudo rm "$2/filler"; }

backed_up_cluster
write_keys e1 later 5
dump_keys e1 "$work_dir/before"
small_disk e1 /var/lib/etcd2-backup 1M
fill e1 /var/lib/etcd2-backup
parts_before=$(parts e1)
fails_with "backup without room for the part: fails with its own exit code" e1 etcd2-backup.service NoSpace room
claim "   etcd2 does not care" same_keys "$work_dir/before" e1
claim "   nothing half-made is in the remote" [ "$(parts e1)" = "$parts_before" ]
make_room e1 /var/lib/etcd2-backup
on e1 sudo systemctl start etcd2-backup.service
claim "   with room made, the backup is made" has_more_parts e1 "$parts_before"

stop_all
small_disk e1 /var/lib/etcd2-restore 1M
fill e1 /var/lib/etcd2-restore
disk >"$work_dir/disk"
fails_with "restore without room for the download: fails with its own exit code" e1 etcd2-restore.service NoSpace room
disk | diff -u "$work_dir/disk" -
ok "   the old data is as it was, byte for byte"
make_room e1 /var/lib/etcd2-restore

small_disk e1 $data 400M
fill e1 $data
disk >"$work_dir/disk"
fails_with "restore without room for the new data: fails with its own exit code" e1 etcd2-restore.service NoSpace room
disk | diff -u "$work_dir/disk" -
ok "   the old data is as it was, byte for byte"
claim "   no fence stands" not_there e1 /etc/etcd2-backup/fence
make_room e1 $data
claim "   with room made, every key is as it was" restore_founder

small_disk e2 $data 400M
fill e2 $data
fails_with "join without room: fails with its own exit code" e2 etcd2-join.service NoSpace room
claim "   the cluster was not asked for an entry" is_healthy e1 1
claim "   no fence stands" not_there e2 /etc/etcd2-backup/fence
make_room e2 $data
on e2 sudo systemctl start etcd2-join.service
all_keys_on e1 e2
