"""The side entrance of `latent sim serve`: the truth, the clock, faults, and what a guest sees."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

ANSWER_SECONDS_MAX = 30.0
TOKEN_TTL_S = "300"

# A proxy from the environment must not come between us and loopback.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SimControl:
    """Asks one server. Every method may raise OSError."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One question; its decoded answer, None if that is empty."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"{self.endpoint}/_sim/{path}", data, headers, method=method)
        with _HTTP.open(request, timeout=ANSWER_SECONDS_MAX) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def is_there(self) -> bool:
        """Whether what answers is a simulated EC2; another emulator has no such entrance."""
        try:
            self.ask("GET", "ready")
        except (urllib.error.HTTPError, ValueError):
            return False
        return True

    # The truth.

    def instances(self) -> list[dict[str, Any]]:
        """Every instance ever, without lag, in the order of their launch."""
        found: list[dict[str, Any]] = self.ask("GET", "instances")["instances"]
        return found

    def instance(self, instance_id: str) -> dict[str, Any]:
        """One of them."""
        return next(one for one in self.instances() if one["id"] == instance_id)

    def trace(self, after: int = 0) -> dict[str, Any]:
        """What happened, after the event of this number."""
        found: dict[str, Any] = self.ask("GET", f"trace?after={after}")
        return found

    def calls(self, after: int = 0) -> list[dict[str, Any]]:
        """Every answered call after the one of this number: when it came, what it was, its refusal."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.ask("GET", f"calls?after={after}")
            found += page["calls"]
            if not page["calls"] or found[-1]["number"] >= page["count"]:
                return found
            after = found[-1]["number"]

    def bill(self) -> dict[str, Any]:
        """What all of it costs."""
        found: dict[str, Any] = self.ask("GET", "bill")
        return found

    # What happens to an instance other than by a call of its owner.

    def power_off(self, instance_id: str) -> dict[str, Any]:
        """Its guest powers itself off; the answer says what that means for the instance."""
        return dict(self.ask("POST", f"instances/{instance_id}/power-off") or {})

    def console(self, instance_id: str, text: str) -> None:
        """Its guest writes that onto its console."""
        self.ask("POST", f"instances/{instance_id}/console", {"text": text})

    def meddle(self, instance_id: str, what: str) -> None:
        """Somebody else does `stop` or `terminate`."""
        self.ask("POST", f"instances/{instance_id}/{what}")

    # What an instance's SSM agent does.

    def agent_pings(self, instance_id: str, version: str, platform: str) -> bool:
        """It says that it is there; whether SSM hears it."""
        body = {"version": version, "platform": platform}
        return bool(self.ask("POST", f"instances/{instance_id}/agent", body)["heard"])

    def agent_takes(self, instance_id: str) -> dict[str, Any] | None:
        """Its next run (`id`, `text`, `windows`, `timeout_s`, `run`), which begins with this; or None."""
        found: dict[str, Any] | None = self.ask("POST", f"instances/{instance_id}/agent/take")["command"]
        return found

    def agent_answers(self, instance_id: str, command: str, exit_code: int, output: str, error_output: str) -> str:
        """A run has ended: `over`, `reboots` (it is run again), or `ignored` because it comes too late."""
        body = {"command": command, "exit_code": exit_code, "output": output, "error_output": error_output}
        return str(self.ask("POST", f"instances/{instance_id}/agent/answer", body)["answer"])

    # Weather on demand.

    def fault(self, name: str, **details: Any) -> None:
        """From now on it fails so: for the next `times` calls of an `action`, or at a `rate`."""
        self.ask("POST", "faults", {"fault": name, **details})

    def clear_faults(self) -> None:
        """No fault that was asked for is left."""
        self.ask("DELETE", "faults")

    def quota(self, account: str, region: str, vcpus: int) -> None:
        """The account may run so many virtual CPUs there."""
        self.ask("POST", "quota", {"account": account, "region": region, "vcpus": vcpus})

    def next_image(
        self, account: str, region: str, pending_seconds: int | None = None, fails: bool = False
    ) -> None:
        """What becomes of the next image that is made there."""
        asked = {"account": account, "region": region, "pending_seconds": pending_seconds, "fails": fails}
        self.ask("POST", "images", asked)

    def advance(self, seconds: float) -> None:
        """Lets the model's time pass at once."""
        self.ask("POST", "advance", {"seconds": seconds})

    def pace(self, **fixed: Any) -> None:
        """For measurements: `round_trip_seconds`, `pending_seconds`, `throttle`; what is left out is as usual."""
        self.ask("POST", "pace", fixed)

    # The account itself.

    def allow(self, account: str, statements: Any) -> None:
        """Its credentials may do this and nothing else; everything, if it is None."""
        self.ask("POST", "permissions", {"account": account, "allow": statements})

    def trail_late(self, seconds: int) -> None:
        """CloudTrail tells what happens from now on so late at most."""
        self.ask("POST", "trail", {"late_seconds": seconds})

    def skew(self, seconds: float) -> None:
        """The clock of the server is so far ahead of ours."""
        self.ask("POST", "skew", {"seconds": seconds})


def imds_address(endpoint: str, instance_id: str) -> str:
    """What is http://169.254.169.254 for the guest of this instance."""
    return f"{endpoint}/_sim/imds/{instance_id}"


class Imds:
    """The metadata service as one guest sees it. Every method may raise OSError."""

    def __init__(self, endpoint: str, instance_id: str) -> None:
        self._base = f"{imds_address(endpoint, instance_id)}/latest/"
        self._token = ""

    def get(self, path: str) -> str | None:
        """The text at a path, such as `user-data`; None where there is none."""
        if not self._token:
            self._token = self._ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": TOKEN_TTL_S})
        try:
            return self._ask(path, "GET", {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._base + path, method=method, headers=headers)
        with _HTTP.open(request, timeout=ANSWER_SECONDS_MAX) as answer:
            return str(answer.read().decode("utf-8", "replace"))
