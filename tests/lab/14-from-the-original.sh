#!/bin/bash
# A node of etcd2-backup-coreos gets this package: installed on top of it, upgraded, checked, edited, uninstalled, and once
# more in one go. rclone travels in the tarball, and no image is on the node.
# nodes: 1
# rclone: current
source "$(dirname "$0")/lib.sh"

program=/opt/bin/etcd2-backup
timer=etcd2-backup.timer
original="$(dirname "$0")/../install/cases/34-over-the-original/before"
# Our places on the node; etcd's own settings are the lab's.
places() { on e1 "sudo find /etc/systemd/system /etc/rclone.conf* /etc/etcd2-backup /opt/bin /run/systemd/system -name '*etcd2*' | sort" 2>/dev/null; }
is_active() { [ "$(on e1 systemctl is-active "$1")" = active ]; }
no_images() { [ -z "$(on e1 sudo podman images -q)" ]; }

places >"$work_dir/clean"
tar -C "$original" -c --exclude=./run/systemd/system/etcd2.service.d ./opt ./run ./etc/rclone.conf ./etc/systemd |
    ssh core@e1 "sudo tar -C / -x --no-same-owner"
on e1 "sudo systemctl daemon-reload && sudo systemctl start $timer"

remote_up
write_site e1 bundled
echo "bundle = \"$LAB_CURRENT_RCLONE\"" >>"$site_dir/etcd2-backup.toml"
build_tarball
install_on e1
claim "installed over the original, what it left in /opt and /run is gone" \
    on e1 "! ls -d /opt/bin/etcd2-join /opt/bin/etcd2-restore /run/systemd/system/etcd2-*.service.d/[234]* 2>/dev/null"
claim "its timer is still on" is_active $timer
write_keys e1 some 10
claim "no image is on the node" no_images
on e1 sudo systemctl start etcd2-backup.service
claim "and rclone of the tarball makes a backup" has_more_parts e1 0

write_site e1 bundled 'interval = "45sec"'
echo "bundle = \"$LAB_CURRENT_RCLONE\"" >>"$site_dir/etcd2-backup.toml"
build_tarball
install_on e1
claim "upgraded: the timer has the new interval" on e1 grep -qx OnUnitActiveSec=45sec /etc/systemd/system/$timer
claim "the installation is as it should be" on e1 sudo $program install --check
on e1 "sudo sed -i s/45sec/5sec/ /etc/systemd/system/$timer"
refuses "an edited file is found" "$timer" on e1 sudo $program install --check
refuses "and kept from the next installation" "edited since the installation: .*$timer" install_on e1
on e1 "sudo sed -i s/5sec/45sec/ /etc/systemd/system/$timer"
claim "as it was again" on e1 sudo $program install --check

parts_before=$(parts e1)
uninstall_on e1
places >"$work_dir/left"
# Who this node is in its cluster: the guard would need it again. And a drop-in of the operator's.
mine=/run/systemd/system/etcd2-join.service.d
grep -vx -e /etc/etcd2-backup -e /etc/etcd2-backup/identity.json -e $mine "$work_dir/left" >"$work_dir/left-of-us" || true
claim "uninstalled: nothing of it is left" diff "$work_dir/clean" "$work_dir/left-of-us"
claim "the operator's drop-in is there" on e1 test -f $mine/50-mine.conf
claim "the timer is off" on e1 "! systemctl is-active -q $timer"
claim "the backups are there" [ "$(parts e1)" = "$parts_before" ]
claim "etcd2 was not touched" write_keys e1 afterwards 3

put "$dist_dir/etcd2-backup.tgz" e1
on e1 <<'END'
mkdir -p ~/etcd2-backup
mv etcd2-backup.tgz etcd2-backup/
cd etcd2-backup
tar zxf etcd2-backup.tgz
./etcd2-backup-install --enable-timer --remove-source
END
claim "installed in one go: the timer is on" is_active $timer
claim "and will be after a reboot" on e1 systemctl is-enabled -q $timer
claim "the unpacked files and the tarball are gone" on e1 "! test -e ~/etcd2-backup"
