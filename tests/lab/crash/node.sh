#!/bin/bash
# On a node: what the crash matrix does there again and again, each in one call.
#   crash-node save|load STATE    the node's data, package and stamps; etcd2 is stopped
#   crash-node uninstall          the package goes, etcd's data stays
#   crash-node files              what of the package is where, with its checksums
#   crash-node clean              fails if a fence or a half-done thing is left
set -euo pipefail
shopt -s nullglob
folders=(/var/lib/etcd2 /var/lib/etcd2-backup /var/lib/etcd2-restore /etc/etcd2-backup /etc/systemd/system /opt/bin /etc/rclone.conf)
package=(/etc/etcd2-backup /etc/systemd/system/etcd2* /opt/bin/etcd2-backup /etc/rclone.conf)

stop() {
    # Told to stop, the last one of a cluster looks for a successor for seconds.
    systemctl kill -s KILL etcd2.service 2>/dev/null || true
    systemctl stop etcd2.service
    systemctl stop etcd2-backup.timer etcd2-backup.service etcd2-restore.service etcd2-join.service 2>/dev/null || true
}

case $1 in
save)
    stop
    mkdir -p /var/lib/crash
    tar --sparse -P -cf "/var/lib/crash/$2.tar" $(ls -d "${folders[@]}" 2>/dev/null)
    ;;
load)
    stop
    rm -rf "${folders[@]}" /etc/.rclone.conf*
    tar -P -xf "/var/lib/crash/$2.tar"
    systemctl daemon-reload
    systemctl reset-failed
    ;;
uninstall)
    for path in "${package[@]}"; do
        # The node's own.
        case $path in */etcd2.service | */etcd2.service.d) continue ;; esac
        rm -rf "$path"
    done
    rm -f /etc/systemd/system/etcd2.service.d/30-etcd2-backup-fence.conf
    systemctl daemon-reload
    ;;
files)
    # Whole folders, since half a file has another name. identity.json is of the data, not of the package; installed.json
    # lists which folders the package made, and these depend on what was there before.
    find /etc/rclone.conf /etc/.rclone.conf* /etc/etcd2-backup /etc/systemd/system /opt/bin -type f \
        ! -name identity.json ! -name installed.json | LC_ALL=C sort | xargs sha256sum
    ;;
clean)
    for left in /etc/etcd2-backup/fence /var/lib/etcd2/member.restoring /etc/systemd/system/*.d/*-etcd2-join.conf; do
        if [ -e "$left" ]; then
            echo "$left is left" >&2
            exit 1
        fi
    done
    ;;
esac
