"""A sweep of every region of an account, looking only."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench_fleet import REGION, ROUND_TRIP_S, TYPE, VCPUS_EACH, ec2_client, ec2_server, register, scratch
from bench_rows import Measured
from bench_settings import Settings
from sim_control import SimControl

ACCOUNT = 300000000001
REGIONS = 17
PAGE = 1000
# Instances, volumes and interfaces have as many pages as there are thousands; four more listings have one each.
LARGE, SMALL = 3, 4
LIMIT_S = 600.0


def sweep_ours(settings: Settings) -> Measured:
    """Calls and time, beside what the pages alone would be."""
    with ec2_server(settings.door) as control, scratch() as folder:
        counts = _fill(control, settings.many)
        control.pace(round_trip_seconds=ROUND_TRIP_S)
        first = int(control.ask("GET", f"calls?after={2**62}")["count"])
        environment = {
            "HOME": str(folder),
            "PATH": os.environ.get("PATH", ""),
            "AWS_ENDPOINT_URL": control.endpoint,
            "AWS_ACCESS_KEY_ID": f"AKIA{ACCOUNT}TEST",
            "AWS_SECRET_ACCESS_KEY": "emulated",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
        }
        began = time.monotonic()
        done = subprocess.run(
            [settings.binary, "sweep", "--all-regions", "--json"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        took = time.monotonic() - began
        calls = control.calls(first)
        return _judged(done, calls, counts, took)


def _fill(control: SimControl, many: int) -> dict[str, int]:
    regions = [
        one["RegionName"] for one in ec2_client(control.endpoint, ACCOUNT, REGION).describe_regions()["Regions"]
    ]
    if len(regions) != REGIONS:
        raise RuntimeError(f"the door has {len(regions)} regions, and not {REGIONS}")
    share = many // len(regions)
    counts = dict.fromkeys(regions, share)
    counts[REGION] += many - share * len(regions)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda region: _fill_one(control, region, counts[region]), regions))
    return counts


def _fill_one(control: SimControl, region: str, count: int) -> None:
    control.quota(f"{ACCOUNT}", region, VCPUS_EACH * count + 100)
    ec2 = ec2_client(control.endpoint, ACCOUNT, region)
    ami = register(ec2, "sweep")
    tags = {"fleet": "bench", "controller": "bench-main", "owner": "alice", "worker": "w", "role": "worker"}
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 36_000))
    tags |= {"attempt": "1-1", "created": later, "lease": later, "deadline": later}
    pairs = [{"Key": f"latent:{key}", "Value": value} for key, value in tags.items()]
    specs: list[Any] = [
        {"ResourceType": kind, "Tags": pairs} for kind in ("instance", "volume", "network-interface")
    ]
    for at in range(0, count, PAGE):
        some = min(PAGE, count - at)
        ec2.run_instances(ImageId=ami, InstanceType=TYPE, MinCount=some, MaxCount=some, TagSpecifications=specs)


def _judged(
    done: subprocess.CompletedProcess[str], calls: list[dict[str, Any]], counts: dict[str, int], took: float
) -> Measured:
    if done.returncode not in (0, 3):
        raise RuntimeError(f"latent sweep ended with {done.returncode}: {done.stderr[-600:]}")
    seen = json.loads(done.stdout)["plan"]["seen"]["instances"]
    if seen != sum(counts.values()):
        raise RuntimeError(f"it saw {seen} instances of {sum(counts.values())}")
    pages = sum(LARGE * max(1, math.ceil(count / PAGE)) + SMALL for count in counts.values())
    times: dict[str, list[int]] = defaultdict(list)
    for call in calls:
        if call["action"].startswith("Describe") and call["action"] != "DescribeRegions":
            times[call["region"]] += [call["arrived_us"], call["answered_us"]]
    slowest = max(max(one) - min(one) for one in times.values()) / 1e6
    return {"n": seen, "calls": len(calls) / pages, "time": took / slowest, "seconds": took}
