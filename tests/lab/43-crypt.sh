#!/bin/bash
# A crypt remote: who has the storage learns nothing. The same backup once in the open shows that what is searched for would be
# found; behind crypt no name and no content tells of a key, a value, a member or a machine. Then everything is recovered from it.
# nodes: 2
source "$(dirname "$0")/lib.sh"

# tells WORD…: whether any name or content below a folder has one of them.
tells() {
    local folder=$1 word
    shift
    for word in "$@"; do
        if find "$folder" -name "*$word*" | grep -q . || grep -rqaF -- "$word" "$folder"; then return 0; fi
    done
    return 1
}
# A zstd stream that is plain to see is as good as what is in it.
compressed_in_the_open() { LC_ALL=C grep -rqaP '\x28\xb5\x2f\xfd' "$1"; }
hidden() { ! "$@"; }
remote_up
write_site e1 host
build_tarball
install_on e1 e2
write_keys e1 topsecret 20
on e1 sudo systemctl start etcd2-backup.service
claim "in the open: names and heads tell whose it is" tells "$remote_dir" "$(machine_id e1)" "$(peer_url e1)"
claim "in the open: the content is there for anybody" compressed_in_the_open "$remote_dir"

# The same remote behind crypt; nothing of before is left.
rm -rf "${remote_dir:?}"/*
on e1 sudo rm -rf /var/lib/etcd2-backup
{
    webdav_conf | sed 's/^\[lab\]/[store]/'
    printf '[lab]\ntype = crypt\nremote = store:vault\npassword = %s\npassword2 = %s\n' \
        "$(rclone obscure not-a-secret)" "$(rclone obscure salt)"
} >"$site_dir/rclone.conf"
build_tarball
install_on e1 e2
on e1 sudo systemctl start etcd2-backup.service
write_keys e1 second 20
on e1 sudo systemctl start etcd2-backup.service
objects() { find "$remote_dir/vault" -type f | wc -l; }
claim "behind crypt: two backups are two objects" [ "$(objects)" = 2 ]
claim "no name and no content tells of a key, value, member or machine" hidden tells "$remote_dir" \
    topsecret second "value 1" backups "$(machine_id e1)" "$(peer_url e1)" E2BKPART etcd .part
claim "and nothing compressed is in the open" hidden compressed_in_the_open "$remote_dir"
dump_keys e1 "$work_dir/before"

# The newest object loses its end, as after an upload that was cut off: its decrypted size tells.
newest_object() { find "$remote_dir/vault" -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-; }
# The server remembers sizes; a new one looks.
cut_newest() {
    remote_down
    truncate -s -7 "$(newest_object)"
    remote_up
}

stop_all
for node in e1 e2; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/* /var/lib/etcd2-backup'"; done
newest=$(newest_object)
cp -p "$newest" "$work_dir/whole"
cut_newest
on e1 sudo /opt/bin/etcd2-backup restore --plan >"$work_dir/plan" 2>&1
claim "without its end the newest object is no restore point, the one before it is" grep -q 'generation 1, part 0' "$work_dir/plan"
remote_down
cp -p "$work_dir/whole" "$newest"
remote_up
on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: every key is as it was" same_keys "$work_dir/before" e1
on e2 sudo systemctl start etcd2-join.service
await_same_keys "$work_dir/before" e2
claim "2 members, all healthy" is_healthy e1 2
