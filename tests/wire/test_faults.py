"""EC2 on a bad day: throttles, lost answers, refusals, and calls it does not know."""

from __future__ import annotations

import http.client
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import pytest
from account import Account, refused, register
from botocore.exceptions import BotoCoreError, ClientError

THROTTLED = "RequestLimitExceeded"
# So many calls at once are more than an account has tokens for launches, even if they take a second.
MANY = 16


def throttle(account: Account, times: int) -> None:
    """The next launches are throttled, however many tokens there are."""
    answer = {"code": THROTTLED, "message": "slow down", "status": 503}
    account.control.fault("refuse", action="RunInstances", times=times, **answer)


def launch_at_once(account: Account, **options: Any) -> list[Optional[dict[str, Any]]]:
    """Launches as often at the same time; the refusals, and None for each launch."""
    account.image, account.ec2  # noqa: B018 - made here, and not by each thread

    def launch(_: int) -> Optional[dict[str, Any]]:
        try:
            account.launch(**options)
        except ClientError as refusal:
            return dict(refusal.response)
        return None

    with ThreadPoolExecutor(MANY) as threads:
        return list(threads.map(launch, range(MANY)))


def codes(answers: list[Optional[dict[str, Any]]]) -> set[str]:
    """The codes of the refusals among these."""
    return {answer["Error"]["Code"] for answer in answers if answer is not None}


def test_too_many_launches_are_throttled_in_ec2s_words(slow: Account) -> None:
    answers = launch_at_once(slow)
    refusals = [answer for answer in answers if answer is not None]
    assert refusals and len(slow.truth()) == MANY - len(refusals) >= 5
    for refusal in refusals:
        assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 503
        assert refusal["Error"] == {
            "Code": THROTTLED,
            "Message": f"Request limit exceeded. Account {slow.id} has been throttled on ec2:RunInstances "
            "because it exceeded its request rate limit.",
        }


def test_a_throttle_is_of_one_account_one_region_and_one_action(slow: Account, slow_other: Account) -> None:
    elsewhere = slow.client(region="us-east-1")
    image = register(elsewhere, "there")
    foreign = slow_other.image
    assert codes(launch_at_once(slow)) == {THROTTLED}
    elsewhere.run_instances(ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1)
    assert slow_other.launch(ImageId=foreign)
    slow.ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in slow.list()])


def test_tokens_come_back_with_time(slow: Account) -> None:
    assert codes(launch_at_once(slow)) == {THROTTLED}
    slow.control.advance(10)
    assert slow.launch()


def test_a_dry_run_takes_a_token_too(slow: Account) -> None:
    assert codes(launch_at_once(slow, DryRun=True)) == {"DryRunOperation", THROTTLED}
    assert not slow.truth()


def test_a_throttled_launch_launches_nothing(account: Account) -> None:
    account.control.fault(
        "refuse", code=THROTTLED, message="slow down", status=503, action="RunInstances", times=1
    )
    with refused(THROTTLED, status=503):
        account.launch()
    assert not account.truth()


def test_boto3_waits_out_a_throttle(account: Account) -> None:
    account.control.fault(
        "refuse", code=THROTTLED, message="slow down", status=503, action="RunInstances", times=2
    )
    patient = Account(account.endpoint, int(account.id))
    patient.ec2 = account.client(attempts=3)
    assert patient.launch()
    assert len(account.truth()) == 1


def test_a_lost_answer_leaves_an_instance(account: Account) -> None:
    image = account.image
    account.control.fault("reply-lost", action="RunInstances", times=1)
    with pytest.raises(BotoCoreError):
        account.launch(ImageId=image, ClientToken="once")
    assert len(account.truth()) == 1
    assert account.launch(ClientToken="once") == account.truth()[0]["id"]
    assert len(account.truth()) == 1


def test_boto3s_own_retry_of_a_lost_answer_gives_one_instance(account: Account) -> None:
    image = account.image
    account.control.fault("reply-lost", action="RunInstances", times=1)
    launched = account.client(attempts=3).run_instances(
        ImageId=image, InstanceType="m5.large", MinCount=1, MaxCount=1
    )["Instances"]
    assert [one["id"] for one in account.truth()] == [one["InstanceId"] for one in launched]


@pytest.mark.parametrize(
    ("code", "status"),
    [("InsufficientInstanceCapacity", 500), ("UnauthorizedOperation", 403), ("InternalError", 500)],
)
def test_any_refusal_can_be_asked_for(account: Account, code: str, status: int) -> None:
    account.control.fault("refuse", code=code, message="because", status=status, action="RunInstances", times=1)
    with refused(code, status=status) as refusal:
        account.launch()
    assert refusal.value.response["Error"]["Message"] == "because"
    assert account.launch()


def test_a_fault_that_is_taken_back_is_over(account: Account) -> None:
    account.control.fault("refuse", code="InternalError", message="x", status=500, action="RunInstances", times=9)
    with refused("InternalError", status=500):
        account.launch()
    account.control.clear_faults()
    assert account.launch()


def test_a_fault_that_nobody_knows_is_refused(account: Account) -> None:
    with pytest.raises(OSError, match="HTTP Error 400"):
        account.control.fault("gremlins", rate=0.5)


def test_an_action_that_is_not_there_is_named(account: Account) -> None:
    with refused("InvalidAction") as refusal:
        account.ec2.describe_vpn_gateways()
    assert "DescribeVpnGateways" in str(refusal.value)


def test_missing_parameters_are_named(account: Account) -> None:
    status, text = raw(account, {"Action": "TerminateInstances", "Version": "2016-11-15"})
    assert status == 400
    assert "<Code>MissingParameter</Code>" in text


def test_what_is_no_call_is_refused_and_not_a_crash(account: Account) -> None:
    for form in ({}, {"Action": ""}, {"Action": "RunInstances", "MinCount": "many"}):
        status, text = raw(account, form)
        assert 400 <= status < 500
        assert "<Errors><Error><Code>" in text.replace("\n", "").replace(" ", "")
    assert account.launch()


def raw(account: Account, form: dict[str, str]) -> tuple[int, str]:
    """A call as no SDK would make it."""
    where = urllib.parse.urlsplit(account.endpoint)
    link = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    scope = f"Credential={account.key}/20260101/us-west-2/ec2/aws4_request"
    headers = {
        "Content-Type": "application/x-www-form-urlencoded",
        "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=00",
    }
    try:
        link.request("POST", "/", urllib.parse.urlencode(form), headers)
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()
