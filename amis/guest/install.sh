#!/bin/sh
# Installs the lease watch (lease-watch.sh beside this file) so that it is armed at every boot. Run it
# as root in the recipe that makes an AMI: sh install.sh
#
# The user data that the controller makes runs the same text: at each boot where there is systemd, with
# LATENT_WHERE=run, so that nothing stays on the disk; elsewhere at the first boot.
set -eu
watch=${LATENT_WATCH:-$(dirname "$0")/lease-watch.sh}
where=${LATENT_WHERE:-disk}
lifetime=${LATENT_MAX_LIFETIME:-43200}
# Before every path, for whoever fills the folder of an image, and for tests.
root=${DESTDIR:-}
system=${LATENT_SYSTEM:-}

if [ -z "$system" ]; then
    if [ "$(uname -s)" = FreeBSD ]; then
        system=freebsd
    elif command -v systemctl > /dev/null 2>&1; then
        system=systemd
    else
        system=cron
    fi
fi

# The script to $1, its settings to $2, its memory in $3.
put() {
    mkdir -p "$root${1%/*}" "$root${2%/*}"
    cp "$watch" "$root$1"
    chmod 755 "$root$1"
    cat > "$root$2" << END
: "\${LATENT_MAX_LIFETIME:=$lifetime}" "\${LATENT_STATE:=$3}"
END
}

# Twice a minute, whatever one look takes, as root, with the script $1 and the settings $2; $3 is the user's name where the
# system's table wants one.
cron_line() {
    once="LATENT_CONF=$2 /bin/sh $1"
    echo "* * * * * $3$once & sleep 30; $once"
}

in_systemd() {
    if [ "$where" = run ]; then
        script=/run/latent/lease-watch conf=/run/latent/lease-watch.conf units=/run/systemd/system
    else
        script=/usr/local/sbin/latent-lease-watch conf=/etc/latent/lease-watch.conf units=/etc/systemd/system
    fi
    put "$script" "$conf" /run/latent
    mkdir -p "$root$units"
    # Without the default dependencies neither waits for the boot to end, nor ends with the shutdown.
    cat > "$root$units/latent-lease-watch.service" << END
[Unit]
Description=Power off when nobody vouches for this instance (latent)
DefaultDependencies=no
[Service]
Type=oneshot
Environment=LATENT_CONF=$conf
ExecStart=/bin/sh $script
TimeoutStartSec=50
OOMScoreAdjust=-900
Nice=-10
END
    cat > "$root$units/latent-lease-watch.timer" << END
[Unit]
Description=Look at the lease of this instance (latent)
DefaultDependencies=no
[Timer]
OnActiveSec=5
OnUnitActiveSec=30
AccuracySec=1
[Install]
WantedBy=timers.target
END
    [ -z "$root" ] || return 0
    systemctl daemon-reload || :
    [ "$where" = run ] || systemctl enable latent-lease-watch.timer
    # In the making of an image nothing runs yet; in a boot nothing may wait for this.
    systemctl --no-block start latent-lease-watch.timer || :
}

in_freebsd() {
    put /usr/local/sbin/latent-lease-watch /usr/local/etc/latent/lease-watch.conf /var/run/latent
    mkdir -p "$root/etc/cron.d"
    cron_line /usr/local/sbin/latent-lease-watch /usr/local/etc/latent/lease-watch.conf 'root ' \
        > "$root/etc/cron.d/latent-lease-watch"
}

# Alpine and other systems with the cron of BusyBox.
in_cron() {
    put /usr/local/sbin/latent-lease-watch /etc/latent/lease-watch.conf /run/latent
    table=$root/etc/crontabs/root
    mkdir -p "${table%/*}"
    touch "$table"
    grep -v latent-lease-watch "$table" > "$table.new" || :
    cron_line /usr/local/sbin/latent-lease-watch /etc/latent/lease-watch.conf '' >> "$table.new"
    chmod 600 "$table.new"
    mv -f "$table.new" "$table"
    [ -z "$root" ] || return 0
    rc-update -q add crond default || :
    rc-service -q crond restart || :
}

case $system in
    systemd) in_systemd ;;
    freebsd) in_freebsd ;;
    *) in_cron ;;
esac
