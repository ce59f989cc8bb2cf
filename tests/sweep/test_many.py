"""Every region of an account, and ten thousand instances: no more calls than pages and acts."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from account import REGION, TYPE
from leftovers import Swept, specs, tags, time_in

INSTANCES = 10_000
PAGE = 1000
SECONDS_AT_MOST = 60.0
GONE = 5


def regions(swept: Swept) -> list[str]:
    """Every region that is enabled."""
    return [one["RegionName"] for one in swept.ec2.describe_regions()["Regions"]]


def fill(swept: Swept, region: str, count: int) -> None:
    """So many instances in order, without tags on anything but themselves."""
    swept.control.quota(swept.id, region, count * 2 + 100)
    swept.client(region=region).run_instances(
        ImageId=swept.image_in(region),
        InstanceType=TYPE,
        MinCount=count,
        MaxCount=count,
        TagSpecifications=specs(tags(), "instance", "volume", "network-interface"),
    )


def test_ten_thousand_instances_in_every_region(swept: Swept) -> None:
    places = regions(swept)
    here = INSTANCES - (len(places) - 1) * (INSTANCES // len(places))
    counts = {place: here if place == REGION else INSTANCES // len(places) for place in places}
    assert swept.image
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda place: fill(swept, place, counts[place]), places))
    gone = swept.workers(GONE, lease=time_in(-60))
    before = swept.moment()
    began = time.monotonic()
    done = swept.sweep("--all-regions", "--apply", "--yes", "--json", exits=0)
    assert time.monotonic() - began < SECONDS_AT_MOST
    calls = Counter(swept.calls(before))
    assert done.plan()["seen"]["instances"] == INSTANCES + GONE
    assert {one["id"] for one in json.loads(done.stdout)["outcome"]["done"]} == set(gone)
    # Instances, volumes and interfaces have as many pages as there are thousands; the rest has one.
    full = sum(math.ceil((count + GONE) / PAGE) for count in counts.values())
    pages = 3 * full + 4 * len(places)
    acts = GONE
    assert sum(calls.values()) <= (pages + acts) * 1.1, calls
    assert calls["TerminateInstances"] == acts
