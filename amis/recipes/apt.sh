#!/bin/sh
# Debian and Ubuntu: what the driver of a rebake asks of the family (rebake.sh, README.md).
# shellcheck disable=SC2154 # The driver sets r, d and pause.

# Without a question, and with the owner's own files where a package brings others. needrestart would
# restart the driver itself in the middle of an update.
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l UCF_FORCE_CONFFOLD=1

apt_get() {
    apt-get -q -y -o APT::Update::Error-Mode=any -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=600 "$@"
}

# Nothing else shall update now, nor reboot. A run that was cut off is ended first.
apt_prepare() {
    ! systemd || run systemctl stop apt-daily.timer apt-daily-upgrade.timer
    try dpkg --configure -a || fail $? "dpkg --configure -a: $(last_words)"
}

# Prints how many packages would be installed or replaced.
apt_scan() {
    try apt_get update || return
    apt_get -s dist-upgrade > "$d/plan" 2>> "$d/log" || return
    grep -c '^Inst ' "$d/plan" || :
}

apt_update() { try apt_get dist-upgrade; }

apt_install() { try apt_get install "$@"; }

apt_pending() { [ -e "$r/run/reboot-required" ] || [ -e "$r/var/run/reboot-required" ]; }

apt_packages() {
    # shellcheck disable=SC2016 # dpkg's own variables.
    dpkg-query -W -f '${db:Status-Abbrev} ${binary:Package} ${Version}\n' | awk '$1 == "ii" { print $2, $3 }'
}

apt_locked() {
    held "$r/var/lib/dpkg/lock-frontend" "$r/var/lib/dpkg/lock" "$r/var/lib/apt/lists/lock" "$r/var/cache/apt/archives/lock"
}

apt_caches() { run apt-get clean; }

# What a worker needs, for worker-setup.sh.
apt_needs() { echo python3 python3-venv ca-certificates; }
