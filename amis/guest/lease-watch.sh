#!/bin/sh
# The lease watch: one look at whether somebody still vouches for this instance. If nobody does, it
# powers the instance off. A timer runs it every half minute (install.sh, README.md).
#
# The controller writes two times into the instance's tags, and an instance may read its own tags in
# its metadata, without credentials:
#   latent:lease     until when the controller vouches for it; renewed long before its end
#   latent:deadline  when the instance must be gone, whatever it does
# Both are absolute times, so a reboot prolongs nothing.
#
# What time it is now is taken from the Date of the metadata service's own answer, and how much time
# has passed from the uptime. The clock of this system, which may be anything before NTP has set it,
# is used only where an answer has no Date; then nothing is done for it in the first minutes after
# the boot, and LATENT_MAX_LIFETIME counts as well.
set -uf
export LC_ALL=C
PATH=${PATH:-/usr/bin}:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin

conf=${LATENT_CONF:-/etc/latent/lease-watch.conf}
# shellcheck source=/dev/null
[ ! -r "$conf" ] || . "$conf"
# Seconds. Where no deadline can be read, no uptime is longer than this.
max_lifetime=${LATENT_MAX_LIFETIME:-43200}
# Tags that cannot be read for so long end the instance.
grace=${LATENT_GRACE:-900}
# A stopped instance that is started again has its old lease until the controller has renewed it.
boot_grace=${LATENT_BOOT_GRACE:-300}
# A power-off that has not happened after so long is forced.
force_after=${LATENT_FORCE_AFTER:-120}
# How often a spot instance asks whether EC2 takes it back, and how many times in one look.
beat=${LATENT_NOTICE_BEAT:-5} beats=${LATENT_NOTICE_BEATS:-6}
# Names the base directory of the worker, which is then asked to leave (README.md).
basedir=${LATENT_BASEDIR:-/etc/latent/worker-basedir}
# What is remembered from look to look: in memory, so that no boot sees it again.
state=${LATENT_STATE:-/run/latent}/lease-watch.state
# For tests only: the metadata service, what powers off, the console, the uptime, the kind of the
# machine, the HTTP client.
imds=${LATENT_IMDS:-http://169.254.169.254}
power_off=${LATENT_POWER_OFF:-}
console=${LATENT_CONSOLE:-/dev/console}
uptime_file=${LATENT_UPTIME:-/proc/uptime}
hypervisor=${LATENT_HYPERVISOR:-/sys/hypervisor/type}
client=${LATENT_CLIENT:-}

say() {
    echo "latent-lease-watch: $1"
    [ ! -w "$console" ] || echo "latent-lease-watch: $1" > "$console"
    # A unit's output is in the journal already.
    [ -n "${INVOCATION_ID:-}" ] || logger -t latent-lease-watch -- "$1" 2> /dev/null || :
}

# Seconds since the boot.
uptime_s() {
    if [ -r "$uptime_file" ]; then
        read -r up _ < "$uptime_file"
        echo "${up%%.*}"
    else
        boot=$(sysctl -n kern.boottime | sed 's/^{ sec = \([0-9]*\).*/\1/')
        echo $(($(date +%s) - boot))
    fi
}

# The seconds since 1970 of a time such as 2026-03-02T08:00:00Z; fails if it is none.
epoch() {
    case $1 in
        [12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z) ;;
        *) return 1 ;;
    esac
    old=$IFS
    IFS=-T:Z
    # shellcheck disable=SC2086 # Split on purpose.
    set -- $1
    IFS=$old
    # A 1 before each pair of digits: 08 alone would be a bad octal number.
    year=$1 month=$((1$2 - 100)) day=$((1$3 - 100))
    [ "$month" -ge 1 ] && [ "$month" -le 12 ] && [ "$day" -ge 1 ] && [ "$day" -le 31 ] || return 1
    # Counted in years that begin in March, so that the leap day is the last.
    early=$(((14 - month) / 12))
    year=$((year - early)) month=$((month + 12 * early - 3))
    days=$((day + (153 * month + 2) / 5 + 365 * year + year / 4 - year / 100 + year / 400 - 719469))
    echo $((days * 86400 + (1$4 - 100) * 3600 + (1$5 - 100) * 60 + 1$6 - 100))
}

# The same of a Date header: Mon, 02 Mar 2026 08:00:00 GMT.
epoch_of_header() {
    # shellcheck disable=SC2086 # Split on purpose.
    set -- $1
    [ $# -eq 6 ] || return 1
    case $3 in
        Jan) month=01 ;; Feb) month=02 ;; Mar) month=03 ;; Apr) month=04 ;;
        May) month=05 ;; Jun) month=06 ;; Jul) month=07 ;; Aug) month=08 ;;
        Sep) month=09 ;; Oct) month=10 ;; Nov) month=11 ;; Dec) month=12 ;;
        *) return 1 ;;
    esac
    epoch "$4-$month-$2T$5Z"
}

