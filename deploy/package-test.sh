#!/usr/bin/env bash
# Shows what the Debian package promises. Usage: package-test.sh short|long DEB
#
# short: what is in it, that lintian has no error, that the units expose at most 2.0 by systemd-analyze, and
#        that it can be installed into a directory, upgraded, removed and purged without a residue.
# long:  the same in Debian as it is, of both releases, with systemd running: the service starts, serves,
#        reloads, is restarted by its watchdog, is upgraded without an interruption, and goes.
set -euo pipefail

mode=${1:?short or long}
deb=$(realpath "${2:?the package}")
root=$(realpath "$(dirname "$0")/..")
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

work=$(mktemp -d ${TMPDIR:-/var/tmp}/ledge-package.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT

say() { printf 'package: %s\n' "$*"; }
fail() {
    printf 'package: FAILED: %s\n' "$*" >&2
    exit 1
}

contents() {
    local listed wanted
    listed=$(dpkg-deb --contents "$deb" | awk '{ print $6 }')
    for wanted in usr/sbin/ledged usr/sbin/ledge-recover usr/bin/ledge usr/bin/cec usr/bin/aoeload etc/ledge/ledge.toml \
        'lib/systemd/system/ledged.service' 'lib/systemd/system/ledge-helper.socket' \
        'lib/systemd/system/ledge-helper@.service' 'lib/systemd/system/ledge-drives.socket' \
        'lib/systemd/system/ledge-drives@.service' 'lib/udev/rules.d/63-ledge.rules' usr/lib/sysusers.d/ledge.conf \
        usr/lib/sysctl.d/50-ledge.conf etc/needrestart/conf.d/ledge.conf usr/share/man/man8/ledged.8.gz \
        usr/share/man/man8/ledge.8.gz usr/share/man/man8/cec.8.gz usr/share/man/man7/ledge-console.7.gz \
        usr/share/bash-completion/completions/ledge usr/share/zsh/vendor-completions/_ledge \
        usr/share/fish/vendor_completions.d/ledge.fish usr/share/doc/ledge/copyright \
        usr/share/doc/ledge/THIRD-PARTY.gz usr/share/doc/ledge/README.Debian usr/share/doc/ledge/changelog.gz \
        usr/share/doc/ledge/examples/ledge.toml usr/share/initramfs-tools/hooks/ledge; do
        grep -qx "\./\(usr/\)\?$wanted" <<<"$listed" || fail "$wanted is not in the package"
    done
    dpkg-deb --info "$deb" conffiles | grep -qx /etc/ledge/ledge.toml || fail "ledge.toml is no conffile"
    say "contents: $(wc -l <<<"$listed") entries"
}

clean() {
    lintian --fail-on error --suppress-tags bad-distribution-in-changes-file "$deb" >"$work/lintian" 2>&1 ||
        { cat "$work/lintian" >&2; fail "lintian"; }
    say "lintian: $(grep -c '^W:' "$work/lintian" || true) warnings, no error"
}

# The units as they are in the package.
hardened() {
    local unit
    dpkg-deb --extract "$deb" "$work/extracted"
    for unit in ledged.service ledge-helper@.service ledge-drives@.service; do
        unit=$(find "$work/extracted" -name "$unit")
        systemd-analyze security --offline=true --threshold=20 --no-pager "$unit" >"$work/security" 2>&1 ||
            { cat "$work/security" >&2; fail "$unit is exposed more than 2.0"; }
        say "systemd-analyze: $(tail -n 1 "$work/security" | sed 's/^[^O]*//; s/ [^ ]*$//')"
        unit=${unit##*/}
    done
}

# Files that are there after something, without what dpkg keeps of itself.
files() { (cd "$1" && find . -xdev ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/*' ! -type d | sort); }

# The package again, as another version.
as_version() {
    dpkg-deb --raw-extract "$deb" "$work/other"
    sed -i "s/^Version: .*/Version: $1/" "$work/other/DEBIAN/control"
    dpkg-deb -Znone --root-owner-group --build "$work/other" "$2" >/dev/null
    rm -rf "$work/other"
}

# In a directory, as `dpkg --root` does it: with DPKG_ROOT its scripts do nothing to this machine.
in_a_directory() {
    local there=$work/root example=usr/share/doc/ledge/examples/ledge.toml
    mkdir -p "$there/var/lib/dpkg/"{info,updates,triggers} "$there/etc" "$there/usr/lib" "$there/usr/sbin" "$there/lib"
    : >"$there/var/lib/dpkg/status"
    : >"$there/var/lib/dpkg/available"
    files "$there" >"$work/before"
    into() {
        dpkg --root="$there" --force-not-root --force-script-chrootless --force-depends --force-confold \
            --log=/dev/null "$@" >"$work/dpkg" 2>&1 || { cat "$work/dpkg" >&2; fail "dpkg $1"; }
    }
    into --install "$deb"
    cmp -s "$there/$example" "$root/config/ledge.toml" || fail "the example is not that of the source"
    grep -q '^ledge-read:' "$there/etc/group" || fail "no group ledge-read"
    grep -q '^ledged:' "$there/etc/passwd" || fail "no user ledged"
    say "installed: $("$there/usr/sbin/ledged" --version)"
    # The administrator's.
    echo 'shelf = 7' >>"$there/etc/ledge/ledge.toml"
    as_version 9999 "$work/newer.deb"
    into --install "$work/newer.deb"
    grep -qx 'shelf = 7' "$there/etc/ledge/ledge.toml" || fail "an upgrade has overwritten the configuration"
    say "upgraded: the configuration is kept"
    mkdir -p "$there/var/lib/ledge"
    echo 7 >"$there/var/lib/ledge/shelf"
    into --remove ledge
    [ -s "$there/var/lib/ledge/shelf" ] && [ -s "$there/etc/ledge/ledge.toml" ] || fail "removal took what is not its"
    into --purge ledge
    files "$there" | sed '/^.\/etc\/\(passwd\|group\|shadow\|gshadow\|.*-\|\.pwd\.lock\)$/d' >"$work/after"
    diff -u "$work/before" "$work/after" || fail "purged, and this is left"
    say "purged: nothing is left"
}

short() {
    contents
    clean
    hardened
    in_a_directory
    say "ok"
}

case $mode in
short) short ;;
long)
    short
    : "${LEDGE_PACKAGE_CACHE:=/var/tmp/ledge-package-cache}"
    . "$root/deploy/package-test-long.sh"
    for suite in ${SUITES:-bookworm trixie}; do
        in_debian "$suite"
    done
    ;;
*) fail "unknown: $mode" ;;
esac
