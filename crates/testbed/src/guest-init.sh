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

mtu=$(sed -n 's/.*guest\.mtu=\([0-9]*\).*/\1/p' /proc/cmdline)
while read -r module; do
    # The client's driver looks for devices as soon as it is loaded: the interface comes first.
    case $module in */aoe.ko)
        ip link set lo up && ip link set eth0 mtu "$mtu" up || give_up "cannot bring up eth0"
        ;;
    esac
    # Modules for CPU features that the emulated CPU lacks refuse to load; that is no loss.
    insmod "$module" || echo "guest: $module not loaded"
done </etc/modules.order
for module in virtio_pci virtio_net ext4 aoe; do
    [ -d /sys/module/$module ] || give_up "$module is not loaded"
done

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
