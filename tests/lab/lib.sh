# What scenarios are written with. Each is an ordinary bash script that begins with
#     source "$(dirname "$0")/lib.sh"
# and runs in the lab's network: ssh and scp know the nodes e1, e2, …; 10.77.0.1 is the lab's own address.
# LAB_DIR is the lab's folder, LAB_NODES the number of nodes, LAB_ETCD_UNIT the unit that runs etcd.
set -Eeuo pipefail
# Names the line of the scenario, however deep below it a command failed, and wherever that command's output went.
exec 3>&1
failed_at() {
    trap - ERR
    echo "FAILED at ${BASH_SOURCE[-1]##*/}:${BASH_LINENO[${#BASH_LINENO[@]} - 2]}: $1" >&3
    exit 1
}
trap 'failed_at "$BASH_COMMAND"' ERR

nodes=()
for ((i = 1; i <= LAB_NODES; i++)); do nodes+=("e$i"); done
remote_dir=$LAB_DIR/remote
site_dir=$LAB_DIR/site
dist_dir=$LAB_DIR/dist
work_dir=$LAB_DIR/work
mkdir -p "$remote_dir" "$site_dir" "$work_dir"

# --- claims ---------------------------------------------------------------------------------------------------------

# ok CLAIM: it holds, as the lines above made sure. `set -e` ends the scenario where one does not.
ok() { echo "ok $*"; }

# fail REASON…: the end of the scenario.
fail() {
    trap - ERR
    echo "FAILED: $*" >&3
    exit 1
}

# claim CLAIM COMMAND…: ok if the command succeeds.
claim() {
    local text=$1
    shift
    "$@" || fail "$text ($*)"
    ok "$text"
}

