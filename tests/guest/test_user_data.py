"""The lease watch in user data, as a guest gets it from a launch of the real controller: each platform's
form, beside each form of the owner's own."""

from __future__ import annotations

import contextlib
import email
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest
from account import Account
from master_process import end_process, wait_for
from sim_control import Imds
from sim_server import SimServer
from test_install import files, mistakes, read_settings
from user_data import parts

PASSWORD = "it's $(hush) \u00fc"
MAIN = """\
[fleet]
name = "user-data"
controller = "user-data-main"
master = "127.0.0.1:9989"
[polling]
fast = "200ms"
slow = "1s"
[policy]
max_lifetime = "8h"
[owner.alice]
account = "{account}"
credentials = {{ environment = true }}
endpoint = "{endpoint}"
"""
WORKER = '[worker.{name}]\nimage = "{name}"\npassword = {{ env = "GUEST_PASSWORD" }}\n'
IMAGE = 'owner = "alice"\nregion = "us-west-2"\nami = "{ami}"\ninstance_types = ["m5.large"]\n{more}'

SCRIPT = "#!/bin/sh\nP={{ password | sh }}\n"
NESTED = (
    'Content-Type: multipart/mixed; boundary="own"\nMIME-Version: 1.0\n\n'
    "--own\nContent-Type: text/cloud-config\n\n#cloud-config\npackages: [git]\n"
    "--own\nContent-Type: text/x-shellscript\n\n#!/bin/sh\ntrue\n--own--\n"
)
# A template of a template: the first reader is ours.
JINJA = ("{{ '{{ v1.local_hostname }}' }}", "{{ v1.local_hostname }}")
# The owner's own by worker, with what the manifest says beside it.
OWN: dict[str, tuple[str, Optional[str]]] = {
    "alone": ("", None),
    "script": ("", SCRIPT),
    "config": ("", "#cloud-config\nruncmd:\n  - [echo, '{{ worker }}']\n"),
    "jinja": ("", f"## template: jinja\n#cloud-config\nhostname: {JINJA[0]}\n"),
    "nested": ("", NESTED),
    "freebsd": ('platform = "freebsd"\n', "#!/bin/sh\necho \"own $0\"\ncat <<'END'\n{{ worker }}\nEND\nexit 7\n"),
    "windows": (
        'platform = "windows"\n',
        "<powershell>\nStart-Service buildbot\n</powershell>\n<persist>true</persist>\n",
    ),
    "bare-windows": ('platform = "windows"\n', None),
    "baked": ('lease_watch = "baked"\n', SCRIPT),
    "none": ('lease_watch = "none"\n', None),
}


class Launched:
    """A controller with one worker for each row of `OWN`, each launched once."""

    def __init__(self, binary: str, account: Account, folder: Path) -> None:
        self.account = account
        (folder / "amis").mkdir()
        main = MAIN.format(account=account.id, endpoint=account.endpoint)
        for name, (more, template) in OWN.items():
            if template is not None:
                (folder / "amis" / f"{name}.txt").write_text(template)
                more += f'user_data = "{name}.txt"\n'
            ami = account.register(name)
            (folder / "amis" / f"{name}.toml").write_text(IMAGE.format(ami=ami, more=more))
            main += WORKER.format(name=name)
        (folder / "latent.toml").write_text(main)
        self._command = [binary, "--config", str(folder / "latent.toml")]
        self._environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": account.key,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "GUEST_PASSWORD": PASSWORD,
        }
        self.log = folder / "controller.log"
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.instances: dict[str, str] = {}

    def latent(self, *args: str) -> str:
        """What the command line prints."""
        command = [*self._command, *args]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Launches all of them."""
        assert "ok:" in self.latent("check", "--secrets")
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen([*self._command, "serve"], env=self._environment, stderr=log)
        wait_for("the controller", self._answers)
        for name in OWN:
            self.latent("start", name)
        wait_for("every instance to run", self._all_run, 60)

    def stop(self) -> None:
        """Ends the controller."""
        end_process(self._process, 9)

    def _answers(self) -> bool:
        with contextlib.suppress(AssertionError):
            self.latent("status")
            return True
        return False

    def _all_run(self) -> bool:
        truth = [one for one in self.account.control.instances() if one["account"] == self.account.id]
        self.instances = {one["tags"]["latent:worker"]: one["id"] for one in truth if one["state"] == "running"}
        return set(self.instances) == set(OWN)

    def view(self, name: str) -> dict[str, Any]:
        """A worker as the controller shows it."""
        workers = json.loads(self.latent("status", "--json"))["workers"]
        return next(dict(worker) for worker in workers if worker["worker"] == name)

    def user_data(self, name: str) -> str:
        """What its guest gets."""
        return Imds(self.account.endpoint, self.instances[name]).get("user-data") or ""


@pytest.fixture(scope="module")
def launched(binary: str, server: SimServer) -> Iterator[Launched]:
    """All of them."""
    # A short path: a Unix socket's has 103 bytes at most.
    with tempfile.TemporaryDirectory(prefix="latent-") as folder:
        fleet = Launched(binary, Account(server.endpoint, 210000000002), Path(folder))
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()


def boothook(text: str) -> str:
    """The watch's part."""
    (hook,) = [part.text for part in parts(text) if part.name == "latent-lease-watch"]
    return hook


