#!/usr/bin/env bash
# A shelf on this machine, from nothing to a verified LUN: two network namespaces joined by a veth
# pair at MTU 9000, 16 sparse disk files, ledged, its console, and aoeload over the wire.
# Usage: demo.sh DIRECTORY_OF_THE_BINARIES; CI=1 ends without the console.
set -euo pipefail

# The root shell of a plain su keeps a user's PATH, which lacks sysctl and blkid.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
bin=$(realpath "${1:?directory of the binaries}")
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "error: the demonstration needs root for namespaces and XDP: run it as root, or install sudo" >&2
        exit 1
    }
    exec sudo --preserve-env=CI "$0" "$@"
fi

shelf_ns=ledge-demo-shelf-$$
client_ns=ledge-demo-client-$$
dir=""
ledged=""

cleanup() {
    # First: bash that gets SIGINT while it starts a pipeline gives the pipeline's status to the
    # first command here, and set -e would end the cleanup with it.
    set +e
    trap '' HUP INT PIPE TERM
    if [ -n "$ledged" ]; then
        kill "$ledged" 2>/dev/null
        wait "$ledged" 2>/dev/null
    fi
    for ns in "$shelf_ns" "$client_ns"; do
        ip netns pids "$ns" 2>/dev/null | xargs -r kill -9 2>/dev/null
        ip netns del "$ns" 2>/dev/null
    done
    [ -z "$dir" ] || rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
dir=$(mktemp -d /tmp/ledge-demo.XXXXXX)

bold="" plain=""
if [ -t 1 ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shelf() { printf 'SR shelf 1> %s\n' "$*"; "$bin/ledge" --socket "$dir/control.sock" "$@"; }
client() { printf 'client# %s\n' "$*"; ip netns exec "$client_ns" "$bin/$@"; }

say "1. Two network namespaces, a veth pair at MTU 9000, and 16 sparse disk files of 256 MiB"
ip netns add "$shelf_ns"
ip netns add "$client_ns"
ip link add eth1 netns "$shelf_ns" mtu 9000 type veth peer name eth0 netns "$client_ns" mtu 9000
for end in "$shelf_ns eth1" "$client_ns eth0"; do
    set -- $end
    ip netns exec "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 || true
    ip -n "$1" link set "$2" up
done
{
    printf 'shelf = 1\nstate_dir = "%s/state"\ncontrol_socket = "%s/control.sock"\n' "$dir" "$dir"
    printf '\n[[port]]\ninterface = "eth1"\nmode = "auto"\ncec = true\n'
    for slot in $(seq 0 15); do
        truncate -s 256M "$dir/disk$slot"
        printf '\n[[disk]]\nslot = %s\npath = "%s/disk%s"\n' "$slot" "$dir" "$slot"
    done
} >"$dir/ledge.toml"
echo "namespaces $shelf_ns and $client_ns, disks and configuration in $dir"

say "2. The shelf starts"
# In a session of its own: Ctrl-C stops the client first, which then still gets its answers.
setsid ip netns exec "$shelf_ns" "$bin/ledged" --config "$dir/ledge.toml" >"$dir/ready" 2>"$dir/log" &
ledged=$!
for _ in $(seq 100); do
    grep -q ready "$dir/ready" && break
    if ! kill -0 "$ledged" 2>/dev/null; then
        cat "$dir/log" >&2
        echo "error: ledged did not start" >&2
        exit 1
    fi
    sleep 0.1
done
cat "$dir/log"

say "3. The administrator makes a LUN"
shelf show -l
shelf make 0 raid10 1.0-15
shelf list -l
shelf online 0

say "4. The same console over Ethernet, from the other host"
echo "client# printf 'list\\r' | cec -q -s 1 eth0"
printf 'list\r' | ip netns exec "$client_ns" "$bin/cec" -q -s 1 eth0
# The console's last line is its prompt.
echo

say "5. A client finds the LUN and uses it over ATA over Ethernet, every sector stamped and checked"
client aoeload discover --interface eth0
client aoeload --interface eth0 --target 1.0 --op write --random --depth 32 --seconds 3 --verify
client aoeload --interface eth0 --target 1.0 --op read --random --depth 32 --seconds 3

say "What happened"
cat <<EOF
16 files became the mirrored pairs of a RAID 10, served as e1.0 to every host on the (virtual) wire.
Each write was acknowledged only when it was durable on both disks of its pair. The members are plain
Linux md members: while the shelf runs, mdadm --examine $dir/disk0 (package mdadm) reads them.
EOF

if [ -n "${CI:-}" ] || [ ! -t 0 ]; then
    exit 0
fi
say "The console is yours: help lists the commands, exit (or Ctrl-D) ends and cleans up"
"$bin/ledge" --socket "$dir/control.sock" || true
