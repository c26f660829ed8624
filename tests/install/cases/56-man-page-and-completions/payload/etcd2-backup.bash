etcd2-backup.bash
