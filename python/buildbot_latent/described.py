"""A worker that is described in master.cfg, with the arguments of Buildbot's own class."""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet import defer
from twisted.python import log

from . import options as ec2_options
from .http import LinkError
from .link import Link
from .view import View

# What EC2 shows of an instance, whoever launched it.
SHOWN = ("ami", "instance_type")


class Described:
    """What stands there, and what builds make of it.

    `timing` is the master's: how long it may be idle, and until it connects. `before` is what stood there
    before a reconfiguration, whose instance may still run.
    """

    def __init__(
        self,
        name: str,
        given: dict[str, Any],
        timing: tuple[float, Optional[float]],
        before: Optional[Described],
    ) -> None:
        self._name = name
        self._given = given
        self._timing = timing
        # What the present instance was started with, if builds decide that.
        self._started_with: Optional[dict[str, Any]] = before._started_with if before is not None else None
        # What is wrong with it that could not be seen before.
        self._wrong: Optional[str] = None
        self.is_dynamic = ec2_options.is_dynamic(given)

    def tell(self, link: Link) -> None:
        """Says it to the controller. What a build decides can only be said when there is one."""
        if self._given["identifier"] is not None:
            link.say_once("access keys in master.cfg: a role is better, see owner= in docs/ADMINS.md")
        said = None
        if not self.is_dynamic:
            try:
                said = self._declaration(self._given)
            except (ValueError, TypeError) as e:
                # Told in each of its builds; the other workers of the master are not to wait for that.
                self._wrong = str(e)
                log.msg(f"latent: {self._name} cannot be declared: {e}")
        link.declarations.set(self._name, said)

    @defer.inlineCallbacks
    def tell_for(self, link: Link, build: Any) -> Any:
        """Says what this build wants, if builds decide that; LinkError if it cannot be."""
        if self._wrong is not None:
            raise LinkError(self._wrong, "bad_request")
        if not self.is_dynamic or build is None:
            return
        wanted = yield build.render(ec2_options.as_renderable(self._given))
        try:
            declaration = self._declaration(wanted)
        except (ValueError, TypeError) as e:
            raise LinkError(str(e), "bad_request") from e
        # At once: builds that come while the controller hears it are compared with it.
        self._started_with = wanted
        yield link.declare(self._name, declaration)

    def is_of(self, view: Optional[View]) -> bool:
        """Whether the instance that a start has brought, which may be one that was there, is what it was for."""
        return self._started_with is None or _is_shown(self._started_with, view)

    def ended(self) -> None:
        """The instance is gone: the next may be any."""
        self._started_with = None

    @defer.inlineCallbacks
    def fits(self, build_props: Any, view: Optional[View]) -> Any:
        """Whether the present instance, of which there is a view or not yet, is what such a build wants."""
        if self._started_with is None and (view is None or not self.is_dynamic):
            return True
        wanted = yield build_props.render(ec2_options.as_renderable(self._given))
        if self._started_with is None:
            # It was taken over: what it was started with, only an earlier life of the master knew.
            return _is_shown(wanted, view)
        return wanted == self._started_with and _is_shown(wanted, view)

    def _declaration(self, given: dict[str, Any]) -> dict[str, Any]:
        return ec2_options.declaration(given, *self._timing)


def _is_shown(wanted: dict[str, Any], view: Optional[View]) -> bool:
    """Whether nothing that EC2 shows of an instance is other than wanted."""
    seen = view or {}
    return all(wanted[key] == seen[key] for key in SHOWN if None not in (wanted[key], seen.get(key)))
