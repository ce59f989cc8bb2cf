"""What the controller is told of workers that stand in master.cfg, and what it has taken of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from .http import LinkError


class Declarations:
    """All of one link. `configured` gives the names of our workers in master.cfg."""

    def __init__(self, configured: Callable[[], set[str]]) -> None:
        self._configured = configured
        self._declared: dict[str, Optional[dict[str, Any]]] = {}
        # Workers that master.cfg does not describe.
        self._elsewhere: set[str] = set()
        self._untold = False
        self.refused: dict[str, str] = {}

    @property
    def some(self) -> bool:
        """Whether master.cfg describes any worker."""
        return bool(self._declared)

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return self._untold

    def set(self, name: str, declaration: Optional[dict[str, Any]]) -> None:
        """Without a declaration, what the controller knows already shall stay: builds decide it."""
        self._elsewhere.discard(name)
        if name not in self._declared or self._declared[name] != declaration:
            self._declared[name] = declaration
            self.refused.pop(name, None)
            self._untold = True

    def withdraw(self, name: str) -> None:
        """The worker has left master.cfg, or stands in latent.toml; an earlier life may have said otherwise."""
        if name not in self._elsewhere:
            self._elsewhere.add(name)
            self._declared.pop(name, None)
            self.refused.pop(name, None)
            self._untold = True

    def hand_over(self, name: str) -> None:
        """Another speaks for the worker: here it is named, and nothing said of it."""
        self._declared.pop(name, None)
        self.refused.pop(name, None)

    def untold(self) -> Optional[dict[str, Any]]:
        """Everything, if there is news. The controller forgets whom this does not name."""
        if not self._untold:
            return None
        self._untold = False
        # One that is configured and has not come yet is named all the same: its instance may run.
        names = (self._configured() | set(self._declared)) - self._elsewhere
        return {"workers": {name: self._declared.get(name) for name in sorted(names)}}

    def told(self, answer: dict[str, Any]) -> None:
        """Takes in what the controller has accepted and refused."""
        for name in answer["accepted"]:
            self.refused.pop(name, None)
        self.refused.update(answer["refused"])

    def failed(self) -> None:
        """The controller could not be told."""
        self._untold = True

    def forgotten(self, name: str) -> bool:
        """The controller does not know the worker: whether it will when it is told again, or by the next build."""
        if name not in self._declared or name in self.refused:
            return False
        self._untold = self._untold or self._declared[name] is not None
        return True

    def raise_if_refused(self, name: str) -> None:
        """LinkError, if the controller does not take this worker as it is described."""
        if name in self.refused:
            raise LinkError(self.refused[name], "bad_request")
