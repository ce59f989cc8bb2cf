#!/bin/sh
# User data for an AMI whose worker a rebake set up from a stock AMI (recipes/worker-setup.sh): it says which
# worker this is. The values are quoted by the `sh` filter. User data can be read by every process on the
# instance and by whoever may describe it: use a password that is good for this one worker only.
set -eu
umask 077
conf=/etc/latent/worker.conf
mkdir -p /etc/latent
cat > $conf.new <<'END-OF-WORKER'
LATENT_WORKER={{ worker | sh }}
LATENT_PASSWORD={{ password | sh }}
LATENT_MASTER={{ master | sh }}
END-OF-WORKER
printf %s {{ join_secret | sh }} > /home/buildbot/worker/info/latent-join-secret
chown buildbot /home/buildbot/worker/info/latent-join-secret $conf.new
chmod 755 /etc/latent
# Whole, or not at all: the worker waits for it, and begins within five seconds.
mv -f $conf.new $conf
