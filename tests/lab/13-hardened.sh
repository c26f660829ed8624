#!/bin/bash
# What etcd2-backup.service may do on a real node: its protections are in force, it writes to its own folders and to nothing
# else, and still it backs up to webdav and to a folder of the node that belongs to somebody else. Then all is lost, and
# restore and join work under theirs.
# nodes: 2
source "$(dirname "$0")/lib.sh"

drop_in=/etc/systemd/system/etcd2-backup.service.d/99-probe.conf

# property UNIT NAME: as systemd has it loaded.
property() { on e1 systemctl show "$1" -p "$2" --value; }
has_property() { [ "$(property "$1" "$2")" = "$3" ]; }

# What the service could write to, one path a line; what it can and must not is in the journal afterwards.
cat >"$work_dir/probe.sh" <<'END'
for file in /etc/probe /etc/rclone.conf /usr/probe /var/probe /var/lib/etcd2/probe /root/probe /home/core/probe \
    /opt/bin/etcd2-backup /proc/sys/vm/swappiness; do
    if (: >>"$file") 2>/dev/null; then echo "probe: can write $file"; fi
done
for file in /etc/etcd2-backup/probe /var/lib/etcd2-backup/probe /tmp/probe; do
    if (: >"$file") 2>/dev/null; then rm "$file"; else echo "probe: cannot write $file"; fi
done
if mount -t tmpfs none /mnt 2>/dev/null; then echo "probe: can mount"; fi
if unshare --user true 2>/dev/null; then echo "probe: can make namespaces"; fi
if chown core /tmp 2>/dev/null; then echo "probe: can change owners"; fi
if [ ! -r /var/lib/etcd2/member ]; then echo "probe: cannot read etcd's data"; fi
echo "probe: done"
END

remote_up
write_site e1 host
build_tarball
install_on e1 e2
write_keys e1 some 20
for unit in etcd2-backup etcd2-backup-verify etcd2-backup-rehearse etcd2-backup-doctor etcd2-restore etcd2-join; do
    claim "$unit.service may get no more rights than it has" has_property $unit.service NoNewPrivileges yes
    claim "$unit.service gets an error from what it may not call, no signal" \
        has_property $unit.service SystemCallErrorNumber 1
done
claim "etcd2-backup.service sees all as read-only" has_property etcd2-backup.service ProtectSystem strict
claim "but its stamps and its spool" has_property etcd2-backup.service ReadWritePaths \
    '-/etc/etcd2-backup -/var/lib/etcd2-backup'
claim "and has one capability" has_property etcd2-backup.service CapabilityBoundingSet cap_dac_read_search
level=$(on e1 systemd-analyze security --no-pager etcd2-backup.service | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
claim "systemd rates it at most 2.5: $level" awk "BEGIN { exit !($level <= 2.5) }"

on e1 sudo systemctl start etcd2-backup-doctor.service
await_word e1 etcd2-backup-doctor.service '^ok      remove   nothing of it is left$'
ok "the doctor finds what a backup needs, with the rights of one"

on e1 sudo systemctl start etcd2-backup.timer
for timer in etcd2-backup-verify.timer etcd2-backup-rehearse.timer; do
    claim "$timer runs with that of the backups" on e1 systemctl is-active $timer
done
wait_for 90 "first backup by the timer" has_more_parts e1 0
on e1 sudo systemctl stop etcd2-backup.timer
for timer in etcd2-backup-verify.timer etcd2-backup-rehearse.timer; do
    claim "$timer stops with it" [ "$(on e1 "systemctl is-active $timer || true")" = inactive ]
done
on e1 sudo systemctl start etcd2-backup-verify.service
await_word e1 etcd2-backup-verify.service '^generation 1: .* read: intact$'
ok "a share of the archive is read again under the same protections"
on e1 sudo systemctl start etcd2-backup-rehearse.service
await_word e1 etcd2-backup-rehearse.service '^etcd has [0-9]* keys; '
ok "a restore is rehearsed by its unit, with a private etcd"
claim "and was not skipped" on e1 sudo test ! -e /var/lib/etcd2-backup/rehearse-skipped.json

put "$work_dir/probe.sh" e1
on e1 <<END
sudo install -m 755 probe.sh /opt/probe.sh
printf '[Service]\nExecStartPre=/bin/bash /opt/probe.sh\n' | sudo tee $drop_in >/dev/null
sudo systemctl daemon-reload
END
on e1 sudo systemctl start etcd2-backup.service
claim "the probe ran as the service does" journal_says e1 etcd2-backup.service '^probe: done$'
if journal_says e1 etcd2-backup.service '^probe: can'; then fail "$(journal e1 etcd2-backup.service | grep '^probe')"; fi
ok "it writes to its own folders and nowhere else, mounts nothing, and reads etcd's data"
on e1 "sudo rm $drop_in && sudo systemctl daemon-reload"
claim "a backup went through webdav" has_more_parts e1 0

# A folder of the node itself, for root by its capabilities alone. Nothing but rclone.conf says that it is one.
on e1 <<'END'
sudo mkdir -p /home/store
sudo chown core:core /home/store
sudo chmod 700 /home/store
END
sed -i 's|^endpoint = .*|endpoint = "crypt:"|' "$site_dir/etcd2-backup.toml"
cat >"$site_dir/rclone.conf" <<END
[disk]
type = local
[crypt]
type = crypt
remote = disk:/home/store/of etcd
filename_encryption = off
password = $(rclone obscure not-a-secret)
END
build_tarball
install_on e1 e2
write_keys e1 more 20
dump_keys e1 "$work_dir/before"
on e1 sudo rm -rf /var/lib/etcd2-backup
on e1 sudo systemctl start etcd2-backup.service
stored() { on e1 "sudo find '/home/store/of etcd' -name '*.part.bin'" | grep -q .; }
claim "a backup lies encrypted in a folder of the node, the spool was made anew" stored

stop_all
for node in e1 e2; do on $node "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done
on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
claim "e1: every key is as it was, restored from there" same_keys "$work_dir/before" e1
on e2 sudo systemctl start etcd2-join.service
await_same_keys "$work_dir/before" e2
claim "2 members, all healthy" is_healthy e1 2
on e1 sudo systemctl start etcd2-backup.service
ok "the recovered cluster is backed up"
