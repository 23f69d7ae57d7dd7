#!/usr/bin/env bash
# What the initrd of the image has beside dracut's own: the state partition is found or made, checked and
# mounted before the root takes over, so that the machine's id and the configuration are there from the start.

check() { return 0; }

depends() { echo systemd; }

# A root that came over the network is a file.
installkernel() { instmods loop dm-verity; }

install() {
    inst_multiple systemd-repart mkfs.ext4 e2fsck blkid mount umount cp mkdir cat od sed tr rm sync ln mv seq sleep chmod head grep modprobe udevadm
    inst_simple "$moddir/state" /usr/lib/ledge/state
    inst_simple "$moddir/50-state.conf" /usr/lib/repart.d/50-state.conf
    inst_simple "$moddir/ledge-state.service" /usr/lib/systemd/system/ledge-state.service
    inst_simple "$moddir/network-root" /usr/lib/ledge/network-root
    inst_simple "$moddir/ledge-network-root.service" /usr/lib/systemd/system/ledge-network-root.service
    mkdir -p "$initdir/usr/lib/systemd/system/systemd-veritysetup@root.service.d"
    inst_simple "$moddir/50-restart.conf" /usr/lib/systemd/system/systemd-veritysetup@root.service.d/50-restart.conf
    mkdir -p "$initdir/usr/lib/systemd/system/initrd.target.wants"
    ln -sf ../ledge-network-root.service "$initdir/usr/lib/systemd/system/initrd.target.wants/ledge-network-root.service"
    mkdir -p "$initdir/usr/lib/systemd/system/initrd-root-fs.target.wants"
    ln -sf ../ledge-state.service "$initdir/usr/lib/systemd/system/initrd-root-fs.target.wants/ledge-state.service"
    inst_simple "$moddir/emergency.target" /usr/lib/systemd/system/emergency.target
    inst_simple "$moddir/emergency.service" /usr/lib/systemd/system/emergency.service
    # Our own unit runs it, on the disk that the machine started from.
    ln -sf /dev/null "$initdir/etc/systemd/system/systemd-repart.service"
}