def rendered(name: str) -> str:
    """What the owner's template comes to; the last line's end is not kept."""
    own = (OWN[name][1] or "").replace("{{ worker }}", name).replace(*JINJA)
    # As the filter `sh` quotes it.
    return own.replace("{{ password | sh }}", "\"it's \"'$(hush) \u00fc'").removesuffix("\n")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("script", "text/x-shellscript"), ("config", "text/cloud-config"), ("jinja", "text/jinja2")],
)
def test_the_owners_text_stands_beside_the_watch_unchanged(launched: Launched, name: str, kind: str) -> None:
    found = {part.kind: part.text for part in parts(launched.user_data(name))}
    assert set(found) == {"text/cloud-boothook", kind}
    assert found[kind] == rendered(name)
    if name == "script":
        assert shlex.split(found[kind].splitlines()[1]) == [f"P={PASSWORD}"]


def test_a_message_stands_in_the_message(launched: Launched) -> None:
    message = email.message_from_string(launched.user_data("nested"))
    assert message.is_multipart() and not message.defects
    assert [part.kind for part in parts(launched.user_data("nested"))] == [
        "text/cloud-boothook",
        "text/cloud-config",
        "text/x-shellscript",
    ]


def test_nothing_of_it_but_user_data_holds_the_password(launched: Launched) -> None:
    assert "hush" in boothook_and_all(launched, "script") and "hush" not in launched.log.read_text()
    assert "hush" not in launched.latent("status", "--json")


def boothook_and_all(launched: Launched, name: str) -> str:
    """Every part, decoded."""
    return "".join(part.text for part in parts(launched.user_data(name)))


@pytest.mark.parametrize("name", ["alone", "script", "nested"])
def test_the_boot_hook_installs_the_watch(launched: Launched, name: str, shell: list[str], tmp_path: Path) -> None:
    text = launched.user_data(name)
    hook = text.removeprefix("#cloud-boothook\n") if name == "alone" else boothook(text)
    assert hook.startswith("#!/bin/sh\n")
    script = tmp_path / "hook"
    script.write_text(hook)
    root = tmp_path / "root"
    environment = {"PATH": os.environ["PATH"], "DESTDIR": str(root), "LATENT_SYSTEM": "systemd"}
    subprocess.run([*shell, str(script)], env=environment, check=True, timeout=30)
    assert set(files(root)) == {
        "run/latent/lease-watch",
        "run/latent/lease-watch.conf",
        "run/systemd/system/latent-lease-watch.service",
        "run/systemd/system/latent-lease-watch.timer",
    }
    assert read_settings(root / "run/latent/lease-watch.conf") == f"{8 * 3600} /run/latent"
    subprocess.run([*shell, "-n", str(root / "run/latent/lease-watch")], check=True, timeout=30)


def test_on_freebsd_the_owners_script_follows_and_its_status_is_kept(
    launched: Launched, shell: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text(launched.user_data("freebsd"))
    root = tmp_path / "root"
    environment = {"PATH": os.environ["PATH"], "DESTDIR": str(root), "LATENT_SYSTEM": "freebsd"}
    done = subprocess.run([*shell, str(script)], env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (7, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("own /var/tmp/") and second == "freebsd"
    assert not Path(first.removeprefix("own ")).exists(), "its text is not left behind"
    assert "etc/cron.d/latent-lease-watch" in files(root)


@pytest.mark.parametrize("name", ["windows", "bare-windows"])
def test_on_windows_it_is_powershell_that_can_be_parsed(launched: Launched, name: str) -> None:
    text = launched.user_data(name)
    assert text.count("<powershell>") == text.count("</powershell>") == 1
    block = text.partition("<powershell>")[2].partition("</powershell>")[0]
    assert mistakes(block) == []
    assert "Register-ScheduledTask" in block and f"-MaxLifetime {8 * 3600}" in block
    script = block.partition("@'\n")[2].partition("\n'@")[0]
    assert mistakes(script) == [] and "shutdown.exe /s" in script
    if name == "windows":
        assert block.endswith("\nStart-Service buildbot\n")
        assert text.endswith("</powershell>\n<persist>true</persist>")


def test_where_it_is_baked_or_unwanted_the_user_data_is_the_owners_alone(launched: Launched) -> None:
    assert launched.user_data("baked") == rendered("baked")
    assert launched.user_data("none") == ""


def test_each_instance_says_what_it_was_launched_with(launched: Launched) -> None:
    truth = {
        one["id"]: one["tags"]["latent:watch"]
        for one in launched.account.control.instances()
        if "latent:watch" in one["tags"]
    }
    told = {name: truth[instance] for name, instance in launched.instances.items()}
    assert told.pop("baked") == "baked" and told.pop("none") == "none"
    assert set(told.values()) == {"user-data"}


def test_explain_prints_the_bound(launched: Launched) -> None:
    told = "Worst case unattended: 46m, $0.07 (list price, without disks), then its guest powers it off"
    assert told in launched.latent("explain", "alone")
    assert "Worst case unattended: until the next sweep" in launched.latent("explain", "none")
    bound = launched.view("baked")["unattended"]
    assert (bound["layer"], bound["seconds"], bound["stops"]) == ("lease", 46 * 60, False)
