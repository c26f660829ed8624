#!/bin/bash
# The version before and this one on the same nodes: upgrade, downgrade, check, uninstall, and `recover` over nodes of both
# with either program, which stops before anything is lost. BEFORE=COMMIT is what it is compared with.
# long
# limit: 60m
source "$(dirname "$0")/lib.sh"

# The last commit before the command line, the settings table and the fence's first line.
before_commit=${BEFORE-f555e40}
program=/opt/bin/etcd2-backup
timer=etcd2-backup.timer
now_dir=$dist_dir
before_dir=$LAB_DIR/dist-before
source_dir=$work_dir/before-source

use() { dist_dir=$1; }
check_ok() { on "$1" sudo $program install --check; }
recover() { "$dist_dir/etcd2-backup" recover --ssh "ssh -F $LAB_DIR/ssh/config" --yes "$@" core@e1 core@e2 core@e3 2>&1 | tee "$work_dir/said"; }
recover_on_one_line() { recover | tr '\n' ' ' && return "${PIPESTATUS[0]}"; }
lose() { for node in "$@"; do on "$node" "sudo sh -c 'rm -rf /var/lib/etcd2/*'"; done; }
back_up() { on "$1" sudo systemctl start etcd2-backup.service; }
new_keys() {
    write_keys e1 "$1" 5
    dump_keys e1 "$work_dir/before"
    for node in "${nodes[@]}"; do
        await_same_keys "$work_dir/before" "$node"
        back_up "$node"
    done
}
places() { on e1 "sudo find /etc/systemd/system /etc/rclone.conf* /etc/etcd2-backup /opt/bin /run/systemd/system /usr/local -name '*etcd2*' | sort" 2>/dev/null; }
# build_before: the tarball of the version before, by its own build, of the same site. LAB_BEFORE_XTASK may name that program.
before_xtask=${LAB_BEFORE_XTASK-}
build_before() {
    if [ -z "$before_xtask" ]; then
        git clone --quiet "$(dirname "$0")/../.." "$source_dir"
        git -C "$source_dir" checkout --quiet --detach "$before_commit"
        (cd "$source_dir" && cargo build --quiet --locked -p xtask)
        before_xtask=$source_dir/target/debug/xtask
    fi
    (cd "${before_xtask%/target/*}" && "$before_xtask" build --site "$site_dir" --dist "$before_dir")
}

places >"$work_dir/clean"
remote_up
write_site e1 host
use "$now_dir" && build_tarball
build_before

use "$before_dir" && install_on e1 e2 e3
on e1 sudo systemctl enable --now $timer
new_keys by-the-version-before
on e1 sudo systemctl stop $timer
stop_all
lose e1 e2 e3
claim "the version before recovers what it has sent" recover
all_keys_on e1 e2 e3
on e1 sudo systemctl start $timer
new_keys of-its-recovery

use "$now_dir" && install_on e1
claim "upgraded: the installation is as it should be" check_ok e1
claim "   and the timer is on" [ "$(on e1 systemctl is-active $timer)" = active ]
on e1 sudo systemctl stop $timer
generation() { find "$remote_dir/backups/$(machine_id e1)" -mindepth 1 -maxdepth 1 -type d ! -name recovery | wc -l; }
write_keys e1 upgraded 3
back_up e1
claim "   and reads all that the version before has sent" on e1 sudo $program verify --from "$(machine_id e1)"
claim "   also by the folders of the others" on e1 sudo $program verify --from "$(machine_id e2)"

use "$before_dir" && install_on e1
claim "downgraded: the installation is as it should be" check_ok e1
write_keys e1 downgraded 3
back_up e1
refuses "   and stops at what this version has sent, which it names by its format" 'format version 2' \
    on e1 sudo $program verify --from "$(machine_id e1)"

use "$now_dir" && install_on e1
claim "upgraded once more" check_ok e1
new_keys on-both-versions

