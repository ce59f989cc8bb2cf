#!/bin/sh
# Stands for the commands of a system in a sandbox (sandbox.py), by the name it is called by. What it does is
# told by files in $LATENT_ROOT/shim:
#   updates       words: how many packages each round of updates has, one after the other
#   packages      what is installed: NAME VERSION
#   fail          lines `CODE TEXT`: a call that begins with the text fails with the code, once for each line
#   hang          a call that begins with this text never ends; `hanging` is there when it has begun
#   reboot-wanted the system says after each round that it wants a reboot
#   orders        written: what the system was told to do with itself
set -u
dir=$LATENT_ROOT/shim
name=${0##*/}
call="$name $*"
echo "$call" >> "$dir/calls"

# Without the options that have no say here.
plain=$name
skip=no
for word in "$@"; do
    case $word in
        -o) skip=yes ;;
        *)
            [ "$skip" = yes ] || case $word in -q | -y) ;; *) plain="$plain $word" ;; esac
            skip=no
            ;;
    esac
done

if [ -e "$dir/hang" ]; then
    case $plain in
        "$(cat "$dir/hang")"*)
            rm -f "$dir/hang"
            touch "$dir/hanging"
            exec sleep 100000
            ;;
    esac
fi
if [ -s "$dir/fail" ]; then
    read -r code text < "$dir/fail"
    case $plain in
        "$text"*)
            sed 1d "$dir/fail" > "$dir/fail.new"
            mv "$dir/fail.new" "$dir/fail"
            echo "E: $text failed"
            exit "$code"
            ;;
    esac
fi

# Each round that is over has added a package: a kill finds it done, or not begun.
found() {
    over=$(grep -c '^added-' "$dir/packages")
    set -- $(cat "$dir/updates")
    while [ "$over" -gt 0 ] && [ $# -gt 0 ]; do
        shift
        over=$((over - 1))
    done
    echo "${1:-0}"
}
# One round: so many packages have a higher version, and a new one comes along.
round() {
    count=$(found)
    [ "$count" != 0 ] || return 0
    awk -v n="$count" 'NR <= n { $2 = $2 "+u" } { print } END { print "added-" NR " 1.0" }' "$dir/packages" > "$dir/packages.new"
    mv "$dir/packages.new" "$dir/packages"
    [ ! -e "$dir/reboot-wanted" ] || touch "$LATENT_ROOT/run/reboot-required"
}
order() {
    [ -e "$dir/orders" ] || echo "$1" > "$dir/orders"
}
lines() {
    n=0
    while [ "$n" -lt "$1" ]; do
        echo "$2"
        n=$((n + 1))
    done
}

case $plain in
    'apt-get -s dist-upgrade') lines "$(found)" 'Inst package (1.1 stable [amd64])' ;;
    'apt-get dist-upgrade') round ;;
    dpkg-query*) sed 's/^/ii  /' "$dir/packages" ;;
    'dnf check-update'* | 'yum check-update'*)
        lines "$(found)" 'package.noarch 1.1-2 updates'
        [ "$(found)" = 0 ] || exit 100
        ;;
    'dnf upgrade'* | 'yum upgrade'*) round ;;
    'needs-restarting -r') [ ! -e "$LATENT_ROOT/run/reboot-required" ] ;;
    rpm*) cat "$dir/packages" ;;
    'freebsd-update updatesready')
        [ -e "$dir/base-ready" ] || exit 2
        ;;
    'freebsd-update --not-running-from-cron install') rm -f "$dir/base-ready" ;;
    freebsd-version*) echo 14.2-RELEASE-p1 ;;
    'pkg upgrade -n')
        [ "$(found)" = 0 ] && echo 'Your packages are up to date.' && exit 0
        echo "Number of packages to be upgraded: $(found)"
        exit 1
        ;;
    'pkg upgrade') round ;;
    'pkg query %n FreeBSD-runtime') exit 1 ;;
    'pkg query'*) cat "$dir/packages" ;;
    b64decode*) base64 -d ;;
    'id buildbot') exit 1 ;;
    id*) command -p id "$@" ;;
    sysctl*) cat "$dir/boottime" ;;
    daemon*)
        shift
        setsid "$@" > /dev/null 2>&1 < /dev/null &
        ;;
    'systemctl --no-block start '*)
        unit=$LATENT_ROOT/run/systemd/system/$3
        [ -e "$unit" ] || exit 5
        setsid sh -c "$(sed -n 's/^ExecStart=//p' "$unit")" > /dev/null 2>&1 < /dev/null &
        ;;
    'systemctl --no-block reboot' | reboot* | 'shutdown -r'*) order reboot ;;
    'systemctl --no-block poweroff' | poweroff* | 'shutdown -p'* | 'shutdown -P'*) order off ;;
    'systemctl is-system-running') cat "$dir/running" 2> /dev/null || echo running ;;
    'systemctl is-enabled'*) cat "$dir/enabled" 2> /dev/null || echo enabled ;;
    'systemctl cat '*) find "$LATENT_ROOT/etc/systemd/system/$2" "$LATENT_ROOT/etc/systemd/system/$2.d" -type f -exec cat {} + 2> /dev/null ;;
    'cloud-init clean'*) rm -rf "$LATENT_ROOT/var/lib/cloud/instances" ;;
esac
