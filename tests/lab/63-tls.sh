#!/bin/bash
# Peers and clients need a certificate. Restore and joins know those of etcd2's own unit; a node without them is told so, with
# nothing changed.
# settings: none
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/tls.sh"

members=
for node in "${nodes[@]}"; do members+=${members:+,}$node=$(peer_url "$node"); done
for node in "${nodes[@]}"; do
    certificates "$node"
    on "$node" <<END
sudo mkdir -p /etc/systemd/system/etcd2.service.d
sudo tee /etc/systemd/system/etcd2.service.d/40-etcd-cluster.conf >/dev/null <<CONF
[Service]
Environment="ETCD_NAME=$node"
Environment="ETCD_ADVERTISE_CLIENT_URLS=$(tls_url "$node")"
Environment="ETCD_LISTEN_CLIENT_URLS=$(tls_url "$node"),http://0.0.0.0:2379"
Environment="ETCD_INITIAL_ADVERTISE_PEER_URLS=$(peer_url "$node")"
Environment="ETCD_LISTEN_PEER_URLS=$(peer_url "$node")"
Environment="ETCD_INITIAL_CLUSTER=$members"
Environment="ETCD_CERT_FILE=$tls/member.pem" "ETCD_KEY_FILE=$tls/member.key" "ETCD_TRUSTED_CA_FILE=$tls/ca.pem"
Environment="ETCD_PEER_CERT_FILE=$tls/member.pem" "ETCD_PEER_KEY_FILE=$tls/member.key" "ETCD_PEER_TRUSTED_CA_FILE=$tls/ca.pem"
Environment="ETCD_CLIENT_CERT_AUTH=true" "ETCD_PEER_CLIENT_CERT_AUTH=true"
CONF
sudo systemctl daemon-reload
sudo systemctl start --no-block etcd2.service
END
done
wait_for 90 "healthy cluster" is_healthy e1 3
# Whether curl still reads the server's reason or finds the connection closed is a race, so: refused without, answered with.
with_certificate=(--cert "$work_dir/certificates-e1/member.pem" --key "$work_dir/certificates-e1/member.key")
refuses "nobody without a certificate reads a key" 'curl: \((35|52|55|56)\)' \
    curl -sS --cacert "$authority/ca.pem" "$(tls_url e1)/v2/keys/"
claim "who has one does" curl -sS --fail -o /dev/null --cacert "$authority/ca.pem" "${with_certificate[@]}" "$(tls_url e1)/v2/keys/"

backed_up_cluster
stop_all
restore_founder

on e2 "sudo sed -i 's/ETCD_PEER_CERT_FILE/NOT_&/' /etc/systemd/system/etcd2.service.d/40-etcd-cluster.conf && sudo systemctl daemon-reload"
fails_with "e2: without a certificate for peers it is told so" e2 etcd2-join.service Settings 'ETCD_PEER_CERT_FILE'
claim "e2: not fenced" not_there e2 /etc/etcd2-backup/fence
claim "e2: the old data is where it was" there e2 '/var/lib/etcd2/member/wal/*.wal'
on e2 "sudo sed -i 's/NOT_ETCD/ETCD/' /etc/systemd/system/etcd2.service.d/40-etcd-cluster.conf && sudo systemctl daemon-reload"
for node in e2 e3; do
    on $node sudo systemctl start etcd2-join.service
    ok "$node: joined by certificate"
done
all_keys_on e1 e2 e3
