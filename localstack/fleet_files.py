"""The files of the demonstration fleet: latent.toml, two image manifests, and a Buildbot master."""

from __future__ import annotations

from typing import Any

LATENT_TOML = """\
[fleet]
name = "demo"
controller = "demo-master"
master = "127.0.0.1:{port}"

[polling]
{polling}

[policy]
{policy}

[owner.alice]
account = "{account}"
credentials = {{ environment = true }}
endpoint = "{endpoint}"

[worker.baked]
image = "baked"

[worker.injected]
image = "injected"
password = {{ env = "INJECTED_PASSWORD" }}
"""

IMAGE = """\
owner = "alice"
region = "{region}"
ami = "{ami}"
instance_types = ["m5.large", "t3.large"]
subnets = [{{ id = "{subnet}", zone = "{zone}" }}]
security_groups = ["{group}"]
"""

# What an owner's stock AMI would run at its first boot; the boot agent reads the assignments.
USER_DATA = """\
#!/bin/sh
WORKER_NAME={{ worker | sh }}
WORKER_PASSWORD={{ password | sh }}
WORKER_MASTER={{ master | sh }}
export WORKER_NAME WORKER_PASSWORD WORKER_MASTER
exec /usr/local/sbin/start-buildbot-worker
"""

MASTER_CFG = """\
from buildbot.plugins import schedulers, steps, util, worker

c = BuildmasterConfig = {}
c["title"] = "latent demo"
c["buildbotURL"] = "http://127.0.0.1:@WWW@/"
c["db_url"] = "sqlite:///state.sqlite"
c["buildbotNetUsageData"] = None
c["protocols"] = {"pb": {"port": "tcp:@PB@:interface=127.0.0.1"}}
c["www"] = {"port": "tcp:@WWW@:interface=127.0.0.1"}

c["workers"] = [
    worker.LatentEC2Worker("baked", "baked-password"@OPTIONS@),
    worker.LatentEC2Worker("injected", "@PASSWORD@"@OPTIONS@),
]

length = util.Interpolate("sleep %(prop:seconds:-0)s; echo built on %(prop:workername)s")
factory = util.BuildFactory([steps.ShellCommand(command=["/bin/sh", "-c", length], name="build")])
c["builders"] = [
    util.BuilderConfig(name=name, workernames=[name], factory=factory) for name in ("baked", "injected")
]
c["schedulers"] = [
    schedulers.ForceScheduler(
        name="force-" + name,
        builderNames=[name],
        properties=[util.StringParameter(name="seconds", default="0")],
    )
    for name in ("baked", "injected")
]
@EXTRA@
"""


def fleet_files(
    seeded: dict[str, Any], endpoint: str, port: int, policy: dict[str, str], polling: dict[str, str]
) -> dict[str, str]:
    """The text of each file by its name."""
    subnet = seeded["subnets"][0]

    def image(name: str) -> str:
        return IMAGE.format(
            region=seeded["region"],
            ami=seeded["amis"][name],
            subnet=subnet["id"],
            zone=subnet["zone"],
            group=seeded["security_group"],
        )

    return {
        "latent.toml": LATENT_TOML.format(
            port=port,
            account=seeded["account"],
            endpoint=endpoint,
            policy=_lines(policy),
            polling=_lines(polling),
        ),
        "amis/baked.toml": image("baked") + 'identity = "baked"\n',
        "amis/injected.toml": image("injected") + 'identity = "injected"\nuser_data = "injected.sh"\n',
        "amis/injected.sh": USER_DATA,
    }


def _lines(values: dict[str, str]) -> str:
    return "\n".join(f'{key} = "{value}"' for key, value in values.items())
