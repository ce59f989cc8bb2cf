"""IAM as an independent evaluator sees it: one question a request, one word for an answer."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

Context = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """One thing that AWS asks IAM about: a call asks one for each resource that it touches."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)
    # The account that the resource belongs to.
    account: str = ""

    def __str__(self) -> str:
        return f"{self.action} on {self.resource} with {json.dumps(self.context, sort_keys=True)}"


class Simulator:
    """The evaluator as a child process; it ends with its standard input."""

    def __init__(self, node: str) -> None:
        script = Path(__file__).resolve().with_name("simulate.mjs")
        self._process = subprocess.Popen(
            [node, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=script.parent
        )

    def allows(self, role: Role, ask: Ask) -> bool:
        """Whether the role may. Raises ValueError if the question makes no sense to IAM."""
        return self._decide(
            principal=role.arn,
            policies=[role.policy],
            trust=key_policy(role.account) if ask.action.startswith("kms:") else None,
            action=ask.action,
            resource=ask.resource,
            account=ask.account or role.account,
            context=ask.context,
        )

    def lets_in(self, role: Role, principal: str, context: Context) -> bool:
        """Whether the role's trust policy lets the principal in, who may itself assume any role."""
        anything = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
        return self._decide(
            principal=principal,
            policies=[{"Version": "2012-10-17", "Statement": [anything]}],
            trust=role.trust,
            action="sts:AssumeRole",
            resource=role.arn,
            account=role.account,
            context=context,
        )

    def _decide(self, **question: Any) -> bool:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline() or '{"error": "the evaluator has ended"}')
        if "error" in answer:
            raise ValueError(f"{question['action']} on {question['resource']}: {answer['error']}")
        if answer["ignored"]:
            raise ValueError(f"{question['action']} on {question['resource']}: no such keys: {answer['ignored']}")
        return str(answer["decision"]) == "Allowed"

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class Role:
    """One role of `latent iam --format json`."""

    account: str
    name: str
    path: str
    policy: dict[str, Any]
    trust: dict[str, Any]

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:iam::{self.account}:role{self.path}{self.name}"


def key_policy(account: str) -> dict[str, Any]:
    """What KMS gives a key that nobody gave another policy: the account's IAM policies decide."""
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "kms:*"}
    return {"Version": "2012-10-17", "Statement": [{**root, "Resource": "*"}]}


def roles(document: dict[str, Any]) -> dict[str, Role]:
    """The roles of a printed document, by what they are for."""
    account = document["account"]
    return {
        purpose: Role(account, role["name"], role["path"], role["policy"], role["trust"])
        for purpose, role in document["roles"].items()
    }
