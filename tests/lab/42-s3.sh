#!/bin/bash
# A remote that speaks the S3 API, as object stores do: keys instead of folders, no rename, no times of its own. Debian's rclone
# 1.60.1 of the nodes backs up to it and everything is recovered from it; wrong credentials are refused and not repeated in the journal.
# nodes: 2
# rclone: current
source "$(dirname "$0")/lib.sh"

access=lab-access-key secret=lab-secret-of-the-store
s3_up() {
    # By the environment, since a command line can be read by everybody. The quotes: rclone reads a list.
    RCLONE_AUTH_KEY="\"$access,$secret\"" "$LAB_CURRENT_RCLONE" --config /dev/null serve s3 "$remote_dir" --addr 10.77.0.1:9000 \
        >>"$work_dir/s3.log" 2>&1 &
    echo $! >"$work_dir/remote.pid"
    wait_for 20 "S3 server" curl -sS -o /dev/null http://10.77.0.1:9000/
}
s3_conf() {
    printf '[lab]\ntype = s3\nprovider = Other\nendpoint = http://10.77.0.1:9000\nforce_path_style = true\n'
    printf 'access_key_id = %s\nsecret_access_key = %s\n' "$access" "$1"
}

s3_up
write_site e1 host
sed -i 's|^endpoint = .*|endpoint = "lab:bucket/backups"|' "$site_dir/etcd2-backup.toml"
s3_conf wrong-secret >"$site_dir/rclone.conf"
build_tarball
install_on e1
claim "e1 has rclone 1.60.1" grep -q '^rclone v1\.60\.1' <(on e1 rclone version)
fails_with "with a wrong secret a backup fails" e1 etcd2-backup.service Remote 'check that the remote is up, and that it accepts'
if journal_says e1 etcd2-backup.service 'wrong-secret'; then fail "the secret is in the journal"; fi
ok "and the journal does not have the secret"

s3_conf "$secret" >"$site_dir/rclone.conf"
build_tarball
install_on e1 e2
write_keys e1 first 20
on e1 sudo systemctl start etcd2-backup.service
stored() { find "$remote_dir/bucket/backups/$(machine_id e1)" -name '*.part' 2>/dev/null | wc -l; }
claim "e1: a backup is in the bucket" [ "$(stored)" = 1 ]
write_keys e1 second 20
on e1 sudo systemctl start etcd2-backup.service
claim "e1: the next one adds one object" [ "$(stored)" = 2 ]
dump_keys e1 "$work_dir/before"

stop_all
for node in e1 e2; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/* /var/lib/etcd2-backup'"; done
on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: every key is as it was" same_keys "$work_dir/before" e1
on e2 sudo systemctl start etcd2-join.service
await_same_keys "$work_dir/before" e2
claim "2 members, all healthy" is_healthy e1 2
on e1 sudo systemctl start etcd2-backup.service
claim "the recovered cluster is backed up, beside the old one's backup" [ "$(stored)" = 3 ]
