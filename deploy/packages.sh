#!/bin/sh
# Installs the Debian packages that are missing, and says which. Usage: packages.sh build|test|bench|image
# (each includes those before it, but image only build). Sourced by nobody; run by the Makefile.
set -eu

# The root shell of a plain su keeps a user's PATH, without which dpkg refuses to work.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# To compile: clang builds the XDP program, its library serves bindgen; libbpf and libxdp are built
# from their crates with m4 and pkg-config and need the headers of libelf and zlib.
build="build-essential clang libclang1 m4 pkg-config libelf-dev zlib1g-dev linux-libc-dev"
# To run the demonstration: namespaces and sysctl.
run="iproute2 procps util-linux"
# To test: peers (vblade, aoetools, mdadm, lvm2, nmap), decoders (tcpdump, tshark), ext4, and a virtual machine
# with Debian's kernel, which apt downloads, or with a LUN that iPXE boots and syslinux and mtools have
# made bootable; python3 is for the programs in bench/, valgrind for bench/instructions.py, strace sees what
# workers ask of the kernel, smartmontools is asked for the health of drives, qemu-block-extra (iSCSI) puts an
# enclosure of ours into a virtual machine. The Debian package is built by
# debhelper, judged by lintian and systemd-analyze, and installed into Debian by mmdebstrap with systemd in a
# container.
test="$run aoetools bash busybox-static cpio dosfstools dpkg e2fsprogs fio gzip ipxe kmod libc-bin lvm2 man-db mdadm mount mtools nmap \
fdisk openssl python3 qemu-block-extra qemu-system-x86 smartmontools strace syslinux syslinux-common tcpdump tmux tshark tzdata valgrind vblade \
debhelper debian-archive-keyring lintian mmdebstrap systemd systemd-container"

# To make the image (the package, mmdebstrap, file systems, boot partition), and to start it: firmware for UEFI.
image="mmdebstrap binutils cpio cryptsetup-bin debhelper debian-archive-keyring dosfstools fdisk git mtools openssl ovmf python3 squashfs-tools systemd"

case "${1:-}" in
build) wanted="$build $run" ;;
test) wanted="$build $test" ;;
# The parity kernels are measured beside those of ISA-L, the shelf beside vblade, iSCSI (tgt, loaded by
# libiscsi and qemu-img) and NBD (qemu-nbd, loaded by fio); plots are drawn by matplotlib. Debian starts a
# tgtd without targets when tgt is installed; nothing here needs it: `systemctl disable --now tgt`.
bench) wanted="$build $test libisal-dev libiscsi-bin python3-matplotlib qemu-utils tgt" ;;
image) wanted="$build $run $image" ;;
*)
    echo "usage: $0 build|test|bench|image" >&2
    exit 2
    ;;
esac

missing=""
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    root=""
elif command -v sudo >/dev/null; then
    root=sudo
else
    echo "error: these packages are missing and only root can install them:$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing"
log=$(mktemp)
# The package lists of a fresh machine are empty or old.
if ! { $root apt-get update -q &&
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "error: apt-get failed; its whole output is in $log" >&2
    exit 1
fi
rm -f "$log"
