#!/bin/sh
# The driver of a rebake, run inside the builder: the instance that becomes the next AMI of an image.
#
#   rebake start        at each boot, by user data or the rc script: holds the worker, then goes on beside the boot
#   rebake go           the work itself, from where it stands; by `start`, and by SSM's agent, which runs it again
#   rebake deadline     waits for the deadline, then powers off whatever happens
#
# The controller puts before this text: the settings, the family's functions (apt.sh, dnf.sh, freebsd.sh), and
# worker-setup.sh where that is wanted. What is to be remembered stands in one folder on the disk, so that
# a kill at any point loses nothing; with the folder's removal nothing of a rebake is left.
#
# It reports by marks, one line each, on the console or (SSM) on standard output (README.md).
set -uf
# What stays in the image is for its users to read; the folder of the rebake is closed.
umask 022
export LC_ALL=C
PATH=${PATH:-/usr/bin}:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin

# Before every path; for tests.
r=${LATENT_ROOT:-}
d=$r/var/lib/latent-rebake
channel=${LATENT_CHANNEL:-user-data}
rounds_max=${LATENT_ROUNDS_MAX:-5}
deadline_s=${LATENT_DEADLINE_S:-21600}
# Seconds: between two tries of what may fail for a while, and how many; for a lock to be freed; for a system
# to have started; for a reboot or a power-off to happen before it is forced.
pause=${LATENT_PAUSE:-30} tries=${LATENT_TRIES:-5}
lock_s=${LATENT_LOCK_S:-1800} settle_s=${LATENT_SETTLE_S:-900} force_s=${LATENT_FORCE_S:-300}
# For tests only: the console, the metadata service, the HTTP client.
console=${LATENT_CONSOLE:-/dev/console}
imds=${LATENT_IMDS:-http://169.254.169.254}
client=${LATENT_CLIENT:-}
packages_max=200
# Standard output of SSM is cut after 24,000 characters: the last marks must be within them.
package_bytes_max=10000

has() { command -v "$1" > /dev/null 2>&1; }
systemd() { [ -d "$r/run/systemd/system" ]; }
freebsd() { [ "$recipe" = freebsd ]; }

# What is remembered: one value a file, replaced whole.
recall() {
    if [ -e "$d/$1" ]; then cat "$d/$1"; else echo "${2:-}"; fi
}
keep() { printf '%s\n' "$2" > "$d/$1.new" && mv -f "$d/$1.new" "$d/$1"; }

# Everything but A-Za-z0-9._:+~/- as %XX; what is not plain text is left away.
encode() {
    case $1 in
        *[!A-Za-z0-9._:+~/-]*) ;;
        *) printf %s "$1" && return ;;
    esac
    printf %s "$1" | tr '\t\n' '  ' | tr -cd ' -~' | cut -c 1-300 | awk '
        BEGIN { for (i = 32; i < 127; i++) number[sprintf("%c", i)] = i }
        {
            for (i = 1; i <= length($0); i++) {
                c = substr($0, i, 1)
                if (c ~ /[A-Za-z0-9._:+~\/-]/) printf "%s", c
                else printf "%%%02X", number[c]
            }
        }'
}

tell() {
    if [ "$channel" = ssm ] || [ ! -w "$console" ]; then echo "$1"; else echo "$1" >> "$console"; fi
}

