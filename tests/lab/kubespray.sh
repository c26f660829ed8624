# etcd as kubespray lays it out: etcd.service and /etc/etcd.env, certificates on both ports, the v3 API alone; on e3 in a container. The
# keys are Kubernetes's.
source "$(dirname "$0")/tls.sh"

LAB_ETCD_UNIT=etcd.service
image=localhost/etcd:lab
data=/var/lib/etcd
url() { echo "https://$(address "$1"):2379"; }
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" --yes "$@" core@e1 core@e2 core@e3 2>&1 | tee "$work_dir/said"; }
said() { tr '\n' ' ' <"$work_dir/said" | grep -Eq -- "$1"; }
# ctl NODE ARGUMENT…: etcdctl of the v3 API, at that node.
ctl() {
    local node=$1
    shift
    on "$node" sudo etcdctl3 --cacert $tls/ca.pem --cert $tls/member.pem --key $tls/member.key \
        --endpoints "$(url "$node")" "$@"
}
# settings_of NODE STATE: /etc/etcd.env.
settings_of() {
    local ip
    ip=$(address "$1")
    cat <<END
ETCD_DATA_DIR=$data
ETCD_ADVERTISE_CLIENT_URLS=https://$ip:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://$ip:2380
ETCD_INITIAL_CLUSTER_STATE=$2
ETCD_METRICS=basic
ETCD_LISTEN_CLIENT_URLS=https://$ip:2379,https://127.0.0.1:2379
ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
ETCD_LISTEN_PEER_URLS=https://$ip:2380
ETCD_NAME=$1
ETCD_INITIAL_CLUSTER=$members
ETCD_AUTO_COMPACTION_RETENTION=8
ETCD_SNAPSHOT_COUNT=100
ETCD_TRUSTED_CA_FILE=$tls/ca.pem
ETCD_CERT_FILE=$tls/member.pem
ETCD_KEY_FILE=$tls/member.key
ETCD_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE=$tls/ca.pem
ETCD_PEER_CERT_FILE=$tls/member.pem
ETCD_PEER_KEY_FILE=$tls/member.key
ETCD_PEER_CLIENT_CERT_AUTH=true
ETCDCTL_ENDPOINTS=https://127.0.0.1:2379
ETCDCTL_CACERT=$tls/ca.pem
ETCDCTL_KEY=$tls/member.key
ETCDCTL_CERT=$tls/member.pem
END
}
# set_up NODE STATE: its unit and settings; etcd is not started.
set_up() {
    local exec='/usr/bin/etcd'
    if [ "$1" = e3 ]; then
        exec="/usr/bin/podman run --rm --replace --name=etcd --net=host --env-file=/etc/etcd.env --volume=$data:$data --volume=$tls:$tls:ro $image /usr/bin/etcd"
    fi
    settings_of "$1" "$2" >"$work_dir/etcd.env"
    printf '[Unit]\nAfter=network.target\n[Service]\nUser=root\nEnvironmentFile=-/etc/etcd.env\nExecStart=%s\nRestart=always\nRestartSec=10s\nKillMode=mixed\nLimitNOFILE=40000\n[Install]\nWantedBy=multi-user.target\n' \
        "$exec" >"$work_dir/etcd.service"
    put "$work_dir/etcd.env" "$1"
    put "$work_dir/etcd.service" "$1"
    on "$1" "sudo mv etcd.env /etc/etcd.env && sudo mv etcd.service /etc/systemd/system/etcd.service && sudo install -d -m 700 $data && sudo systemctl daemon-reload"
}
# is_whole NODE COUNT: so many started members, and a write goes through.
is_whole() { [ "$(ctl "$1" member list | grep -c ', started,')" = "$2" ] && [ "$(ctl "$1" member list | wc -l)" = "$2" ] && ctl "$1" put /registry/ping pong; }
# write FOLDER COUNT: as Kubernetes does, some with a lease.
write() {
    local i lease
    lease=$(ctl e1 lease grant 86400 | awk '{ print $2 }')
    for ((i = 1; i <= $2; i++)); do
        echo "put /registry/$1/$((i % 20)) value-$i"
        ((i % 7)) || echo "put --lease=$lease /registry/$1/leased-$i x"
    done >"$work_dir/script"
    put "$work_dir/script" e1
    on e1 "while read -r words; do sudo etcdctl3 --cacert $tls/ca.pem --cert $tls/member.pem --key $tls/member.key --endpoints $(url e1) \$words </dev/null >/dev/null; done <script"
}
# dump NODE FILE: every key but the one that claims write, with its revisions and lease.
dump() { ctl "$1" get --prefix "''" -w json | keys_in >"$2"; }
# keys_in: out of an answer of etcdctl.
keys_in() { jq -S '[.kvs[] | select(.key != "L3JlZ2lzdHJ5L3Bpbmc=") | {key, value, create_revision, mod_revision, version, lease}]'; }
same() { dump "$2" "$work_dir/now-$2" && diff -u "$1" "$work_dir/now-$2" | head -n 20; }
await_same() { wait_for 60 "equal keys on $2" same "$1" "$2"; }
revision() { ctl "$1" get /registry/ping -w json | jq .header.revision; }
lose() { for node in "$@"; do on "$node" "sudo sh -c 'rm -rf $data/*'"; done; }
stop_etcd() { for node in "${nodes[@]}"; do on "$node" sudo systemctl stop etcd.service; done; }

# kubespray_cluster: three members that serve, each with the settings of one that exists.
kubespray_cluster() {
    local node
    load_etcd_image e3
    members=
    for node in "${nodes[@]}"; do members+=${members:+,}$node=$(peer_url "$node"); done
    for node in "${nodes[@]}"; do
        certificates "$node"
        set_up "$node" new
        on "$node" sudo systemctl disable --now etcd2.service 2>/dev/null || true
    done
    for node in "${nodes[@]}"; do on "$node" sudo systemctl start --no-block etcd.service; done
    wait_for 90 "healthy cluster" is_whole e1 3
    for node in "${nodes[@]}"; do set_up "$node" existing; done
}