# Prints the answer to METHOD PATH HEADER, with its head. curl, GNU wget and nc: each system has one.
ask() {
    url=$imds/latest/$2
    if [ "$client" = curl ]; then
        curl -s -i --noproxy '*' --max-time 5 -X "$1" -H "$3" "$url"
    elif [ "$client" = wget ]; then
        wget -q -O - --no-proxy -t 1 -T 5 --save-headers --content-on-error --method="$1" --header="$3" "$url"
    else
        place=${url#http://}
        host=${place%%/*}
        port=${host#"${host%%:*}"}
        port=${port#:}
        {
            printf '%s /%s HTTP/1.0\r\nHost: %s\r\n%s\r\nContent-Length: 0\r\n\r\n' "$1" "${place#*/}" "$host" "$3"
            # Some close the connection at the end of their input, before the answer.
            sleep 1
        } | nc -w 5 "${host%%:*}" "${port:-80}"
    fi
}

choose_client() {
    [ -z "$client" ] || return 0
    if command -v curl > /dev/null 2>&1; then
        client=curl
    elif wget --help 2>&1 | grep -q -e --method; then
        client=wget
    fi
}

# Sets `code`, `body` and `date` from the answer.
fetch() {
    answer=$(ask "$@" 2> /dev/null | tr -d '\r')
    code=$(printf '%s\n' "$answer" | sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p')
    date=$(printf '%s\n' "$answer" | sed -n 's/^[Dd]ate: *//p;/^$/q')
    body=$(printf '%s\n' "$answer" | sed '1,/^$/d')
}

# Sets `left` to the seconds that a tag's time is away, or to `-` if there is no such tag.
# Fails, with the reason in `blind`, if that cannot be known.
read_tag() {
    fetch GET "meta-data/tags/instance/$1" "X-aws-ec2-metadata-token: $token"
    case $code in
        200) ;;
        404) left=- && return 0 ;;
        *) blind="the tag $1 cannot be read: HTTP ${code:-without an answer}" && return 1 ;;
    esac
    if ! end=$(epoch "$body"); then
        blind="the tag $1 is no time" && return 1
    fi
    if now=$(epoch_of_header "$date"); then clock=imds; else now=$(date +%s) clock=own; fi
    left=$((end - now))
}

# A Xen instance sees a changed tag only after a stop and a start: its lease says nothing.
is_xen() {
    [ "$(cat "$hypervisor" 2> /dev/null || sysctl -n kern.vm_guest 2> /dev/null)" = xen ]
}

# Sets `lease` and `deadline`, the seconds that are left of each. Fails as `read_tag` does, and then
# leaves both as they were.
read_tags() {
    fetch PUT api/token 'X-aws-ec2-metadata-token-ttl-seconds: 60'
    token=$body
    if [ "$code" != 200 ] || [ -z "$token" ]; then
        blind="the metadata service does not answer: HTTP ${code:-without an answer}" && return 1
    fi
    read_tag latent:deadline || return 1
    deadline_read=$left
    read_tag latent:lease || return 1
    lease=$left deadline=$deadline_read
    if is_xen; then
        lease=-
        complaint=xen
        what='a Xen instance sees no renewal of its lease: only the deadline is watched'
    elif [ "$lease" = - ] || [ "$deadline" = - ]; then
        complaint=missing
        what="SET-UP ERROR: no latent:lease or latent:deadline in the instance's metadata (are tags allowed there?)"
        what="$what: without a deadline it is powered off $max_lifetime s after its boot"
    fi
}

# What earlier looks left: the uptime at which the tags were read last and the seconds that were left
# of both, the uptime since which they cannot be read, that of the power-off, that of the last look, that at
# which the guest awoke, the time of the service at the last look, and the last complaint.
# What is from an earlier boot, or is no number, is forgotten.
recall() {
    seen=- lease=- deadline=- blind_since=- ordered=- looked=- woke=0 at=- last_complaint=- fit=yes
    [ -r "$state" ] || return 0
    read -r seen lease deadline blind_since ordered looked woke at last_complaint < "$state" || :
    for each in "$seen" "$lease" "$deadline" "$blind_since" "$ordered" "$looked" "$woke" "$at"; do
        case $each in
            -) ;;
            '' | [!0-9-]* | ?*[!0-9]*) fit=no ;;
        esac
    done
    for each in "$seen" "$blind_since" "$ordered" "$looked" "$woke"; do
        [ "$fit" = no ] || [ "$each" = - ] || [ "$each" -le "$up" ] || fit=no
    done
    [ "$seen$lease$deadline" = --- ] || [ "$seen" != - ] || fit=no
    [ "$woke" != - ] || fit=no
    [ "$fit" = yes ] || seen=- lease=- deadline=- blind_since=- ordered=- looked=- woke=0 at=- last_complaint=-
}

