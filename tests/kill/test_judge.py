"""A judge that never finds anything would be no judge."""

from __future__ import annotations

import itertools

from judge import Happening, Judge, LostBuild

NUMBERS = itertools.count(1)


def tell(judge: Judge, instance: str, *what: str) -> None:
    """Lets things happen; `by` follows a bar."""
    for text in what:
        words, _, outcome = text.partition("|")
        judge.hear(Happening(next(NUMBERS), "now", words, instance, outcome))


def judge_of(**workers: str) -> Judge:
    """Knows whose these instances are."""
    judge = Judge()
    for instance, worker in workers.items():
        judge.launched(instance, worker)
    return judge


def build(instance: str) -> LostBuild:
    return LostBuild("b/1", "w1", instance, "its instance ended")


def test_two_lives_at_once_are_a_duplicate() -> None:
    judge = judge_of(i1="w1", i2="w1")
    tell(judge, "i1", "is launched", "runs")
    tell(judge, "i2", "is launched")
    assert len(judge.duplicates) == 1 and "i1 and i2" in judge.duplicates[0]


def test_one_life_after_the_other_is_none() -> None:
    judge = judge_of(i1="w1", i2="w1", i3="w2")
    tell(judge, "i1", "is launched", "runs")
    tell(judge, "i3", "is launched")
    tell(judge, "i1", "is shutting down|by a caller")
    tell(judge, "i2", "is launched")
    tell(judge, "i1", "is terminated")
    assert not judge.duplicates


def test_a_stopped_instance_still_counts() -> None:
    judge = judge_of(i1="w1", i2="w1")
    tell(judge, "i1", "is launched", "runs", "is stopping|by a third party", "is stopped")
    tell(judge, "i2", "is launched")
    assert len(judge.duplicates) == 1


def test_what_still_costs_is_a_zombie() -> None:
    judge = judge_of(i1="w1", i2="w2")
    tell(judge, "i1", "is launched", "runs")
    tell(judge, "i2", "is launched", "is shutting down|by a caller")
    assert judge.costing() and len(judge.zombies()) == 1
    tell(judge, "i1", "is shutting down|by a caller")
    assert not judge.costing() and not judge.zombies()


def test_a_build_is_lost_if_we_ended_its_instance() -> None:
    judge = judge_of(i1="w1")
    tell(judge, "i1", "is launched", "runs", "is shutting down|by a caller")
    assert len(judge.lost([build("i1")])) == 1


def test_a_build_is_lost_if_we_cut_its_connection() -> None:
    judge = judge_of(i1="w1")
    tell(judge, "i1", "is launched", "runs")
    assert len(judge.lost([build("i1")])) == 1


def test_a_build_is_not_lost_by_us_if_somebody_else_was_first() -> None:
    judge = judge_of(i1="w1", i2="w2")
    tell(judge, "i1", "is launched", "runs", "is shutting down|by EC2")
    tell(judge, "i2", "is launched", "runs", "is stopping|by a third party", "is shutting down|by a caller")
    assert not judge.lost([build("i1"), build("i2")])


def test_an_instance_whose_tags_somebody_took_is_nobodys() -> None:
    judge = judge_of(i1="w1", i2="w1")
    tell(judge, "i1", "is launched", "runs", "is tagged|by a third party")
    tell(judge, "i2", "is launched", "is shutting down|by a caller")
    assert not judge.duplicates and not judge.costing()
