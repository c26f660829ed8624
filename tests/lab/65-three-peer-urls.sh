#!/bin/bash
# Each member has three peer URLs: its address with two ports, and a name that only the node's own resolver knows. The founding
# member is found by the name. Restore writes all three, joins list all nine, and a reboot changes nothing.
# settings: none
source "$(dirname "$0")/lib.sh"

urls() { echo "http://$(address "$1"):2380,http://$1.lab:2381,http://$(address "$1"):2382"; }
listens() { echo "http://$(address "$1"):2380,http://$(address "$1"):2381,http://$(address "$1"):2382"; }
peer_url() { echo "http://$1.lab:2381"; }
# all_listed: three URLs of each member.
all_listed() {
    [ "$(curl_etcd "$(client_url e1)/v2/members" | jq '[.members[].peerURLs[]] | unique | length')" = "$1" ]
}

members=
hosts=
for node in "${nodes[@]}"; do
    hosts+="$(address "$node") $node.lab"$'\n'
    for url in $(urls "$node" | tr , ' '); do members+=${members:+,}$node=$url; done
done
for node in "${nodes[@]}"; do
    on "$node" <<END
sudo tee -a /etc/hosts >/dev/null <<HOSTS
$hosts
HOSTS
sudo mkdir -p /etc/systemd/system/etcd2.service.d
sudo tee /etc/systemd/system/etcd2.service.d/40-etcd-cluster.conf >/dev/null <<CONF
[Service]
Environment="ETCD_NAME=$node"
Environment="ETCD_ADVERTISE_CLIENT_URLS=$(client_url "$node")"
Environment="ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379"
Environment="ETCD_INITIAL_ADVERTISE_PEER_URLS=$(urls "$node")"
Environment="ETCD_LISTEN_PEER_URLS=$(listens "$node")"
Environment="ETCD_INITIAL_CLUSTER=$members"
CONF
sudo systemctl daemon-reload
sudo systemctl start --no-block etcd2.service
END
done
wait_for 90 "healthy cluster" is_healthy e1 3
claim "three members with three peer URLs each" all_listed 9

backed_up_cluster
stop_all
restore_founder
claim "e1: restored with its three URLs" all_listed 3
for node in e2 e3; do
    on $node sudo systemctl start etcd2-join.service
    ok "$node: joined; the founding member was found by its name"
done
all_keys_on e1 e2 e3
claim "nine URLs again" all_listed 9
for node in "${nodes[@]}"; do power_cut $node; done
for node in "${nodes[@]}"; do boot $node; done
# Nothing starts etcd at boot where the lab brings no settings.
for node in "${nodes[@]}"; do on $node sudo systemctl start --no-block etcd2.service; done
wait_for 90 "healthy cluster" is_healthy e1 3
all_keys_on e1 e2 e3
