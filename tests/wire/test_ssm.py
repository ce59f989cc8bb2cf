"""SSM's Run Command at the wire door, as boto3 sees it; the scripts really run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

import pytest
from account import Account, refused, tag_specs
from ssm_agent import ShellRun, SsmAgent

SHELL, POWERSHELL = "AWS-RunShellScript", "AWS-RunPowerShellScript"
LOOK_SECONDS, LOOKS_MAX = 0.05, 400


class Guest:
    """A running instance whose agent runs scripts in a folder."""

    def __init__(self, account: Account, folder: Path, **launch: Any) -> None:
        self.account, self.ssm = account, account.client("ssm")
        self.id = account.running(**launch)
        self.folder = folder
        self.reboots = 0
        self.told: list[str] = []
        self.agent = SsmAgent(account.control, self.id, self._start, self._reboot, self._report)

    def _start(self, text: str) -> ShellRun:
        return ShellRun(text, self.folder)

    def _reboot(self) -> None:
        self.reboots += 1

    def _report(self, event: str, **_: object) -> None:
        self.told.append(event)

    def until(self, done: Callable[[], bool]) -> None:
        """The agent lives until then."""
        for _ in range(LOOKS_MAX):
            self.agent.tick(time.monotonic())
            if done():
                return
            time.sleep(LOOK_SECONDS)
        raise AssertionError(f"it did not come; the agent: {self.told}")

    def online(self) -> None:
        """The agent registers."""
        self.until(lambda: "ssm-agent-online" in self.told)

    def send(self, text: str, timeout_s: int = 3600, **more: Any) -> str:
        """A script for the agent; the command's id."""
        parameters = {"commands": [text], "executionTimeout": [str(timeout_s)]}
        sent = self.ssm.send_command(DocumentName=SHELL, InstanceIds=[self.id], Parameters=parameters, **more)
        return str(sent["Command"]["CommandId"])

    def invocation(self, command: str) -> Any:
        """Where it stands."""
        return self.ssm.get_command_invocation(CommandId=command, InstanceId=self.id)

    def over(self, command: str) -> Any:
        """What it came to."""
        self.until(lambda: self.invocation(command)["Status"] not in ("Pending", "InProgress"))
        return self.invocation(command)


@pytest.fixture
def guest(account: Account, tmp_path: Path) -> Any:
    """One that is online."""
    found = Guest(account, tmp_path / "guest")
    found.online()
    yield found
    found.agent.end()
    found.agent.wait()


def test_a_script_really_runs_and_its_exit_code_and_output_come_back(guest: Guest) -> None:
    command = guest.send("echo out; echo err >&2; exit 7")
    seen = guest.over(command)
    assert (seen["Status"], seen["StatusDetails"], seen["ResponseCode"]) == ("Failed", "Failed", 7)
    assert (seen["StandardOutputContent"], seen["StandardErrorContent"]) == ("out\n", "err\n")
    assert (seen["DocumentName"], seen["PluginName"]) == (SHELL, "aws:runShellScript")


def test_exit_194_reboots_and_runs_the_same_script_again(guest: Guest) -> None:
    command = guest.send("echo life >> lives; grep -c life lives; [ $(grep -c life lives) = 3 ] || exit 194")
    seen = guest.over(command)
    assert (seen["Status"], seen["ResponseCode"], seen["StandardOutputContent"]) == ("Success", 0, "1\n2\n3\n")
    assert guest.reboots == 2


def test_an_agent_that_is_lost_in_its_reboot_leaves_the_command_to_time_out(guest: Guest) -> None:
    guest.account.control.fault("agent-lost", rate=1.0)
    command = guest.send("exit 194", timeout_s=60, TimeoutSeconds=600)
    guest.until(lambda: "ssm-agent-unheard" in guest.told)
    assert guest.invocation(command)["Status"] == "InProgress"
    guest.account.control.advance(700)
    seen = guest.invocation(command)
    assert (seen["Status"], seen["StatusDetails"], seen["ResponseCode"]) == ("TimedOut", "DeliveryTimedOut", -1)
    (known,) = guest.ssm.describe_instance_information()["InstanceInformationList"]
    assert known["PingStatus"] == "ConnectionLost"


def test_a_run_that_takes_too_long_is_ended(guest: Guest) -> None:
    # A minute of the model is three seconds.
    command = guest.send("sleep 600", timeout_s=20)
    assert guest.over(command)["StatusDetails"] == "ExecutionTimedOut"
    guest.agent.end()
    guest.agent.wait()


