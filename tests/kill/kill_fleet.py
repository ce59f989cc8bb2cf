"""The fleet of the kill matrix: workers in two regions, two kinds of identity, two markets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from aws_client import CALL_ERRORS
from seed import seed

REGIONS = ("us-west-2", "us-east-1")
IMAGES = ("baked", "injected", "spot")
WORKERS = 9
SEED_TRIES = 100
# Some answers never come in bad weather.
PATIENCE_S = 4.0

MAIN = """\
[fleet]
name = "kill"
controller = "kill-main"
master = "127.0.0.1:9989"

[polling]
fast = "300ms"
slow = "2s"

[policy]
idle_timeout = "10s"
launch_deadline = "20s"
connect_deadline = "20s"
stop_deadline = "5s"
drain_deadline = "20s"
max_lifetime = "1h"
master_silence = "20s"
lease = "5m"
retry_pause = "1s"
retry_pause_max = "2s"
offering_memory = "2s"
offering_memory_max = "4s"
absence_grace = "{absence}s"
orphan_grace = "2s"

[owner.alice]
account = "{account}"
credentials = {{ environment = true }}
endpoint = "{endpoint}"
"""

WORKER = """
[worker.{name}]
image = "{name}"
{password}"""

IMAGE = """\
owner = "alice"
region = "{region}"
ami = "{ami}"
instance_types = ["m5.large", "t3.large"]
subnets = [{subnets}]
security_groups = ["{group}"]
{more}"""

MORE = {
    "baked": 'identity = "baked"\n',
    "injected": 'identity = "injected"\nuser_data = "injected.sh"\n',
    "spot": 'identity = "baked"\nmarket = ["spot", "on-demand"]\n',
}
USER_DATA = """\
#!/bin/sh
WORKER_NAME={{ worker | sh }}
WORKER_PASSWORD={{ password | sh }}
WORKER_MASTER={{ master | sh }}
"""


def workers() -> list[str]:
    """Their names."""
    return [f"w{number}" for number in range(WORKERS)]


def write_fleet(folder: Path, endpoint: str, absence_s: float) -> Path:
    """Makes what the fleet needs at EC2, and its files; the path of latent.toml."""
    seeded = {region: seed_in_any_weather(endpoint, region) for region in REGIONS}
    images = folder / "amis"
    images.mkdir(parents=True)
    (images / "injected.sh").write_text(USER_DATA)
    account = seeded[REGIONS[0]]["account"]
    text = MAIN.format(account=account, endpoint=endpoint, absence=round(absence_s))
    for number, name in enumerate(workers()):
        kind, region = IMAGES[number % len(IMAGES)], REGIONS[number % len(REGIONS)]
        # Of its own, because a baked identity is one worker's.
        (images / f"{name}.toml").write_text(_image(kind, seeded[region]))
        password = 'password = { env = "KILL_PASSWORD" }\n' if kind == "injected" else ""
        text += WORKER.format(name=name, password=password)
    config = folder / "latent.toml"
    config.write_text(text)
    return config


def _image(image: str, there: dict[str, Any]) -> str:
    places = ", ".join(f'{{ id = "{one["id"]}", zone = "{one["zone"]}" }}' for one in there["subnets"][:2])
    return IMAGE.format(
        region=there["region"],
        ami=there["amis"][image],
        subnets=places,
        group=there["security_group"],
        more=MORE[image],
    )


def seed_in_any_weather(endpoint: str, region: str) -> dict[str, Any]:
    """The weather meets these calls too; what is there already is kept."""
    for attempt in range(SEED_TRIES):
        try:
            return seed(endpoint, region, list(IMAGES), PATIENCE_S)
        except CALL_ERRORS as error:
            if attempt == SEED_TRIES - 1:
                raise RuntimeError(f"the account cannot be prepared: {error}") from error
            time.sleep(0.1)
    raise AssertionError("not reached")
