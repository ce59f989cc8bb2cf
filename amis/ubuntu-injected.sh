#!/bin/sh
# First boot of a stock Ubuntu: a Buildbot worker that knows who it is. The values are quoted by the
# `sh` filter. User data can be read by every process on the instance and by whoever may describe it:
# use a password that is good for this one worker only.
set -eu
WORKER_NAME={{ worker | sh }}
WORKER_PASSWORD={{ password | sh }}
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
(umask 077 && printf %s {{ join_secret | sh }} > /home/buildbot/worker/info/latent-join-secret)
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
