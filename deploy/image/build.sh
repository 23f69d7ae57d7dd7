#!/usr/bin/env bash
# The appliance: a disk image that boots a machine into a shelf, the update file of the same version, and a program
# that a machine without a boot disk starts over the network (pxe/), from Debian packages and the package of this
# tree, made of its programs. README.md beside this has the picture.
#
# Usage: build.sh DIRECTORY_OF_THE_BINARIES OUTPUT_DIRECTORY
#   VERSION            what the image calls itself (default: the version of this tree)
#   SOURCE_DATE_EPOCH  the time of everything in it (default: that of the last commit)
#   TRIAL_SECONDS      how long this version may take, as an update, until it is healthy (default: 600)
#   UPDATE_KEY, UPDATE_CERTIFICATE  who signs updates (default: a key of its own, made in OUTPUT_DIRECTORY/keys)
#   MIRROR, SECURITY_MIRROR         where packages come from (default: what this machine's apt uses)
#
# Invariants
# - The same packages, programs, certificate, version and time give the same bytes.
# - Nothing is written outside OUTPUT_DIRECTORY.
set -euo pipefail

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
bin=$(realpath "${1:?directory of the binaries}")
mkdir -p "${2:?output directory}"
out=$(realpath "$2")
[ "$(id -u)" -eq 0 ] || { echo "error: the image is made as root: files of root are unpacked and owned" >&2; exit 1; }

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C.UTF-8
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml" | head -n 1)}
[[ $VERSION =~ ^[0-9]+(\.[0-9]+)*$ ]] || { echo "error: VERSION=$VERSION: digits and dots only" >&2; exit 1; }
[[ ${TRIAL_SECONDS:-600} =~ ^[1-9][0-9]{1,4}$ ]] || { echo "error: TRIAL_SECONDS=$TRIAL_SECONDS: 10 to 99999" >&2; exit 1; }
product=ledge
architecture=x86_64

# Debian 12 with the kernel of its backports: jumbo frames over AF_XDP need Linux 6.6.
suite=bookworm
suite_epoch=1686355200
kernel=linux-image-amd64/bookworm-backports
packages="$kernel systemd-sysv systemd-timesyncd udev dbus dracut dmsetup cryptsetup-bin systemd-boot e2fsprogs dosfstools fdisk \
kmod iproute2 ethtool pciutils libelf1 zlib1g openssl login passwd util-linux bsdextrautils smartmontools nvme-cli less"

# Bytes of the partitions. The boot partition takes three kernels: two that boot and one that is being written.
esp_mib=320
root_mib=384
verity_mib=16

say() { printf 'image: %s\n' "$*" >&2; }

# A UUID that depends on what it is for alone.
uuid() {
    local sum
    sum=$(printf '%s' "$product/$architecture/$1" | sha256sum)
    printf '%s-%s-4%s-8%s-%s\n' "${sum:0:8}" "${sum:8:4}" "${sum:13:3}" "${sum:17:3}" "${sum:20:12}"
}

# The first source of apt's whose address ends in a word, or Debian's own.
mirror() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sed 's,/*$,,' | grep -m 1 "/$1\$" || true)
    printf '%s\n' "${found:-http://deb.debian.org/$1}"
}

sources() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    local main=${MIRROR:-$(mirror debian)} security=${SECURITY_MIRROR:-$(mirror debian-security)}
    printf 'deb [signed-by=%s] %s %s main\n' \
        "$keyring" "$main" "$suite" "$keyring" "$main" "$suite-updates" \
        "$keyring" "$main" "$suite-backports" "$keyring" "$security" "$suite-security"
}

