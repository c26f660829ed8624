# One node, from power-on to power-off; the mounts live in a namespace of their own and go with it.
#   sh -c THIS etcd2lab-node BASE NODE-FOLDER MACHINE HOSTNAME
base=$1 dir=$2 machine=$3 hostname=$4
# Each node has a control group of its own: side by side in one, their systemds would share its children.
for controller in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [ -e "$controller/cgroup.controllers" ] && mkdir -p "$controller/$machine"; then
        echo $$ >"$controller/$machine/cgroup.procs"
        break
    fi
done
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root" || exit 1
# What nspawn notes about its machines goes with them as well.
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn || exit 1
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
while :; do
    systemd-nspawn --quiet --register=no --keep-unit --boot -D "$dir/root" -M "$machine" --hostname="$hostname" \
        --network-namespace-path="/run/netns/$machine" --resolv-conf=off --timezone=off --link-journal=no \
        --bind="$dir/containers:/var/lib/containers"
    # 133: the node rebooted; nspawn leaves it to whoever started it to boot it again.
    [ $? = 133 ] || break
done
