"""What pages share: each is made once for all who may see the same, and yet everybody has their own."""

import re

import anyio
from tests.integration.access.conftest import StartManager
from tests.security.browsing import MARKER, Browser, browser, thread, worker

from damocles.manager.alerts import config
from damocles.methods.rules import Scope
from damocles.testing.fleet import MISSING

STATE = re.compile(r'id="live" data-state="(\w+)"')
LIVE = {"hx-request": "true", "hx-target": "live"}


async def test_each_has_their_own_marker(start_manager: StartManager) -> None:
    """Of one look, two who may act get the same page with the markers of their own log-ins, and a reader one without a form."""
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        tokens = [
            await manager.create(name, scope)
            for name, scope in (("a", Scope.OPERATE), ("b", Scope.OPERATE), ("c", Scope.READ))
        ]
        async with (
            browser(manager, tokens[0]) as one,
            browser(manager, tokens[1]) as other,
            browser(manager, tokens[2]) as reader,
        ):
            pages = [(await who.get("/dashboard/threads", **LIVE)).text for who in (one, other, reader, one)]
            markers = [set(MARKER.findall(page)) for page in pages]
            assert [1, 1, 1] == [len(found) for found in (markers[0], markers[1], markers[3])]
            assert markers[0] == markers[3] != markers[1]
            assert 'name="verb"' not in pages[2]
            assert not set(MARKER.findall(pages[2])) & (markers[0] | markers[1])
            (marker,) = markers[0]
            wanted = {"verb": "pause", "everything": "yes", "step": "do", "marker": marker}
            assert 403 == (await other.post("/dashboard/threads", wanted)).status_code
            assert [] == acted.asked
            assert 200 == (await one.post("/dashboard/threads", wanted)).status_code
        assert ["a"] == [who for _, _, who in acted.asked]


async def test_what_is_shown_already_is_not_sent_again(start_manager: StartManager) -> None:
    """A page that has nothing but ages to renew gets nothing, and the whole live part as soon as something else has changed."""
    async with (
        start_manager(dashboard=True) as manager,
        worker(manager, thread()) as acted,
        browser(manager, manager.token) as someone,
    ):
        page = (await someone.get("/dashboard/threads", **LIVE)).text
        assert page.startswith('<div id="live"')
        state = STATE.findall(page)[0]
        shown = {**LIVE, "damocles-shown": state}
        answer = await someone.get("/dashboard/threads", **shown)
        assert (204, "") == (answer.status_code, answer.text)
        acted.threads[0] = thread(last_error="permanent: the disk is full")
        with anyio.fail_after(60):
            while (answer := await someone.get("/dashboard/threads", **shown)).status_code == 204:
                await anyio.sleep(0.2)
        assert "the disk is full" in answer.text
        assert state != STATE.findall(answer.text)[0]
        assert "<html" in (await someone.get("/dashboard/threads")).text


async def alerts_of(
    someone: Browser, path: str = "/dashboard/alerts.json?rule=parameters-missing"
) -> dict[str, list[dict[str, object]]]:
    """Return the page of alerts, once there are some."""
    with anyio.fail_after(60):
        while not (found := (await someone.get(path)).json())["alerts"]:
            await anyio.sleep(0.2)
    return found  # type: ignore[no-any-return]


async def test_alerts_are_taken_care_of_from_the_page(start_manager: StartManager) -> None:
    """Whoever may act acknowledges an alert, mutes it or all of its rule, and ends that: each under their name, with the reason."""
    often = config.Config(interval_seconds=0.1)
    lacking = thread(last_error=f"permanent: {MISSING}")
    async with start_manager(dashboard=True, alerts=often) as manager, worker(manager, lacking):
        token = await manager.create("alice", Scope.OPERATE)
        async with browser(manager, token) as alice:
            (alert,) = (await alerts_of(alice))["alerts"]
            assert ("parameters-missing", "w1") == (alert["rule"], alert["subject"])
            back = "/dashboard/alerts?rule=parameters-missing"
            form = {"id": alert["id"], "do": "ack", "reason": "fetching", "back": back}
            assert back == (await alice.send("/dashboard/alerts", form)).headers["location"]
            (alert,) = (await alerts_of(alice))["alerts"]
            assert ("alice", "fetching") == (alert["acknowledged_by"], alert["note"])
            assert "alice takes care of it: fetching" in (await alice.get(back)).text
            rule = {
                "rule": "parameters-missing",
                "do": "mute",
                "for": "2h",
                "reason": "known",
                "back": "//evil.example/",
            }
            assert "/dashboard/fleet" == (await alice.send("/dashboard/alerts", rule)).headers["location"]
            ((mute),) = (await alerts_of(alice))["mutes"]
            assert {"rule": "parameters-missing", "by": "alice", "note": "known"}.items() <= mute["mute"].items()  # type: ignore[attr-defined]
            assert "End<span" in (await alice.get("/dashboard/alerts")).text
            await alice.send("/dashboard/alerts", {**rule, "for": "0s"})
            assert [] == (await alerts_of(alice))["mutes"]
            assert [] == (await alice.get("/dashboard/alerts.json?rule=stage-slow")).json()["alerts"]
            for wrong in (
                {"do": "ack"},
                {"do": "ack", "id": "x"},
                {"do": "mute", "rule": "nosuch"},
                {"do": "ack", "rule": "parameters-missing"},
            ):
                assert 400 == (await alice.send("/dashboard/alerts", wrong)).status_code, wrong
