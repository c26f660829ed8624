#!/bin/bash
# Three members, each run in another way, all with certificates that a container has elsewhere than the node: a container with flags,
# a container with a file of variables, and Flatcar's kind of wrapper, which starts one with the unit's. Twice from backup to total
# loss and back, by restore and joins and by `recover`: once with flags that are left from founding another cluster, once with a
# discovery service that nobody runs.
# settings: none
# limit: 30m
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/tls.sh"

all=(core@e1 core@e2 core@e3)
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" --yes "${all[@]}"; }
image=localhost/etcd:lab
in_container=/etc/ssl/certs

# settings_of NODE NAME=VALUE…: each setting of its etcd, by etcd's flags; the last ones say how it was founded.
settings_of() {
    local node=$1
    shift
    echo "name=$node"
    echo "listen-peer-urls=$(peer_url "$node")"
    echo "initial-advertise-peer-urls=$(peer_url "$node")"
    echo "listen-client-urls=$(tls_url "$node"),http://0.0.0.0:2379"
    echo "advertise-client-urls=$(tls_url "$node")"
    echo "cert-file=$in_container/member.pem"
    echo "key-file=$in_container/member.key"
    echo "trusted-ca-file=$in_container/ca.pem"
    echo "client-cert-auth=true"
    echo "peer-cert-file=$in_container/member.pem"
    echo "peer-key-file=$in_container/member.key"
    echo "peer-trusted-ca-file=$in_container/ca.pem"
    echo "peer-client-cert-auth=true"
    printf '%s\n' "$@"
}
as_variables() { sed 's/^[^=]*/\U&/; :name s/^\([^=]*\)-/\1_/; t name; s/^/ETCD_/'; }

# run_etcd NODE NAME=VALUE…: in the node's way from its next start on.
run_etcd() {
    local node=$1 command podman
    podman="/usr/bin/podman run --rm --replace --name=etcd --net=host --volume=/srv/etcd:/data --volume=$tls:$in_container:ro"
    {
        echo '[Service]'
        echo 'Type=simple'
        echo 'User=root'
        # Or conmon ends before what it waits for, and podman waits 20 s for that.
        echo 'KillMode=mixed'
        case $node in
            e1)
                command="$podman $image /usr/bin/etcd --enable-v2=true --data-dir=/data"
                command+=$(settings_of "$@" | sed 's/^/ --/' | tr -d '\n')
                ;;
            e2)
                command="$podman --user=232:232 --env-file=/etc/etcd.env $image /usr/bin/etcd --enable-v2=true"
                settings_of "$@" data-dir=/data | as_variables >"$work_dir/etcd.env"
                ;;
            e3)
                command="/opt/etcd-wrapper --enable-v2=true"
                echo "Environment=ETCD_IMAGE=${image%:*} ETCD_IMAGE_TAG=${image#*:} ETCD_USER=etcd"
                echo "Environment=ETCD_DATA_DIR=/srv/etcd ETCD_SSL_DIR=$tls"
                settings_of "$@" | as_variables | sed 's/.*/Environment="&"/'
                ;;
        esac
        printf 'ExecStart=\nExecStart=%s\n' "$command"
    } >"$work_dir/form.conf"
    put "$work_dir/form.conf" "$node"
    if [ "$node" = e2 ]; then
        put "$work_dir/etcd.env" e2
        on e2 sudo mv etcd.env /etc/etcd.env
    fi
    on "$node" <<END
sudo mkdir -p /etc/systemd/system/etcd2.service.d
sudo mv form.conf /etc/systemd/system/etcd2.service.d/50-form.conf
sudo systemctl daemon-reload
END
}

# run_all NAME=VALUE…: the same on each node, which restarts; its log is there, so that nothing is founded.
run_all() {
    local node
    for node in "${nodes[@]}"; do
        run_etcd "$node" "${@//NODE/"$node=$(peer_url "$node")"}"
        on "$node" sudo systemctl restart etcd2.service
        wait_for 60 "healthy cluster with $node as it is run now" is_healthy e1 3
    done
}

