#!/bin/bash
# etcd2 does not start on a joining node. That is found before the cluster is asked. Where it starts once and then no more, the
# entry stays with one other member, as its removal would need it, and the way out is printed; with two the entry is gone again.
# Put right, the node gets in.
source "$(dirname "$0")/lib.sh"

# break_etcd NODE COMMAND: etcd2 starts only where COMMAND, of root, succeeds.
break_etcd() {
    on "$1" <<END
sudo mkdir -p /etc/systemd/system/etcd2.service.d
printf '%s\n' '[Service]' "ExecStartPre=+$2" | sudo tee /etc/systemd/system/etcd2.service.d/10-broken.conf >/dev/null
sudo systemctl daemon-reload
END
}
once='/bin/mkdir /run/tried'
mend_etcd() { on "$1" "sudo rm /etc/systemd/system/etcd2.service.d/10-broken.conf && sudo systemctl daemon-reload"; }
join_by_hand() { on "$1" sudo /opt/bin/etcd2-backup join --wait 15s; }
lists() { [ "$(curl_etcd "$(client_url e1)/v2/members" | jq '.members | length')" = "$1" ]; }

backed_up_cluster
stop_all
restore_founder

break_etcd e2 /bin/false
refuses "e2: etcd2 does not start, which is found before the add" 'nothing was added to the cluster' join_by_hand e2
claim "one member is listed" lists 1
claim "e2: not fenced" not_there e2 /etc/etcd2-backup/fence
claim "e2: the old data is where it was" there e2 '/var/lib/etcd2/member/wal/*.wal'

break_etcd e2 "$once"
refuses "e2: the second member does not start, and the way out is printed" 'no quorum without it' join_by_hand e2
claim "its entry stays: a removal could be carried out later, under a member that starts" lists 2
mend_etcd e2
on e2 sudo systemctl start etcd2-join.service
all_keys_on e1 e2

break_etcd e3 "$once"
refuses "e3: the third member does not start, and is taken out of the cluster again" 'which was removed again' join_by_hand e3
claim "two members are listed, and healthy" is_healthy e1 2
claim "e3: etcd2 stays fenced" on e3 sudo test -e /etc/etcd2-backup/fence
claim "e3: the old data is kept" on e3 "sudo sh -c 'ls -d /var/lib/etcd2/member.before-join-*'"
mend_etcd e3
on e3 sudo systemctl start etcd2-join.service
all_keys_on e1 e2 e3
