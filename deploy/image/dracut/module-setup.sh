#!/usr/bin/env bash
# What the initrd of the image has beside dracut's own: the state partition is found or made, checked and
# mounted before the root takes over, so that the machine's id and the configuration are there from the start.

check() { return 0; }

depends() { echo systemd; }

install() {
    inst_multiple systemd-repart mkfs.ext4 e2fsck blkid mount umount cp mkdir cat od sed tr rm sync ln mv seq sleep chmod head
    inst_simple "$moddir/state" /usr/lib/ledge/state
    inst_simple "$moddir/50-state.conf" /usr/lib/repart.d/50-state.conf
    inst_simple "$moddir/ledge-state.service" /usr/lib/systemd/system/ledge-state.service
    mkdir -p "$initdir/usr/lib/systemd/system/initrd-root-fs.target.wants"
    ln -sf ../ledge-state.service "$initdir/usr/lib/systemd/system/initrd-root-fs.target.wants/ledge-state.service"
    # Our own unit runs it, on the disk that the machine started from.
    ln -sf /dev/null "$initdir/etc/systemd/system/systemd-repart.service"
}
