#!/bin/sh
# Writes into a worker's info/ on which instance it runs, for a policy that asks for more proof than the
# address (docs/SECURITY.md): the instance's id, and the identity document with EC2's signature.
#
#   sh identity.sh BASEDIR/info
#
# Run it at each boot, as the worker's user, before the worker starts: what is baked into an AMI is of
# another instance, and would keep this one out. The worker sends the files when it connects.
set -uf
umask 077
export LC_ALL=C

info=${1:-}
if [ -z "$info" ]; then
    echo "usage: identity.sh BASEDIR/info" >&2
    exit 2
fi
# At a boot the network may come up a little later: so many questions, a second apart.
tries=${LATENT_TRIES:-60}
# For tests only: the metadata service, the HTTP client.
imds=${LATENT_IMDS:-http://169.254.169.254}
client=${LATENT_CLIENT:-}

fail() {
    echo "latent-identity: $1" >&2
    exit 1
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

if [ -z "$client" ]; then
    if command -v curl > /dev/null 2>&1; then
        client=curl
    elif wget --help 2>&1 | grep -q -e --method; then
        client=wget
    fi
fi

# Sets `body` to a good answer. The document has no end of line, and none is added.
fetch() {
    answer=$(ask "$@" 2> /dev/null | tr -d '\r')
    code=$(printf '%s\n' "$answer" | sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p')
    body=$(printf '%s\n' "$answer" | sed '1,/^$/d')
    [ "$code" = 200 ]
}

mkdir -p "$info" || fail "$info cannot be made"
# What an earlier instance wrote must not be sent, whatever follows.
for name in instance-id identity-document identity-signature; do
    rm -f "$info/latent-$name" || fail "$info/latent-$name cannot be removed"
done

until fetch PUT api/token "X-aws-ec2-metadata-token-ttl-seconds: 300"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || fail "the metadata service gives no token: HTTP ${code:-without an answer}"
    sleep 1
done
token="X-aws-ec2-metadata-token: $body"

# Writes FILE with what is at PATH, whole or not at all.
keep() {
    fetch GET "$2" "$token" || fail "$2 cannot be read: HTTP ${code:-without an answer}"
    printf '%s' "$body" > "$info/.latent-new" || fail "$info cannot be written"
    mv "$info/.latent-new" "$info/latent-$1" || fail "$info/latent-$1 cannot be written"
}

keep instance-id meta-data/instance-id
keep identity-document dynamic/instance-identity/document
keep identity-signature dynamic/instance-identity/signature