# A hibernated guest goes on where it was, and meets its old lease as one that was just started does. $1 is
# how long nobody has looked.
wake() {
    [ "$1" -ge "$boot_grace" ] || return 0
    woke=$up blind_since=- before=- lease=-
}

remember() {
    mkdir -p "${state%/*}" && echo "$seen $lease $deadline $blind_since $ordered $up $woke $at $complaint" > "$state.new" &&
        mv -f "$state.new" "$state"
}

# Whether something of which $1 seconds were left when the tags were read last is over; sets `since`.
over() {
    [ "$1" != - ] && since=$((up - seen - $1)) && [ "$since" -ge 0 ]
}

# Prints the reason to power off, if there is one. $1 is the lease that the look before this one saw.
verdict() {
    vouched=no
    [ "$1" = - ] || [ "$1" -le 0 ] || vouched=yes
    if over "$deadline" && { [ "$clock" = imds ] || [ "$up" -ge "$boot_grace" ]; }; then
        echo "the deadline passed $since s ago"
    elif over "$lease" && { [ "$vouched" = yes ] || [ $((up - woke)) -ge "$boot_grace" ]; }; then
        echo "the lease ended $since s ago, and the controller has not renewed it"
    elif [ "$blind_since" != - ] && [ $((up - blind_since)) -ge "$grace" ]; then
        echo "for $((up - blind_since)) s $blind"
    elif { [ "$deadline" = - ] || [ "$clock" != imds ]; } && [ "$up" -ge "$max_lifetime" ]; then
        echo "it runs for $up s, and no deadline can be relied on"
    fi
}

order() {
    if [ -n "$power_off" ]; then
        "$power_off" order
    elif [ "$(uname -s)" = FreeBSD ]; then
        shutdown -p now
    else
        systemctl --no-block poweroff 2> /dev/null || shutdown -P now 2> /dev/null || poweroff
    fi
}

force() {
    if [ -n "$power_off" ]; then
        "$power_off" force
    elif [ "$(uname -s)" = FreeBSD ]; then
        halt -p -q
    else
        sync &
        sleep 5
        systemctl poweroff --force --force 2> /dev/null || poweroff -f
    fi
}

# A spot instance is given two minutes. The worker leaves when the time of this file changes: it ends what
# it runs, and takes nothing new. Once is enough.
leave() {
    told=${state%.state}.leaving
    [ ! -e "$told" ] || return 0
    base=$(sed q "$basedir" 2> /dev/null)
    stamp=$base/shutdown.stamp what="EC2 takes this spot instance back: $body"
    # A link could make the superuser write elsewhere.
    if [ -n "$base" ] && [ ! -L "$stamp" ] && touch "$stamp" 2> /dev/null; then
        what="$what; the worker in $base is asked to leave"
    fi
    say "$what"
    : > "$told"
}

# Until the next look a spot instance asks every few seconds.
watch_spot() {
    fetch GET meta-data/instance-life-cycle "X-aws-ec2-metadata-token: $token"
    [ "$code$body" = 200spot ] || return 0
    while :; do
        fetch GET meta-data/spot/instance-action "X-aws-ec2-metadata-token: $token"
        [ "$code" != 200 ] || leave
        beats=$((beats - 1))
        [ "$code" != 200 ] && [ "$beats" -gt 0 ] || return 0
        sleep "$beat"
    done
}

look() {
    up=$(uptime_s)
    recall
    if [ "$ordered" != - ]; then
        [ $((up - ordered)) -ge "$force_after" ] || return 0
        say "still running $((up - ordered)) s after the power-off: forced"
        force
        return 0
    fi
    choose_client
    before=$lease blind='' complaint=- what='' clock=imds now=-
    [ "$looked" = - ] || wake $((up - looked))
    if read_tags; then
        seen=$up blind_since=-
    else
        # What was read last still counts down.
        [ "$blind_since" != - ] || blind_since=$up
        complaint=blind
        what="$blind; powered off if that lasts for $grace s"
    fi
    # Not every uptime tells that the guest slept, and it may have done so in this look.
    if [ "$now" != - ] && [ "$clock" = imds ]; then
        [ "$at" = - ] || wake $((now - at))
        at=$now
    fi
    [ "$complaint" = "$last_complaint" ] || [ -z "$what" ] || say "$what"
    why=$(verdict "$before")
    [ -z "$why" ] || ordered=$up
    # Without a memory nobody knows since when it is so: since the boot, then.
    if ! remember 2> /dev/null && [ -n "$blind" ] && [ -z "$why" ] && [ "$up" -ge "$grace" ]; then
        why="$blind, and nothing can be remembered in ${state%/*}"
    fi
    if [ -n "$why" ]; then
        say "powering off: $why"
        order
    elif [ -z "$blind" ]; then
        watch_spot 2> /dev/null
    fi
}

look
