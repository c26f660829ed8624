#!/bin/bash
# e3 was off during the whole recovery and knows nothing of it. It boots with its old data and its old flags: it gets neither
# into the new cluster nor in its way, and join gets it in, its old data kept.
source "$(dirname "$0")/lib.sh"

speaks_of_another_cluster() { journal e3 etcd2.service | grep -E 'cluster ID mismatch|request sent was ignored'; }
is_old_alone() { curl_etcd "$(client_url e3)/v2/keys/?quorum=true"; }

backed_up_cluster
power_cut e3
write_keys e1 after-e3-left 5 # so that its data is older, too
dump_keys e1 "$work_dir/before"
on e1 sudo systemctl start etcd2-backup.service

for node in e1 e2; do on $node sudo systemctl stop etcd2.service; done
for node in e1 e2; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
restore_founder
on e2 sudo systemctl start etcd2-join.service
all_keys_on e1 e2

boot e3
wait_for 60 "refusal of the old member" speaks_of_another_cluster
ok "e3: booted with its old data; the new cluster wants nothing of it"
refuses "e3: and without quorum it takes no writes" '50[03]|timed out|408' \
    curl_etcd -X PUT "$(client_url e3)/v2/keys/split" -d value=brain
claim "e1: writes go on" write_keys e1 while-e3-is-back 3
dump_keys e1 "$work_dir/before"
all_keys_on e1 e2

fails_with "e3: join is refused while its old etcd runs" e3 etcd2-join.service Refused 'systemctl stop etcd2.service'
on e3 sudo systemctl stop etcd2.service
on e3 sudo systemctl start etcd2-join.service
ok "e3: stopped, it joins"
all_keys_on e1 e2 e3
claim "e3: its old data is kept" there e3 '/var/lib/etcd2/member.before-join-*/wal/*.wal'
