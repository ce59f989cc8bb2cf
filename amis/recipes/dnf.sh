#!/bin/sh
# Fedora and Amazon Linux 2023 (dnf), Amazon Linux 2 (yum): what the driver of a rebake asks of the family
# (rebake.sh, README.md).
# shellcheck disable=SC2154 # The driver sets r, d and recipe.

dnf_tool() {
    if has dnf; then set -- dnf -q -y "$@"; else set -- yum -q -y "$@"; fi
    # Amazon Linux 2023 stays at the release of its AMI unless it is asked for the latest.
    ! grep -q '^PLATFORM_ID="platform:al2023"' "$r/etc/os-release" 2> /dev/null || set -- "$@" --releasever=latest
    "$@"
}

# Nothing else shall update now, nor reboot.
dnf_prepare() {
    ! systemd || run systemctl stop dnf-automatic.timer dnf-automatic-install.timer yum-cron.service packagekit.service
    ! has yum-complete-transaction || run yum-complete-transaction --cleanup-only
    :
}

# Prints how many packages would be replaced. 100 is how both say that there are some.
dnf_scan() {
    try dnf_tool clean expire-cache || return
    nth=1
    while :; do
        unlocked || return
        dnf_tool check-update > "$d/plan" 2>> "$d/log" < /dev/null
        code=$?
        [ "$code" != 0 ] || { echo 0 && return; }
        [ "$code" != 100 ] || break
        cat "$d/plan" >> "$d/log"
        [ "$nth" -lt "$tries" ] || return "$code"
        nth=$((nth + 1))
        sleep "$pause"
    done
    # NAME.ARCH VERSION REPOSITORY; what they make obsolete comes after.
    awk '/^Obsoleting/ { exit } NF == 3 && $1 ~ /\./ { n++ } END { print (n ? n : 1) }' "$d/plan"
}

dnf_update() { try dnf_tool upgrade; }

dnf_install() { try dnf_tool install "$@"; }

# Only where the system can tell; the driver reboots after the last update in any case.
dnf_pending() {
    if has needs-restarting; then
        ! run needs-restarting -r
    elif has dnf && run dnf needs-restarting --help; then
        ! run dnf needs-restarting -r
    else
        return 1
    fi
}

dnf_packages() { rpm -qa --qf '%{NAME}.%{ARCH} %{VERSION}-%{RELEASE}\n' | grep -v '^gpg-pubkey'; }

dnf_locked() { held "$r/var/lib/rpm/.rpm.lock" "$r/usr/lib/sysimage/rpm/.rpm.lock"; }

dnf_caches() { run dnf_tool clean all; }

# What a worker needs, for worker-setup.sh.
dnf_needs() { echo python3 python3-pip ca-certificates; }
