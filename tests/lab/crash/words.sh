# The words of the crash matrix; sourced by 90-crash.sh.

# Every call that can change what a later run finds, as in testkit/src/faults/kill.rs.
calls=rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,write,ftruncate,fallocate,sendfile,copy_file_range,chown,fchown,lchown,fchownat
step_limit=120

# One connection to each node, which lasts until the node loses its power: a seed runs a dozen commands.
sockets=$(mktemp -d)
trap 'rm -rf "$sockets"' EXIT
ssh() {
    command ssh -F "$LAB_DIR/ssh/config" -o ControlMaster=auto -o ControlPath="$sockets/%n" -o ControlPersist=yes "$@"
}

# --- chance: the seed decides, on every machine alike -----------------------------------------------------------------

# splitmix64: neighbouring seeds have nothing in common.
rng=0
seed_rng() { rng=$1; }
# draw N: `drawn` is 0 to N-1.
draw() {
    rng=$((rng + 0x9E3779B97F4A7C15))
    local z=$rng
    z=$(((z ^ (z >> 30 & 0x3FFFFFFFF)) * 0xBF58476D1CE4E5B9))
    z=$(((z ^ (z >> 27 & 0x1FFFFFFFFF)) * 0x94D049BB133111EB))
    drawn=$(((z ^ (z >> 31)) & 0x7FFFFFFF))
    drawn=$((drawn % $1))
}
# draw_from WORD…: `drawn` is one of them.
draw_from() {
    draw $#
    drawn=${*:drawn+1:1}
}
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
pause_ms() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; }
in_seconds() { printf '%d.%02d' $(($1 / 1000)) $(($1 % 1000 / 10)); }

# --- saved nodes ------------------------------------------------------------------------------------------------------

# both COMMAND…: on all nodes at the same time.
both() {
    local node pids=() pid
    for node in "${nodes[@]}"; do
        "$@" "$node" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
}
save() {
    both on_node save "$1"
    rm -rf "$work_dir/remote-$1"
    cp -a "$remote_dir" "$work_dir/remote-$1"
}
on_node() { on "$3" sudo crash-node "$1" "$2"; }
load() {
    both on_node load "$1"
    # A server would go on to show what it saw before.
    remote_down
    rm -rf "$remote_dir/backups"
    cp -a "$work_dir/remote-$1/." "$remote_dir/"
    remote_up
}
start_etcd() {
    local node
    for node in "$@"; do on "$node" sudo systemctl start --no-block etcd2.service; done
    for node in "$@"; do wait_for 60 "leader on $node" is_led "$node"; done
}

# prepare: two states of the two nodes. `pair`: members both, the package installed, e1 backed up. `alone`: e1 was
# restored, e2 has its old data and is no member.
prepare() {
    local node
    remote_up
    # Its death is intended; the shell need not tell.
    disown
    for node in "${nodes[@]}"; do
        scp tests/lab/crash/node.sh "core@$node:"
        # Elections of half a second: a seed shall take as few seconds as it can.
        on "$node" <<'END'
sudo install node.sh /usr/local/bin/crash-node
sudo mkdir -p /etc/systemd/system/etcd2.service.d
printf '[Service]\nRestartSec=500ms\nEnvironment=ETCD_HEARTBEAT_INTERVAL=50\nEnvironment=ETCD_ELECTION_TIMEOUT=500\n' |
    sudo tee /etc/systemd/system/etcd2.service.d/50-crash.conf >/dev/null
sudo systemctl daemon-reload
END
    done
    write_site e1 host 'interval = "3h"'
    build_tarball
    put "$dist_dir/etcd2-backup.tgz" e1
    on e1 'mkdir second && tar -C second -xzf etcd2-backup.tgz && second/etcd2-backup-install'
    on e1 sudo crash-node files >"$work_dir/files-second"
    write_site e1 host 'interval = "2h"'
    build_tarball
    install_on "${nodes[@]}"
    mkdir -p "$work_dir/program"
    tar -C "$work_dir/program" -xzf "$dist_dir/etcd2-backup.tgz" --transform s/etcd2-backup-install/etcd2-backup/ etcd2-backup-install
    machine=$(machine_id e1)

    write_keys e1 early 10
    on e1 sudo systemctl start etcd2-backup.service
    write_keys e1 late 10
    on e1 sudo systemctl start etcd2-backup.service
    dump_keys e1 "$work_dir/base.json"
    lines "$(client_url e1)" >"$work_dir/base"
    both await_base
    save pair
    on e1 sudo systemctl start etcd2-restore.service
    on e1 sudo systemctl start etcd2.service
    save alone
}
await_base() { await_same_keys "$work_dir/base.json" "$1"; }

