# Sourced by package-test.sh: the package in Debian as it is, with systemd, in a container (systemd-nspawn).

# Debian's packages as this machine gets them: apt's own sources, with another release in them.
sources() {
    local found
    found=$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | sed 's,/*$,,' | grep -m 1 '/debian$' || true)
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "${found:-http://deb.debian.org/debian}" "$1"
}

# What the roots have beside the least.
ROOT_PACKAGES=systemd-sysv,systemd-timesyncd,dbus,udev,iproute2,procps,kmod,passwd,libelf1

# A root of a release, kept since it takes minutes, until it is to have something else.
debian() {
    local suite=$1 tar
    tar=$LEDGE_PACKAGE_CACHE/$1-$(cksum <<<"$ROOT_PACKAGES" | cut -d' ' -f1).tar
    if [ ! -s "$tar" ]; then
        say "$suite: Debian packages"
        mkdir -p "$LEDGE_PACKAGE_CACHE"
        sources "$suite" | mmdebstrap --quiet --mode=root --variant=minbase \
            --include="$ROOT_PACKAGES" "$suite" "$LEDGE_PACKAGE_CACHE/new-$suite.tar" -
        mv "$LEDGE_PACKAGE_CACHE/new-$suite.tar" "$tar"
    fi
    mkdir "$work/$suite"
    tar --extract --numeric-owner --file "$tar" --directory "$work/$suite"
}

# Runs systemd there. Only what it started itself is ended. A machine with the old hierarchies of control
# groups gets the new one, in a namespace of its own. Nobody there may set a clock: it is this machine's.
boot() {
    unshare --mount --propagation private bash -c '
        if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
            umount --recursive /sys/fs/cgroup
            mount -t cgroup2 cgroup2 /sys/fs/cgroup
        fi
        exec systemd-nspawn --register=no --keep-unit --quiet --directory="$1" --console=pipe --private-network \
            --capability=all --drop-capability=CAP_SYS_TIME --boot \
            --system-call-filter="bpf perf_event_open landlock_create_ruleset landlock_add_rule landlock_restrict_self"' \
        bash "$1" >"$work/console" 2>&1 </dev/null &
    nspawn=$!
    trap 'set +e; kill "$nspawn" 2>/dev/null; wait "$nspawn" 2>/dev/null; rm -rf --one-file-system "$work"' EXIT
    local state
    for _ in $(seq 300); do
        init=$(pgrep --parent "$(pgrep --parent "$nspawn" || echo "$nspawn")" | head -n 1 || true)
        [ -n "$init" ] || init=$(pgrep --parent "$nspawn" | head -n 1 || true)
        state=$([ -n "$init" ] && inside systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) return ;; esac
        kill -0 "$nspawn" 2>/dev/null || { cat "$work/console" >&2; fail "systemd-nspawn ended"; }
        sleep 1
    done
    cat "$work/console" >&2
    fail "systemd does not come up: $state"
}

