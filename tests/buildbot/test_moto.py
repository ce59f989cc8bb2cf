"""The main job on moto too: an EC2 that we did not write ourselves."""

from __future__ import annotations

from pathlib import Path

from fleet import GONE_S, POLICY, POLLING, SUCCESS
from stack import Options, Stack


def test_a_build_runs_on_moto_and_its_instance_goes(binary: str, tmp_path: Path) -> None:
    options = Options(ec2="moto", policy=POLICY, polling=POLLING, boot_delay=0.1, boot_look=0.1)
    with Stack(binary, options, tmp_path / "template.sqlite") as stack:
        requests = [stack.force(worker) for worker in stack.workers]
        assert [stack.wait_build(request)["results"] for request in requests] == [SUCCESS] * len(requests)
        stack.wait_gone(GONE_S)
        assert len(stack.truth(live=False)) == len(requests)
