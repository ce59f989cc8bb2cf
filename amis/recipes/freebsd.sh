#!/bin/sh
# FreeBSD: what the driver of a rebake asks of the family (rebake.sh, README.md).
# shellcheck disable=SC2154 # The driver sets r and d.

# No pager waits for a key.
export PAGER=cat ASSUME_ALWAYS_YES=yes

freebsd_prepare() { :; }

# Whether the base system itself is packages: freebsd-update has nothing to do with it then.
freebsd_pkgbase() { pkg query %n FreeBSD-runtime > /dev/null 2>&1; }

# Prints how many packages would be installed or replaced; the base system's patches count as one.
freebsd_scan() {
    base=0
    if ! freebsd_pkgbase; then
        try freebsd-update --not-running-from-cron fetch || return
        # 2 is how it says that nothing is ready.
        run freebsd-update updatesready
        case $? in
            0) base=1 ;;
            2) ;;
            *) return 1 ;;
        esac
    fi
    try pkg update -q || return
    # It fails when there is something to do.
    pkg upgrade -n > "$d/plan" 2>> "$d/log" < /dev/null
    code=$?
    if [ "$code" != 0 ] && ! grep -q '^Number of packages' "$d/plan"; then
        cat "$d/plan" >> "$d/log"
        return "$code"
    fi
    awk -v n="$base" '/^Number of packages to be (installed|upgraded|reinstalled|removed):/ { n += $NF } END { print n }' "$d/plan"
}

freebsd_update() {
    if ! freebsd_pkgbase && run freebsd-update updatesready; then
        try freebsd-update --not-running-from-cron install || return
    fi
    try pkg upgrade -y
}

freebsd_install() { try pkg install -y "$@"; }

# The kernel that is installed, and the one that runs.
freebsd_pending() { [ "$(freebsd-version -k)" != "$(freebsd-version -r)" ]; }

freebsd_packages() {
    echo "FreeBSD-base $(freebsd-version -u)"
    echo "FreeBSD-kernel-installed $(freebsd-version -k)"
    pkg query '%n %v'
}

# pkg waits for its own.
freebsd_locked() { return 1; }

freebsd_caches() { run pkg clean -a -y; }

# What a worker needs, for worker-setup.sh.
freebsd_needs() { echo python3; }
