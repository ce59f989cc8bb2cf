#!/bin/sh
# First boot of a stock Ubuntu: a Buildbot worker that finds out who it is. One launch call is for several workers
# (`batch_max` in the manifest), so this text is the same on all of their instances, and each takes the line of its
# launch index. The values are quoted by the `sh` filter. Every instance of the call can read what the others are told:
# use passwords that are good for these workers only.
set -eu
metadata=http://169.254.169.254/latest
token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token")
index=$(curl -fsS -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/ami-launch-index")
case "$index" in
{% for w in workers %}
{{ loop.index0 }})
    WORKER_NAME={{ w.worker | sh }}
    WORKER_PASSWORD={{ w.password | sh }}
    JOIN_SECRET={{ w.join_secret | sh }} ;;
{% endfor %}
*)
    echo "no worker has the launch index $index" >&2
    exit 1 ;;
esac
WORKER_MASTER={{ master | sh }}
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y python3-venv git build-essential
useradd --create-home --shell /bin/bash buildbot || true
python3 -m venv /home/buildbot/venv
/home/buildbot/venv/bin/pip install --quiet buildbot-worker
/home/buildbot/venv/bin/buildbot-worker create-worker --keepalive=60 \
    /home/buildbot/worker "$WORKER_MASTER" "$WORKER_NAME" "$WORKER_PASSWORD"
# The worker sends it when it connects: only this instance was told.
(umask 077 && printf %s "$JOIN_SECRET" > /home/buildbot/worker/info/latent-join-secret)
chown -R buildbot:buildbot /home/buildbot
cat > /etc/systemd/system/buildbot-worker.service <<'UNIT'
[Unit]
After=network-online.target
Wants=network-online.target
[Service]
User=buildbot
WorkingDirectory=/home/buildbot/worker
ExecStart=/home/buildbot/venv/bin/twistd --nodaemon --pidfile= --python=buildbot.tac
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now buildbot-worker.service
