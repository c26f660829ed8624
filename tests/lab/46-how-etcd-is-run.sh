#!/bin/bash
# etcd whose unit does not say where its data is, or says it wrongly: started by a shell line, by a configuration file, and in a
# container that names its folders otherwise. An old log lies in the stock directory each time. What is backed up is the log of
# the etcd that runs, and what is restored is where it looks for its data.
# nodes: 1
# limit: 15m
source "$(dirname "$0")/lib.sh"

# run_etcd FORM DIR COMMAND LINE…: e1's etcd is run by this command from now on, with an empty data directory DIR.
run_etcd() {
    local form=$1 dir=$2 command=$3
    shift 3
    on e1 "sudo systemctl stop $LAB_ETCD_UNIT && sudo install -d -o etcd -g etcd -m 700 $dir"
    {
        printf '[Service]\nType=simple\nUnsetEnvironment=ETCD_DATA_DIR\nExecStart=\nExecStart=%s\n' "$command"
        printf '%s\n' "$@"
    } >"$work_dir/form.conf"
    put "$work_dir/form.conf" e1
    on e1 <<END
sudo mv form.conf /etc/systemd/system/$LAB_ETCD_UNIT.d/50-form.conf
sudo systemctl daemon-reload
sudo touch /etc/etcd2-backup/allow-empty-data-dir
sudo systemctl start $LAB_ETCD_UNIT
END
    write_keys e1 "$form" 5
    dump_keys e1 "$work_dir/before"
}

# comes_back FORM DIR GENERATION: what was written is backed up, and after a total loss restored to DIR. Each form is another
# history under the same IDs, so which one is meant has to be said.
comes_back() {
    local form=$1 dir=$2 generation=$3
    on e1 sudo systemctl start etcd2-backup.service
    claim "$form: the log that etcd has open is the one that is backed up" \
        grep -q "writes to the WAL in $dir/member/wal" <(on e1 sudo cat /run/etcd2-backup-looked)
    claim "$form: status knows of no loss" grep -q 'would lose *nothing' <(on e1 sudo /opt/bin/etcd2-backup status || true)
    claim "$form: doctor finds nothing wrong" on e1 sudo systemctl start etcd2-backup-doctor.service
    await_word e1 etcd2-backup-doctor.service "a process has the log in $dir/member/wal open"
    await_word e1 etcd2-backup-doctor.service 'ok *index .*and the log has it'
    on e1 "sudo systemctl stop $LAB_ETCD_UNIT && sudo rm -rf $dir/member"
    on e1 "sudo /opt/bin/etcd2-backup restore --generation $generation && sudo systemctl start $LAB_ETCD_UNIT"
    await_leader e1
    claim "$form: every key is as it was" same_keys "$work_dir/before" e1
    claim "$form: the data is where etcd looks for it" on e1 sudo test -d "$dir/member/wal"
}

backed_up_cluster
on e1 "sudo systemctl stop $LAB_ETCD_UNIT && sudo cp -a /var/lib/etcd2 /var/lib/etcd2.old"
url=http://10.77.0.11

run_etcd shell /srv/shell "/bin/sh -c 'exec /usr/bin/etcd --enable-v2=true --data-dir=/srv/shell'"
comes_back shell /srv/shell 2
claim "shell: nothing was done to the old log" on e1 sudo diff -r /var/lib/etcd2 /var/lib/etcd2.old

on e1 <<END
sudo tee /etc/etcd.yml >/dev/null <<YAML
name: e1
data-dir: /srv/file
enable-v2: true
listen-peer-urls: $url:2380
listen-client-urls: http://0.0.0.0:2379
initial-advertise-peer-urls: $url:2380
advertise-client-urls: $url:2379
initial-cluster: e1=$url:2380
YAML
END
run_etcd file /srv/file '/usr/bin/etcd --config-file=/etc/etcd.yml'
comes_back file /srv/file 3

load_etcd_image e1
run_etcd container /srv/container "/usr/bin/podman run --rm --replace --name=etcd --net=host --volume=/srv/container:/data localhost/etcd:lab \
/usr/bin/etcd --enable-v2=true --name=e1 --data-dir=/data --listen-peer-urls=$url:2380 --listen-client-urls=http://0.0.0.0:2379 \
--initial-advertise-peer-urls=$url:2380 --advertise-client-urls=$url:2379 --initial-cluster=e1=$url:2380" 'User=root'
comes_back container /srv/container 4