# mark WORD key=value...: its number is that of its line in the file, so that it counts over all boots.
mark() {
    line=$1
    shift
    for pair in "$@"; do
        line="$line ${pair%%=*}=$(encode "${pair#*=}")"
    done
    touch "$d/marks"
    line="latent-rebake $LATENT_NONCE $(($(wc -l < "$d/marks") + 1)) $line"
    echo "$line" >> "$d/marks"
    tell "$line"
}
note() { mark note text="$1"; }
step() {
    [ "$(recall step)" = "$1" ] || { keep step "$1" && mark step name="$1"; }
}
marks_of() { grep "^latent-rebake [^ ]* [0-9]* $1" "$d/marks" 2> /dev/null; }
count_of() { marks_of "$1" | wc -l | tr -d ' '; }

# Into the log, not onto the console, which keeps 64 KiB only.
run() {
    echo "+ $*" >> "$d/log"
    "$@" >> "$d/log" 2>&1 < /dev/null
}
last_words() { grep -v '^+ ' "$d/log" 2> /dev/null | grep . | tail -n 1; }
bounded() {
    seconds=$1
    shift
    if has timeout; then run timeout "$seconds" "$@"; else run "$@"; fi
}

# Mirrors, networks and locks come and go.
try() {
    nth=1
    until unlocked && run "$@"; do
        code=$?
        [ "$nth" -lt "$tries" ] || return "$code"
        nth=$((nth + 1))
        sleep "$pause"
    done
}

# Whether one of these files is locked by somebody, as the kernel tells it.
held() {
    for file in "$@"; do
        [ -e "$file" ] || continue
        # shellcheck disable=SC2012 # stat is called otherwise on each system.
        number=$(ls -i "$file" | awk '{ print $1 }')
        grep -q ":$number " "$r/proc/locks" 2> /dev/null && return 0
    done
    return 1
}
unlocked() {
    waited=0
    while "${recipe}_locked"; do
        [ "$waited" -lt "$lock_s" ] || { echo "the package manager is locked for $waited s" >> "$d/log" && return 75; }
        sleep "$pause"
        waited=$((waited + pause + 1))
    done
}

# FreeBSD's boot time moves when the clock is set: what this boot was called first stays, in memory.
boot_id() {
    if [ -r "$r/proc/sys/kernel/random/boot_id" ]; then
        cat "$r/proc/sys/kernel/random/boot_id"
        return
    fi
    named=$r/var/run/latent-rebake.boot
    [ -s "$named" ] || sysctl -n kern.boottime | sed 's/[^0-9]*\([0-9]*\)[^0-9]*\([0-9]*\).*/\1.\2/' > "$named"
    cat "$named"
}
reboots() { echo $(($(count_of 'boot ') - 1)); }

# The end of everything: the last marks once more, since a console forgets, and off.
power_off() {
    if [ "$channel" = ssm ]; then
        # In a minute: first the agent tells what came of it.
        sync
        if freebsd; then shutdown -p +1; else shutdown -P +1; fi > /dev/null 2>&1
        exit "$1"
    fi
    turn_off
    sleep "$force_s"
    turn_off force
    exit "$1"
}
turn_off() {
    sync
    if freebsd; then
        shutdown -p now || [ "${1:-}" != force ] || halt -p -q
    elif [ "${1:-}" = force ]; then
        poweroff -f
    elif systemd; then
        systemctl --no-block poweroff || shutdown -P now
    else
        shutdown -P now || poweroff
    fi
}
fail() {
    mark fail step="$(recall step quiesce)" code="$1" why="$2"
    keep phase failed
    # A kill in this moment is like one after it.
    tail -n 30 "$d/marks" | while read -r line; do tell "$line"; done
    power_off 1
}

restart() {
    [ "$(reboots)" -lt $((rounds_max + 3)) ] || fail 1 "after $(reboots) reboots one more is wanted"
    step reboot
    [ ! -e "$d/dirty" ] || keep dirty 'done'
    keep rebooting "$(boot_id)"
    restart_now
}
restart_now() {
    sync
    # The agent reboots, and runs this again from its beginning.
    [ "$channel" != ssm ] || exit 194
    if freebsd; then shutdown -r now; elif systemd; then systemctl --no-block reboot; else reboot; fi
    sleep "$force_s"
    if ! freebsd && has reboot; then reboot -f; fi
    sleep "$force_s"
    fail 1 'the system does not reboot'
}

# What a boot begins with: its id, and whether a reboot that was asked for has happened.
at_boot() {
    boot=$(boot_id)
    [ -n "$boot" ] || fail 1 'the system has no boot id'
    if ! marks_of 'boot ' | tail -n 1 | grep -q -F " id=$(encode "$boot")"; then
        mark boot id="$boot"
        # An update that was cut off is ended after this boot, and wants one more.
        [ "$(recall dirty)" = begun ] || rm -f "$d/dirty"
        # A boot writes anew what was cleaned.
        [ "$(recall phase)" != off ] || keep phase clean
    fi
    [ -e "$d/rebooting" ] || return 0
    if [ "$(recall rebooting)" != "$boot" ]; then
        rm -f "$d/rebooting" "$d/asked"
        return
    fi
    # Killed before it was asked for, perhaps: once more, then no further.
    asked=$(($(recall asked 0) + 1))
    [ "$asked" -lt 3 ] || fail 1 'the boot id did not change with the reboot'
    keep asked "$asked"
    restart_now
}

# --- The worker's services, held: they cannot start while the folder of a rebake is there.

# Prints `unit NAME`, `rc NAME` or `sysv NAME` for each.
services() {
    words='buildbot-worker|buildslave|buildbot\.tac'
    if systemd; then
        for folder in etc run usr/lib usr/local/lib lib; do
            find "$r/$folder/systemd/system" "$r/$folder/systemd/generator.late" -maxdepth 1 -name '*.service' 2> /dev/null
        done | while read -r file; do
            case ${file##*/} in
                buildbot*worker*) echo "unit ${file##*/}" ;;
                *) ! grep -q -E "^Exec(Start|StartPre)=.*($words)" "$file" 2> /dev/null || echo "unit ${file##*/}" ;;
            esac
        done
        for name in $LATENT_SERVICES; do
            case $name in *.service) echo "unit $name" ;; *) echo "unit $name.service" ;; esac
        done
        return
    fi
    kind=sysv folder=$r/etc/init.d
    if freebsd; then kind=rc folder=$r/usr/local/etc/rc.d; fi
    find "$folder" -maxdepth 1 -type f 2> /dev/null | while read -r file; do
        ! grep -q -E "$words" "$file" || echo "$kind ${file##*/}"
    done
    for name in $LATENT_SERVICES; do echo "$kind $name"; done
}
# A template is held for all its instances.
drop_in() { echo "$r/etc/systemd/system/$1.d/zz-latent-rebake.conf"; }
rc_name() { sed -n "s/^name=[\"']*\\([A-Za-z0-9_]*\\).*/\\1/p" "$r/usr/local/etc/rc.d/$1" | head -n 1; }

