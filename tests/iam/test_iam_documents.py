"""The documents are what AWS, CloudFormation and Terraform take, by their own tools' word."""

from __future__ import annotations

import json
import re
from typing import Any

import hcl2
import parliament
import pytest
from cfnlint.api import lint_all
from iam_simulator import Role

# IAM's own limits, without white space.
POLICY_MAX, TRUST_MAX = 10_240, 2_048


MISMATCH = "RESOURCE_MISMATCH"
# What parliament's data lack: AWS's own documents have no account in their ARNs.
DOCUMENT = "arn:*:ssm:*:*:document/*"
# An action of August 2025, which those data are too old for.
NEWER = "ec2:DescribeImageReferences"


def analyzed(statement: dict[str, Any]) -> list[Any]:
    """What parliament says of one statement."""
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    found = parliament.analyze_policy_string(document).findings
    return [one for one in found if not (one.issue == "UNKNOWN_ACTION" and NEWER in str(one))]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("purpose", ["worker", "rebake", "audit"])
def test_parliament_finds_nothing_in_a_statement(purpose: str, granted: dict[str, Role]) -> None:
    """Save that a statement has not every resource of its call, which is why there are several."""
    for statement in granted[purpose].policy["Statement"]:
        assert [str(one) for one in analyzed(statement) if one.issue != MISMATCH] == [], statement["Sid"]


@pytest.mark.parametrize("purpose", ["worker", "rebake", "audit"])
def test_all_statements_of_an_action_together_have_every_resource_of_its_call(
    purpose: str, granted: dict[str, Role]
) -> None:
    resources: dict[str, list[str]] = {}
    for statement in granted[purpose].policy["Statement"]:
        for action in as_list(statement["Action"]):
            resources.setdefault(action, []).extend(as_list(statement["Resource"]))
    for action, all_of_it in resources.items():
        found = analyzed({"Effect": "Allow", "Action": action, "Resource": all_of_it})
        missing = [detail["required_format"] for one in found for detail in one.detail]
        assert missing == ([DOCUMENT] if action == "ssm:SendCommand" else []), action


def test_parliament_finds_what_is_wrong() -> None:
    """A planted mistake, so that silence means something."""
    wrong = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
    nonsense = {**wrong, "Condition": {"StringEquals": {"s3:prefix": "x"}}}
    assert analyzed({**wrong, "Action": "ec2:DescribeNonsense"}) and analyzed(nonsense)
    assert [
        one.issue for one in analyzed({**wrong, "Action": "ec2:StopInstances", "Resource": "arn:aws:s3:::b"})
    ] == [MISMATCH]


def test_the_policies_fit_a_role(granted: dict[str, Role]) -> None:
    for role in granted.values():
        assert len("".join(json.dumps(role.policy).split())) < POLICY_MAX
        assert len("".join(json.dumps(role.trust).split())) < TRUST_MAX


def test_cloudformation_takes_the_template(latent_iam: Any, granted: dict[str, Role]) -> None:
    text = latent_iam("--format", "cloudformation")
    assert lint(text) == []
    resources = json.loads(text)["Resources"]
    made = {one["Properties"]["RoleName"]: one["Properties"] for one in resources.values()}
    for role in granted.values():
        assert made[role.name]["AssumeRolePolicyDocument"] == role.trust
        assert [policy["PolicyDocument"] for policy in made[role.name]["Policies"]] == [role.policy]
    assert len(made) == 3
    broken = text.replace("AWS::IAM::Role", "AWS::IAM::Rule")
    assert lint(broken), "the linter finds a planted mistake"


def test_terraform_can_read_what_it_is_given(latent_iam: Any, granted: dict[str, Role]) -> None:
    read = hcl2.loads(latent_iam("--format", "terraform"))
    blocks = {
        (unquoted(kind), unquoted(name)): body
        for block in read["resource"]
        for kind, named in block.items()
        for name, body in named.items()
    }
    for purpose, role in granted.items():
        made = blocks["aws_iam_role", f"latent_{purpose}"]
        assert unquoted(made["name"]) == role.name
        assert encoded(made["assume_role_policy"]) == role.trust
        assert encoded(blocks["aws_iam_role_policy", f"latent_{purpose}"]["policy"]) == role.policy
    assert len(blocks) == 6


def lint(template: str) -> list[str]:
    """Errors and warnings of cfn-lint; what it would merely like to read is not one."""
    return [str(found) for found in lint_all(template) if found.rule.severity != "informational"]


def unquoted(text: str) -> str:
    return text.strip('"')


def encoded(expression: str) -> Any:
    """What `jsonencode` gets, as the parser writes it back."""
    inside = re.fullmatch(r"\$\{jsonencode\((.*)\)\}", expression, re.DOTALL)
    assert inside, expression
    return json.loads(re.sub(r'(") = ', r"\1: ", inside.group(1)))
