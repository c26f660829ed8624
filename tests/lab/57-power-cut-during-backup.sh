#!/bin/bash
# A node loses its power during a backup, at one moment after the other. Booted again etcd2 has every key, the next backup
# sends what was missing, and a restore on an emptied disk gives every key back.
# nodes: 1
source "$(dirname "$0")/lib.sh"

data=/var/lib/etcd2
spool=/var/lib/etcd2-backup/spool
backed_up_cluster
archive=$remote_dir/backups/$(machine_id e1)
count_parts() {
    local files=("$archive"/*/*.part)
    counted=${#files[@]}
}
# in the remote, whole or not
more_in_remote() {
    count_parts
    ((counted > parts_before))
}
half_made() { find "$archive" "$LAB_DIR/nodes/e1/upper$spool" -name '.*tmp*'; }
was_sent() { more_in_remote && not_there e1 "$spool/*/*.part"; }

# So much that sending it takes a moment; it cannot be compressed.
write_much() {
    head -c 1000000 /dev/urandom | base64 -w 0 >"$work_dir/large"
    curl_etcd -X PUT "$(client_url e1)/v2/keys/large-$round" --data-urlencode "value@$work_dir/large" >"$work_dir/written"
    dump_keys e1 "$work_dir/before"
    count_parts
    parts_before=$counted
}
# A backup that went through unseen leaves nothing to send.
before_again() { write_much; }

# backup_is_cut TEXT MOMENT…
backup_is_cut() {
    local text=$1
    shift
    round=$((round + 1))
    write_keys e1 "round-$round" 5
    write_much
    cut_power_during e1 "$(start_soon etcd2-backup.service)" "$@"
    boot e1
    await_same_keys "$work_dir/before" e1
    ok "cut when $text: booted, etcd2 has every key"
    on e1 sudo systemctl start etcd2-backup.service
    claim "   the next backup adds to the archive" more_in_remote
    claim "   nothing waits to be sent" not_there e1 "$spool/*/*.part"
    claim "   nothing half-made is there or in the remote" [ -z "$(half_made)" ]
    stop_all
    on e1 "sudo sh -c 'rm -rf $data/*'"
    claim "   restored from it on an emptied disk: every key is as it was" restore_founder
}

round=0
backup_is_cut "the part is being written" there e1 "$spool/*/.part.tmp"
backup_is_cut "the part is in the spool" there e1 "$spool/*/*.part"
backup_is_cut "the part is on its way" more_in_remote
backup_is_cut "the part has left the spool" was_sent