hold() {
    services | sort -u > "$d/services"
    while read -r kind name; do
        case $kind in
            unit)
                mkdir -p "$r/etc/systemd/system/$name.d"
                # Whatever unit it is of: one in /etc cannot be masked.
                printf '[Unit]\nConditionPathExists=!%s\n' "$d" > "$(drop_in "$name")"
                ;;
            rc)
                variable=$(rc_name "$name")
                file=$r/etc/rc.conf.d/${variable:=$name}
                mkdir -p "${file%/*}"
                grep -q 'latent-rebake$' "$file" 2> /dev/null || echo "${variable}_enable=NO # latent-rebake" >> "$file"
                run service "$name" onestop
                ;;
            sysv)
                run service "$name" stop
                ! has update-rc.d || run update-rc.d "$name" disable
                ;;
        esac
    done < "$d/services"
    if systemd; then
        run systemctl daemon-reload
        while read -r kind name; do
            case $name in *@.service) name="${name%.service}*.service" ;; esac
            run systemctl stop "$name"
        done < "$d/services"
    fi
}

# Workers that no service started: by cron, or by hand.
stop_strays() {
    if [ -d "$r/proc/$$" ] || [ -n "$r" ]; then
        find "$r/proc" -maxdepth 2 -name cmdline 2> /dev/null | while read -r file; do
            pid=${file%/cmdline}
            echo "${pid##*/} $(tr '\0' ' ' < "$file" 2> /dev/null)"
        done
    else
        ps -ax -o pid= -o args=
    fi | grep -E '^ *[0-9]+ +[^ ]*(python[0-9.]*|twistd|buildbot-worker|buildslave) .*(buildbot-worker|buildslave|buildbot\.tac)' |
        while read -r pid _; do
            note "a worker that no service started is ended: will it start at a boot?"
            kill "$pid" 2> /dev/null
        done
}

