#!/bin/bash
# etcd as kubespray lays it out: etcd.service and /etc/etcd.env, certificates on both ports, the v3 API alone; on e3 in a container. The
# keys are Kubernetes's. Two of three machines are lost, then the founding member, then one of two that is joined by hand. Nothing that was
# acknowledged is missing, who watches from before is told "compacted", and what is written later has a revision above every old one.
# settings: none
source "$(dirname "$0")/lib.sh"
source "$(dirname "$0")/kubespray.sh"

# is_told_compacted NODE REVISION: who watches on from there.
is_told_compacted() { grep -q 'required revision has been compacted' < <(ctl "$1" watch --rev "$2" --prefix /registry 2>&1); }

kubespray_cluster
refuses "the v2 API is not served" '404' on e1 "sudo curl -sS --fail --cacert $tls/ca.pem --cert $tls/member.pem --key $tls/member.key $(url e1)/v2/members"

remote_up
write_site e1 host
build_tarball
install_on "${nodes[@]}"
write pods 60
claim "a member with v3 data is backed up" on e1 sudo systemctl start etcd2-backup.service

# now_and_then WHAT LOST…: these disks are lost, and all comes back by one command.
now_and_then() {
    local what=$1 old
    shift
    dump e1 "$work_dir/before"
    old=$(revision e1)
    for node in e2 e3; do await_same "$work_dir/before" $node; done
    stop_etcd
    lose "$@"
    claim "$what: recover" recover
    claim "   it says what to restart" said 'kube-apiserver'
    for node in "${nodes[@]}"; do
        await_same "$work_dir/before" "$node"
        ok "   $node: every key is as it was, revisions and leases included"
    done
    claim "   three members" is_whole e1 3
    claim "   who watches from before is told that it is compacted" is_told_compacted e2 $((old + 1))
    ctl e2 put /registry/new-object x >/dev/null
    claim "   what is written now has a revision above every old one" test "$(revision e3)" -gt $((old + 100000))
}
now_and_then "two of three machines lost" e1 e3
write secrets 30
now_and_then "the founding member lost" e1
write more 10

# One that is out of a cluster with a quorum joins by its service, by the v3 API alone.
dump e1 "$work_dir/before"
on e3 sudo systemctl stop etcd.service
lose e3
on e3 sudo systemctl start etcd2-join.service
await_same "$work_dir/before" e3
claim "one lost machine joins again" is_whole e1 3
