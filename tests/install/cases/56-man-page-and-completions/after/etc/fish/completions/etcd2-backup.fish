etcd2-backup.fish
