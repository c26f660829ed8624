#!/bin/bash
# What an operator asks the archive, on one node whose folder has three generations of two lineages: a cluster, what was restored
# from it, and an empty one that was founded over both. Each answer is in the log.
# nodes: 1
source "$(dirname "$0")/lib.sh"

backup() { on e1 sudo systemctl start etcd2-backup.service; }
# ask WORDS…: what the program answers; in the log, and in $work_dir/answer.
ask() {
    echo "--- etcd2-backup $*"
    on e1 sudo /opt/bin/etcd2-backup "$@" | tee "$work_dir/answer"
}
# asked CLAIM CODE WORDS…: it ends with this code.
asked() {
    local text=$1 code=$2 ended=0
    shift 2
    ask "$@" || ended=$?
    [ "$ended" = "$code" ] || fail "$text: $* ended with $ended"
    ok "$text"
}
answer() { jq -e "$1" "$work_dir/answer" >/dev/null; }

backed_up_cluster
write_keys e1 second 20
backup

stop_all
on e1 "sudo systemctl start etcd2-restore.service && sudo systemctl start etcd2.service"
write_keys e1 restored 20
backup

stop_all
on e1 "sudo rm -rf /var/lib/etcd2/member && sudo touch /etc/etcd2-backup/allow-empty-data-dir && sudo systemctl start etcd2.service"
on e1 sudo rm /etc/etcd2-backup/allow-empty-data-dir
write_keys e1 strange 5
backup
await_word e1 etcd2-backup.service 'started over with an empty log'
ok "the backup says that etcd began anew, under the IDs of the first cluster"

asked "status finds nothing that is not in the remote" 20 status --json
claim "but an etcd that started over, and a timer that does not run" answer '.warnings | map(.kind) == ["timer"]'
asked "list shows the folder" 0 list
asked "and for programs, each point" 0 list --json
claim "3 generations, of which the second continues the first, and the third nothing" answer '.machines[0]
    | (.generations | length) == 3 and .unrelated
    and .generations[1].continues.cluster_id == .generations[0].cluster_id
    and .generations[2].continues == null and .generations[2].points[-1].index < .generations[0].points[-1].index'

asked "verify reads all of it again, and finds it whole" 0 verify
claim "a line for each generation" [ "$(grep -c '^generation' "$work_dir/answer")" = 3 ]
asked "list knows that it was verified" 0 list

asked "a rehearsal does not guess between two lineages" 10 rehearse --etcd /usr/bin/etcd
on e1 sudo systemctl stop etcd2.service
asked "nor does a restore" 10 restore --plan
on e1 sudo /opt/bin/etcd2-backup restore --generation 2
on e1 sudo systemctl start etcd2.service
write_keys e1 chosen 5
backup
asked "somebody chose: the newest point is rehearsed on a private etcd" 0 rehearse --etcd /usr/bin/etcd

asked "nothing is removed while the strange cluster is not accepted" 18 prune --dry-run
asked "accepted, each generation has a reason to stay or to go" 0 prune --dry-run --accept
claim "which is 4 generations" [ "$(grep -c '^keep' "$work_dir/answer")" = 4 ]
asked "nothing was removed by looking" 0 verify --json
claim "all parts are still there" answer '[.generations[].parts] | add == 5'