# What recover and the nodes say to each other has a number; programs of different numbers do not work together.
untouched() { on "$1" sudo find /var/lib/etcd2 /etc/etcd2-backup | sort; }
stop_all
lose e1 e2 e3
for node in "${nodes[@]}"; do untouched "$node" >"$work_dir/untouched-$node"; done
refuses "all lost, e1 of this version, the others of the one before: this version's recover says so" \
    'core@e[23] runs an older version .* install the same tarball on all nodes' recover_on_one_line
for node in "${nodes[@]}"; do
    claim "   $node is untouched" diff "$work_dir/untouched-$node" <(untouched "$node")
done
use "$before_dir"
refuses "that of the version before stops at the node that it does not understand" 'core@e[123]' recover
use "$now_dir" && install_on e2 e3
claim "with this version on all nodes, this version's recover goes on" recover
all_keys_on e1 e2 e3

# A v3 store, which the version before does not back up. It must neither harm what this one has sent of it, nor be believed about it.
put_v3() { curl_etcd "$(client_url e1)/v3/kv/put" -d "{\"key\":\"$(base64 -w0 <<<"$1")\",\"value\":\"eA==\"}" >/dev/null; }
listed() { on e1 sudo $program list --json | jq -c ".machines[0].generations[] | $1"; }
has() { grep -Eq -- "$2" <<<"$(listed "$1")"; }
lacks() { ! has "$@"; }
# sent: the objects of e1, by content. A recovery record may be added.
sent() { (cd "$remote_dir/backups/$(machine_id e1)" && find . -type f ! -path './recovery/*' -exec sha256sum {} + | sort -k 2); }
# keeps: nothing is altered or removed of what was there at `sent >sent`.
keeps() { [ -z "$(comm -23 <(sort "$work_dir/sent") <(sent | sort))" ]; }
# warnings: of status on e1, which ends with 20 where there are some.
warnings() { (on e1 sudo $program status --json || true) | jq -r '.warnings[].kind'; }
leaves_out() { grep -qx left-out <<<"$(warnings)"; }
is_complete() { ! leaves_out; }
# A backup that the timer has just begun would be taken for the next one.
on e1 sudo systemctl stop $timer etcd2-backup.service
for key in a b c; do put_v3 $key; done
back_up e1
put_v3 d
back_up e1
claim "a v3 store is in the backups" has .v3 true
generation_of_v3=$(listed 'select(.v3).generation' | tail -1)
sent >"$work_dir/sent"
use "$before_dir" && install_on e1
put_v3 e
refuses "the version before does not back up a member with a v3 store" 'control process exited|failed' back_up e1
claim "   and says why" await_word e1 etcd2-backup.service 'holds data of the v3 store, which cannot be backed up'
refuses "   it takes that generation for damaged" 'it is missing; no point of generation' \
    on e1 sudo $program verify --generation "$generation_of_v3"
write_site e1 host 'v2_only = true'
build_before
install_on e1
refuses "   with v2_only it cannot read what a restore of this version has noted" 'control process exited|failed' back_up e1
claim "   which it says" await_word e1 etcd2-backup.service 'reading /var/lib/etcd2-backup/parents.json: invalid type'
on e1 sudo mv /var/lib/etcd2-backup/parents.json /var/lib/etcd2-backup/parents.json.kept
back_up e1
claim "   without that it begins a generation, and leaves all that was there as it was" keeps
use "$now_dir" && install_on e1
on e1 sudo mv -n /var/lib/etcd2-backup/parents.json.kept /var/lib/etcd2-backup/parents.json
claim "upgraded: the v3 store would be lost, says status" leaves_out
claim "   nothing is taken for corrupt that the version before could not read" lacks .damaged part
claim "   everything reads well" on e1 sudo $program verify
on e1 sudo $program base --now
back_up e1
claim "   a generation has the v3 store again" [ "$(listed .v3 | tail -1)" = true ]
claim "   and status says no more of it" is_complete

uninstall_on e1
places | grep -vx -e /etc/etcd2-backup -e /etc/etcd2-backup/identity.json >"$work_dir/left" || true
claim "uninstalled: nothing of either version is left" diff "$work_dir/clean" "$work_dir/left"
claim "etcd was not touched" write_keys e1 afterwards 3