inside() { nsenter --target "$init" --all -- /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# What the journal says of the shelf.
journal() { inside journalctl --unit=ledged --no-pager --output=cat; }

wait_for() {
    local what=$1
    shift
    for _ in $(seq 120); do
        if "$@" >"$work/waited" 2>&1; then return; fi
        sleep 1
    done
    cat "$work/waited" >&2
    journal >&2
    fail "$what"
}

journal_says() { journal | grep -q -- "$1"; }
pid() { inside systemctl show --property=MainPID --value ledged; }
installed_files() {
    inside find / -xdev \( -path /proc -o -path /run -o -path /sys -o -path /dev -o -path /tmp -o -path /var/lib/dpkg \
        -o -path /var/log -o -path /var/cache -o -path /srv -o -path /opt \) -prune -o ! -type d -print |
        grep -v -e '^/etc/\(passwd\|group\|g\?shadow\|subuid\|subgid\|shells\)-\?$' -e '^/etc/\.pwd\.lock$' \
            -e '^/var/lib/systemd/' -e '^/etc/ld\.so\.cache$' -e '^/var/tmp/' | sort
}

configure() {
    inside ip link add eth1 mtu 9000 type veth peer name eth0 mtu 9000
    inside ip link set eth1 up
    inside ip link set eth0 up
    inside mkdir -p /srv/ledge
    inside truncate --size=64M /srv/ledge/0 /srv/ledge/1
    inside chown -R ledged: /srv/ledge
    inside tee --append /etc/ledge/ledge.toml >/dev/null <<'EOF'
shelf = 7
[[port]]
interface = "eth1"
cec = true
[[disk]]
slot = 0
path = "/srv/ledge/0"
[[disk]]
slot = 1
path = "/srv/ledge/1"
EOF
    # A container may not be allowed to lift the limit of locked memory, which the unit does.
    inside mkdir -p /run/systemd/system/ledged.service.d
    inside tee /run/systemd/system/ledged.service.d/memlock.conf >/dev/null <<'EOF'
[Service]
AmbientCapabilities=CAP_IPC_LOCK
CapabilityBoundingSet=CAP_IPC_LOCK
EOF
    # So that timedated tells why it does not set the clock.
    inside mkdir -p /run/systemd/system/systemd-timedated.service.d
    inside tee /run/systemd/system/systemd-timedated.service.d/debug.conf >/dev/null <<'EOF'
[Service]
Environment=SYSTEMD_LOG_LEVEL=debug
EOF
    inside systemctl daemon-reload
}

serves() {
    inside aoeload --interface eth0 --target 7.0 --op write --random --depth 4 --seconds 1 --verify >"$work/load" 2>&1 ||
        { cat "$work/load" >&2; journal >&2; fail "the LUN is not served"; }
}

# The daemon's user may set no clock: the helper has it done by timedated, which may not do it here either, but
# comes as far as that.
clock_of() {
    local suite=$1 file=/run/systemd/timesyncd.conf.d/ledge.conf
    system() { inside setpriv --reuid="$1" --clear-groups --regid=nogroup timedatectl "${@:2}" >"$work/asked" 2>&1; }
    ! system ledged set-ntp false || fail "the daemon's user may switch time services by itself"
    inside ledge ntp 192.0.2.1 ntp.example >"$work/asked" 2>&1 || { cat "$work/asked" >&2; journal >&2; fail "ntp SERVER"; }
    inside setpriv --reuid=systemd-timesync --clear-groups --regid=nogroup grep -qx 'NTP=192.0.2.1 ntp.example' "$file" ||
        fail "timesyncd does not see its servers"
    # It does not run in a container, and is enabled all the same.
    [ "$(inside systemctl is-enabled systemd-timesyncd || true)" = enabled ] || fail "ntp SERVER switches no time service on"
    inside ledge ntp off >"$work/asked" 2>&1 || { cat "$work/asked" >&2; fail "ntp off"; }
    [ "$(inside systemctl is-enabled systemd-timesyncd || true)" = disabled ] || fail "ntp off leaves the time service on"
    ! inside test -e "$file" || fail "ntp off leaves servers behind"
    ! inside ledge date 2031-01-01 00:00:00 >"$work/asked" 2>&1 || fail "the clock was set, which nobody may here"
    # Access denied is what timedatectl makes of any refusal; timedated has come to the kernel's.
    grep -q 'Failed to set time: ' "$work/asked" || { cat "$work/asked" >&2; fail "date"; }
    inside journalctl --unit=systemd-timedated --no-pager --output=cat >"$work/timedated"
    grep -q 'Failed to set local time: Operation not permitted' "$work/timedated" || { cat "$work/timedated" >&2; fail "date"; }
    inside ledge ntp 192.0.2.1 >"$work/asked" 2>&1 || { cat "$work/asked" >&2; fail "ntp SERVER once more"; }
    say "$suite: the daemon's user keeps and sets the clock by the helper"
}

in_debian() {
    local suite=$1 first
    debian "$suite"
    cp "$deb" "$work/$suite/opt/ledge.deb"
    as_version 9999 "$work/$suite/opt/newer.deb"
    boot "$work/$suite"
    installed_files >"$work/before"
    inside dpkg --install /opt/ledge.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg" >&2; fail "dpkg --install"; }
    [ "$(inside systemctl is-enabled ledged || true)" = disabled ] || fail "enabled before it is configured"
    [ "$(inside systemctl is-active ledged || true)" = inactive ] || fail "started before it is configured"
    grep -qx /usr/bin/ledge "$work/$suite/etc/shells" || fail "ledge is no login shell"
    configure
    inside ledged --check || fail "ledged --check"
    inside systemctl enable --now ledged >"$work/enabled" 2>&1 || { cat "$work/enabled" >&2; journal >&2; fail "start"; }
    inside ledge make 0 raid1 7.0-1
    inside ledge online 0
    serves
    journal_says 'watchdog: systemd is told' || fail "no watchdog"
    ! journal_says 'not restricted' || fail "the sandbox is not on"
    ! journal_says 'memory is not locked' || fail "memory is not locked"
    say "$suite: installed, started, serves as $(inside ps -o user= -p "$(pid)")"

    # The helper for drives is asked by the daemon's user, knows what it is for, and no more.
    drives() { inside setpriv --reuid="$1" --clear-groups --regid=nogroup ledged --ask "${@:2}" >"$work/asked" 2>&1; }
    ! drives ledged smartctl --json=co -x /etc/passwd || fail "smartctl of a file"
    grep -q '/etc/passwd is no block device' "$work/asked" || { cat "$work/asked" >&2; fail "the helper for drives"; }
    ! drives ledged reboot || fail "the helper for drives stops the machine"
    grep -q 'there is no such question' "$work/asked" || { cat "$work/asked" >&2; fail "the helper for drives"; }
    ! drives nobody smartctl --json=co -x /etc/passwd || fail "somebody else is answered"
    grep -q 'Permission denied' "$work/asked" || { cat "$work/asked" >&2; fail "somebody else may ask"; }
    say "$suite: the helper for drives answers the daemon only"

    clock_of "$suite"

    # A wrong configuration changes nothing, and whoever reloads is told.
    first=$(pid)
    inside sed -i 's/^shelf = 7$/shelf = 7\ncec_idle_minutes = 3000/' /etc/ledge/ledge.toml
    ! inside systemctl reload ledged 2>/dev/null || fail "a wrong configuration was reloaded"
    inside sed -i 's/^cec_idle_minutes = 3000$/cec_idle_minutes = 3/' /etc/ledge/ledge.toml
    inside systemctl reload ledged || fail "reload"
    wait_for "it is not taken over" journal_says 'taken over: cec_idle_minutes'
    serves
    say "$suite: reloaded, and goes on"

    # An upgrade interrupts nothing, and keeps the configuration.
    inside dpkg --install --force-confold /opt/newer.deb >"$work/dpkg" 2>&1 || { cat "$work/dpkg" >&2; fail "upgrade"; }
    [ "$(pid)" = "$first" ] || fail "the upgrade has restarted the shelf"
    grep -q 'systemctl restart ledged' "$work/dpkg" || fail "the upgrade does not tell what to do"
    serves
    inside systemctl restart ledged
    serves
    say "$suite: upgraded without an interruption, then restarted: the LUN is back"

    # A worker that hangs: stopped as a whole, it feeds no watchdog.
    first=$(pid)
    inside kill -STOP "$first"
    wait_for "the watchdog does not restart it" eval '[ "$(pid)" != 0 ] && [ "$(pid)" != '"$first"' ]'
    wait_for "it does not come back" inside ledge list
    serves
    say "$suite: stopped in its tracks, restarted by the watchdog"

    inside dpkg --remove ledge >"$work/dpkg" 2>&1 || { cat "$work/dpkg" >&2; fail "remove"; }
    ! inside test -e /run/ledge/control.sock || fail "removed, and still running"
    ! inside test -e /run/systemd/timesyncd.conf.d/ledge.conf || fail "removed, and its time servers are left"
    inside dpkg --purge ledge >"$work/dpkg" 2>&1 || { cat "$work/dpkg" >&2; fail "purge"; }
    installed_files >"$work/after"
    diff -u "$work/before" "$work/after" || fail "purged, and this differs"
    ! grep -q ledge "$work/$suite/etc/"{passwd,group,shells} || fail "purged, and users, groups or the shell are left"
    say "$suite: removed and purged, nothing is left"
    kill "$nspawn"
    wait "$nspawn" || true
}
