#!/bin/bash
# Makes the lab's base image: a small Debian 12 with systemd, sshd, podman, rclone and etcd, and beside it a container
# image of rclone. Once a machine: the nodes are overlays over it.
#   image.sh FOLDER    makes FOLDER/base and FOLDER/rclone-image.tar
set -euo pipefail
cd "$1"
base=base.partial
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

if [ ! -e base.debootstrap ]; then
    rm -rf "$base"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,iproute2,curl,sudo,openssh-server,procps,ca-certificates,jq bookworm "$base"
    touch base.debootstrap
fi

# podman cannot be configured by debootstrap. The host's apt fetches, with the host's sources and proxies, what the image
# lacks, so that none of these settings gets into the image.
debs=$PWD/debs
mkdir -p "$debs/partial"
apt-get install -y --no-install-recommends --download-only -o Debug::NoLocking=1 \
    -o Dir::State::status="$PWD/$base/var/lib/dpkg/status" -o Dir::Cache::archives="$debs" podman crun rclone strace
(cd "$debs" && apt-get download etcd-server etcd-client)
# Nothing is started while it is unpacked.
printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
chmod 755 "$base/usr/sbin/policy-rc.d"
for deb in "$debs"/etcd-*.deb; do
    # The programs alone: CoreOS has other units, and another way to make the user.
    dpkg -x "$deb" etcd
    rm "$deb"
done
cp etcd/usr/bin/etcd etcd/usr/bin/etcdctl "$base/usr/bin/"
mv "$base/usr/bin/etcdctl" "$base/usr/bin/etcdctl3"
rm -rf etcd
mkdir -p "$base/debs"
mv "$debs"/*.deb "$base/debs/"
chroot "$base" sh -c 'dpkg --force-unsafe-io --force-depends --unpack /debs/*.deb && dpkg --force-unsafe-io --configure -a'
rm -rf "$base/debs" "$base/usr/sbin/policy-rc.d" "$debs"

# CoreOS has these users under these numbers.
chroot "$base" groupadd --gid 500 core
chroot "$base" useradd --uid 500 --gid 500 --create-home --shell /bin/bash core
# Debian's ends a shell with an error where there is no console.
rm "$base/home/core/.bash_logout"
: >"$base/etc/motd"
chroot "$base" groupadd --system --gid 232 etcd
chroot "$base" useradd --system --uid 232 --gid 232 --home-dir /dev/null --shell /usr/sbin/nologin etcd
ln -s podman "$base/usr/bin/docker"

# Nothing a test node needs, but time at boot, or noise at a random hour.
chroot "$base" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service systemd-timesyncd.service podman.service podman.socket podman-auto-update.timer \
    podman-restart.service console-getty.service getty.target systemd-networkd.service
: >"$base/etc/machine-id"
rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/* "$base"/usr/share/{doc,man,locale}

# The container image: rclone, what it is linked with, and the certificates; as a file system for `podman import`.
rm -rf rootfs
mkdir -p rootfs/usr/bin rootfs/etc/ssl/certs rootfs/tmp
cp "$base/usr/bin/rclone" rootfs/usr/bin/
cp "$base/etc/ssl/certs/ca-certificates.crt" rootfs/etc/ssl/certs/
for library in $(chroot "$base" ldd /usr/bin/rclone | grep -o '/[^ ]*'); do
    mkdir -p "rootfs${library%/*}"
    cp -L "$base$library" "rootfs$library"
done
tar -C rootfs -cf rclone-image.tar .
rm -rf rootfs

rm -f base.debootstrap
mv "$base" base
