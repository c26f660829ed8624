#!/bin/bash
# The migration of docs/migration.md, in its words: the three machines of a cluster die, three others with names, addresses
# and machine IDs of their own take its data over. Then old members are revived: the two clusters must not meet.
# nodes: 6
# settings: none
source "$(dirname "$0")/lib.sh"

# e1, e2, e3 are the old cluster; the nodes behind them are q1, q2, q3, the new one.
address() {
    case $1 in
        q*) echo "10.77.0.$((13 + ${1#q}))" ;;
        *) echo "10.77.0.$((10 + ${1#e}))" ;;
    esac
}
for node in q1 q2 q3; do printf 'Host %s\n  HostName %s\n' $node "$(address $node)"; done >>"$LAB_DIR/ssh/config"

# form_cluster NODE…: each with its settings as cloud-init writes them at every boot.
form_cluster() {
    local node members=
    for node in "$@"; do members+=${members:+,}$node=$(peer_url "$node"); done
    for node in "$@"; do
        on "$node" <<END
sudo mkdir -p /etc/lab/cloudinit/etcd2.service.d
sudo tee /etc/lab/cloudinit/etcd2.service.d/20-cloudinit.conf >/dev/null <<CONF
[Service]
Environment="ETCD_NAME=$node"
Environment="ETCD_ADVERTISE_CLIENT_URLS=$(client_url "$node")"
Environment="ETCD_INITIAL_ADVERTISE_PEER_URLS=$(peer_url "$node")"
Environment="ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379"
Environment="ETCD_LISTEN_PEER_URLS=$(peer_url "$node")"
Environment="ETCD_INITIAL_CLUSTER=$members"
CONF
sudo systemctl start lab-cloudinit.service
END
    done
    wait_for 90 "healthy cluster of $*" is_healthy "$1" $#
}
# cluster_id NODE: as the archive's names have it: 16 digits, where etcd leaves the zeros in front out.
cluster_id() {
    local id
    id=$(curl_etcd -D - -o /dev/null "$(client_url "$1")/v2/members" | tr -d '\r' | awk 'tolower($1) == "x-etcd-cluster-id:" { print $2 }')
    printf '%016x\n' "0x$id"
}
# folder MACHINE-ID: names, sizes and times of all that is in it.
folder() { find "$remote_dir/backups/$1" -type f -printf '%P %s %T@\n' | sort; }
# generations MACHINE-ID CLUSTER-ID: how many there are of that cluster.
generations() { find "$remote_dir/backups/$1" -mindepth 1 -maxdepth 1 -type d -name "0*-$2-*" | wc -l; }
members_of() { etcdctl_on "$1" member list | sed 's/ isLeader=.*//' | sort; }
# A silent etcd2 knows no key either: it has to say that there is none.
has_no_key() { [ "$(curl -sS -o /dev/null -w '%{http_code}' --max-time 10 "$(client_url "$1")/v2/keys/$2")" = 404 ]; }

remote_up
form_cluster e1 e2 e3
write_site e1 host 'interval = "5s"' 'boot_delay = "5s"'
build_tarball
install_on e1 e2 e3
write_keys e1 some 30
for node in e1 e2 e3; do on $node sudo systemctl enable --now etcd2-backup.timer; done
for node in e1 e2 e3; do await_timer_backup $node; done
dump_keys e1 "$work_dir/before"
old_cluster=$(cluster_id e1)
OLD=$(machine_id e1)
for node in e1 e2 e3; do power_cut $node; done
ok "e1, e2, e3 are dead; their backups were made by the timer"
folder "$OLD" >"$work_dir/old-folder"

form_cluster q1 q2 q3
curl_etcd -X PUT "$(client_url q1)/v2/keys/of-the-new-cluster" -d value=1
ok "q1, q2, q3 are a cluster of their own, with etcd2-backup not installed"

# Copy the backup
claim "rclone lsf names the old machine IDs" \
    grep -qx "$OLD/" <(rclone --config "$site_dir/rclone.conf" lsf lab:backups)
NEW=$(ssh core@q1 cat /etc/machine-id)
refuses "purge of a folder that is not there says so, as docs/migration.md says" '[Nn]ot [Ff]ound' \
    rclone --config "$site_dir/rclone.conf" purge "lab:backups/$NEW"
