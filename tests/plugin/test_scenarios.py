"""Which scenarios are held where.

Buildbot's own suite for latent workers (`test_latent.py` of 4.3) has 50: `BUILDBOT`. Each has a test here, which
says so with `buildbot_case`.

These, which that suite does not have, follow from what the old class was seen to do. Of the plugin:

    the master is killed, and an instance lives: adopted, no twin       test_master_ends, test_negative_timeout
    the twin of an earlier instance knocks first                        test_connections
    a stop fails several times, then succeeds                           test_letting_go
    SIGKILL in the middle of a stop                                     test_master_ends
    an instance that powered itself off                                 test_letting_go
    a start that never comes to an end                                  test_substantiation, test_builds_stopped
    capacity, quota, throttle, rights, a lost AMI: told apart           test_substantiation
    an interruption                                                     test_letting_go
    a configuration that changes, in each phase                         test_reconfigured
    a graceful stop, then a build                                       test_buttons
    a builder that is removed and comes back                            test_reconfigured
    fifty starts at once, and the master answers                        test_substantiation
    the configuration is checked and nobody is asked                    test_configuration

Of the controller, against the model of EC2 (`tests/it/scenarios`):

    a crash before, in and after a launch; nothing runs untagged        crash.rs, doubt.rs, storage.rs, tags.rs
    an instance that is not found at the first look                     ending.rs, crash.rs
    a termination that is refused again and again                       ending.rs
    a request that is met after it was given up, spot or not            crash.rs, doubt.rs, launch.rs
    an instance that stopped or ended by itself                         ending.rs, pool.rs
    disks that survive their instance                                   sweeper.rs; ../sweep
    what is not ours, by name, owner or controller, stays               cells.rs, controllers.rs; ../sweep
    a refusal of each kind                                              launch.rs, doubt.rs
    fifty requests at once, paced                                       launch.rs
"""

from __future__ import annotations

import importlib
from pathlib import Path

from case import PluginCase

BUILDBOT = [
    "latent_workers_start_in_parallel",
    "refused_substantiations_get_requeued",
    "failed_substantiations_get_requeued",
    "failed_substantiations_get_exception",
    "worker_accepts_builds_after_failure",
    "worker_multiple_substantiations_succeed",
    "very_late_detached_after_substantiation",
    "substantiation_during_stop_instance",
    "substantiation_during_stop_instance_canStartBuild_race",
    "insubstantiation_during_substantiation_refuses_substantiation",
    "stopservice_during_insubstantiation_completes",
    "stopservice_during_substantiation_completes[with_substantiation_failure]",
    "stopservice_during_substantiation_completes[without_worker_connecting]",
    "stopservice_during_substantiation_completes[with_worker_connecting]",
    "substantiation_is_cancelled_by_build_stop",
    "reconfigservice_during_substantiation_clean_shutdown_after[after_start_instance_no_worker]",
    "reconfigservice_during_substantiation_clean_shutdown_after[after_start_instance_with_worker]",
    "reconfigservice_during_substantiation_clean_shutdown_after[before_start_instance_no_worker]",
    "reconfigservice_during_substantiation_clean_shutdown_after[before_start_instance_with_worker]",
    "substantiation_cancelled_by_insubstantiation_when_waiting_for_insubstantiation",
    "stalled_substantiation_then_timeout_get_requeued",
    "stalled_substantiation_then_check_instance_fails_get_requeued",
    "sever_connection_before_ping_then_timeout_get_requeued",
    "failed_sendBuilderList_get_requeued",
    "failed_ping_get_requeued",
    "worker_close_connection_while_building",
    "negative_build_timeout_reattach_substantiated",
    "sever_connection_while_building",
    "sever_connection_during_insubstantiation",
    "sever_connection_during_insubstantiation_and_buildrequest",
    "negative_build_timeout_reattach_insubstantiating",
    "negative_build_timeout_no_disconnect_insubstantiating",
    "negative_build_timeout_insubstantiates_on_master_shutdown",
    "stop_instance_synchronous_exception",
    "build_stop_with_cancelled_during_substantiation",
    "build_stop_with_retry_during_substantiation",
    "rejects_build_on_instance_with_different_type_timeout_zero",
    "rejects_build_on_instance_with_different_type_timeout_nonzero",
    "supports_no_build_for_substantiation",
    "supports_no_build_for_substantiation_accepts_build_later",
    "1worker_starts_and_stops_after_single_build_success",
    "1worker_starts_and_stops_after_single_build_failure",
    "1worker_stops_machine_after_timeout",
    "1worker_does_not_stop_machine_machine_after_timeout_during_build",
    "1worker_insubstantiated_after_start_failure",
    "1worker_eats_exception_from_start_machine",
    "1worker_eats_exception_from_stop_machine",
    "2workers_build_substantiates_insubstantiates_both_workers",
    "2workers_two_builds_start_machine_concurrently",
    "2workers_insubstantiated_after_one_start_failure",
]


def test_each_scenario_of_buildbots_own_suite_has_a_test() -> None:
    held: list[str] = []
    for path in Path(__file__).parent.glob("test_*.py"):
        for kind in vars(importlib.import_module(path.stem)).values():
            if isinstance(kind, type) and issubclass(kind, PluginCase) and kind.__module__ == path.stem:
                tests = (test for name, test in vars(kind).items() if name.startswith("test_"))
                held += [name for test in tests for name in getattr(test, "buildbot_cases", ())]
    assert len(BUILDBOT) == 50
    assert sorted(held) == sorted(BUILDBOT)