release() {
    [ -e "$d/services" ] || return 0
    while read -r kind name; do
        case $kind in
            unit)
                rm -f "$(drop_in "$name")"
                rmdir "$r/etc/systemd/system/$name.d" 2> /dev/null
                ;;
            rc)
                variable=$(rc_name "$name")
                file=$r/etc/rc.conf.d/${variable:-$name}
                [ -e "$file" ] || continue
                grep -v 'latent-rebake$' "$file" > "$file.new"
                if [ -s "$file.new" ]; then mv -f "$file.new" "$file"; else rm -f "$file" "$file.new"; fi
                ;;
            sysv) ! has update-rc.d || run update-rc.d "$name" enable ;;
        esac
    done < "$d/services"
}

# --- The instance's tag, where tags can be read: nothing else is a builder.

# Prints the answer to METHOD PATH HEADER, with its head.
ask() {
    url=$imds/latest/$2
    if [ "${client:-curl}" = curl ] && has curl; then
        curl -s -i --noproxy '*' --max-time 5 -X "$1" -H "$3" "$url"
    elif [ "${client:-wget}" = wget ] && wget --help 2>&1 | grep -q -e --method; then
        wget -q -O - --no-proxy -t 1 -T 5 --save-headers --content-on-error --method="$1" --header="$3" "$url"
    elif has nc; then
        place=${url#http://}
        host=${place%%/*}
        port=${host#"${host%%:*}"}
        port=${port#:}
        {
            printf '%s /%s HTTP/1.0\r\nHost: %s\r\n%s\r\nContent-Length: 0\r\n\r\n' "$1" "${place#*/}" "$host" "$3"
            sleep 1
        } | nc -w 5 "${host%%:*}" "${port:-80}"
    fi 2> /dev/null | tr -d '\r'
}
body_of() { printf '%s\n' "$1" | sed -n '1{/^HTTP[^ ]* 200/!q;};/^$/,$p' | sed 1d; }
check_role() {
    token=$(body_of "$(ask PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60')")
    [ -n "$token" ] || return 0
    role=$(body_of "$(ask GET meta-data/tags/instance/latent:role "X-aws-ec2-metadata-token: $token")")
    case $role in '' | rebake) return 0 ;; esac
    mark fail step=quiesce code=1 why="this instance is no builder: its tag latent:role is $role"
    # It is somebody's worker, then: it is left as it was, and left running.
    release
    forget
    ! systemd || systemctl daemon-reload
    exit 1
}

# --- The steps.

quiesce() {
    step quiesce
    hold
    # Only then is anything ended that no boot brings back.
    check_role
    stop_strays
    [ -s "$d/services" ] || note "no service of a worker was found: name it in rebake.service"
    while read -r kind name; do note "held: $kind $name"; done < "$d/services"
    keep phase update
}

update() {
    step update
    "${recipe}_prepare"
    [ -e "$d/before" ] || { "${recipe}_packages" | sort > "$d/before.new" && mv -f "$d/before.new" "$d/before"; }
    [ -s "$d/before" ] || fail 1 'the packages cannot be listed'
    if [ "$LATENT_SETUP" = 1 ] && [ ! -e "$d/set-up" ]; then
        setup_worker || fail $? "the worker cannot be set up: $(last_words)"
        hold
        keep set-up yes
    fi
    while :; do
        ! "${recipe}_pending" || restart
        "${recipe}_scan" > "$d/found" || fail $? "the scan for updates: $(last_words)"
        n=$(recall round 1) found=$(recall found)
        if [ "$found" = 0 ]; then
            mark round n="$n" found=0
            [ "$(reboots)" -gt 0 ] && [ ! -e "$d/dirty" ] && break
            restart
        elif [ "$n" -gt "$rounds_max" ]; then
            mark rounds-over n="$rounds_max" found="$found"
            fail 1 "after $rounds_max rounds there are still $found updates"
        fi
        mark round n="$n" found="$found"
        # From now on only a reboot makes it clean.
        keep dirty begun
        "${recipe}_update" || fail $? "the update: $(last_words)"
        keep dirty 'done'
        keep round $((n + 1))
    done
    keep phase settle
}