began=$SECONDS
rclone --config "$site_dir/rclone.conf" copy "lab:backups/$OLD" "lab:backups/$NEW"
generations_copied=$(generations "$NEW" "$old_cluster")

# Configure, build, install
write_site q1 host 'interval = "5s"' 'boot_delay = "5s"'
./build --site "$site_dir" --dist "$dist_dir"
cd "$LAB_DIR"
for node in q1 q2 q3; do
    scp dist/etcd2-backup.tgz core@$node:
    ssh core@$node 'mkdir -p etcd2-backup && mv etcd2-backup.tgz etcd2-backup/ && cd etcd2-backup &&
        tar zxf etcd2-backup.tgz && ./etcd2-backup-install && cd && rm -r etcd2-backup'
done

# Migrate
for node in q1 q2 q3; do
    ssh core@$node "sudo systemctl stop etcd2-backup.timer etcd2-backup.service etcd2.service"
done
ssh core@q1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
for node in q2 q3; do
    ssh core@$node "sudo systemctl start etcd2-join.service" || break
done
for node in q1 q2 q3; do
    await_same_keys "$work_dir/before" $node
    ok "$node: every key of the old cluster, indexes included, and nothing else"
done
claim "3 members, all healthy" is_healthy q1 3
ok "migrated in $((SECONDS - began)) s, building and installing included"
members_of q1 >"$work_dir/members"
claim "the members are q1, q2, q3" test "$(grep -o 'name=q[123]' "$work_dir/members" | sort -u | wc -l)" = 3
for node in q1 q2 q3; do
    on $node "sudo sh -c 'ls -d /var/lib/etcd2/member.before-*'" >/dev/null
    ok "$node: the data it had is kept aside"
done

# Let the nodes make backups
for node in q1 q2 q3; do
    ssh core@$node "sudo systemctl enable etcd2-backup.timer && sudo systemctl start etcd2-backup.timer"
done
for node in q1 q2 q3; do await_timer_backup $node; done
new_cluster=$(cluster_id q1)
claim "the cluster has a new ID" test "$new_cluster" != "$old_cluster"
claim "q1's backups go on in a new generation" test "$(generations "$NEW" "$new_cluster")" = 1
claim "beside those of the old cluster" test "$generations_copied" -gt 0 -a "$(generations "$NEW" "$old_cluster")" = "$generations_copied"
folder "$OLD" | diff -u "$work_dir/old-folder" -
ok "nothing in e1's folder was changed"

# The dead are revived, timers and all: e2 alone at first, then with e3 a quorum of the old cluster.
boot e2
wait_for 90 "etcd2 on e2" curl_etcd "$(peer_url e2)/members"
members_of q1 | diff -u "$work_dir/members" -
ok "e2 is revived: the new cluster's members are the same"
boot e3
wait_for 90 "answer of e2" curl_etcd "$(client_url e2)/v2/keys/"
curl_etcd -X PUT "$(client_url e2)/v2/keys/late" -d value=old
ok "e2 and e3 have a quorum of the old cluster and write to it"
curl_etcd -X PUT "$(client_url q2)/v2/keys/of-the-new-cluster" -d value=2
for node in q1 q2 q3; do
    claim "$node: knows nothing of what they write" has_no_key $node late
done
claim "and they nothing of what is written to the new cluster" has_no_key e2 of-the-new-cluster
claim "e2 is still of the old cluster" test "$(cluster_id e2)" = "$old_cluster"
claim "q1 is still of the new cluster" test "$(cluster_id q1)" = "$new_cluster"
for node in e2 e3 q1; do await_timer_backup $node; done
claim "both clusters are backed up, and q1's folder got nothing more of the old one" \
    test "$(generations "$NEW" "$old_cluster")" = "$generations_copied"

# By mistake e2 is given the new settings, and told to join while it runs.
install_on e2
refuses "e2: a join from its running cluster into the new one is refused" 'etcd2-join.service failed' \
    on e2 sudo systemctl start etcd2-join.service
claim "and the journal says what to do" journal_says e2 etcd2-join.service 'systemctl stop etcd2.service'
members_of q1 | diff -u "$work_dir/members" -
ok "the new cluster's members are the same"
curl_etcd -X DELETE "$(client_url q2)/v2/keys/of-the-new-cluster"
for node in q1 q2 q3; do
    await_same_keys "$work_dir/before" $node
    ok "$node: every key is as it was"
done
