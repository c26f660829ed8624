#!/bin/bash
# A node reboots: its settings, its timer and its etcd2 come back by themselves, and backups go on.
source "$(dirname "$0")/lib.sh"

settings() {
    on "$1" "cat /etc/systemd/system/etcd2-{backup,restore,join}.service.d/30-etcd2-backup-restore.conf && \
        systemctl show etcd2-backup.service etcd2-restore.service etcd2-join.service -p Environment && \
        sudo sha256sum /etc/rclone.conf /opt/bin/etcd2-backup && systemctl is-enabled etcd2-backup.timer"
}
timer_is_active() { on "$1" systemctl is-active etcd2-backup.timer; }

remote_up
write_site e1 host 'interval = "5s"' 'boot_delay = "5s"'
build_tarball
install_on "${nodes[@]}"
on e1 sudo systemctl enable --now etcd2-backup.timer
write_keys e1 before 10
await_timer_backup e1
dump_keys e1 "$work_dir/before"
settings e1 >"$work_dir/settings"
parts_before=$(parts e1)

reboot_node e1
ok "e1 has rebooted"
settings e1 | diff -u "$work_dir/settings" -
ok "its settings, its program and rclone.conf are as before, the timer is still enabled"
claim "the timer runs" timer_is_active e1
wait_for 60 "healthy cluster" is_healthy e1 3
ok "etcd2 came back by itself: 3 members, all healthy"
claim "every key is as it was" same_keys "$work_dir/before" e1
write_keys e2 after 10
await_timer_backup e1
claim "the timer's backups go on" has_more_parts e1 "$parts_before"

power_cut e1
boot e1
wait_for 60 "healthy cluster" is_healthy e1 3
parts_before=$(parts e1)
write_keys e2 after-the-cut 10
await_timer_backup e1
claim "and after a power cut as well" has_more_parts e1 "$parts_before"