settle() {
    step settle
    if has cloud-init; then
        bounded "$settle_s" cloud-init status --wait || note "cloud-init: $(last_words)"
    fi
    if systemd; then
        waited=0
        # Asked again and again: --wait is not known everywhere.
        while state=$(systemctl is-system-running 2> /dev/null); :; do
            case $state in initializing | starting) ;; *) break ;; esac
            [ "$waited" -lt "$settle_s" ] || break
            sleep "$pause"
            waited=$((waited + pause + 1))
        done
        [ "$state" = running ] || note "systemd says that the system is ${state:-unknown}"
    fi
    unlocked || fail 75 "$(last_words)"
    owners_script
    upgrade_workers
    start_at_boot
    keep phase clean
}

owners_script() {
    [ -s "$d/script" ] && [ ! -e "$d/scripted" ] || return 0
    chmod 700 "$d/script"
    if head -n 1 "$d/script" | grep -q '^#!'; then run "$d/script"; else run sh "$d/script"; fi ||
        fail $? "the owner's script: $(last_words)"
    keep scripted yes
    ! "${recipe}_pending" || note "the owner's script wants a reboot, which it does not get"
}

# --- The worker: its folders, its program, its start.

under() {
    for folder in home srv opt root usr/bin usr/local usr/home var/lib buildbot worker; do
        [ ! -d "$r/$folder" ] || find "$r/$folder" -xdev -maxdepth 4 -name "$1" -type f 2> /dev/null
    done | sort -u
}
# The base directories of workers, and of no master.
basedirs() {
    {
        under buildbot.tac
        [ ! -r "$r/etc/latent/worker-basedir" ] || sed "s|^|$r|;s|\$|/buildbot.tac|;q" "$r/etc/latent/worker-basedir"
    } | sort -u | while read -r file; do
        ! grep -q -E 'buildbot_worker|buildslave' "$file" 2> /dev/null || echo "${file%/buildbot.tac}"
    done
}
programs() { under buildbot-worker | grep /bin/; }
# shellcheck disable=SC2012 # stat is called otherwise on each system.
owner_of() { ls -ld "$1" | awk '{ print $3 }'; }

