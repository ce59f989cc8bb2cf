#!/bin/sh
# Sets up a Buildbot worker on a stock AMI, as a step of a rebake from a newer base (README.md). There is
# no name and no password in it: each launch brings them in its user data (../worker-base.sh), into
# /etc/latent/worker.conf, which the worker reads when it starts.
# shellcheck disable=SC2154 # The driver sets r, d and recipe.

# May be run again from its beginning.
setup_worker() {
    # shellcheck disable=SC2046 # Split on purpose.
    "${recipe}_install" $("${recipe}_needs") || return
    home=/home/buildbot
    if ! id buildbot > /dev/null 2>&1; then
        if freebsd; then
            run pw useradd buildbot -m -d "$home" -s /bin/sh || return
        else
            run useradd --create-home --home-dir "$home" --shell /bin/sh buildbot || return
        fi
    fi
    [ -x "$r$home/venv/bin/pip" ] || run python3 -m venv "$r$home/venv" || return
    try "$r$home/venv/bin/pip" install --disable-pip-version-check --no-cache-dir --upgrade \
        "buildbot-worker${LATENT_WORKER_VERSION:+>=$LATENT_WORKER_VERSION}" || return
    mkdir -p "$r$home/worker/info" "$r/etc/latent" || return
    setup_tac > "$r$home/worker/buildbot.tac" || return
    echo "$home/worker" > "$r/etc/latent/worker-basedir"
    if [ -s "$d/identity.sh" ]; then
        mkdir -p "$r/usr/local/lib/latent"
        cp "$d/identity.sh" "$r/usr/local/lib/latent/identity.sh" || return
    fi
    run chown -R buildbot "$r$home" || return
    if freebsd; then setup_rc; else setup_unit; fi
}

# What `buildbot-worker create-worker` writes, but for who it is.
setup_tac() {
    cat << 'END-OF-TAC'
import os, shlex
from buildbot_worker.bot import Worker
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver
from twisted.python.logfile import LogFile
basedir = os.path.abspath(os.path.dirname(__file__))
application = service.Application("buildbot-worker")
logfile = LogFile.fromFullPath(os.path.join(basedir, "twistd.log"), rotateLength=10000000, maxRotatedFiles=10)
application.setComponent(ILogObserver, FileLogObserver(logfile).emit)
conf = dict(line.split("=", 1) for line in open("/etc/latent/worker.conf") if "=" in line)
conf = {key: "".join(shlex.split(value)) for key, value in conf.items()}
host, port = conf["LATENT_MASTER"].rsplit(":", 1)
worker = Worker(host, int(port), conf["LATENT_WORKER"], conf["LATENT_PASSWORD"], basedir, 60, umask=None, maxdelay=60, allow_shutdown="file")
worker.setServiceParent(application)
END-OF-TAC
}

# It waits for its name: until the user data has written that, it begins again each five seconds.
setup_unit() {
    mkdir -p "$r/etc/systemd/system"
    cat > "$r/etc/systemd/system/buildbot-worker.service" << 'END-OF-UNIT'
[Unit]
Description=Buildbot worker
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
[Service]
User=buildbot
WorkingDirectory=/home/buildbot/worker
ExecStartPre=/bin/sh -c 'test -s /etc/latent/worker.conf'
ExecStartPre=-/bin/rm -f /home/buildbot/worker/twistd.pid
ExecStartPre=-/bin/sh /usr/local/lib/latent/identity.sh /home/buildbot/worker/info
ExecStart=/home/buildbot/venv/bin/twistd --nodaemon --pidfile= --python=buildbot.tac
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
END-OF-UNIT
    if systemd; then
        run systemctl daemon-reload
        run systemctl enable buildbot-worker.service
    fi
}

# daemon(8) begins it again each five seconds.
setup_rc() {
    mkdir -p "$r/usr/local/etc/rc.d"
    rc=$r/usr/local/etc/rc.d/buildbot_worker
    printf '%s\n' '#!/bin/sh' '# PROVIDE: buildbot_worker' '# REQUIRE: LOGIN NETWORKING' '# KEYWORD: shutdown' > "$rc"
    cat >> "$rc" << 'END-OF-RC'
. /etc/rc.subr
name=buildbot_worker
rcvar=buildbot_worker_enable
pidfile=/var/run/buildbot_worker.pid
command=/usr/sbin/daemon
command_args="-P $pidfile -R 5 -u buildbot /bin/sh -c 'cd /home/buildbot/worker && test -s /etc/latent/worker.conf && rm -f twistd.pid && { sh /usr/local/lib/latent/identity.sh info; exec ../venv/bin/twistd --nodaemon --pidfile= --python=buildbot.tac; }'"
load_rc_config $name
: ${buildbot_worker_enable:=YES}
run_rc_command "$1"
END-OF-RC
    chmod 755 "$rc"
}
