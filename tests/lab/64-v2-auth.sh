#!/bin/bash
# etcd's v2 authentication is on: restore keeps it, and joins know its user root from a file that only root can read. Without
# the file they are refused before anything is touched.
source "$(dirname "$0")/lib.sh"

login=root:hunter2:%
auth=/etc/etcd2-backup/auth
as_root() { curl_etcd -u "$login" -H 'Content-Type: application/json' -X "$1" "$(client_url e1)/v2/auth/$2" -d "${3:-}"; }
write_login() { on "$1" "sudo install -m $2 /dev/null $auth && echo '$login' | sudo tee $auth >/dev/null"; }
password_is_nowhere() { ! on "$1" "sudo journalctl --no-pager | grep -v sudo | grep -q hunter2"; }

backed_up_cluster
as_root PUT users/root '{"user": "root", "password": "hunter2:%"}'
as_root PUT enable
for node in "${nodes[@]}"; do on "$node" sudo systemctl start etcd2-backup.service; done
stop_all
restore_founder
refuses "e1: restored with its authentication on" '401' curl_etcd -X POST "$(client_url e1)/v2/members" \
    -H 'Content-Type: application/json' -d '{"peerURLs": ["http://10.77.0.99:2380"]}'

fails_with "e2: join is refused without a password, and told where it goes" e2 etcd2-join.service Settings \
    'install -m 600 /dev/null /etc/etcd2-backup/auth'
write_login e2 644
fails_with "e2: and with one that others can read" e2 etcd2-join.service Settings 'its mode is 0644'
claim "e2: not fenced" not_there e2 /etc/etcd2-backup/fence
claim "e2: the old data is where it was" there e2 '/var/lib/etcd2/member/wal/*.wal'
for node in e2 e3; do
    write_login $node 600
    on $node sudo systemctl start etcd2-join.service
    ok "$node: joined as etcd's user root"
    claim "$node: the password is in no journal" password_is_nowhere $node
done
all_keys_on e1 e2 e3