upgrade_workers() {
    rm -f "$d/too-old"
    programs | while read -r program; do
        python=${program%/*}/python venv=${program%/bin/*}
        [ -x "$python" ] || python=${program%/*}/python3
        version=$("$python" -c 'import buildbot_worker; print(buildbot_worker.version)' 2> /dev/null)
        note "buildbot-worker ${version:-of an unknown version}: ${program#"$r"}"
        ! new_enough "$python" "${version:-0}" || continue
        if [ ! -e "$venv/pyvenv.cfg" ]; then
            echo "it is in no virtualenv: ${program#"$r"}" >> "$d/log"
            keep too-old "$program"
        elif ! upgrade_worker "$python" "$venv"; then
            keep too-old "$program"
        fi
    done
    if [ -e "$d/too-old" ]; then fail 1 "buildbot-worker is not made $LATENT_WORKER_VERSION: $(last_words)"; fi
    [ -n "$(programs)" ] || [ -z "$LATENT_WORKER_VERSION" ] ||
        note "no buildbot-worker was found: it is not made $LATENT_WORKER_VERSION"
}
new_enough() {
    [ -n "$LATENT_WORKER_VERSION" ] || return 0
    "$1" -c 'import re, sys; a, b = ([int(n) for n in re.findall("[0-9]+", v)] for v in sys.argv[1:]); sys.exit(a < b)' \
        "$2" "$LATENT_WORKER_VERSION"
}
# As the one whose virtualenv it is: pip of root would leave files that this one cannot change.
upgrade_worker() {
    LATENT_PIP=$1
    export LATENT_PIP LATENT_WORKER_VERSION
    # shellcheck disable=SC2016 # It is expanded by the shell that su starts.
    pip='"$LATENT_PIP" -m pip install --disable-pip-version-check --no-cache-dir --upgrade "buildbot-worker>=$LATENT_WORKER_VERSION"'
    owner=$(owner_of "$2")
    if [ "$owner" = "$(id -un)" ]; then
        run sh -c "$pip"
    elif freebsd; then
        run su -m "$owner" -c "$pip"
    else
        run su -s /bin/sh "$owner" -c "$pip"
    fi || return 1
    version=$("$1" -c 'import buildbot_worker; print(buildbot_worker.version)') || return 1
    new_enough "$1" "$version" && note "buildbot-worker is $version now"
}

# What can be said of a unit without guessing: that it starts at a boot, and past a pid of an earlier one.
start_at_boot() {
    basedirs > "$d/basedirs"
    while read -r base; do
        ! grep -q -E '^keepalive *= *([4-9][0-9][0-9]|[0-9]{4,}|None)' "$base/buildbot.tac" ||
            note "keepalive in ${base#"$r"}/buildbot.tac: firewalls forget a connection in 350 s; 60 is better"
    done < "$d/basedirs"
    while read -r kind name; do
        if [ "$kind" = unit ]; then
            unit_at_boot "$name"
        else
            note "whether $name starts at a boot, and past a stale twistd.pid, is for its owner to see"
        fi
    done < "$d/services"
}
unit_at_boot() {
    enabled=$(systemctl is-enabled "$1" 2> /dev/null)
    if [ "$enabled" = disabled ] && [ "$(wc -l < "$d/services")" -eq 1 ]; then
        run systemctl enable "$1" && note "$1 was not enabled: now it is"
    else
        note "$1 is ${enabled:-unknown} for a boot"
    fi
    found=$(systemctl cat "$1" 2> /dev/null)
    lines='' what=''
    if [ "$(wc -l < "$d/basedirs")" -eq 1 ] && ! echo "$found" | grep -q -e twistd.pid -e --pidfile=; then
        base=$(cat "$d/basedirs")
        lines="ExecStartPre=-/bin/rm -f \"${base#"$r"}/twistd.pid\"\n" what='a stale twistd.pid is removed'
    fi
    if ! echo "$found" | grep -q -e '^Restart=' -e '^Type=oneshot' -e '^Type=forking'; then
        lines="${lines}Restart=on-failure\nRestartSec=5\n" what="${what:+$what, }it is started again after a failure"
    fi
    [ -n "$lines" ] || return 0
    mkdir -p "$r/etc/systemd/system/$1.d"
    printf '[Service]\n%b' "$lines" > "$r/etc/systemd/system/$1.d/latent.conf"
    note "drop-in for $1: $what"
}

# --- Clean, and off.

clean() {
    step clean
    stop_strays
    if [ ! -e "$d/after" ]; then
        "${recipe}_packages" | sort > "$d/after.new" && mv -f "$d/after.new" "$d/after"
    fi
    report_packages
    basedirs | while read -r base; do
        rm -f "$base/twistd.pid" "$base/shutdown.stamp"
        find "$base" -maxdepth 1 -name 'twistd.log*' -exec rm -f {} +
        # Of this instance: they would keep out each worker that is launched from the AMI.
        find "$base/info" -maxdepth 1 -name 'latent-*' -exec rm -f {} + 2> /dev/null
    done
    rm -f "$r/etc/latent/worker.conf"
    printf '%s\n' "$LATENT_CLEAN" | while read -r path; do
        case $path in /*/*) empty "$r$path" ;; esac
    done
    "${recipe}_caches"
    clean_identity
    keep phase off
}
# What is in a folder, which stays; a file; never through a link, never another file system.
empty() {
    if [ -L "$1" ]; then
        note "not emptied, it is a link: $1"
    elif [ -d "$1" ]; then
        find "$1" -xdev -mindepth 1 -delete || note "not emptied to the end: $1"
    elif [ -f "$1" ]; then
        : > "$1"
    fi
}
clean_identity() {
    if freebsd; then
        rm -f "$r/etc/hostid" "$r/etc/machine-id"
        # sshd's own start makes keys where there are none.
        find "$r/etc/ssh" -maxdepth 1 -name 'ssh_host_*_key*' -exec rm -f {} +
        # This user data was read at a first boot, so those of the AMI's instances must be first boots, too.
        [ "$channel" = ssm ] || : > "$r/firstboot"
        return
    fi
    if makes_host_keys; then
        find "$r/etc/ssh" -maxdepth 1 -name 'ssh_host_*_key*' -exec rm -f {} +
    else
        note 'the ssh host keys stay: cloud-init would not make others'
    fi
    ! has cloud-init || run cloud-init clean --logs || note "cloud-init clean: $(last_words)"
    # Empty and not gone: a missing one would make systemd put every service to its preset.
    [ ! -e "$r/etc/machine-id" ] || : > "$r/etc/machine-id"
    [ -L "$r/var/lib/dbus/machine-id" ] || rm -f "$r/var/lib/dbus/machine-id"
    rm -f "$r/var/lib/systemd/random-seed"
    ! systemd || ! has journalctl || run journalctl --rotate --vacuum-time=1s
}
# On a new instance id, unless it is told to keep what it knows.
makes_host_keys() {
    has cloud-init && [ -d "$r/etc/cloud" ] && [ ! -e "$r/etc/cloud/cloud-init.disabled" ] || return 1
    ! grep -r -q -i -E '^[[:space:]]*manual_cache_clean:[[:space:]]*(true|yes|on)' "$r/etc/cloud" &&
        grep -r -q -E '^[[:space:]]*-[[:space:]]*\[?[[:space:]]*["'\'']?ssh["'\'',[:space:]]*\]?[[:space:]]*$' "$r/etc/cloud"
}