def test_an_instance_without_an_agent_takes_no_command(account: Account) -> None:
    ssm, instance = account.client("ssm"), account.running()
    assert ssm.describe_instance_information()["InstanceInformationList"] == []
    with refused("InvalidInstanceId"):
        ssm.send_command(DocumentName=SHELL, InstanceIds=[instance], Parameters={"commands": ["true"]})


def test_agents_are_described_by_their_ids(guest: Guest) -> None:
    def found(instance: str) -> Any:
        named = [{"Key": "InstanceIds", "Values": [instance]}]
        return guest.ssm.describe_instance_information(Filters=named)["InstanceInformationList"]

    (known,) = found(guest.id)
    assert (known["InstanceId"], known["PingStatus"], known["PlatformType"]) == (guest.id, "Online", "Linux")
    assert found("i-0123456789abcdef0") == []


def test_commands_are_listed_in_pages_that_lose_nothing(guest: Guest) -> None:
    sent = [guest.send("true", Comment=f"number {number}") for number in range(5)]
    pages = guest.ssm.get_paginator("list_commands").paginate(
        InstanceId=guest.id, PaginationConfig={"PageSize": 2}
    )
    listed = [command for page in pages for command in page["Commands"]]
    assert [command["CommandId"] for command in listed] == sent[::-1], "the latest first"
    assert {command["Comment"] for command in listed} == {f"number {number}" for number in range(5)}


def test_what_ssm_refuses_is_refused(guest: Guest) -> None:
    def send(**more: Any) -> None:
        call = {"DocumentName": SHELL, "InstanceIds": [guest.id], "Parameters": {"commands": ["true"]}}
        guest.ssm.send_command(**{**call, **more})

    with refused("InvalidDocument"):
        send(DocumentName="AWS-UpdateSSMAgent")
    with refused("InvalidParameters"):
        send(Parameters={"command": ["true"]})
    with refused("InvalidParameters"):
        send(Parameters={"commands": ["true"], "executionTimeout": ["soon"]})
    with refused("ValidationException"):
        send(InstanceIds=[])
    with refused("InvocationDoesNotExist"):
        guest.invocation("8b5f1d9e-3a4c-4d2e-9f60-0c1d2e3f4a5b")
    with refused("InvalidNextToken"):
        guest.ssm.list_commands(NextToken="x")
    with refused("UnknownOperationException"):
        guest.ssm.list_documents()
    assert guest.ssm.list_commands()["Commands"] == []


def test_a_role_may_send_to_its_builders_alone(account: Account, tmp_path: Path) -> None:
    worker = Guest(
        account, tmp_path / "worker", TagSpecifications=tag_specs("instance", **{"latent:role": "worker"})
    )
    builder = Guest(
        account, tmp_path / "builder", TagSpecifications=tag_specs("instance", **{"latent:role": "rebake"})
    )
    worker.online()
    builder.online()
    allow = [
        {"actions": ["SendCommand"], "resource_tags": {"latent:role": "rebake"}},
        {"actions": ["GetCommandInvocation"]},
    ]
    account.control.allow(account.id, allow)
    assert builder.over(builder.send("true"))["Status"] == "Success"
    with refused("AccessDeniedException"):
        worker.send("true")
    with refused("AccessDeniedException"):
        builder.ssm.list_commands()
    account.control.allow(account.id, None)
    assert builder.ssm.list_commands(InstanceId=worker.id)["Commands"] == []


def test_a_powershell_script_fails_where_there_is_no_powershell(guest: Guest) -> None:
    sent = guest.ssm.send_command(
        DocumentName=POWERSHELL, InstanceIds=[guest.id], Parameters={"commands": ["Get-Host"]}
    )
    seen = guest.over(sent["Command"]["CommandId"])
    assert (seen["Status"], seen["ResponseCode"]) == ("Failed", 127)


def test_a_fault_on_demand_is_told_in_ssms_words(guest: Guest) -> None:
    guest.account.control.fault("throttle", action="SendCommand", times=1)
    with refused("ThrottlingException"):
        guest.send("true")
    guest.account.control.fault("reply-lost", action="SendCommand", times=1)
    with pytest.raises(Exception, match="closed|reset|connection"):
        guest.send("true", Comment="lost")
    (command,) = guest.ssm.list_commands(InstanceId=guest.id)["Commands"]
    assert command["Comment"] == "lost"
