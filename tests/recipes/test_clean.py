"""What is in the image in the end, and what is not."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from machine import RECIPES, Rebake

Make = Callable[..., Rebake]
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
PYTHON = """#!/bin/sh
# Answers as the Python of a virtualenv with buildbot-worker.
here=$(dirname "$0")
case "$*" in
    *'print(buildbot_worker.version)') cat "$here/version" ;;
    *'-m pip install'*)
        echo "pip $*" >> "$LATENT_ROOT/shim/calls"
        [ -e "$here/newer" ] && mv "$here/newer" "$here/version" || { echo "no such version" && exit 1; }
        ;;
    *) exec python3 "$@" ;;
esac
"""


def there(one: Rebake, path: str) -> bool:
    """Whether it is on the disk."""
    return (one.box.root / path).exists()


def venv(one: Rebake, version: str, newer: str = "", cfg: bool = True) -> None:
    """The worker's."""
    one.box.put("home/me/venv/bin/buildbot-worker", "#!/bin/sh\n", 0o755)
    one.box.put("home/me/venv/bin/python", PYTHON, 0o755)
    one.box.put("home/me/venv/bin/version", f"{version}\n")
    if newer:
        one.box.put("home/me/venv/bin/newer", f"{newer}\n")
    if cfg:
        one.box.put("home/me/venv/pyvenv.cfg", "home = /usr/bin\n")


def test_of_the_worker_nothing_stays_that_is_of_this_instance(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell)
    one.box.put("home/master/m/buildbot.tac", "from buildbot.master import BuildMaster\n")
    one.box.put("home/master/m/twistd.pid", "1\n")
    one.box.put("etc/latent/worker.conf", "LATENT_WORKER=x\n")
    one.run()
    worker = "home/me/worker"
    assert sorted(os.listdir(one.box.root / worker)) == ["buildbot.tac", "info"]
    assert os.listdir(one.box.root / worker / "info") == ["admin"]
    assert there(one, "home/master/m/twistd.pid"), "a master is none of ours"
    assert not there(one, "etc/latent/worker.conf")


def test_identity_is_cleaned_where_cloud_init_makes_it_again(rebake: Make) -> None:
    one = rebake()
    one.box.put("var/lib/systemd/random-seed", "seed")
    one.box.put("var/lib/dbus/machine-id", "0123\n")
    one.run()
    assert not there(one, HOST_KEY) and there(one, "etc/ssh/sshd_config")
    # Empty, not gone: systemd would take it for a first boot, and put every service to its preset.
    assert (one.box.root / "etc/machine-id").read_text() == ""
    assert not there(one, "var/lib/systemd/random-seed") and not there(one, "var/lib/dbus/machine-id")
    assert "cloud-init clean --logs" in one.box.calls and "apt-get clean" in " ".join(one.box.calls).replace(
        "-q -y -o APT", ""
    )


@pytest.mark.parametrize(
    "change",
    [
        {"etc/cloud/cloud.cfg.d/99.cfg": "manual_cache_clean: true\n"},
        {"etc/cloud/cloud.cfg": "cloud_init_modules:\n - migrator\n"},
        {"etc/cloud/cloud-init.disabled": ""},
    ],
    ids=["kept cache", "no ssh module", "disabled"],
)
def test_host_keys_stay_where_nobody_would_make_others(rebake: Make, change: dict[str, str]) -> None:
    one = rebake()
    for path, text in change.items():
        one.box.put(path, text)
    one.run()
    assert there(one, HOST_KEY) and "ssh host keys stay" in one.notes


def test_paths_of_the_manifest_are_emptied_but_never_through_a_link(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell, clean="/srv/my builds\n/srv/link\n/srv/file.log\n/srv/not there\n/etc\nhome/me")
    for path in ("srv/my builds/a/b c", "srv/my builds/.hidden", "srv/elsewhere/kept", "srv/file.log"):
        one.box.put(path, "something\n")
    (one.box.root / "srv/link").symlink_to(one.box.root / "srv/elsewhere")
    (one.box.root / "srv/my builds/out").symlink_to(one.box.root / "srv/elsewhere")
    one.run()
    assert os.listdir(one.box.root / "srv/my builds") == []
    assert (one.box.root / "srv/file.log").read_text() == ""
    assert there(one, "srv/elsewhere/kept") and "not emptied, it is a link" in one.notes
    assert there(one, "etc/ssh/sshd_config") and there(one, "home/me/worker/buildbot.tac"), "too short, not whole"


def test_a_service_starts_at_a_boot_and_past_a_stale_pid(rebake: Make) -> None:
    one = rebake()
    one.box.set("enabled", "disabled")
    one.run()
    assert (
        "systemctl enable my-worker.service" in one.box.calls and "my-worker.service was not enabled" in one.notes
    )
    drop_in = (one.box.root / "etc/systemd/system/my-worker.service.d/latent.conf").read_text()
    # The sandbox's folder is before the base directory on its disk only.
    assert drop_in == (
        '[Service]\nExecStartPre=-/bin/rm -f "/home/me/worker/twistd.pid"\nRestart=on-failure\nRestartSec=5\n'
    )
    assert "keepalive in /home/me/worker/buildbot.tac" in one.notes


def test_what_a_unit_says_already_is_left_to_it(rebake: Make) -> None:
    one = rebake()
    one.box.put(
        "etc/systemd/system/my-worker.service",
        "[Service]\nExecStart=/x/twistd --nodaemon --pidfile= --python=buildbot.tac\nRestart=always\n",
    )
    one.run()
    assert not there(one, "etc/systemd/system/my-worker.service.d")
    assert "my-worker.service is enabled for a boot" in one.notes


