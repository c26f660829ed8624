# For scenarios in which e2 joins by $unit again and again, and is disturbed at one moment of it after the other: the moments, and
# what there is before and after.

data=/var/lib/etcd2
unit=etcd2-join.service

has_one_entry() { [ "$(entries)" = 1 ]; }
entries() { etcdctl_on e1 member list | grep -c 'http://10.77.0.12:2380'; }
# Once the fence was up, it is down.
is_tried() {
    if there e2 /etc/etcd2-backup/fence; then
        fenced=yes
        return 1
    fi
    [ "$fenced" = yes ]
}
may_start() { has_one_entry && not_there e2 /etc/etcd2-backup/fence; }

# e1 is a new cluster, of which e2 knows nothing.
to_be_joined() {
    fenced=no
    on e2 "sudo systemctl stop '$unit*'" # a pattern: one that systemd-run made is gone when it has ended
    stop_all
    on e1 "sudo /opt/bin/etcd2-backup restore && sudo systemctl start etcd2.service"
    same_keys "$work_dir/before" e1
    since=$(date +%s)
}
# A join that got in while nobody looked finds nothing to do the next time.
before_again() { to_be_joined; }

is_in() {
    wait_for 30 "one entry" has_one_entry
    ok "   as one entry"
    claim "   the fence is gone" not_there e2 /etc/etcd2-backup/fence
    all_keys_on e1 e2
}
