#!/usr/bin/env bash
# Builds the Debian package from programs that are built already. Debian's own tools arrange everything; the
# same programs give the same package, bit for bit.
# Usage: deb.sh DIRECTORY_OF_THE_BINARIES DIRECTORY_OF_THE_MANUAL OUTPUT_DIRECTORY
set -euo pipefail

bin=$(realpath "${1:?directory of the binaries}")
manual=$(realpath "${2:?directory of the manual}")
mkdir -p "${3:?output directory}"
out=$(realpath "$3")
root=$(realpath "$(dirname "$0")/..")

# LEDGE_DEB_VERSION: for tests of upgrades.
version=${LEDGE_DEB_VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml" | head -n 1)}
# The time of the last change, so that the time of the build is in nothing.
: "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct 2>/dev/null || stat -c %Y "$root/CHANGELOG.md")}"
export SOURCE_DATE_EPOCH

work=$(mktemp -d "$out/.deb.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/ledge
mkdir -p "$tree/bin" "$tree/manual"
cp -r "$root/deploy/debian" "$tree/debian"
for program in ledged ledge cec aoeload ledge-recover; do
    cp "$bin/$program" "$tree/bin/"
done
cp -r "$manual"/{man,bash,zsh,fish} "$tree/manual/"
cp "$root/deploy/package/"* "$tree/"
cp "$root/config/ledge.toml" "$tree/ledge.example.toml"
cp "$root/CHANGELOG.md" "$root/README.md" "$tree/"
(cd "$root" && deploy/notices.py ledged cli recover aoeload) >"$tree/THIRD-PARTY"
cat >"$tree/debian/changelog" <<EOF
ledge ($version) unstable; urgency=medium

  * What is new is told in /usr/share/doc/ledge/CHANGELOG.md.gz.

 -- The Ledge founders <ledge@localhost>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF

log=$work/log
if ! (cd "$tree" && DEB_BUILD_OPTIONS=noautodbgsym DEB_BUILD_MAINT_OPTIONS=hardening=+all \
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps) >"$log" 2>&1; then
    cat "$log" >&2
    echo "error: dpkg-buildpackage failed" >&2
    exit 1
fi
mv "$work"/ledge_*.deb "$out/"
echo "$out/ledge_${version}_amd64.deb"