def test_the_worker_is_upgraded_in_its_virtualenv(rebake: Make, shell: list[str]) -> None:
    one = rebake(shell=shell, worker_version="4.10")
    venv(one, "4.9.2", newer="4.10.1")
    assert one.run()[-1].word == "done"
    (pip,) = [call for call in one.box.calls if call.startswith("pip ")]
    assert pip.endswith("--upgrade buildbot-worker>=4.10")
    assert "buildbot-worker 4.9.2: /home/me/venv/bin/buildbot-worker" in one.notes
    assert "buildbot-worker is 4.10.1 now" in one.notes


def test_a_worker_that_is_new_enough_is_left_alone(rebake: Make) -> None:
    one = rebake(worker_version="4.9")
    venv(one, "4.10")
    assert one.run()[-1].word == "done"
    assert not [call for call in one.box.calls if call.startswith("pip ")]


@pytest.mark.parametrize("cfg", [True, False], ids=["pip fails", "no virtualenv"])
def test_a_worker_that_stays_too_old_is_a_failure(rebake: Make, cfg: bool) -> None:
    one = rebake(worker_version="4.10")
    venv(one, "3.11", cfg=cfg)
    last = one.run()[-1]
    assert (last.word, last["step"]) == ("fail", "settle")
    assert last["why"].startswith("buildbot-worker is not made 4.10: ")
    assert ("no such version" if cfg else "it is in no virtualenv") in last["why"]


def test_a_worker_that_no_service_started_is_ended(rebake: Make) -> None:
    one = rebake()
    child = subprocess.Popen(["sleep", "1000"])
    try:
        one.box.put(f"proc/{child.pid}/cmdline", "/usr/bin/python3\0/x/bin/buildbot-worker\0start\0/x/worker\0")
        one.box.put("proc/1/cmdline", "/usr/bin/python3\0/x/bin/buildbot\0start\0/x/master\0")
        assert one.run()[-1].word == "done"
        assert child.wait(10) == -15
        assert "a worker that no service started is ended" in one.notes
    finally:
        child.kill()
        child.wait()


def test_a_system_that_is_not_well_is_told(rebake: Make) -> None:
    one = rebake()
    one.box.set("running", "degraded\n")
    one.box.set("fail", "2 cloud-init status\n")
    assert one.run()[-1].word == "done"
    assert "systemd says that the system is degraded" in one.notes
    assert "cloud-init: E: cloud-init status failed" in one.notes


@pytest.mark.parametrize("family", ["apt", "dnf", "freebsd"])
def test_a_worker_is_set_up_on_a_stock_system(rebake: Make, shell: list[str], family: str) -> None:
    one = rebake(family, shell, setup=1, worker_version="4.3")
    one.box.put("var/lib/latent-rebake/identity.sh", "# who am I\n")
    one.box.put("bin/python3", '#!/bin/sh\nmkdir -p "$3/bin"\ncp "$LATENT_ROOT/shim/pip" "$3/bin/pip"\n', 0o755)
    one.box.put("shim/pip", '#!/bin/sh\necho "pip $*" >> "$LATENT_ROOT/shim/calls"\n', 0o755)
    assert one.run()[-1].word == "done"
    calls = one.box.calls
    assert [call for call in calls if call.startswith("pip install") and call.endswith("buildbot-worker>=4.3")]
    assert there(one, "usr/local/lib/latent/identity.sh")
    tac = (one.box.root / "home/buildbot/worker/buildbot.tac").read_text()
    ast.parse(tac)
    if family == "freebsd":
        rc = (one.box.root / "usr/local/etc/rc.d/buildbot_worker").read_text()
        assert rc.startswith("#!/bin/sh\n# PROVIDE: buildbot_worker\n")
        assert "pw useradd buildbot -m -d /home/buildbot -s /bin/sh" in calls
    else:
        unit = (one.box.root / "etc/systemd/system/buildbot-worker.service").read_text()
        assert "Restart=always\n" in unit and "twistd.pid" in unit and "WantedBy=multi-user.target\n" in unit
        assert "systemctl enable buildbot-worker.service" in calls
        assert "held: unit buildbot-worker.service" in one.notes or there(one, "etc/systemd/system")
    # Who it is comes with each launch, and is in no image.
    assert not there(one, "etc/latent/worker.conf") and "PASSWORD" not in one.said


def test_the_worker_that_was_set_up_reads_who_it_is_when_it_starts(tmp_path: Path) -> None:
    """The real Buildbot worker, from the text that the set-up writes."""
    text = (RECIPES / "worker-setup.sh").read_text()
    tac = text.partition("<< 'END-OF-TAC'\n")[2].partition("END-OF-TAC\n")[0]
    conf = tmp_path / "worker.conf"
    conf.write_text("LATENT_WORKER=w1\nLATENT_PASSWORD=\"it's \"'$(hush) x'\nLATENT_MASTER='127.0.0.1:9989'\n")
    (tmp_path / "buildbot.tac").write_text(tac.replace("/etc/latent/worker.conf", str(conf)))
    script = (
        "import json, runpy, buildbot_worker.bot as bot\n"
        "class Told(bot.Worker):\n"
        "    def __init__(self, *args, **options):\n"
        "        print(json.dumps([args, options]))\n"
        "        super().__init__(*args, **options)\n"
        "bot.Worker = Told\n"
        "found = runpy.run_path('buildbot.tac')\n"
        "assert found['worker'].parent.name == 'buildbot-worker'\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    args, options = json.loads(done.stdout)
    assert args == ["127.0.0.1", 9989, "w1", "it's $(hush) x", str(tmp_path), 60]
    assert options["allow_shutdown"] == "file"


def test_waiting_has_no_part_in_a_quick_rebake(rebake: Make) -> None:
    begun = time.monotonic()
    rebake().run()
    assert time.monotonic() - begun < 60