# Prints OP NAME FROM TO of what is another than before; several versions of a name stand with commas.
changes() {
    awk '
        function more(list, one) { return list == "" ? one : list "," one }
        side == 1 { old[$1 " " $2] = 1; next }
        ($1 " " $2) in old { delete old[$1 " " $2]; next }
        { added[$1] = more(added[$1], $2) }
        END {
            for (line in old) { split(line, word, " "); removed[word[1]] = more(removed[word[1]], word[2]) }
            for (name in added) {
                if (name in removed) print "~", name, removed[name], added[name]
                else print "+", name, "-", added[name]
            }
            for (name in removed) if (!(name in added)) print "-", name, removed[name], "-"
        }' side=1 "$d/before" side=2 "$d/after" | sort -k 2
}
# From where a kill left off.
report_packages() {
    changes > "$d/changes"
    ! marks_of 'package op=more' > /dev/null || return 0
    told=$(count_of 'package ')
    tail -n "+$((told + 1))" "$d/changes" | while read -r op name from to; do
        if [ "$told" -ge "$packages_max" ] ||
            { [ "$channel" = ssm ] && [ "$(marks_of 'package ' | wc -c)" -ge "$package_bytes_max" ]; }; then
            mark package op=more count=$(($(wc -l < "$d/changes") - told))
            break
        fi
        set -- op="$op" name="$name"
        [ "$from" = - ] || set -- "$@" from="$from"
        [ "$to" = - ] || set -- "$@" to="$to"
        mark package "$@"
        told=$((told + 1))
    done
}

digest() {
    if has sha256sum; then sha256sum < "$1"; else sha256 -q < "$1"; fi | cut -d ' ' -f 1
}
forget() {
    rm -f "$r/usr/local/etc/rc.d/latent_rebake" "$r/var/run/latent-rebake.boot"
    # At once, then at leisure: half a folder would be a memory of something that never was.
    mv "$d" "$d.gone"
    rm -rf "$d.gone"
}
off() {
    step off
    release
    # The last one that found something, whether or not a kill kept it from being counted.
    rounds=$(marks_of 'round ' | sed -n 's/.* n=\([0-9]*\) found=[1-9].*/\1/p' | sort -n | tail -n 1)
    mark 'done' rounds="${rounds:-0}" reboots="$(reboots)" packages="$(wc -l < "$d/changes" | tr -d ' ')" sha="$(digest "$d/after")"
    tail -n 30 "$d/marks" | while read -r line; do tell "$line"; done
    forget
    power_off 0
}

