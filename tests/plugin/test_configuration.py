"""The configuration is read: nobody is asked, and what is wrong is said at once."""

from __future__ import annotations

from typing import Any

from buildbot.config.errors import ConfigErrors, capture_config_errors
from buildbot.config.master import MasterConfig
from buildbot.interfaces import IWorker
from buildbot_latent.worker import LatentEC2Worker
from case import PluginCase
from fake_record import Policy
from zope.interface.verify import verifyClass


class Checked(PluginCase):
    """What `buildbot checkconfig` does."""

    names = tuple(f"w{number}" for number in range(200))
    builders = {"b1": list(names)}
    # No master is started here.
    policy = Policy()

    def setUp(self) -> None:
        super().setUp()
        self.master = type("NoMaster", (), {"running": False})()

    def test_two_hundred_workers_ask_nobody(self) -> None:
        MasterConfig.loadFromDict(self.config(), "<dict>")
        assert self.controller.calls == []
        assert self.reactor.getDelayedCalls() == []

    def _errors_of(self, **options: Any) -> list[str]:
        try:
            with capture_config_errors(raise_on_error=True):
                LatentEC2Worker("w1", "secret", **options)
        except ConfigErrors as errors:
            return list(errors.errors)
        return []

    def test_every_option_of_a_latent_worker_is_taken(self) -> None:
        options = {
            "max_builds": 2,
            "notify_on_missing": ["owner@example.org"],
            "missing_timeout": 600,
            "build_wait_timeout": -1,
            "check_instance_interval": 5,
            "keepalive_interval": 60,
            "properties": {"colour": "red"},
            "defaultProperties": {"size": 1},
            "locks": [],
            "machine_name": None,
        }
        assert self._errors_of(**options) == []

    def test_a_path_that_is_no_text_is_an_error_that_names_it(self) -> None:
        (error,) = self._errors_of(config=7)
        assert "w1" in error
        assert "config=7" in error

    def test_an_autostart_that_is_neither_is_an_error(self) -> None:
        (error,) = self._errors_of(autostart="yes")
        assert "autostart='yes'" in error

    def test_a_misspelt_option_is_refused(self) -> None:
        try:
            self._errors_of(build_wait_time=5)
        except TypeError as error:
            assert "build_wait_time" in str(error)
        else:
            raise AssertionError("taken")

    def test_buildbot_takes_it_for_a_worker(self) -> None:
        assert verifyClass(IWorker, LatentEC2Worker)
