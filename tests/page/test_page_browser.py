"""The page in a real browser: for everybody, on a phone, in the dark, without scripts, and kept up to date."""

from __future__ import annotations

import pytest
from browser import DESKTOP, PHONE, opened
from looked import Fleet

WORKER = "/workers/debian-03"
PAGES = ("/", WORKER, "/workers/nobody", "/?q=debian", "/?q=nothing-of-that-name")
# How long something may take that the browser waits for, in milliseconds.
SOON_MS = 60_000


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("path", PAGES)
def test_everybody_can_read_it(fleet: Fleet, path: str, width: int, dark: bool) -> None:
    # axe is a script that the page's policy would refuse; it is evaluated by the browser itself.
    with opened(fleet.address + path, width, dark) as shown:
        assert shown.grave() == []
        assert shown.overflow() <= 0
        assert all(asked.startswith(fleet.address + "/") for asked in shown.asked), shown.asked
        assert [said for said in shown.complaints if "404" not in said] == []


def test_without_scripts_it_says_the_same_and_comes_again_by_itself(fleet: Fleet) -> None:
    with opened(fleet.address, scripts=False) as shown:
        assert shown.page.get_by_role("link", name="debian-03").first.is_visible()
        assert shown.page.locator(".worker").count() == 24
        assert shown.page.locator("#events li").count() >= 20
        assert not shown.page.locator("#pause").is_visible()
        assert shown.page.locator("noscript meta[http-equiv=refresh]").count() == 1
        before = len(shown.asked)
        shown.page.wait_for_timeout(17_000)
        assert fleet.address + "/" in shown.asked[before:]


def test_an_event_appears_and_the_rest_follows_without_a_reload(fleet: Fleet) -> None:
    with opened(fleet.address) as shown:
        page = shown.page
        page.evaluate("window.mine = 1")
        page.get_by_text("live", exact=True).wait_for(timeout=SOON_MS)
        first, clock = page.locator("#events li").first.inner_text(), page.locator("#clock").inner_text()
        changed = "([id, was]) => document.querySelector(id).innerText !== was"
        page.wait_for_function(changed, arg=["#events li", first], timeout=SOON_MS)
        page.wait_for_function(changed, arg=["#clock", clock], timeout=SOON_MS)
        assert page.evaluate("window.mine") == 1
        assert shown.asked.count(fleet.address + "/page.js") == 1
        page.get_by_role("button", name="Pause").click()
        page.get_by_text("paused", exact=True).wait_for()
        stopped = page.locator("#events").inner_text()
        page.wait_for_timeout(5_000)
        assert page.locator("#events").inner_text() == stopped
        page.get_by_role("button", name="Go on").click()
        page.wait_for_function(changed, arg=["#events", stopped], timeout=SOON_MS)
        assert shown.complaints == []


def test_who_is_refused_new_events_sees_the_fleet_as_it_is_all_the_same(fleet: Fleet) -> None:
    with opened(fleet.address) as shown:
        page = shown.page
        page.route("**/events?*", lambda route: route.fulfill(status=503))
        page.reload()
        page.get_by_text("reconnecting", exact=True).wait_for(timeout=SOON_MS)
        for _ in range(2):
            clock = page.locator("#clock").inner_text()
            changed = "was => document.querySelector('#clock').innerText !== was"
            page.wait_for_function(changed, arg=clock, timeout=SOON_MS)
        page.get_by_role("button", name="Pause").click()
        before = len(shown.asked)
        page.wait_for_timeout(16_000)
        assert shown.asked[before:] == [], "who pauses is left alone"


def test_whoever_is_let_in_no_more_is_asked_for_the_token_again(locked: Fleet) -> None:
    with opened(locked.address) as shown:
        page = shown.page
        page.get_by_label("Token").fill("open-sesame-open-sesame")
        page.get_by_role("button", name="Look").click()
        page.get_by_text("live", exact=True).wait_for(timeout=SOON_MS)
        page.route("**/events?*", lambda route: route.fulfill(status=401))
        page.reload()
        # As after a start of the controller, which knows no session of the one before.
        page.context.clear_cookies()
        page.get_by_label("Token").wait_for(timeout=SOON_MS)


def test_what_ec2_said_is_text(fleet: Fleet) -> None:
    with opened(fleet.address) as shown:
        shown.page.get_by_text("<script>alert(1)</script>").first.wait_for(timeout=SOON_MS)
        assert "\u202e" not in shown.page.content()


def test_each_budget_has_a_bar_and_each_worker_its_day(fleet: Fleet) -> None:
    with opened(fleet.address) as shown:
        budgets = shown.page.get_by_role("region", name="Budgets, this month")
        assert budgets.get_by_role("heading", level=3).count() == 2
        for owner, amounts in [("alice", ("$5.00", "$40.00")), ("bob", ("$30.00",))]:
            card = budgets.get_by_role("listitem").filter(has=shown.page.get_by_role("heading", name=owner))
            assert card.get_by_role("img", name=f"{owner} in 20").is_visible()
            assert all(card.get_by_text(amount, exact=True).is_visible() for amount in amounts)
        # One more on the whole fleet's tile, and one for each account.
        assert shown.page.locator(".worker .facts").get_by_text("today", exact=True).count() == 24


def test_a_browser_is_let_in_by_the_token_alone(locked: Fleet) -> None:
    with opened(locked.address + WORKER) as shown:
        page = shown.page
        assert shown.grave() == []
        assert shown.overflow() <= 0
        page.get_by_label("Token").fill("not-the-token-at-all")
        page.get_by_role("button", name="Look").click()
        page.get_by_text("That is not the token.").wait_for()
        page.get_by_label("Token").fill("open-sesame-open-sesame")
        page.get_by_role("button", name="Look").click()
        page.get_by_role("heading", name="example").wait_for()
        page.get_by_text("live", exact=True).wait_for(timeout=SOON_MS)
        assert page.evaluate("document.cookie") == ""
        assert not any("sesame" in asked for asked in shown.asked)