# --- Who runs what.

# A second one waits for the first: an agent that was updated begins anew.
alone() {
    boot=$(boot_id)
    while read -r pid where < "$d/lock" 2> /dev/null && [ "$where" = "$boot" ] && [ "$pid" != $$ ] && kill -0 "$pid" 2> /dev/null; do
        sleep 1
    done
    keep lock "$$ $boot"
}
go() {
    alone
    at_boot
    while :; do
        case $(recall phase quiesce) in
            quiesce) quiesce ;;
            update) update ;;
            settle) settle ;;
            clean) clean ;;
            off) off ;;
            *)
                tail -n 30 "$d/marks" | while read -r line; do tell "$line"; done
                power_off 1
                ;;
        esac
    done
}

# Absolute; a clock that goes back prolongs nothing by more than the whole time.
deadline() {
    [ -e "$d/until" ] || keep until $(($(date +%s) + deadline_s))
    left=$(($(recall until) - $(date +%s)))
    [ "$left" -le "$deadline_s" ] || left=$deadline_s
    [ "$left" -le 0 ] || sleep "$left"
    [ -d "$d" ] || exit 0
    # Two that write marks would give one number twice.
    if read -r pid where < "$d/lock" && [ "$where" = "$(boot_id)" ]; then kill "$pid"; fi 2> /dev/null
    # Standard output is nobody's here.
    channel=user-data
    fail 124 "the deadline of $deadline_s s is over"
}

# Beside the boot, which waits for nothing of it.
detach() {
    if systemd; then
        unit=latent-rebake-$1.service
        online='Wants=network-online.target\nAfter=network-online.target' again=''
        [ "$1" = go ] || online='DefaultDependencies=no'
        # Killed for want of memory, it goes on from where it was.
        [ "$1" != go ] || again='Restart=on-abnormal\nRestartSec=5\n'
        printf '[Unit]\nDescription=Rebake of this image: %s (latent)\n%b\n[Service]\nExecStart=/bin/sh %s %s\n%b' \
            "$1" "$online" "$d/rebake" "$1" "$again" > "$r/run/systemd/system/$unit"
        systemctl daemon-reload
        systemctl --no-block start "$unit"
    elif has daemon; then
        daemon -f /bin/sh "$d/rebake" "$1"
    elif has setsid; then
        setsid sh "$d/rebake" "$1" > /dev/null 2>&1 < /dev/null &
    else
        nohup sh "$d/rebake" "$1" > /dev/null 2>&1 < /dev/null &
    fi
}
start() {
    # Before the boot comes to the worker, whatever else is to be done.
    hold
    if freebsd && [ ! -e "$r/usr/local/etc/rc.d/latent_rebake" ]; then
        mkdir -p "$r/usr/local/etc/rc.d"
        # shellcheck disable=SC2016 # Its own.
        printf '%s\n' '#!/bin/sh' '# PROVIDE: latent_rebake' '# REQUIRE: NETWORKING' '# KEYWORD: nojail' \
            '[ "$1" != start ] && [ "$1" != faststart ] || /bin/sh /var/lib/latent-rebake/rebake start' \
            > "$r/usr/local/etc/rc.d/latent_rebake"
        chmod 755 "$r/usr/local/etc/rc.d/latent_rebake"
    fi
    detach deadline
    detach go
}

recipe=${LATENT_RECIPE:-auto}
if [ "$recipe" = auto ]; then
    recipe=dnf
    if has freebsd-version; then recipe=freebsd; elif has apt-get; then recipe=apt; fi
fi
cd "$r/" || exit 1
mkdir -p "$d"
chmod 700 "$d"
rm -rf "$d.gone"
case ${1:-} in
    start) start ;;
    go)
        if [ "$channel" = ssm ]; then detach deadline; fi
        go
        ;;
    deadline) deadline ;;
    *)
        echo 'usage: rebake start|go|deadline' >&2
        exit 2
        ;;
esac
