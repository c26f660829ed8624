# One node, from power-on to power-off; the mounts live in a namespace of their own and go with it.
#   sh -c THIS etcd2lab-node BASE NODE-FOLDER MACHINE HOSTNAME ADDRESS [CLOCK]
# With CLOCK, seconds from the right time, it runs on a kernel of its own (User-mode Linux): containers share the host's clock.
base=$1 dir=$2 machine=$3 hostname=$4 address=$5 clock=$6
# Each node has a control group of its own: side by side in one, their systemds would share its children.
for controller in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$controller/cgroup.controllers" ] && mkdir -p "$controller/$machine"; then
        echo $$ >"$controller/$machine/cgroup.procs"
        break
    fi
done
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root" || exit 1
disk=$dir/disk.img
if [ -n "$clock" ] || [ -e "$disk" ]; then
    # A folder of the host does not do as its disk: whatever a service makes there would be root's.
    [ -e "$disk" ] || mke2fs -q -t ext4 -d "$dir/root" "$disk" 4G || exit 1
    # Its memory is a file, and the host's /dev/shm may be small.
    mkdir -p "$dir/memory" && mount -t tmpfs tmpfs "$dir/memory" || exit 1
    ip -n "$machine" addr flush dev eth0
    # What a scenario has open stays open as long as the node runs, and the scenario's run waits for that. (nspawn closes it.)
    exec 3>&-
    exec ip netns exec "$machine" env TMPDIR="$dir/memory" linux.uml quiet mem=1G "ubd0=$disk" root=/dev/ubda rw \
        init=/usr/lib/lab/own-clock "address=$address" "clock=$(($(date +%s) + ${clock:-0}))" \
        vec0:transport=raw,ifname=eth0,depth=128 con=null con0=null,fd:1 ssl=null
fi
# What nspawn notes about its machines goes with them as well.
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn || exit 1
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
# Root of a real node may set up a network, as podman does for --network=none. Here that is its own namespace.
while :; do
    systemd-nspawn --quiet --register=no --keep-unit --boot -D "$dir/root" -M "$machine" --hostname="$hostname" \
        --network-namespace-path="/run/netns/$machine" --resolv-conf=off --timezone=off --link-journal=no \
        --capability=CAP_NET_ADMIN --bind="$dir/containers:/var/lib/containers"
    # 133: the node rebooted; nspawn leaves it to whoever started it to boot it again.
    [ $? = 133 ] || break
done
