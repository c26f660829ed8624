#!/bin/bash
# A run that is killed with its whole process group, as a time limit of a shell or of CI does: its nodes and its remote go too,
# and the next command of the same name takes what there may be left.
# nodes: 1
source "$(dirname "$0")/lib.sh"

inner=${LAB}k
inner_dir=$(dirname "$LAB_DIR")/$inner

# What there is of the inner lab: namespaces, mounts, processes.
left() {
    { find /run/netns -name "etcd2lab-$inner*" 2>/dev/null || true; }
    { grep -F "$inner_dir/nodes" /proc/mounts || true; }
    { pgrep -f "$inner_dir/nodes" || true; }
    { pgrep -f "$inner_dir/remote" || true; }
}
is_gone() { [ -z "$(left)" ] && [ ! -e "$inner_dir/nodes" ]; }
# As $work_dir is to this lab.
written=$inner_dir${work_dir#"$LAB_DIR"}/written
answers() { [ -e "$written" ]; }

# run_and_kill: the run has a group of its own; all it prints goes to a reader in that group, which dies with it.
run_and_kill() {
    rm -f "$written" # that of the run before
    setsid bash -c '"$0" lab --lab "$1" run 10 2>&1 | cat' "$LAB_XTASK" "$inner" &
    local group=$!
    # Also where it gets no further; it may have to compile what a node runs first.
    trap 'kill -9 -- "-'"$group"'" 2>/dev/null || true' EXIT
    wait_for 600 "node of the inner lab that was written to" answers
    [ -n "$(left)" ]
    kill -9 -- "-$group"
    wait "$group" 2>/dev/null || true
}

run_and_kill
wait_for 120 "end of the inner lab" is_gone
ok "nodes, remote, namespaces and disks of a run that was killed with its group are gone"

run_and_kill
"$LAB_XTASK" lab --lab "$inner" up --nodes 1
claim "right after it a lab of the same name comes up" "$LAB_XTASK" lab --lab "$inner" ssh e1 true
"$LAB_XTASK" lab --lab "$inner" down
is_gone
ok "and leaves nothing"
