"""The AWS budget that is the owner's own hard stop, by the word of AWS's and Terraform's own tools."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import hcl2
import pytest
from cfnlint.api import lint_all

MAIN = """\
[fleet]
name = "cpython"
controller = "main"

[owner.alice]
account = "123456789012"
contact = "alice@example.org"
credentials = { assume_role = "arn:aws:iam::123456789012:role/latent-worker", external_id = "latent-5f2a" }
budget = { soft = "20", hard = "25.00" }
"""


@pytest.fixture
def printed(binary: str, tmp_path: Path):
    config = tmp_path / "latent.toml"
    config.write_text(MAIN)

    def run(form: str) -> str:
        command = [binary, "--config", str(config), "iam", "--owner", "alice", "--budget-action", "--format", form]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


def lint(template: str) -> list[str]:
    """Errors and warnings of cfn-lint; what it would merely like to read is not one."""
    # AWS Budgets has its resources in us-east-1 alone, and that is where the template says it is deployed.
    assert "--region us-east-1" in template
    elsewhere = re.compile(r"'AWS::Budgets::\w+' does not exist in '(?!us-east-1')")
    found = [one for one in lint_all(template) if one.rule.severity != "informational"]
    return [str(one) for one in found if not elsewhere.search(str(one))]


def test_cfn_lint_finds_nothing_in_the_template(printed) -> None:
    template = printed("cloudformation")
    assert lint(template) == []
    action = json.loads(template)["Resources"]["HardStop"]
    assert action["Type"] == "AWS::Budgets::BudgetsAction"


def test_cfn_lint_finds_a_planted_mistake(printed) -> None:
    wrong = printed("cloudformation").replace("APPLY_IAM_POLICY", "APPLY_IAM_POLISH")
    assert lint(wrong)


def test_terraform_reads_the_same(printed) -> None:
    document = hcl2.loads(printed("terraform"))
    kinds = {kind.strip('"') for block in document["resource"] for kind in block}
    assert kinds == {
        "aws_budgets_budget",
        "aws_budgets_budget_action",
        "aws_iam_policy",
        "aws_iam_role",
        "aws_iam_role_policy",
    }
