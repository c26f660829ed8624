#!/bin/bash
# The installer on one node that says by its os-release to be Debian, Ubuntu, Rocky Linux, Flatcar, CoreOS, and a system that nobody
# knows; then on one that lacks what it needs. An upgrade tells nothing that is done.
# nodes: 1
source "$(dirname "$0")/lib.sh"

program=/opt/bin/etcd2-backup
timer=etcd2-backup.timer
cases="$(dirname "$0")/../install/cases"
# become CASE: the node's os-release is that of the case of tests/install.
become() {
    ssh core@e1 "sudo rm -f /etc/os-release && sudo tee /etc/os-release >/dev/null" <"$cases/$1/before/etc/os-release"
}
# Once more from where install_on unpacked it.
install_again() { on e1 "cd etcd2-backup && ./etcd2-backup-install $*"; }
# says_nothing_of PATTERN: what was said last.
says_nothing_of() { ! grep -Eq -- "$1" <<<"$said"; }
is_there() { on e1 test -e $program; }
remote_up
write_site e1 host
build_tarball
write_keys e1 some 3

for system in 57-debian 58-ubuntu 59-rocky 01-flatcar 02-coreos; do
    become $system
    said=$(install_on e1 2>&1)
    claim "installed as ${system#*-}" on e1 sudo $program install --check
    claim "  without a word about the system" says_nothing_of 'made for|--force'
    before=$(parts e1 || true)
    write_keys e1 "as-$system" 3
    on e1 sudo systemctl start etcd2-backup.service
    claim "  and backed up" has_more_parts e1 "$before"
    uninstall_on e1
    on e1 rm -r etcd2-backup
    refuses "  and gone again, without a question where no terminal is" '' is_there
done

become 04-arch-refused
refuses "an unknown system is refused by its name, with what to do" \
    'not for Arch Linux \(ID=arch\)' install_on e1
refuses "  and nothing was installed" '' is_there
install_again --force
claim "  --force installs there" on e1 sudo $program install --check
uninstall_on e1

# What is missing is told at once: three things, each with its hint.
become 57-debian
on e1 <<'END'
sudo mv /usr/bin/curl /usr/bin/curl.away
sudo mv /usr/bin/rclone /usr/bin/rclone.away
sudo mkdir -p /opt/bin
sudo mount --bind /opt /opt
sudo mount -o remount,bind,ro /opt
END
said=$(trap - ERR && install_again 2>&1) && fail "it was installed without curl, rclone and /opt"
for words in '^error: /opt/bin is on a disk that is mounted read-only$' '^error: the program curl is missing$' \
    '^hint: run: sudo apt-get install curl$' '^error: the program rclone is missing, which is to run' \
    '^error: nothing was installed, for these 3 reasons$'; do
    claim "all that is missing is told at once: $words" grep -Eq -- "$words" <<<"$said"
done
on e1 <<'END'
sudo umount /opt
sudo mv /usr/bin/curl.away /usr/bin/curl
sudo mv /usr/bin/rclone.away /usr/bin/rclone
END

said=$(install_again 2>&1)
claim "a first installation says how to enable backups" grep -q "sudo systemctl enable $timer" <<<"$said"
on e1 sudo systemctl enable --now $timer
said=$(install_again 2>&1)
claim "the next one does not, where they are" says_nothing_of "systemctl enable $timer"
claim "  and says that they are" grep -q "$timer is enabled and runs, as before" <<<"$said"
claim "a command that needs root becomes root, as the installer does" on e1 "$program list >/dev/null"

on e1 sudo systemctl stop etcd2-backup.timer etcd2-backup.service
claim "with --yes uninstall does not ask" on e1 "$program uninstall --yes"
refuses "  and is gone" '' is_there
