#!/bin/bash
# The crash matrix. Each seed draws a scenario (backup, restore, join, install), a moment of it, and a fault: the program is
# killed before its n-th change of a disk, the node loses its power, the remote dies, the network is cut for a while. Then
# it is repaired as the runbook says (boot, run it again), and everything is looked at.
#   --seeds N --first-seed S
# Each seed begins from the same saved nodes, so it can be repeated alone.
# nodes: 2
# limit: 40m
# seeds
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/crash/words.sh"

seeds=6 first_seed=1
while (($#)); do
    case $1 in
    --seeds) seeds=$2 ;;
    --first-seed) first_seed=$2 ;;
    *) fail "unknown argument $1" ;;
    esac
    shift 2
done

# --- the scenarios: how each begins, its step, its repair, and what must hold then ------------------------------------

program=/opt/bin/etcd2-backup

backup_variants=(first continued)
backup_faults=(kill cut remote network)
backup_begin() {
    load pair
    if [ "$variant" = first ]; then
        rm -rf "$remote_dir/backups"
        on e1 sudo rm -rf /var/lib/etcd2-backup
    fi
    start_etcd e1 e2
    start_writer e1
}
backup_commands=("$program backup" "systemctl start etcd2-backup.service")
backup_repair() {
    # A half-done one does no harm to those before it.
    if [ "$variant" = continued ]; then rehearse base; fi
    on e1 sudo systemctl start etcd2-backup.service
}
backup_check() {
    wait_for 60 "two members with a leader" are_members
    stop_writer
    on e1 sudo systemctl start etcd2-backup.service
    holds e1
    rehearse
    is_clean e1
}

restore_variants=(emptied old-data local)
restore_faults=(kill cut remote network)
restore_begin() {
    load pair
    if [ "$variant" = emptied ]; then on e1 sudo rm -rf /var/lib/etcd2/member; fi
}
restore_repair() {
    # After a boot it may have started by itself, on the old data or on the new.
    on e1 sudo systemctl stop etcd2.service
    on e1 "sudo $(unit_or_local)"
}
restore_check() {
    on e1 sudo systemctl stop etcd2.service
    on e1 sudo systemctl start etcd2.service
    same_keys "$work_dir/base.json" e1
    [ "$(members e1)" = e1 ] || fail "members: $(members e1)"
    on e1 sudo systemctl start etcd2-backup.service
    rehearse
    is_clean e1
}
unit_or_local() {
    if [ "$variant" = local ]; then echo "$program restore --source local"; else echo "systemctl start etcd2-restore.service"; fi
}

join_variants=(old-data)
join_faults=(kill cut network founder)
join_begin() {
    load alone
    start_etcd e1
    start_writer e1
}
join_commands=("$program join" "systemctl start etcd2-join.service")
join_repair() {
    # After a boot it may have started by itself, on the old data or as the new member.
    on e2 sudo systemctl stop etcd2.service
    on e2 sudo systemctl start etcd2-join.service
}
join_check() {
    stop_writer
    wait_for 60 "two members with a leader" are_members
    holds e1
    wait_for 60 "all keys on e2" holds e2
    on e2 sudo systemctl start etcd2-backup.service
    is_clean e2
}

install_variants=(fresh upgrade)
install_faults=(kill cut)
install_begin() {
    load pair
    if [ "$variant" = fresh ]; then on e1 sudo crash-node uninstall; fi
    start_etcd e1 e2
}
install_commands=("/home/core/second/etcd2-backup-install" "/home/core/second/etcd2-backup-install")
install_repair() { on e1 sudo /home/core/second/etcd2-backup-install; }
install_check() {
    on e1 sudo crash-node files | diff -u "$work_dir/files-second" -
    wait_for 60 "two members with a leader" are_members
    holds e1
    on e1 sudo systemctl start etcd2-backup.service
    rehearse
    is_clean e1
}

# --- one seed ---------------------------------------------------------------------------------------------------------

# choose SEED: scenario, variant, fault, node, command; the moment is drawn later.
choose() {
    seed_rng "$1"
    draw_from backup restore restore join join install && scenario=$drawn
    declare -gn variants=${scenario}_variants faults=${scenario}_faults
    draw_from "${variants[@]}" && variant=$drawn
    draw_from "${faults[@]}" && fault=$drawn
    set_step
}
set_step() {
    node=e1
    case $scenario in
    restore)
        by_hand="$program restore" && by_unit=$(unit_or_local)
        if [ "$variant" = local ]; then by_hand+=" --source local"; fi
        ;;
    *)
        declare -gn commands=${scenario}_commands
        by_hand=${commands[0]} by_unit=${commands[1]}
        ;;
    esac
    if [ "$scenario" = join ]; then node=e2; fi
    known=$work_dir/known-$scenario-$variant
}

run_seed() {
    choose "$1"
    learn
    "${scenario}_begin"
    "fault_$fault"
    if [ "$ended" != "went well" ]; then "${scenario}_repair"; fi
    "${scenario}_check"
}

# --- the whole --------------------------------------------------------------------------------------------------------

prepare
ok "two nodes are prepared and saved, as members and apart"

row "" seed scenario variant step fault outcome seconds
failed=()
for ((seed = first_seed; seed < first_seed + seeds; seed++)); do
    play_seed "$seed"
    if [ "$verdict" != ok ]; then failed+=("$seed"); fi
done
if ((${#failed[@]})); then
    for seed in "${failed[@]}"; do echo "repeat it: cargo xtask lab run crash --seeds 1 --first-seed $seed"; done
    fail "${#failed[@]} of $seeds seeds"
fi
ok "$seeds seeds: nothing was lost"
