"""A worker that is described in master.cfg, with the arguments of Buildbot's own class."""

from __future__ import annotations

from typing import Any, Optional

from twisted.internet import defer
from twisted.python import log

from . import options as ec2_options
from .http import LinkError
from .link import Link


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
        yield link.declare(self._name, declaration)
        self._started_with = wanted

    def ended(self) -> None:
        """The instance is gone: the next may be any."""
        self._started_with = None

    @defer.inlineCallbacks
    def fits(self, build_props: Any) -> Any:
        """Whether the present instance is what a build with these properties wants."""
        if self._started_with is None:
            return True
        wanted = yield build_props.render(ec2_options.as_renderable(self._given))
        return wanted == self._started_with

    def _declaration(self, given: dict[str, Any]) -> dict[str, Any]:
        return ec2_options.declaration(given, *self._timing)
