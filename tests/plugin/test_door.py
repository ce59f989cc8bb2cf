"""Who knocks is let in if the controller says that it is on the worker's present instance."""

from __future__ import annotations

from typing import Any

from case import STARTED_S, SUCCESS, PluginCase
from far_end import BOOT_S

REFUSED = {"admit": False, "proof": "", "why": "10.0.0.9 is the address of i-9", "twin": None}


class Door(PluginCase):
    """One worker that knocks."""

    def asked(self) -> list[Any]:
        """What the controller was asked at the door."""
        return [call.body for call in self.controller.asked("POST", "/admit")]

    def test_the_controller_is_told_where_it_knocks_from_and_what_it_says_of_itself(self) -> None:
        self.start_master()
        self.boots = False
        self.ask()
        self.pass_time(5)
        info = {
            "latent-instance-id": "i-1\n",
            "latent-join-secret": "s3",
            "latent-identity-document": "",
        }
        self.guest().info.update({**info, "admin": "somebody"})
        self.guest().boot(1)
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
        (said,) = self.asked()
        assert said["peer"] == self.guest().address
        assert said["info"] == {"instance_id": "i-1\n", "join_secret": "s3"}
        assert "s3" not in str(self.worker().info.properties)
        self.finish()

    def test_one_that_is_refused_is_turned_away_and_let_in_when_it_may(self) -> None:
        self.controller.admission = dict(REFUSED)
        self.start_master()
        self.ask()
        self.pass_time(BOOT_S + 15)
        assert self.guest().refused == 2 and not self.guest().connected
        assert not self.seen()["connected_to"]
        assert any("turned away: 10.0.0.9 is the address of i-9" in line for line in self.lines)
        self.controller.admission = {"admit": True, "proof": "its address", "why": None, "twin": None}
        self.pass_until(lambda: self.steps["b1"].running, STARTED_S, "a build to run")
        self.finish()
        assert self.results() == [SUCCESS]
        assert "shutdown" not in self.guest().heard
        assert self.launches == 1
        self.expect_refusals()

    def test_one_on_another_instance_of_ours_is_sent_off(self) -> None:
        self.controller.admission = {**REFUSED, "twin": "i-9"}
        self.restarts = False
        self.start_master()
        self.ask()
        self.pass_time(BOOT_S + 60)
        assert self.guest().heard.count("shutdown") == 1
        assert self.guest().refused == 1
        self.expect_refusals()

    def test_one_that_does_not_hear_that_it_is_sent_off_is_cut_off(self) -> None:
        self.controller.admission = {**REFUSED, "twin": "i-9"}
        self.start_master()
        self.boots = False
        self.ask()
        self.pass_time(5)
        self.guest().ignores.add("shutdown")
        self.guest().boot(1)
        self.pass_time(15)
        assert self.guest().refused and not self.seen()["connected_to"]
        self.expect_refusals()

    def test_while_the_controller_is_away_nobody_is_let_in(self) -> None:
        self.start_master()
        self.ask()
        self.pass_time(10)
        self.controller.mute = True
        self.pass_time(BOOT_S + 5)
        assert not self.guest().connected
        self.controller.mute = False
        self.pass_until(lambda: self.steps["b1"].running, 2 * STARTED_S, "a build to run")
        self.finish()
        self.expect_refusals()

    def test_one_whose_connection_was_lost_comes_back_to_its_master(self) -> None:
        self.start_master(build_wait_timeout=600)
        guest = self.bring_up_idle()
        guest.cut()
        self.pass_time(15)
        assert guest.connected and guest.refused == 0
        self.run_build()
        assert self.launches == 1

    def test_and_it_may_still_be_idle_for_so_long_only(self) -> None:
        self.start_master(build_wait_timeout=60)
        guest = self.bring_up_idle()
        guest.cut()
        self.pass_time(15)
        assert guest.connected
        self.pass_time(65)
        assert not self.controller.live

    def test_the_pages_show_where_it_runs(self) -> None:
        self.start_master()
        guest = self.bring_up()
        assert "on i-1" in self.seen()["workerinfo"]["host"]
        assert self.worker().info.getProperty("instance") == "i-1"
        self.finish()
        assert guest.info.get("host") is None

    def expect_refusals(self) -> None:
        """What Buildbot logs of connections that were not let in."""
        self.flushLoggedErrors(RuntimeError)
