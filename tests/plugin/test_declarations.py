"""What a master tells of the workers of its master.cfg."""

from __future__ import annotations

import pytest
from buildbot_latent.declarations import Declarations
from buildbot_latent.http import LinkError

W1, W2 = {"owner": "a"}, {"owner": "b"}


def told(declarations: Declarations) -> dict:
    body = declarations.untold()
    assert body is not None
    return dict(body["workers"])


def test_news_are_told_once() -> None:
    declarations = Declarations(set)
    assert declarations.untold() is None and not declarations.some and not declarations.has_news
    declarations.set("w1", W1)
    assert declarations.has_news
    assert told(declarations) == {"w1": W1}
    assert declarations.untold() is None and declarations.some
    declarations.set("w1", dict(W1))
    assert declarations.untold() is None
    declarations.failed()
    assert told(declarations) == {"w1": W1}


def test_one_that_has_not_come_yet_keeps_what_was_said_of_it() -> None:
    declarations = Declarations(lambda: {"w1", "w2"})
    declarations.set("w1", W1)
    assert told(declarations) == {"w1": W1, "w2": None}
    declarations.set("w2", W2)
    assert told(declarations) == {"w1": W1, "w2": W2}


def test_one_that_left_is_not_named_any_more() -> None:
    declarations = Declarations(set)
    declarations.set("w1", W1)
    declarations.set("w2", None)
    assert told(declarations) == {"w1": W1, "w2": None}
    declarations.withdraw("w2")
    assert told(declarations) == {"w1": W1}
    declarations.withdraw("w2")
    assert declarations.untold() is None
    declarations.set("w2", W2)
    assert told(declarations) == {"w1": W1, "w2": W2}


def test_of_one_that_was_handed_over_nothing_is_said() -> None:
    declarations = Declarations(lambda: {"w1", "w2"})
    declarations.set("w1", W1)
    declarations.set("w2", W2)
    declarations.told({"accepted": [], "refused": {"w1": "no"}})
    declarations.hand_over("w1")
    assert told(declarations) == {"w1": None, "w2": W2}
    declarations.raise_if_refused("w1")


def test_one_that_stands_elsewhere_is_forgotten_also_if_an_earlier_life_told_it() -> None:
    declarations = Declarations(lambda: {"w1", "w2"})
    declarations.withdraw("w1")
    assert told(declarations) == {"w2": None}


def test_a_refusal_holds_until_something_else_is_said() -> None:
    declarations = Declarations(set)
    declarations.set("w1", W1)
    declarations.set("w2", W2)
    told(declarations)
    declarations.told({"accepted": ["w2"], "refused": {"w1": "no such type"}})
    declarations.raise_if_refused("w2")
    with pytest.raises(LinkError, match="no such type"):
        declarations.raise_if_refused("w1")
    declarations.set("w1", W2)
    declarations.raise_if_refused("w1")


def test_a_controller_that_forgot_is_told_again_but_not_what_it_refused() -> None:
    declarations = Declarations(set)
    declarations.set("w1", W1)
    declarations.set("w2", W2)
    declarations.set("w3", None)
    told(declarations)
    declarations.told({"accepted": ["w1"], "refused": {"w2": "no"}})
    assert declarations.forgotten("w1")
    assert told(declarations) == {"w1": W1, "w2": W2, "w3": None}
    for name in ("w2", "unheard of"):
        assert not declarations.forgotten(name)
    # A build will say what it is.
    assert declarations.forgotten("w3")
    assert declarations.untold() is None