# --- what must be there -----------------------------------------------------------------------------------------------

# lines URL: each key and its value, as that member has them.
lines() {
    curl_etcd "$1/v2/keys/?recursive=true" |
        jq -r '[.node | recurse(.nodes[]?) | select(.dir | not)][] | "\(.key)\t\(.value)"' | LC_ALL=C sort
}
is_led() { curl_etcd -o /dev/null "$(client_url "$1")/health"; }
are_members() { is_led e1 && is_led e2 && [ "$(members e1)" = "e1 e2" ]; }
members() { curl_etcd "$(client_url "$1")/v2/members" | jq -r '[.members[].name] | sort | join(" ")'; }

# start_writer NODE: writes all the time; what was acknowledged stands in `acked`.
start_writer() {
    : >"$work_dir/acked"
    stdbuf -oL curl -s --rate 40/s --max-time 2 -o /dev/null -w '%{http_code} %{url_effective}\n' \
        -X PUT -d "value=seed" "$(client_url "$1")/v2/keys/crash/key-[1-99999]" >"$work_dir/acked" &
    writer=$!
}
stop_writer() {
    [ -n "${writer:-}" ] || return 0
    kill "$writer"
    wait "$writer" 2>/dev/null || true
    writer=
}
# expected: base, and what was acknowledged since.
expected() {
    {
        cat "$work_dir/base"
        if [ -e "$work_dir/acked" ]; then sed -n 's|^20[01] .*/v2/keys\(/.*\)$|\1\tseed|p' "$work_dir/acked"; fi
    } | LC_ALL=C sort
}
# holds NODE: every key that was acknowledged.
holds() { holds_url "$(client_url "$1")"; }
holds_url() {
    lines "$1" >"$work_dir/found"
    LC_ALL=C comm -23 <(expected) "$work_dir/found" >"$work_dir/lost"
    [ ! -s "$work_dir/lost" ] || { echo "lost: $(head -n 5 "$work_dir/lost")" && false; }
}
is_clean() { on "$1" sudo crash-node clean; }

# rehearse: e1's folder in the remote, restored beside the lab, has every key that was acknowledged. With `base`: those of
# the saved state at least.
rehearse() {
    local tree=$work_dir/rehearsal url=http://127.0.0.1:12379 peer=http://127.0.0.1:12380
    rm -rf "$tree"
    mkdir -p "$tree/etc" "$tree/var/lib"
    echo "$machine" >"$tree/etc/machine-id"
    printf '[here]\ntype = local\n' >"$tree/etc/rclone.conf"
    env -i PATH="$PATH" RCLONE_ENDPOINT="here:$remote_dir/backups" ETCD2_BACKUP_RCLONE_RUNNER=host \
        ETCD_RESTORE_MASTER_ADV_PEER_URLS=$peer ETCD_NAME=e1 ETCD_INITIAL_ADVERTISE_PEER_URLS=$peer \
        "$work_dir/program/etcd2-backup" --root "$tree" restore --force
    "$LAB_DIR/../base/usr/bin/etcd" --enable-v2=true --data-dir "$tree/var/lib/etcd2" --name e1 --listen-client-urls $url \
        --advertise-client-urls $url --listen-peer-urls $peer --heartbeat-interval 10 --election-timeout 50 \
        >"$work_dir/rehearsal.log" 2>&1 &
    rehearsed=$!
    wait_for 30 "rehearsed etcd" curl_etcd "$url/v2/keys"
    if [ "${1:-}" = base ]; then
        lines $url >"$work_dir/found"
        [ -z "$(LC_ALL=C comm -23 "$work_dir/base" "$work_dir/found")" ] || fail "the archive lost what it had"
    else
        holds_url $url
    fi
    kill -9 "$rehearsed"
    wait "$rehearsed" 2>/dev/null || true
    rehearsed=
}

# --- faults: each sets `moment`, and `ended` to what became of the step -------------------------------------------------

