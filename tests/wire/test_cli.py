"""The AWS command line, as an owner would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from account import REGION, TYPE, Account

pytest.importorskip("awscli")

CLI = [sys.executable, "-c", "import sys; from awscli.clidriver import main; sys.exit(main())"]


def aws(account: Account, *words: str) -> Any:
    """Runs the command; its answer."""
    done = run(account, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def run(account: Account, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the command, whatever becomes of it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "AWS_ACCESS_KEY_ID": account.key,
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "*",
    }
    options = ["--endpoint-url", account.endpoint, "--region", REGION, "--output", "json"]
    return subprocess.run(
        [*CLI, *options, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_owner_sees_and_ends_instances(account: Account) -> None:
    assert aws(account, "sts", "get-caller-identity")["Account"] == account.id
    made = aws(
        account, "ec2", "run-instances", "--image-id", account.image, "--instance-type", TYPE,
        "--client-token", "once", "--tag-specifications", "ResourceType=instance,Tags=[{Key=worker,Value=w1}]",
    )  # fmt: skip
    instance = made["Instances"][0]["InstanceId"]
    account.reach(instance, "running")
    listed = aws(account, "ec2", "describe-instances", "--filters", "Name=tag:worker,Values=w1")
    assert [one["InstanceId"] for one in listed["Reservations"][0]["Instances"]] == [instance]
    aws(account, "ec2", "terminate-instances", "--instance-ids", instance)
    account.reach(instance, "terminated")


def test_a_refusal_reads_as_ever(account: Account) -> None:
    done = run(account, "ec2", "terminate-instances", "--instance-ids", "i-0123456789abcdef0")
    assert done.returncode != 0
    assert "InvalidInstanceID.NotFound" in done.stderr
