#!/bin/bash
# A member whose etcd runs in a container that mounts another path, started with flags or with a file of variables that still found
# another cluster, and with a discovery service that nobody runs any more. It joins a cluster of one, which never loses its quorum;
# and where the container has its data elsewhere than the node's settings say, that is found before the cluster is asked.
# nodes: 2
# limit: 15m
source "$(dirname "$0")/lib.sh"

url=http://10.77.0.12
podman="/usr/bin/podman run --rm --replace --name=etcd --net=host"
etcd="localhost/etcd:lab /usr/bin/etcd --enable-v2=true"

# run_etcd COMMAND: e2's etcd is run so.
run_etcd() {
    printf '[Service]\nType=simple\nUser=root\nUnsetEnvironment=ETCD_DATA_DIR\nExecStart=\nExecStart=%s\n' "$1" >"$work_dir/form.conf"
    put "$work_dir/form.conf" e2
    on e2 "sudo mv form.conf /etc/systemd/system/$LAB_ETCD_UNIT.d/50-form.conf && sudo systemctl daemon-reload"
}

# is_rehearsed TEXT: what was backed up starts in the image that e2's etcd is run from, and is as the archive says.
is_rehearsed() {
    claim "$1: it is rehearsed in the unit's image" on e2 sudo /opt/bin/etcd2-backup rehearse
    claim "$1: the rehearsal's container is gone" \
        on e2 'test "$(sudo podman ps --all --quiet --filter name=etcd2-backup-rehearse)" = ""'
}

# comes_back TEXT: both lose everything; e1 is restored, and e2 joins it.
comes_back() {
    stop_all
    on e1 "sudo sh -c 'rm -rf /var/lib/etcd2/*'"
    on e2 "sudo sh -c 'rm -rf /srv/container/*'"
    on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start $LAB_ETCD_UNIT"
    await_leader e1
    on e2 sudo systemctl start etcd2-join.service
    ok "$1: it joined"
    claim "$1: the data is where etcd looks for it" there e2 '/srv/container/member/wal/*.wal'
    all_keys_on e1 e2
    on e2 sudo systemctl restart $LAB_ETCD_UNIT
    all_keys_on e1 e2
}

backed_up_cluster
load_etcd_image e2
stop_all
on e2 "sudo mkdir /srv/container && sudo mv /var/lib/etcd2/member /srv/container/"
on e2 sudo touch /etc/etcd2-backup/allow-empty-data-dir
run_etcd "$podman --volume=/srv/container:/data $etcd --name=e2 --data-dir=/data --listen-peer-urls=$url:2380 \
--listen-client-urls=http://0.0.0.0:2379 --initial-advertise-peer-urls=$url:2380 --advertise-client-urls=$url:2379 \
--initial-cluster=e2=$url:2380 --initial-cluster-token=stale"
for node in e1 e2; do on $node sudo systemctl start --no-block $LAB_ETCD_UNIT; done
wait_for 60 "healthy cluster" is_healthy e1 2
on e2 sudo systemctl start etcd2-backup.service
is_rehearsed "flags"
comes_back "flags that found another cluster"

# Its text says another thing now; where it has its data is seen anew.
cat >"$work_dir/etcd.env" <<END
ETCD_NAME=e2
ETCD_DATA_DIR=/data
ETCD_LISTEN_PEER_URLS=$url:2380
ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=$url:2380
ETCD_ADVERTISE_CLIENT_URLS=$url:2379
ETCD_DISCOVERY=http://10.77.0.1:9/nobody
END
put "$work_dir/etcd.env" e2
on e2 sudo mv etcd.env /etc/etcd.env
run_etcd "$podman --env-file=/etc/etcd.env --volume=/srv/container:/data $etcd"
on e2 sudo systemctl restart $LAB_ETCD_UNIT
wait_for 60 "healthy cluster" is_healthy e1 2
on e2 sudo systemctl start etcd2-backup.service
is_rehearsed "a file of variables"
comes_back "a file of variables, with a discovery service that is gone"

# The unit names no image any more; the etcd that runs shows which one it is.
printf '#!/bin/sh\nexec %s\n' "$podman --env-file=/etc/etcd.env --volume=/srv/container:/data $etcd" >"$work_dir/etcd-wrapper"
put "$work_dir/etcd-wrapper" e2
on e2 "sudo install -m 755 etcd-wrapper /usr/local/bin/etcd-wrapper"
run_etcd /usr/local/bin/etcd-wrapper
on e2 sudo systemctl restart $LAB_ETCD_UNIT
wait_for 60 "healthy cluster" is_healthy e1 2
on e2 sudo systemctl start etcd2-backup.service
is_rehearsed "a wrapper script"

# Nobody has seen this one run, and nothing on the node says where its data is.
stop_all
run_etcd "$podman --env-file=/etc/etcd.env --volume=/srv/elsewhere:/data $etcd"
on e2 "sudo mkdir /srv/elsewhere && sudo rm -rf /srv/container/member"
on e1 "sudo /opt/bin/etcd2-backup restore && sudo systemctl start $LAB_ETCD_UNIT"
await_leader e1
refuses "elsewhere: found before the add" 'nothing was added to the cluster' on e2 sudo /opt/bin/etcd2-backup join --force
claim "elsewhere: one member is listed, and healthy" is_healthy e1 1
write_keys e1 goes-on 3
ok "elsewhere: the founder takes writes"