# learn: how long the step takes, or what it changes on the disk, when nothing happens; once for each variant.
learn() {
    local file=$known.ms begun
    if [ "$fault" = kill ]; then file=$known.calls; fi
    [ ! -e "$file" ] || return 0
    "${scenario}_begin"
    if [ "$fault" = kill ]; then
        on "$node" "sudo strace -qq -o /tmp/trace --trace=$calls $by_hand"
        on "$node" sudo cat /tmp/trace | count_calls >"$file.new"
        [ -s "$file.new" ] || fail "strace saw nothing"
    else
        begun=$(now_ms)
        on "$node" "sudo $by_unit"
        echo $(($(now_ms) - begun)) >"$file.new"
    fi
    stop_writer
    mv "$file.new" "$file"
}
# Each call with its number among those of its name; without what goes to stdout and stderr, and of writes one after the
# other one in eight: between them only a file grows that nobody looks at yet.
count_calls() {
    awk -F'(' '/^[a-z0-9_]+\(/ {
        n[$1]++
        if ($0 ~ /^write\([12],/) next
        row = $1 == "write" ? row + 1 : 0
        if ($1 != "write" || row % 8 == 1) print $1, n[$1]
    }'
}

fault_kill() {
    local count call nth rc=0
    count=$(wc -l <"$known.calls")
    draw "$count"
    read -r call nth < <(sed -n "$((drawn + 1))p" "$known.calls")
    moment="before $call $nth (of $count)"
    on "$node" "sudo sh -c 'strace -qq -o /dev/null --trace=$call --inject=$call:signal=SIGKILL:when=$nth $by_hand; exit \$?'" || rc=$?
    case $rc in
    0) ended="went well" ;;
    137) ended=killed ;;
    *) fail "$by_hand was not killed, but ended with $rc" ;;
    esac
}

# at_a_moment FAULT…: while the step runs.
at_a_moment() {
    local took rc=0
    took=$(cat "$known.ms")
    draw $((took * 11 / 10))
    moment="after $(in_seconds "$drawn") s (of $(in_seconds "$took"))"
    local begin=$drawn
    # Its own connection: with the shared one, its end would be the end of all.
    timeout $step_limit ssh -n -F "$LAB_DIR/ssh/config" "core@$node" "sudo $by_unit" &
    step=$!
    pause_ms "$begin"
    "$@"
    wait "$step" || rc=$?
    step=
    [ $rc != 124 ] || fail "$by_unit hangs"
    if [ $rc = 0 ]; then ended="went well"; else ended="failed ($rc)"; fi
}
fault_cut() {
    at_a_moment power_cut "$node"
    boot "$node"
}
fault_founder() {
    at_a_moment cut_and_boot e1
}
cut_and_boot() {
    power_cut "$1"
    boot "$1"
}
fault_remote() {
    at_a_moment remote_down
    remote_up
}
fault_network() { at_a_moment unplug "$node"; }
unplug() {
    draw 1500
    cut_network "$1"
    pause_ms "$drawn"
    restore_network "$1"
}

# --- a seed and its row -----------------------------------------------------------------------------------------------

row() { printf '%-6s %5s %-8s %-9s %-26s %-8s %-12s %7s\n' "$@"; }

# play_seed SEED: prints its row; `verdict` is ok or FAILED.
play_seed() {
    local begun rc log=$LAB_DIR/log/90-crash.seed-$1.log
    begun=$(now_ms)
    rm -f "$work_dir/acked"
    echo '-|-|-|-|-' >"$work_dir/row"
    # Not below `if` or `||`: there the shell would go on after an error.
    set +e
    trap - ERR
    (
        trap 'failed_at "$BASH_COMMAND"' ERR
        trap leave EXIT
        set -e
        run_seed "$1"
    ) >"$log" 2>&1
    rc=$?
    trap 'failed_at "$BASH_COMMAND"' ERR
    set -e
    verdict=ok
    [ $rc = 0 ] || verdict=FAILED
    local columns
    IFS='|' read -ra columns <"$work_dir/row"
    row $verdict "$1" "${columns[@]}" "$(in_seconds $(($(now_ms) - begun)))"
    if [ $rc = 0 ]; then
        rm "$log"
        return 0
    fi
    tail -n 8 "$log" | sed 's/^/       | /'
    local node
    for node in "${nodes[@]}"; do
        on "$node" "sudo journalctl --no-pager -o short-precise -u 'etcd2*' | tail -n 300" >"${log%.log}.$node.journal" || true
    done
    echo "       | $log, and the journals beside it"
    revive
}
# leave: what a seed leaves, however it ended: its row, and nothing that runs but the remote.
leave() {
    echo "$scenario|$variant|${moment:--}|$fault|${ended:--}" >"$work_dir/row"
    local pid
    for pid in "${writer:-}" "${rehearsed:-}" "${step:-}"; do
        [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    done
}
# After a failure nothing is known of the nodes.
revive() {
    local node
    for node in "${nodes[@]}"; do
        restore_network "$node"
        power_cut "$node"
        boot "$node"
    done
    curl -sS -o /dev/null http://10.77.0.1:8080/ || remote_up
}