# A new disk each: e1's is mounted and belongs to root, on the others not even the folder is there.
lose_all() {
    stop_all
    on e1 "sudo rm -rf /srv/etcd && sudo mkdir /srv/etcd"
    for node in e2 e3; do on $node sudo rm -rf /srv/etcd; done
}
# backup_all WALK: what is there now.
backup_all() {
    dump_keys e1 "$work_dir/before"
    for node in "${nodes[@]}"; do
        await_same_keys "$work_dir/before" "$node"
        on "$node" sudo systemctl start etcd2-backup.service
        claim "$1: $node: status knows of no loss" grep -q 'would lose *nothing' <(on "$node" sudo /opt/bin/etcd2-backup status || true)
        claim "$1: $node: doctor finds nothing wrong" on "$node" sudo systemctl start etcd2-backup-doctor.service
    done
}
not() { ! "$@"; }
has_no_drop_in_of_joins() { [ -z "$(on "$1" sudo find /etc /run/systemd -name zz-etcd2-join.conf)" ]; }

# Until the file "writing" is gone, a client writes on e1, one key after the other.
keep_writing() {
    local i=0
    while [ -e "$work_dir/writing" ]; do
        i=$((i + 1))
        curl_etcd -X PUT "$(client_url e1)/v2/keys/meanwhile/$i" -d value="$i" -o /dev/null 2>>"$work_dir/not-written" || true
        echo $i >"$work_dir/written-up-to"
    done
}

# walk WALK NODE: with all lost, each way back; then with one.
walk() {
    write_keys e1 "$1" 20
    backup_all "$1"
    lose_all
    on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
    await_leader e1
    claim "$1: e1: restored, every key is as it was, indexes included" same_keys "$work_dir/before" e1

    touch "$work_dir/writing"
    : >"$work_dir/not-written"
    keep_writing &
    on e2 sudo systemctl start etcd2-join.service
    rm "$work_dir/writing"
    wait $!
    claim "$1: from one member to two: each of the $(cat "$work_dir/written-up-to") writes meanwhile was acknowledged" \
        cmp "$work_dir/not-written" /dev/null
    on e3 sudo systemctl start etcd2-join.service
    dump_keys e1 "$work_dir/before"
    all_keys_on e1 e2 e3

    backup_all "$1, joined"
    lose_all
    claim "$1: recover brings three back" recover
    all_keys_on e1 e2 e3
    on "$2" "sudo systemctl stop etcd2.service && sudo rm -rf /srv/etcd"
    on "$2" sudo systemctl start etcd2-join.service
    ok "$1: $2 was lost once more, and joined"
    for node in "${nodes[@]}"; do on "$node" sudo systemctl restart etcd2.service; done
    all_keys_on e1 e2 e3
    for node in e2 e3; do claim "$1: $node: each join began with its seed" not journal_says $node etcd2-join.service 'begins? empty'; done
    for node in "${nodes[@]}"; do claim "$1: $node: no drop-in of a join" has_no_drop_in_of_joins "$node"; done
}

cat >"$work_dir/etcd-wrapper" <<'END'
#!/bin/bash
# As Flatcar's: the image has its folders under names of its own.
set -eu
data=$ETCD_DATA_DIR
export ETCD_DATA_DIR=/var/lib/etcd
if [ ! -e "$data" ]; then install -d -m 700 -o "$ETCD_USER" "$data"; fi
exec /usr/bin/docker run --rm --replace --name=etcd-member --net=host --user="$(id -u "$ETCD_USER")" \
    $(env | sed -n 's/^\(ETCD_[^=]*\)=.*/--env=\1/p') \
    --volume="$data:/var/lib/etcd:rw" --volume="$ETCD_SSL_DIR:/etc/ssl/certs:ro" \
    "$ETCD_IMAGE:$ETCD_IMAGE_TAG" /usr/bin/etcd "$@"
END
chmod +x "$work_dir/etcd-wrapper"
put "$work_dir/etcd-wrapper" e3
on e3 sudo mv etcd-wrapper /opt/etcd-wrapper
load_etcd_image "${nodes[@]}"
members=
for node in "${nodes[@]}"; do members+=${members:+,}$node=$(peer_url "$node"); done
for node in "${nodes[@]}"; do
    certificates "$node"
    run_etcd "$node" "initial-cluster=$members"
    on "$node" "sudo mkdir /srv/etcd"
done
for node in e2 e3; do on $node sudo chown 232:232 /srv/etcd; done
for node in "${nodes[@]}"; do on "$node" sudo systemctl start etcd2.service; done
wait_for 90 "healthy cluster" is_healthy e1 3
backed_up_cluster

run_all "initial-cluster=NODE,old2=https://10.77.9.2:2380,old3=https://10.77.9.3:2380" initial-cluster-token=old initial-cluster-state=new
walk old-flags e2
run_all discovery=http://10.77.0.1:9/nobody
walk discovery e3
