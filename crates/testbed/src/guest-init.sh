#!/bin/busybox sh
# First process of the test guest: brings up the machine, then answers commands on ttyS1.
# One request is a line "ID COMMAND" with backslash and newline escaped as \\ and \n; its answer is a
# byte 1, a line "ID STATUS LENGTH", and LENGTH bytes of output.

/bin/busybox --install -s /bin
export PATH=/usr/sbin:/bin HOME=/ LC_ALL=C

give_up() {
    echo "guest: $*"
    poweroff -f
}

mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t devtmpfs devtmpfs /dev &&
    mount -t debugfs debugfs /sys/kernel/debug && mount -t tmpfs tmpfs /run &&
    mount -t tmpfs tmpfs /tmp || give_up "cannot mount"

# The value of a parameter of the kernel's command line.
parameter() {
    sed -n "s/.*guest\\.$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline
}

load_modules() {
    while read -r module; do
        # The client's driver looks for devices as soon as it is loaded: the interfaces come first.
        case $module in */aoe.ko)
            ip link set lo up
            for interface in $(ls /sys/class/net | grep ^eth); do
                ip link set "$interface" mtu "$(parameter mtu)" up ||
                    give_up "cannot bring up $interface"
            done
            [ -e /sys/class/net/eth0 ] || give_up "there is no eth0"
            ;;
        esac
        # What a parameter of the kernel's command line is to whoever loads modules by their names.
        case $module in
        */nvme.ko) options="poll_queues=$(parameter poll_queues)" ;;
        *) options= ;;
        esac
        # Modules for CPU features that the emulated CPU lacks refuse to load; that is no loss.
        insmod "$module" $options || echo "guest: $module not loaded"
    done <"/etc/modules.$role"
    for module in "$@"; do
        [ -d "/sys/module/$module" ] || give_up "$module is not loaded"
    done
}

# Disks are found in any order and take any name: /dev/disk/N is the N-th that the host attached, on
# LUN N div 128 of target N mod 128.
name_disks() {
    mkdir -p /dev/disk
    number=0
    while [ "$number" -lt "$1" ]; do
        place="0:$((number % 128)):$((number / 128))"
        tries=0
        until block=$(ls /sys/bus/scsi/devices/*:$place/block 2>/dev/null) && [ -b "/dev/$block" ]; do
            tries=$((tries + 1))
            [ $tries -lt 600 ] || give_up "disk $number does not appear"
            sleep 0.1
        done
        ln -s "/dev/$block" "/dev/disk/$number"
        number=$((number + 1))
    done
}

role=$(parameter role)
case $role in
client) load_modules virtio_pci virtio_net ext4 md_mod raid1 aoe ;;
storage)
    load_modules virtio_pci virtio_scsi sd_mod md_mod raid0 raid1 raid10 raid456
    name_disks "$(parameter disks)"
    ;;
shelf)
    load_modules virtio_pci virtio_scsi sd_mod nvme veth
    name_disks "$(parameter disks)"
    ;;
bays)
    load_modules virtio_pci virtio_net virtio_blk sd_mod nvme ahci mptsas ses megaraid_sas virtio_scsi ext4 md_mod raid1 dm_mod
    ip link set eth0 mtu "$(parameter mtu)" up || give_up "cannot bring up eth0"
    ;;
*) give_up "role $role" ;;
esac

exec 3<>/dev/ttyS1
stty raw -echo <&3
printf '\001ready 0 0\n' >&3
while IFS= read -r line <&3; do
    id=${line%% *}
    command=$(printf '%b' "${line#* }")
    sh -c "$command" </dev/null >"/tmp/output.$id" 2>&1 3>&-
    status=$?
    printf '\001%s %s %s\n' "$id" "$status" "$(stat -c %s "/tmp/output.$id")" >&3
    cat "/tmp/output.$id" >&3
    rm "/tmp/output.$id"
done
give_up "the command line was closed"
