#!/bin/bash
# A node loses its power during the installation, at one moment after the other. Booted again etcd2 runs as before, and the
# installation run again completes it.
# nodes: 1
source "$(dirname "$0")/lib.sh"

units=/etc/systemd/system
install="cd etcd2-backup && ./etcd2-backup-install"

# install_is_cut TEXT MOMENT…
install_is_cut() {
    local text=$1
    shift
    on e1 "sudo rm -rf /opt/bin /etc/etcd2-backup /etc/rclone.conf $units/etcd2-* $units/etcd2.service.d/30-* && sudo systemctl daemon-reload"
    cut_power_during e1 "$install" "$@"
    boot e1
    await_same_keys "$work_dir/before" e1
    ok "cut when $text: booted, etcd2 runs, every key is as it was"
    on e1 "$install"
    claim "   installed again, nothing is missing" grep -q '0 placed, 0 replaced' <(on e1 "$install" 2>&1)
    on e1 sudo systemctl start etcd2-backup.service
    ok "   and it backs up"
}

backed_up_cluster
install_is_cut "the journal is there" there e1 /etc/etcd2-backup/install-journal.json
install_is_cut "the program is there" there e1 /opt/bin/etcd2-backup
install_is_cut "the remote's secrets are there" there e1 /etc/rclone.conf
install_is_cut "the first unit is there" there e1 "$units/etcd2-*.service"
install_is_cut "the fence's drop-in is there" there e1 "$units/etcd2.service.d/30-*"
install_is_cut "all files are there" there e1 /etc/etcd2-backup/installed.json
