"""What the controller says of a worker, read."""

from __future__ import annotations

from typing import Any, Optional

from buildbot.interfaces import LatentWorkerCannotSubstantiate, LatentWorkerFailedToSubstantiate

View = dict[str, Any]

# The controller's states in which an instance is there, or on its way, for a master to take.
USABLE = ("launching", "registering", "ready", "busy")
# And those in which this master's instance is of no use any more.
ENDED = ("gone", "terminating", "stopped")
# Errors that no retry mends before a person has acted.
FATAL_CODES = ("unknown_worker", "configuration", "no_binary", "incompatible", "bad_request")
# Where an instance comes from, and what it costs: properties of the builds on it, by the view's words.
PROPERTIES = {
    "instance": "instance",
    "ami": "latent_ami",
    "image": "latent_image",
    "generation": "latent_generation",
    "attempt": "latent_attempt",
    "instance_type": "latent_instance_type",
    "place": "latent_place",
    "market": "latent_market",
    "price": "latent_price",
}


def is_answered(view: View) -> bool:
    """Whether the last request has its answer."""
    pending = view["state"] in ("requested", "launching", "draining", "terminating", "stopped")
    return not (pending and view["waiting"])


def canary_of(view: Optional[View]) -> Optional[dict[str, Any]]:
    """The canary that the worker's instance is, if it is one: only the smoke build may run there."""
    canary: Optional[dict[str, Any]] = view.get("canary") if view is not None else None
    return canary if canary is not None and canary["present"] else None


def raise_failure(name: str, view: View) -> None:
    """Raises what Buildbot expects of a start that failed; nothing if it did not."""
    failure = view.get("failure")
    if failure:
        raise cannot_or_failed(name, failure_text(failure), failure["fatal"])
    if view["state"] in ENDED:
        raise LatentWorkerFailedToSubstantiate(name, f"the instance is {view['state']} already")


def failure_text(failure: dict[str, Any]) -> str:
    """Phase, code, what it means and what to do; and the end of the console, if it tells something."""
    text = (
        f"{failure['phase']} phase: {failure['code']} ({failure['kind']}): {failure['message']}; {failure['cure']}"
    )
    console = failure.get("console")
    return f"{text}\nThe end of the instance's console:\n{console}" if console else text


def cannot_or_failed(name: str, text: str, fatal: bool) -> Exception:
    """Buildbot tries the one again and not the other."""
    kind: type[Exception] = LatentWorkerCannotSubstantiate if fatal else LatentWorkerFailedToSubstantiate
    return kind(name, text)


def properties_of(view: Optional[View]) -> dict[str, str]:
    """The properties of builds on this instance."""
    if view is None or not view.get("instance"):
        return {}
    said = {name: _text(view.get(word)) for word, name in PROPERTIES.items()}
    return {name: text for name, text in said.items() if text}


def info_of(view: Optional[View], host: Optional[str]) -> dict[str, str]:
    """What the master's pages show of the worker: the properties, and in the line of its host where it runs."""
    said = properties_of(view)
    if not said:
        return {}
    order = ("instance", "latent_instance_type", "latent_market", "latent_place", "latent_ami")
    where = "on " + ", ".join(said[name] for name in order if name in said)
    return {**said, "host": f"{(host or '').rstrip()} {where}".strip()}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        low, high = _dollars(value["low"]), _dollars(value["high"])
        return f"${low}/h" if low == high else f"${low}..${high}/h"
    return "" if value is None else str(value)


def _dollars(micro: int) -> str:
    return f"{micro / 1_000_000:.4f}"
