#!/bin/sh
# First boot of a stock AMI (Debian, Ubuntu, Fedora, AlmaLinux, Amazon Linux, FreeBSD): the worker gets its
# name, password and master, and the project's own bootstrap script does the rest. The values are quoted
# by the `sh` filter; nothing needs base64, neither on spot nor on demand.
BB_NAME={{ worker | sh }}
BB_PASSWORD={{ password | sh }}
BB_MASTER={{ master | sh }}
BB_MODE=TEST
BB_URL=https://raw.githubusercontent.com/openzfs/zfs-buildbot/master/scripts/
export BB_NAME BB_PASSWORD BB_MASTER BB_MODE BB_URL
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

# What is printed goes to the console, whose end is shown in the build when the worker never connects.
# No `set -x`: it would print the password there.
exec > /dev/console 2>&1

if ! command -v wget > /dev/null; then
    if command -v apt-get > /dev/null; then
        apt-get --quiet update && apt-get --quiet --yes install wget
    elif command -v dnf > /dev/null; then
        dnf --quiet --assumeyes install wget
    elif command -v pkg > /dev/null; then
        pkg install --quiet --yes wget
    else
        echo "bootstrap: no package manager that is known here"
    fi
fi

script=$(mktemp)
tries=0
until wget --quiet --output-document="$script" "${BB_URL}bb-bootstrap.sh"; do
    tries=$((tries + 1))
    # The policy's connect_deadline ends the instance: nothing here has to.
    [ "$tries" -lt 20 ] || { echo "bootstrap: $BB_URL cannot be read"; exit 1; }
    sleep 15
done
chmod 700 "$script"
"$script"
