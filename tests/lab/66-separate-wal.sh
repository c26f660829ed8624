#!/bin/bash
# etcd keeps its log in a directory of its own. Backup, restore, power cut between the two exchanges, undo and join know it.
# nodes: 2
source "$(dirname "$0")/lib.sh"

data=/var/lib/etcd2
log=/var/lib/etcd2-log/wal
stop_all_etcd() { for node in "${nodes[@]}"; do on "$node" "sudo systemctl stop $LAB_ETCD_UNIT"; done; }

stop_all_etcd
for node in "${nodes[@]}"; do
    on "$node" <<END
sudo mkdir -p /etc/systemd/system/$LAB_ETCD_UNIT.d ${log%/*}
printf '[Service]\nEnvironment=ETCD_WAL_DIR=$log\n' | sudo tee /etc/systemd/system/$LAB_ETCD_UNIT.d/50-wal.conf >/dev/null
sudo mv $data/member/wal $log
sudo chown --reference=$data ${log%/*}
sudo systemctl daemon-reload
sudo systemctl start --no-block $LAB_ETCD_UNIT
END
done
wait_for 60 "cluster of 2 with logs apart" is_healthy e1 2
backed_up_cluster

stop_all
claim "restored: every key is as it was" restore_founder
claim "   the log is where it was, and nowhere else" on e1 "sudo test -d $log && sudo test ! -e $data/member/wal"
kept() { on e1 "sudo sh -c 'ls -d $data/member.before-restore-* $log.before-restore-* | sed s/.*before-restore-// | sort | uniq -c'"; }
claim "   both old directories are kept under one name" [ "$(kept | awk '{ print $1 }')" = 2 ]

stop_all
cut_power_during e1 "$(start_soon etcd2-restore.service)" there e1 /var/lib/etcd2-backup/exchange
boot e1
is_safe() { was_fenced e1 || same_keys "$work_dir/before" e1; }
wait_for 60 "fence, or etcd with every key" is_safe
ok "cut while directories were exchanged: booted, etcd2 is stopped by the fence or has every key"
stop_all
claim "   restored again: every key is as it was" restore_founder
claim "   fence, journal and half-made data are gone" \
    not_there e1 /etc/etcd2-backup/fence /var/lib/etcd2-backup/exchange $data/member.restoring $log.restoring

write_keys e1 later 5
dump_keys e1 "$work_dir/later"
stop_all
restore_founder
ok "restored once more: what came later is gone"
stop_all
on e1 "sudo /opt/bin/etcd2-backup undo && sudo systemctl start $LAB_ETCD_UNIT"
claim "undone: what came later is back" same_keys "$work_dir/later" e1

mv "$work_dir/later" "$work_dir/before"
on e2 sudo systemctl start etcd2-join.service
all_keys_on e1 e2
claim "   the joined member's log is apart too" on e2 "sudo test -d $log && sudo test ! -e $data/member/wal"
on e1 "sudo /opt/bin/etcd2-backup clean --yes"
claim "and what was kept is removed when told to" not_there e1 "$data/member.before-*" "$log.before-*"
