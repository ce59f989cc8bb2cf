"""A build that has begun and has no number yet: the database gives it one a moment later."""

from __future__ import annotations

from typing import Optional

from case import PluginCase


class Numbered(PluginCase):
    """What the controller hears of it."""

    def test_it_is_told_with_its_number_and_not_with_the_next_report(self) -> None:
        self.start_master(build_wait_timeout=600)
        self.bring_up_idle()
        worker, numbered = self.worker(), False
        name = worker._build_name

        def late() -> Optional[str]:
            return name() if numbered else None

        worker._build_name = late
        self.ask()
        self.pass_time(0.5)
        assert self.record().state == "ready" and worker.building
        numbered = True
        self.pass_time(0.2)
        assert (self.record().state, self.record().build) == ("busy", "b1/2")
        self.finish()
