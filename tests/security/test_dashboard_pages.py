"""Every page has an address and a twin in JSON; drains of many workers; a sector that somebody looks for."""

import re
import urllib.parse

from tests.integration.access.conftest import StartManager
from tests.security.browsing import browser, thread, worker

from damocles.manager.dashboard.views import threads
from damocles.methods.rules import Scope
from damocles.wire import control

TWIN = re.compile(r'<a href="([^"]*)" rel="nofollow">This page as JSON</a>')
SECTOR = re.compile(r"s-t0\d{5,}-\d+")  # not the examples in fields
NO_PAGES = {"/dashboard/login", "/dashboard/events", "/dashboard/log", "/dashboard/sectors"}
CONCRETE = {
    "/dashboard/sectors/{sector}": "/dashboard/sectors/s-t010000-7",
    "/dashboard/drain": "/dashboard/drain?worker=w1",
}


async def test_every_page_has_a_twin(start_manager: StartManager) -> None:
    """Each page names its twin, programs get that by asking for JSON too, and both tell of the same sectors and workers."""
    held = [thread(0, job_id="s-t010000-7"), thread(1, job_id="s-t010000-8", last_error=None), thread(2, job_id=None)]
    async with start_manager(dashboard=True) as manager, worker(manager, *held) as acted:
        acted.history.append(
            control.HistoryEntry(
                at=1.0, plan="sealer", sector="s-t010000-7", attempt=1, prev="PC1Done", state="PC2Done", event="PC2"
            )
        )
        acted.drain = control.Drain(on=True, since=1.0, busy=["s-t010000-7", "s-t010000-8"], paused=["s-t010000-7"])
        await manager.call("Damocles.FleetAct", {"sectors": ["s-t010000-8"]}, {"verb": "pause", "reason": "new disk"})
        found = {
            route.path
            for route in manager.routes
            if "GET" in (route.methods or ()) and route.path.startswith("/dashboard/") and "{path" not in route.path
        }
        pages = {
            path
            for path in found - NO_PAGES
            if not path.endswith(".json") and not path.startswith("/dashboard/static/")
        }
        assert len(pages) >= 9
        async with browser(manager, manager.token) as someone:
            told = 0
            for path in sorted(pages):
                address = CONCRETE.get(path, path)
                page = await someone.get(address)
                assert 200 == page.status_code, address
                (twin,) = TWIN.findall(page.text)
                assert f"{path}.json" in found
                of_path = await someone.get(twin.replace("&amp;", "&"))
                by_header = await someone.get(address, accept="application/json")
                for answer in (of_path, by_header):
                    assert "application/json" == answer.headers["content-type"], address
                    assert of_path.json().keys() == answer.json().keys()
                    assert set(SECTOR.findall(page.text)) == set(SECTOR.findall(answer.text)), address
                    assert ("w1" in page.text) >= ("w1" in answer.text), address
                told += bool(SECTOR.findall(page.text))
            assert told >= 4


async def test_drains_of_many_workers(start_manager: StartManager) -> None:
    """From marked threads to their workers: how each stands first, then what came of each; one that is away holds up no other."""
    async with (
        start_manager(dashboard=True) as manager,
        worker(manager, thread(), name="a") as first,
        worker(manager, thread(job_id="s-t010000-8"), name="b") as second,
    ):
        token = await manager.create("alice", Scope.OPERATE)
        async with browser(manager, token) as alice:
            marked = [
                threads.pinned(thread(worker=name, job_id=sector))
                for name, sector in (("a", "s-t010000-7"), ("b", "s-t010000-8"))
            ]
            led = await alice.send("/dashboard/threads", {"verb": "drain", "thread": marked})
            assert (303, "/dashboard/drain?worker=a&worker=b") == (led.status_code, led.headers["location"])
            shown = await alice.get(led.headers["location"])
            assert "Take no new sectors: 2 workers" in shown.text
            assert (False, False) == (first.drain.on, second.drain.on)
            wanted = {"worker": ["a", "b", "nobody"], "on": "yes", "reason": "new disk", "deadline": "2h"}
            done = await alice.send("/dashboard/drain", wanted)
            assert "2 of 3 done, 1 refused" in done.text
            for one in (first, second):
                assert (True, 7200.0, "new disk (alice)") == (one.drain.on, one.drain.deadline, one.drain.reason)
            assert "Take new sectors again: 2 workers" in (await alice.get(led.headers["location"])).text
            unsaid = await alice.send("/dashboard/drain", {"worker": ["a"], "on": "1"})
            assert (400, True) == (unsaid.status_code, first.drain.on)
            await alice.send("/dashboard/drain", {"worker": ["a"], "on": "no", "reason": "done"})
            assert (False, True) == (first.drain.on, second.drain.on)
            one_each = await alice.get(f"{led.headers['location']}&worker=nobody")
            for words in ("Take no new sectors: 1 worker<", "Take new sectors again: 1 worker<", "nobody"):
                assert words in one_each.text
            assert 400 == (await alice.get("/dashboard/drain")).status_code
        audited = [entry for entry in await manager.call("Damocles.AuditList", {}) if entry["who"] == "alice"]
        assert ["new disk", "new disk", "new disk", "done"] == [entry["reason"] for entry in audited]