# Debian, as it comes: kept, since it takes minutes, until other packages are wanted or `make image-clean`. What it
# makes itself has the day of the release, so that what is kept does not depend on the time of this tree.
debian() {
    local wanted="$suite $packages"
    if [ -s "$out/debian.tar" ] && [ "$(cat "$out/debian.wanted" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "Debian packages"
    rm -f "$out/debian.wanted"
    sources | SOURCE_DATE_EPOCH=$suite_epoch mmdebstrap --quiet --mode=root --variant=minbase --include="${packages// /,}" \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        "$suite" "$out/debian.tar" -
    printf '%s' "$wanted" >"$out/debian.wanted"
}

# A command in the root, with the file systems of the kernel, in a namespace of its own.
inside() {
    unshare --mount --uts --ipc --pid --fork -- sh -eu -c '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount -t tmpfs tmpfs "$root/run"
        mount -t tmpfs tmpfs "$root/tmp"
        exec env --unset=TMPDIR chroot "$root" "$@"' sh "$root" "$@"
}

# What is not a shelf's: drivers of sound, pictures and radio, and what packages need to be installed.
trim() {
    local modules="$root/usr/lib/modules/$release"
    [ -d "$modules" ] || modules="$root/lib/modules/$release"
    rm -rf "$modules"/kernel/{sound,net/{bluetooth,mac80211,wireless,nfc,can,batman-adv}}
    rm -rf "$modules"/kernel/drivers/{gpu,media,staging,bluetooth,iio,isdn,infiniband,net/{wireless,can,wwan},block/aoe}
    inside depmod "$release"
    rm -rf "$root"/boot/* "$root"/var/{cache,lib/apt,lib/dpkg,log,tmp}/* "$root"/usr/lib/dracut \
        "$root"/usr/share/{bash-completion,zsh,bug,lintian,perl,info} "$root"/etc/apt
}

# The shelf as Debian gets it: the daemon without root, its helpers and all that narrows them. Its users have
# numbers of their own before the package would choose some, as what is on the state partition is theirs in all
# versions.
install_package() {
    say "package of $product $VERSION"
    "$bin/manual" "$work/manual"
    LEDGE_DEB_VERSION=$VERSION "$here/../deb.sh" "$bin" "$work/manual" "$work/package" >/dev/null
    mv "$work"/package/ledge_*.deb "$root/ledge.deb"
    inside groupadd --system --gid 990 ledge
    inside groupadd --system --gid 991 ledge-read
    inside groupadd --system --gid 992 ledged
    inside useradd --system --uid 992 --gid ledged --home-dir /var/lib/ledge --no-create-home --shell /usr/sbin/nologin ledged
    # Without triggers: Debian's own initrd would be made anew, and nobody starts it.
    inside dpkg --no-triggers --path-include='/usr/share/doc/ledge/*' --install /ledge.deb >"$work/package.log" 2>&1 \
        || { cat "$work/package.log" >&2; echo "error: the package cannot be installed into $suite" >&2; exit 1; }
    # For machines with an initrd of their own, and for whoever updates them by packages.
    rm -rf "$root/ledge.deb" "$root/etc/needrestart" "$root/usr/share/initramfs-tools"
}

populate() {
    say "root file system of $product $VERSION"
    root=$work/root
    mkdir "$root"
    tar -C "$root" --numeric-owner -xpf "$out/debian.tar"
    release=$(basename "$root"/boot/vmlinuz-* | sed 's/^vmlinuz-//')
    install_package
    cp -R --no-preserve=ownership,timestamps -T "$here/root" "$root/"
    # The clock goes from this time on where it would be earlier, by the time of this file.
    : >"$root/usr/lib/clock-epoch"
    touch -d "@$SOURCE_DATE_EPOCH" "$root/usr/lib/clock-epoch"
    printf 'product=%s\narchitecture=%s\nversion=%s\n' "$product" "$architecture" "$VERSION" >"$root/usr/lib/ledge/image"
    install -m 644 "$certificate" "$root/usr/lib/ledge/update.pem"
    {
        printf 'IMAGE_ID=%s\nIMAGE_VERSION=%s\n' "$product" "$VERSION"
    } >>"$root/usr/lib/os-release"
    echo "$product" >"$root/etc/hostname"
    # What an administrator may change lies on the state partition.
    mkdir -p "$root/efi"
    rm -rf "$root/etc/ledge" "$root/etc/systemd/network"
    ln -s /var/etc/ledge "$root/etc/ledge"
    ln -s /var/etc/network "$root/etc/systemd/network"
    : >"$root/etc/machine-id"
    # Of no machine that runs this: made at random when the package is installed.
    rm -f "$root"/etc/nvme/hostid "$root"/etc/nvme/hostnqn
    printf 'proc /proc proc defaults 0 0\ntmpfs /tmp tmpfs mode=1777,nodev,nosuid,size=25%% 0 0\n' >"$root/etc/fstab"
    inside useradd --uid 1000 --gid ledge --groups systemd-journal --home-dir /usr/lib/ledge --no-create-home --shell /usr/lib/ledge/console shelf
    # useradd counts days since 1970 by the clock; its backups tell nothing.
    sed -i -E "s/^((shelf|ledged):[^:]*:)[0-9]*/\1$((SOURCE_DATE_EPOCH / 86400))/" "$root/etc/shadow"
    rm -f "$root"/etc/{passwd,group,shadow,gshadow,subuid,subgid}-
    # Nothing keeps the clock until `ntp` sets a server: the shelf alone starts this, and stops it, without a file
    # below /etc, which is never written.
    sed -i '/^\[Install\]$/,$d' "$root/usr/lib/systemd/system/systemd-timesyncd.service"
    rm -f "$root"/etc/systemd/system/{dbus-org.freedesktop.timesync1.service,sysinit.target.wants/systemd-timesyncd.service}
    systemctl --quiet --root="$root" enable ledged.service efi.mount ledge-update.socket ledge-health.service ledge-trial.timer systemd-networkd.service
    systemctl --quiet --root="$root" mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer smartmontools.service nvmf-autoconnect.service \
        systemd-repart.service systemd-firstboot.service systemd-boot-update.service systemd-boot-system-token.service
    # Without it no version would ever be kept.
    [ -x "$root/usr/lib/systemd/systemd-bless-boot" ] || { echo "error: no systemd-bless-boot in $suite" >&2; exit 1; }
}

# With the modules named, so that nothing of the machine that builds gets in.
initrd() {
    say "initrd"
    cp -R "$here/dracut" "$root/usr/lib/dracut/modules.d/90ledge"
    inside dracut --quiet --force --reproducible --no-hostonly --no-hostonly-cmdline --no-hostonly-i18n --gzip \
        --modules "systemd systemd-initrd systemd-veritysetup dm rootfs-block kernel-modules udev-rules fs-lib base shutdown ledge" \
        --filesystems "squashfs ext4 vfat" --add-drivers "dm-verity efivarfs mptsas mpt3sas megaraid_sas" \
        --kver "$release" "/boot/initrd"
    cp "$root/boot/initrd" "$work/initrd"
    cp "$root/boot/vmlinuz-$release" "$work/linux"
    cp "$root/usr/lib/systemd/boot/efi/linuxx64.efi.stub" "$root/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$work/"
}

# The root as a squashfs and its hashes; sets `hash`.
seal() {
    say "squashfs, verity"
    find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    mksquashfs "$root" "$work/root.squashfs" -comp zstd -noappend -no-progress -quiet -no-exports -no-xattrs >/dev/null
    truncate -s %4096 "$work/root.squashfs"
    hash=$(veritysetup format --salt="$(printf '%s' "$product/$VERSION" | sha256sum | cut -c 1-64)" \
        --uuid="$(uuid "verity/$VERSION")" "$work/root.squashfs" "$work/root.verity" | sed -n 's/^Root hash:[[:space:]]*//p')
    fits "$work/root.squashfs" "$root_mib"
    fits "$work/root.verity" "$verity_mib"
}

fits() {
    [ "$(stat -c %s "$1")" -le "$(($2 << 20))" ] || { echo "error: $(basename "$1") is larger than $2 MiB" >&2; exit 1; }
}

# Kernel, initrd and command line in one program for UEFI: what it is to start from, the initrd, the program.
program() {
    printf 'ID=%s\nNAME=Ledge\nPRETTY_NAME="Ledge %s"\nVERSION_ID=%s\n' "$product" "$VERSION" "$VERSION" >"$work/os-release"
    # no_timer_check: what the kernel does by itself where it knows the hypervisor; a slow emulator fails that check.
    # No partition of a data disk is looked at or mounted by itself (gpt_auto, swap, md). What cannot go on in the
    # initrd starts again (dracut/emergency.service), and the boot loader has the version before.
    printf '%s' "root=/dev/mapper/root $1 rootfstype=squashfs ro systemd.gpt_auto=0 systemd.swap=0 raid=noautodetect" \
        " systemd.default_timeout_start_sec=300 panic=30 systemd.crash_reboot=1 no_timer_check quiet console=tty0 console=ttyS0,115200${TRIAL_SECONDS:+ ledge.trial=$TRIAL_SECONDS}" >"$work/cmdline"
    objcopy -p --add-section .osrel="$work/os-release" --change-section-vma .osrel=0x20000 \
        --add-section .cmdline="$work/cmdline" --change-section-vma .cmdline=0x30000 \
        --add-section .linux="$work/linux" --change-section-vma .linux=0x2000000 \
        --add-section .initrd="$2" --change-section-vma .initrd=0x4000000 \
        "$work/linuxx64.efi.stub" "$3"
}

# What starts from a slot: by the root hash it finds the partitions.
kernel_image() {
    say "kernel image"
    program "roothash=$hash" "$work/initrd" "$work/kernel.efi"
}

# What starts over the network: the root and its hashes are in the initrd, behind what is there anyway. The kernel
# takes what is not compressed from whole words of four bytes on.
network_image() {
    say "kernel image for the network"
    mkdir -p "$work/net/ledge" "$out/pxe"
    cp "$work/root.squashfs" "$work/root.verity" "$work/net/ledge/"
    find "$work/net" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    cp "$work/initrd" "$work/initrd.net"
    truncate -s %4 "$work/initrd.net"
    (cd "$work/net" && printf 'ledge\nledge/root.squashfs\nledge/root.verity\n' \
        | cpio --quiet -o -H newc --reproducible --owner=+0:+0) >>"$work/initrd.net"
    program "ledge.roothash=$hash" "$work/initrd.net" "$work/network.efi"
    install -m 644 "$work/network.efi" "$out/pxe/$product-$VERSION.efi"
}

# What is updated, and what it is: signed as a whole.
update_file() {
    say "update file"
    {
        printf 'format=1\nproduct=%s\narchitecture=%s\nversion=%s\nroothash=%s\n' "$product" "$architecture" "$VERSION" "$hash"
        for part in kernel.efi root.verity root.squashfs; do
            printf 'part=%s %s %s\n' "$part" "$(stat -c %s "$work/$part")" "$(sha256sum <"$work/$part" | cut -d ' ' -f 1)"
        done
    } >"$work/manifest"
    "$here/sign.sh" "$key" "$certificate" "$work" "$out/$product-$VERSION.update"
}

boot_partition() {
    local tree=$work/esp
    mkdir -p "$tree"/EFI/{BOOT,Linux} "$tree/loader"
    cp "$work/systemd-bootx64.efi" "$tree/EFI/BOOT/BOOTX64.EFI"
    # Without a counter: the first version has none to fall back to.
    cp "$work/kernel.efi" "$tree/EFI/Linux/${product}_$VERSION.efi"
    printf 'timeout 0\neditor no\nconsole-mode keep\n' >"$tree/loader/loader.conf"
    find "$tree" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    truncate -s "${esp_mib}M" "$work/esp.fat"
    mkfs.vfat --invariant -i 4c454447 -n LEDGE -F 32 "$work/esp.fat" >/dev/null
    mcopy -i "$work/esp.fat" -s -p -m "$tree/EFI" "$tree/loader" ::
}

# The whole disk: boot partition, two slots, of which the second is empty; the state is made at the first start.
disk_image() {
    say "disk image"
    local image=$out/$product-$VERSION.img start=2048 table=$work/table
    rm -f "$image"
    truncate -s "$((2 + esp_mib + 2 * (root_mib + verity_mib)))M" "$image"
    printf 'label: gpt\nlabel-id: %s\nunit: sectors\n' "$(uuid disk)" >"$table"
    partition() {
        printf 'start=%s, size=%s, type=%s, uuid=%s, name=%s\n' "$start" "$(($2 * 2048))" "$3" "$4" "$1" >>"$table"
        [ -z "${5:-}" ] || dd if="$5" of="$image" bs=1M seek="$((start / 2048))" conv=notrunc,sparse status=none
        start=$((start + $2 * 2048))
    }
    local root_type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709 verity_type=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5
    local data_uuid="${hash:0:8}-${hash:8:4}-${hash:12:4}-${hash:16:4}-${hash:20:12}"
    local hash_uuid="${hash:32:8}-${hash:40:4}-${hash:44:4}-${hash:48:4}-${hash:52:12}"
    partition ledge-esp "$esp_mib" c12a7328-f81f-11d2-ba4b-00a0c93ec93b "$(uuid esp)" "$work/esp.fat"
    partition ledge-root-a "$root_mib" "$root_type" "$data_uuid" "$work/root.squashfs"
    partition ledge-verity-a "$verity_mib" "$verity_type" "$hash_uuid" "$work/root.verity"
    partition ledge-root-b "$root_mib" "$root_type" "$(uuid root-b)"
    partition ledge-verity-b "$verity_mib" "$verity_type" "$(uuid verity-b)"
    sfdisk --quiet "$image" <"$table"
    bios_note | dd of="$image" conv=notrunc status=none
}

# What a firmware without UEFI runs: the code of a boot sector, which prints a text and stops. Assembled from:
#   cld; xor %ax,%ax; mov %ax,%ds; mov $0x7c19,%si; 1: lodsb; test %al,%al; jz 2f; mov $0x0e,%ah; mov $7,%bx; int $0x10
#   jmp 1b; 2: hlt; jmp 2b; and the text, at 0x7c19, ends with a zero.
bios_note() {
    printf '\xfc\x31\xc0\x8e\xd8\xbe\x19\x7c\xac\x84\xc0\x74\x09\xb4\x0e\xbb\x07\x00\xcd\x10\xeb\xf2\xf4\xeb\xfd'
    printf 'Ledge starts by UEFI only: set the firmware of this machine to UEFI, not to legacy or BIOS.\r\n\0'
}

key=${UPDATE_KEY:-$out/keys/update.key}
certificate=${UPDATE_CERTIFICATE:-$out/keys/update.pem}
if [ -z "${UPDATE_KEY:-}" ] && [ ! -s "$key" ]; then
    say "a key for updates, in $out/keys: keep it, boxes take no update that is not signed with it"
    "$here/sign.sh" --new-key "$out/keys"
fi

work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
debian
populate
initrd
trim
seal
kernel_image
network_image
update_file
boot_partition
disk_image
(cd "$out" && sha256sum "$product-$VERSION.img" "$product-$VERSION.update" "pxe/$product-$VERSION.efi")