# refuses CLAIM PATTERN COMMAND…: ok if the command fails and says something that the pattern matches.
refuses() {
    local text=$1 pattern=$2 said
    shift 2
    if said=$(trap - ERR && "$@" 2>&1); then fail "$text: it was done ($*): $said"; fi
    grep -Eq -- "$pattern" <<<"$said" || fail "$text: it said something else than $pattern: $said"
    ok "$text"
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds. SECONDS are those of a machine that does nothing else; beside other
# labs and builds it may take three times as long.
wait_for() {
    local seconds=$(($1 * 3)) what=$2 end
    end=$((SECONDS + seconds))
    shift 2
    until "$@" >"$work_dir/wait_for" 2>&1; do
        ((SECONDS < end)) || fail "no $what within $seconds s; last: $(tail -n 3 "$work_dir/wait_for")"
        sleep 0.2
    done
}

# --- nodes ----------------------------------------------------------------------------------------------------------

ssh() { command ssh -F "$LAB_DIR/ssh/config" "$@"; }
scp() { command scp -q -F "$LAB_DIR/ssh/config" "$@"; }

# on NODE COMMAND…: as core, in a shell of the node. Without a command: the script on standard input, ended by its first error.
on() {
    local node=$1
    shift
    if (($#)); then ssh -n "core@$node" "$@"; else ssh "core@$node" bash -euo pipefail; fi
}
put() { scp "$1" "core@$2:"; }
address() { echo "10.77.0.$((10 + ${1#e}))"; }
client_url() { echo "http://$(address "$1"):2379"; }
peer_url() { echo "http://$(address "$1"):2380"; }
machine_id() { on "$1" cat /etc/machine-id; }
journal() { on "$1" sudo journalctl --no-pager -o cat -u "$2"; }
# journal_says NODE UNIT PATTERN: at any time, also before the last boot.
journal_says() { grep -qE -- "$3" <(journal "$1" "$2"); }
# await_word NODE UNIT PATTERN: the same of what has just ended; journald may be behind it.
await_word() { wait_for 20 "'$3' in the journal of $2" journal_says "$@"; }

# The power fails: all of a node's processes die at once. What was written stays, as on a disk that keeps its cache.
power_cut() { "$LAB_XTASK" lab --lab "$LAB" cut "$1"; }
boot() { "$LAB_XTASK" lab --lab "$LAB" boot "$1"; }
# boot_with_clock NODE SECONDS: so far from the right time, on a kernel of its own. `there` does not see its disk.
boot_with_clock() { "$LAB_XTASK" lab --lab "$LAB" boot "$1" --clock="$2"; }
cut_network() { ip link set "v-$1" down; }
restore_network() { ip link set "v-$1" up; }

# A reboot as an operator orders it; returns when one can log in again.
reboot_node() {
    local before
    before=$(on "$1" cat /proc/sys/kernel/random/boot_id /proc/1/stat)
    on "$1" sudo systemctl reboot || true # the connection may break first
    wait_for 60 "reboot of $1" has_rebooted "$1" "$before"
}
has_rebooted() {
    local now
    now=$(on "$1" cat /proc/sys/kernel/random/boot_id /proc/1/stat) && [ "$now" != "$2" ]
}

# --- etcd -----------------------------------------------------------------------------------------------------------

etcdctl_on() {
    local node=$1
    shift
    on "$node" etcdctl "$@"
}
curl_etcd() { curl -sS --fail --max-time 10 "$@"; }

# await_leader NODE: a read by quorum went through, so the next write will. Who was leader may just have lost its power.
await_leader() { wait_for 60 "leader that answers $1" curl_etcd "$(client_url "$1")/v2/keys/?quorum=true"; }

# write_keys NODE FOLDER COUNT: values, directories, keys in order, one that was changed, one that was deleted, one that lives a day.
write_keys() {
    local url
    url=$(client_url "$1")/v2/keys/$2
    local i
    for ((i = 1; i <= $3; i++)); do
        echo "url = \"$url/key-$i\""
        echo "data-urlencode = \"value=value $i of $2 äöü\""
        echo 'request = PUT'
        echo next
    done >"$work_dir/write_keys"
    sed -i '$d' "$work_dir/write_keys"
    await_leader "$1"
    curl_etcd --fail-early -K "$work_dir/write_keys" >"$work_dir/written"
    curl_etcd -X PUT "$url/empty?dir=true" >>"$work_dir/written"
    curl_etcd -X POST "$url/queue" -d value=first >>"$work_dir/written"
    curl_etcd -X PUT "$url/key-1" -d value=changed -d prevExist=true >>"$work_dir/written"
    curl_etcd -X DELETE "$url/key-2" >>"$work_dir/written"
    curl_etcd -X PUT "$url/lives-a-day" -d value=x -d ttl=86400 >>"$work_dir/written"
}

# dump_keys NODE FILE: every key as this node itself has it: value, kind, and the indexes of its making and last change.
dump_keys() {
    curl_etcd "$(client_url "$1")/v2/keys/?recursive=true&sorted=true" |
        jq -S '[.node | recurse(.nodes[]?) | {key, value, dir, createdIndex, modifiedIndex, expiration}] | sort_by(.key)' >"$2"
}

# same_keys FILE NODE: as node has them now; without -q differences are shown.
same_keys() {
    dump_keys "$2" "$work_dir/now-$2" && diff -u "$1" "$work_dir/now-$2" | head -n 20
}

# await_same_keys FILE NODE: a member may still be catching up.
await_same_keys() { wait_for 60 "equal keys on $2" same_keys "$1" "$2"; }

healthy_members() { etcdctl_on "$1" cluster-health | grep -c 'is healthy: got healthy result'; }
# is_healthy NODE COUNT: NODE says that COUNT members are healthy, and that these are all.
is_healthy() {
    [ "$(healthy_members "$1")" = "$2" ] && [ "$(etcdctl_on "$1" member list | wc -l)" = "$2" ] &&
        etcdctl_on "$1" cluster-health | grep -qx 'cluster is healthy'
}

# discovery_up SIZE: the discovery endpoint that nodes with "# settings: discovery" ask; etcd2 on the nodes tries again until it answers.
discovery_up() {
    "$LAB_DIR/../base/usr/bin/etcd" --enable-v2=true --data-dir "$work_dir/discovery" --name discovery \
        --listen-client-urls http://10.77.0.1:4001 --advertise-client-urls http://10.77.0.1:4001 \
        --listen-peer-urls http://127.0.0.1:4002 >"$work_dir/discovery.log" 2>&1 &
    echo $! >"$work_dir/discovery.pid"
    wait_for 20 "discovery endpoint" curl_etcd http://10.77.0.1:4001/health
    curl_etcd -X PUT http://10.77.0.1:4001/v2/keys/discovery/lab/_config/size -d "value=$1"
}
discovery_down() {
    kill -9 "$(cat "$work_dir/discovery.pid")"
    wait "$(cat "$work_dir/discovery.pid")" 2>/dev/null || true
}

# --- the remote -----------------------------------------------------------------------------------------------------

# remote_up: webdav on 10.77.0.1:8080 over the folder remote_dir.
remote_up() {
    rclone --config /dev/null serve webdav "$remote_dir" --addr 10.77.0.1:8080 >>"$work_dir/webdav.log" 2>&1 &
    echo $! >"$work_dir/remote.pid"
    wait_for 20 "webdav server" curl -sS -o /dev/null http://10.77.0.1:8080/
}
remote_down() {
    kill -9 "$(cat "$work_dir/remote.pid")"
    wait "$(cat "$work_dir/remote.pid")" 2>/dev/null || true
}
webdav_conf() { printf '[lab]\ntype = webdav\nurl = http://10.77.0.1:8080\nvendor = other\n'; }

# parts NODE: how many parts of the archive are in the node's folder.
parts() {
    local id
    id=$(machine_id "$1")
    find "$remote_dir/backups/$id" -name '*.part' 2>/dev/null | wc -l
}
has_more_parts() { (($(parts "$1") > $2)); }

# await_timer_backup NODE: a backup that the timer began after this moment is done. The journal says so, since a unit whose runs
# follow each other closely is seldom met between two of them: each ends with one line, which says how long it took.
await_timer_backup() {
    local now
    now=$(on "$1" date +%s.%N)
    wait_for 120 "backup by the timer on $1" timer_backup_since "$1" "$now"
}
timer_backup_since() {
    on "$1" "sudo journalctl -q -o short-unix -u etcd2-backup.service --since '@${2%.*}'" | awk -v now="$2" '
        / failed: / || !/ duration_ms=[0-9]/ { next }
        { sub(/.*=/, "", $NF); if ($1 - $NF / 1000 >= now) ended = 1 }
        END { exit !ended }'
}

# --- the package ----------------------------------------------------------------------------------------------------

# write_site FOUNDER RUNNER [LINE…]: the operator's files, for the remote of remote_up; LINEs go before [rclone].
write_site() {
    local founder=$1 runner=$2
    shift 2
    {
        echo 'version = 1'
        echo "founder = \"$(peer_url "$founder")\""
        echo 'endpoint = "lab:backups"'
        echo "etcd_unit = \"$LAB_ETCD_UNIT\""
        printf '%s\n' "$@"
        echo '[rclone]'
        echo "runner = \"$runner\""
        if [ "$runner" = docker ] || [ "$runner" = podman ]; then echo 'image = "localhost/rclone:lab"'; fi
    } >"$site_dir/etcd2-backup.toml"
    webdav_conf >"$site_dir/rclone.conf"
}

# build_tarball: of the site; $dist_dir/etcd2-backup.tgz.
build_tarball() { "$LAB_XTASK" build --site "$site_dir" --dist "$dist_dir"; }

# install_on NODE…: as docs/installation.md says.
install_on() {
    local node
    for node in "$@"; do
        put "$dist_dir/etcd2-backup.tgz" "$node"
        on "$node" <<'END'
mkdir -p ~/etcd2-backup
mv etcd2-backup.tgz etcd2-backup/
cd etcd2-backup
tar zxf etcd2-backup.tgz
./etcd2-backup-install
END
    done
}

# load_rclone_image NODE…: localhost/rclone:lab, with the rclone of the nodes, or with the current one where a scenario asks for
# it. Takes 2 s each.
load_rclone_image() {
    local node image=$LAB_DIR/../rclone-image.tar
    if [ -n "${LAB_CURRENT_RCLONE-}" ]; then
        mkdir "$work_dir/rootfs"
        tar -C "$work_dir/rootfs" -xf "$image"
        cp "$LAB_CURRENT_RCLONE" "$work_dir/rootfs/usr/bin/rclone"
        image=$work_dir/rclone-image.tar
        tar -C "$work_dir/rootfs" -cf "$image" .
    fi
    for node in "$@"; do
        ssh "core@$node" "sudo docker import --change 'ENTRYPOINT [\"/usr/bin/rclone\"]' - localhost/rclone:lab" <"$image"
    done
}

# load_etcd_image NODE…: localhost/etcd:lab, made from the etcd of the nodes.
load_etcd_image() {
    local node
    for node in "$@"; do
        on "$node" <<'END'
mkdir -p rootfs/usr/bin rootfs/etc
cp /usr/bin/etcd rootfs/usr/bin/
for library in $(ldd /usr/bin/etcd | grep -o '/[^ ]*'); do mkdir -p "rootfs${library%/*}" && cp -L "$library" "rootfs$library"; done
tar -C rootfs -c . | sudo podman import - localhost/etcd:lab
END
    done
}

# stop_all: etcd and the timers, on all nodes.
stop_all() {
    local node
    for node in "${nodes[@]}"; do
        on "$node" "sudo systemctl stop $LAB_ETCD_UNIT etcd2-backup.timer etcd2-backup.service"
    done
}

# --- faults ---------------------------------------------------------------------------------------------------------

# there NODE PATTERN…: the node's disk has a file whose path fits one of them; asks the disk itself, so a node that is off
# or frozen is fine, and so quick that one can wait for a moment with it.
there() {
    local node=$1 pattern
    shift
    for pattern in "$@"; do
        if compgen -G "$LAB_DIR/nodes/$node/upper$pattern" >/dev/null; then return 0; fi
    done
    return 1
}
not_there() { ! there "$@"; }
# count_there NODE PATTERN: how many; in $counted, as a subshell takes too long.
count_there() {
    local files=("$LAB_DIR/nodes/$1/upper"$2)
    counted=0
    if [ -e "${files[0]}" ]; then counted=${#files[@]}; fi
}

# run_until NODE COMMAND MOMENT…: runs the command on the node, which must not wait for its end, until MOMENT, a command of
# this shell, succeeds. A moment may be over before a busy machine looks: it comes once more with the command, and with what a
# scenario's `before_again` does for it. $starter may still run.
run_until() {
    local node=$1 command=$2 end=$((SECONDS + 300)) again=$((SECONDS + 15))
    shift 2
    { on "$node" "$command" || true; } & # the connection may break
    starter=$!
    until "$@"; do
        ((SECONDS < end)) || fail "no moment '$*' within 300 s of: $command"
        if ((SECONDS >= again)); then
            if declare -F before_again >/dev/null; then before_again; fi
            on "$node" "$command" || true
            again=$((SECONDS + 15))
        fi
    done
}
# cut_power_during NODE COMMAND MOMENT…: as run_until, and cuts the node's power at that moment. The node freezes first:
# killing takes longer than a step.
cut_power_during() {
    run_until "$@"
    freeze "$1" 1
    power_cut "$1"
    freeze "$1" 0 # or it would boot frozen
    kill "$starter" 2>/dev/null || true
    wait "$starter" || true
}
freeze() {
    local file
    for file in /sys/fs/cgroup{/unified,}/"etcd2lab-$LAB-$1"/cgroup.freeze; do
        if [ -e "$file" ]; then echo "$2" >"$file"; fi
    done
}
# start_soon UNIT: what cut_power_during runs on the node.
start_soon() { echo "sudo systemctl start --no-block $1"; }

# The exit codes, by their names in src/exit.rs.
declare -A exit_codes=([Refused]=10 [Remote]=13 [NoSpace]=14 [Settings]=15 [Cluster]=16)
# ended_with NODE UNIT NAME: the unit's last run ended with this exit code.
ended_with() { [ "$(on "$1" systemctl show "$2" -p ExecMainStatus --value)" = "${exit_codes[$3]}" ]; }
# fails_with CLAIM NODE UNIT NAME PATTERN: starting the unit fails with this exit code, and its journal says PATTERN.
fails_with() {
    refuses "$1" "$3 failed" on "$2" sudo systemctl start "$3"
    ended_with "$2" "$3" "$4" || fail "$1: $3 ended with another code than $4: $(journal "$2" "$3" | tail -n 3)"
    await_word "$2" "$3" "$5"
}
# was_fenced NODE: since it booted, the fence has stopped a start of etcd2.
was_fenced() { on "$1" "sudo journalctl -b -o cat -u $LAB_ETCD_UNIT | grep 'asserts failed'"; }

# --- ready-made -----------------------------------------------------------------------------------------------------

# backed_up_cluster [LINE…]: the package on every node (LINEs as for write_site), e1 the founder, keys, and a backup of
# each node that has them all; $work_dir/before is what the keys are.
backed_up_cluster() {
    remote_up
    write_site e1 host "$@"
    build_tarball
    install_on "${nodes[@]}"
    write_keys e1 before 20
    dump_keys e1 "$work_dir/before"
    for node in "${nodes[@]}"; do
        await_same_keys "$work_dir/before" "$node"
        on "$node" sudo systemctl start etcd2-backup.service
    done
}

# restore_founder: e1 alone becomes the new cluster, all keys there.
restore_founder() {
    on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start $LAB_ETCD_UNIT"
    same_keys "$work_dir/before" e1
}

# all_keys_on NODE…: every key is as it was, and these are all members, all healthy.
all_keys_on() {
    local node
    for node in "$@"; do await_same_keys "$work_dir/before" "$node"; done
    wait_for 60 "cluster of $#" is_healthy "$1" $#
    ok "$*: every key is as it was on each, and the $# are the only members, all healthy"
}

# Uninstalls on a node; a backup that the timer has just begun would be in the way.
uninstall_on() {
    on "$1" "sudo systemctl stop etcd2-backup.timer etcd2-backup.service && sudo /opt/bin/etcd2-backup uninstall"
}