async def test_a_sector_that_somebody_types_is_found(start_manager: StartManager) -> None:
    """The field at the top leads to the page of a sector, or says what a sector is called; programs are led to the twin."""
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        for path, wanted in (("sectors", "sectors/s-t010000-7"), ("sectors.json", "sectors/s-t010000-7.json")):
            led = await someone.get(f"/dashboard/{path}?{urllib.parse.urlencode({'sector': ' s-t010000-7 '})}")
            assert (303, f"/dashboard/{wanted}") == (led.status_code, led.headers["location"])
        for odd in ("7", "../login", "", "s-t010000-7/x"):
            refused = await someone.get(f"/dashboard/sectors?{urllib.parse.urlencode({'sector': odd})}")
            assert (400, True) == (refused.status_code, "expected the form s-t010000-2" in refused.text)


async def test_pages_refuse_what_an_address_cannot_say(start_manager: StartManager) -> None:
    """Programs get 400 with the parameter and what it may be; people a page that says so, and leads back to the whole."""
    refused = {
        "threads?paused=maybe": "paused=maybe: paused may be yes or no",
        "threads?rows=abc": "rows: this page has no such parameter",
        "threads?sector=7": "s-t0",
        "threads?state=PC9Done": "there is no state PC9Done",
        "threads?state=Paused": "Paused is what a thread does: use paused=yes",
        "threads?plan=snapp": "there is no plan snapp",
        "fleet?paused=yes": "paused: this page has no such parameter; none may stand here",
        "alerts?rule=nonsense": "rule=nonsense: rule may be thread-paused, ",
        "proving?state=nonsense": "state=nonsense: state may be Failed, Faults, Running, ReadyToRun or Succeed",
        "audit?before=x": "before=x: before may be a whole number from 0 on",
        "audit?since=x": "x",
        "audit?since=1d&since=2d": "since is there 2 times",
    }
    async with (
        start_manager(dashboard=True) as manager,
        worker(manager, thread()),
        browser(manager, manager.token) as someone,
    ):
        for asked, says in refused.items():
            path, _, query = asked.partition("?")
            told = await someone.get(f"/dashboard/{path}.json?{query}")
            assert (400, True) == (told.status_code, says in told.json()["problem"]), (asked, told.text)
            page = await someone.get(f"/dashboard/{asked}")
            assert (400, True) == (page.status_code, says in page.text), (asked, page.text)
            assert f'<a href="/dashboard/{path}">' in page.text
        typed = await someone.get("/dashboard/threads?sector=7", **{"hx-request": "true", "hx-target": "live"})
        assert (200, True) == (typed.status_code, "s-t0" in typed.text)


async def test_no_address_is_a_dead_end(start_manager: StartManager) -> None:
    """The root leads to the dashboard, an icon needs no token, and a page that is not there has the way to those that are."""
    async with start_manager(dashboard=True) as manager:
        async with browser(manager) as strange:
            root = await strange.get("/", **{"sec-fetch-site": "none"})
            assert (303, "/dashboard") == (root.status_code, root.headers["location"])
            icon = await strange.get((await strange.get("/favicon.ico")).headers["location"])
            assert (200, "image/svg+xml") == (icon.status_code, icon.headers["content-type"].partition(";")[0])
            assert 303 == (await strange.get("/dashboard/nowhere")).status_code
            assert 403 == (await strange.post("/", {})).status_code
            linked = await strange.get("/dashboard", **{"sec-fetch-site": "cross-site"})
            assert (303, "/dashboard/fleet") == (linked.status_code, linked.headers["location"])
        async with browser(manager, manager.token) as someone:
            for path in ("/dashboard/nowhere", "/dashboard/fleet/", "/dashboard/docs/nowhere"):
                page = await someone.get(path)
                assert (404, True) == (page.status_code, "there is no page at this address" in page.text)
                assert '<nav aria-label="Pages">' in page.text
                assert '<a href="/dashboard/fleet">to the fleet</a>' in page.text
            told = await someone.get("/dashboard/nowhere.json")
            assert (404, True) == (told.status_code, "there is no page at this address" in told.json()["problem"])
