"""What a latent worker costs its master: over Buildbot's bare class, ours and the old one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import master_load
from bench_fleet import ACCOUNT, REGION, ROUND_TRIP_S, TYPE, ec2_client, ec2_server, register, scratch
from bench_rows import Measured
from bench_settings import Settings
from sim_control import SimControl

OLD = (
    'worker.EC2LatentWorker(name, "secret", {type!r}, ami={ami!r}, keypair_name="bench", security_name="bench", '
    "region={region!r})"
)


def master_ours(settings: Settings) -> Measured:
    """Beside a stub of the controller, so that the plugin alone is measured."""
    with scratch() as folder:
        bench = master_load.Bench(folder, settings.workers)
        _make_template(bench)
        return _difference(bench, settings.workers, master_load.LATENT)


def master_old(settings: Settings) -> Measured:
    """On the door, whose answers its constructor waits for."""
    with ec2_server(settings.door) as control, scratch() as folder, _environment(control):
        ami = register(ec2_client(control.endpoint, ACCOUNT, REGION), "bench")
        control.pace(round_trip_seconds=ROUND_TRIP_S)
        bench = master_load.Bench(folder, settings.old_workers)
        _make_template(bench)
        # What a worker's line has in braces is filled in a second time.
        return _difference(bench, settings.old_workers, OLD.format(type=TYPE, ami=ami, region=REGION))


def _make_template(bench: master_load.Bench) -> None:
    """The first master's start has its database made, too."""
    with bench.run(master_load.PLAIN, 1):
        pass


def _difference(bench: master_load.Bench, workers: int, line: str) -> Measured:
    with bench.run(master_load.BARE) as bare:
        before = (bare.rss_mb, bare.cpu_s, bare.seconds)
    with bench.run(line) as one:
        after = (one.rss_mb, one.cpu_s, one.seconds)
    memory, cpu, wall = ((b - a) / workers for a, b in zip(before, after))
    return {"n": workers, "memory": memory, "cpu": 1000 * cpu, "wall": 1000 * wall}


@contextmanager
def _environment(control: SimControl) -> Iterator[None]:
    """For the masters that are started meanwhile: where EC2 is."""
    set_here = {
        "AWS_ENDPOINT_URL": control.endpoint,
        "AWS_ACCESS_KEY_ID": "emulated",
        "AWS_SECRET_ACCESS_KEY": "emulated",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {key: os.environ.get(key) for key in set_here}
    os.environ.update(set_here)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
