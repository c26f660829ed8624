#!/bin/bash
# etcd2 does not start on a joining node. With one other member the entry stays, as its removal would need it, and the way out
# is printed; with two the entry is gone again. Put right, the node gets in.
source "$(dirname "$0")/lib.sh"

break_etcd() {
    on "$1" <<'END'
sudo mkdir -p /etc/systemd/system/etcd2.service.d
printf '[Service]\nExecStartPre=/bin/false\n' | sudo tee /etc/systemd/system/etcd2.service.d/10-broken.conf >/dev/null
sudo systemctl daemon-reload
END
}
mend_etcd() { on "$1" "sudo rm /etc/systemd/system/etcd2.service.d/10-broken.conf && sudo systemctl daemon-reload"; }
join_by_hand() { on "$1" sudo /opt/bin/etcd2-backup join --wait 15s; }
lists() { [ "$(curl_etcd "$(client_url e1)/v2/members" | jq '.members | length')" = "$1" ]; }

backed_up_cluster
stop_all
restore_founder

break_etcd e2
refuses "e2: the second member does not start, and the way out is printed" 'no quorum without it' join_by_hand e2
claim "its entry stays: a removal could be carried out later, under a member that starts" lists 2
mend_etcd e2
on e2 sudo systemctl start etcd2-join.service
all_keys_on e1 e2

break_etcd e3
refuses "e3: the third member does not start, and is taken out of the cluster again" 'which was removed again' join_by_hand e3
claim "two members are listed, and healthy" is_healthy e1 2
claim "e3: etcd2 stays fenced" on e3 sudo test -e /etc/etcd2-backup/fence
claim "e3: the old data is kept" on e3 "sudo sh -c 'ls -d /var/lib/etcd2/member.before-join-*'"
mend_etcd e3
on e3 sudo systemctl start etcd2-join.service
all_keys_on e1 e2 e3
