#!/bin/bash
# A remote of type sftp on a real sshd (that of e2): backed up by Debian's rclone 1.60.1 of the node, continued by a current
# one that came in the tarball (runner `bundled`), and restored with that one after everything was lost.
# nodes: 2
# rclone: current
source "$(dirname "$0")/lib.sh"

folder=/home/store/backups/$(machine_id e1)
sftp_parts() { on e2 "sudo find $folder -name '*.part' | wc -l"; }
has_more() { (($(sftp_parts) > $1)); }
generations() { on e2 "sudo ls $folder | grep -cE '^[0-9]{8}-'"; }

# The storage: a user of its own on e2, and a key for it.
ssh-keygen -q -t ed25519 -N '' -C store -f "$work_dir/store"
put "$work_dir/store.pub" e2
on e2 <<'END'
sudo useradd --create-home store
sudo install -m 644 store.pub /etc/ssh/store_authorized_keys
echo 'Match User store
    AuthorizedKeysFile /etc/ssh/store_authorized_keys' | sudo tee /etc/ssh/sshd_config.d/store.conf >/dev/null
sudo systemctl reload ssh.service
END
sftp_conf() {
    printf '[lab]\ntype = sftp\nhost = %s\nuser = store\n' "$(address e2)"
    echo "key_pem = $(sed -z 's/\n/\\n/g' "$work_dir/store")"
}

write_site e1 host
sftp_conf >"$site_dir/rclone.conf"
build_tarball
install_on e1 e2
claim "e1 has rclone 1.60.1" grep -q '^rclone v1\.60\.1' <(on e1 rclone version)
write_keys e1 old 20
on e1 sudo systemctl start etcd2-backup.service
claim "it made a backup through sftp" has_more 0
parts_before=$(sftp_parts)

write_site e1 bundled
# The last table is [rclone].
echo "bundle = \"$LAB_CURRENT_RCLONE\"" >>"$site_dir/etcd2-backup.toml"
sftp_conf >"$site_dir/rclone.conf"
build_tarball
install_on e1 e2
claim "e1 has a current rclone in the package" grep -Eq '^rclone v1\.7[0-9]' <(on e1 /opt/bin/etcd2-backup-rclone version)
write_keys e1 new 20
on e1 sudo systemctl start etcd2-backup.service
claim "the current one adds to the backup" has_more "$parts_before"
[ "$(generations)" = 1 ]
ok "and continues what the old one began: one generation"
dump_keys e1 "$work_dir/before"

stop_all
for node in e1 e2; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/* /var/lib/etcd2-backup'"; done
on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: every key is as it was, restored with the current one" same_keys "$work_dir/before" e1
on e2 sudo systemctl start etcd2-join.service
await_same_keys "$work_dir/before" e2
ok "e2: joined, every key is as it was"
claim "2 members, all healthy" is_healthy e1 2
parts_before=$(sftp_parts)
on e1 sudo systemctl start etcd2-backup.service
claim "the recovered cluster is backed up" has_more "$parts_before"
