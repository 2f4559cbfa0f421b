"""The dashboard in a browser, of workers that are none: what others write stays text, and the day of a miner as a clock."""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from damocles.manager.dashboard import deadlines
from damocles.manager.dashboard.views.proving import Told
from damocles.rpc import core
from damocles.wire import control, proving
from damocles.wire.proving import Standing
from tests.integration.access.conftest import Daemon, StartManager, start_manager
from tests.security.browsing import thread, worker

from . import browsers

__all__ = ["start_manager"]

pytestmark = [pytest.mark.xdist_group("dashboard"), pytest.mark.slow]

# Whichever of these ran would leave a mark, or show a picture that is not ours.
SCRIPT = (
    "</pre></title><script>window.ran = 1</script><img src=x onerror='window.ran = 1'><svg onload='window.ran = 1'>"
)
LINK = "javascript:window.ran=1"


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """A loop for what runs beside the browser."""
    with start_blocking_portal() as made:
        yield made


def port(manager: Daemon) -> int:
    """Return where its pages are."""
    found = urlsplit(manager.url).port
    assert found is not None
    return found


def test_nothing_that_others_write_runs(
    start_manager: StartManager, portal: BlockingPortal, chromium: Any, tmp_path: Any
) -> None:
    """In the error of a sector, the name of a store and of a worker, a history, and lines of a log, old and new, a script is text."""
    evil = thread(last_error=SCRIPT, location=SCRIPT, job_stage=SCRIPT)
    step = control.HistoryEntry(
        at=1.0, location=SCRIPT, plan="sealer", sector="s-t010000-7", attempt=1, prev="PC1Done", state="C1Done",
        event=LINK, error=SCRIPT, by=SCRIPT,
    )  # fmt: skip
    stores = {SCRIPT.replace("/", "-"): tmp_path}
    with (
        portal.wrap_async_context_manager(start_manager(dashboard=True, stores=stores)) as manager,
        portal.wrap_async_context_manager(worker(manager, evil, name=f"w{SCRIPT}")) as acted,
        browsers.visit(chromium, port(manager)) as visit,
    ):
        acted.history.append(step)
        acted.lines.append(control.LogLine(1, 1.0, "C2", 7, f"old {SCRIPT}", "s-t010000-7"))
        visit.log_in(manager.token)
        for path, shown in (
            ("fleet", SCRIPT),
            ("threads", SCRIPT),
            ("alerts", ""),
            ("stores", "window.ran = 1"),
            ("metrics", ""),
            ("sectors/s-t010000-7", f"old {SCRIPT}"),
        ):
            visit.open(path)
            visit.shows(shown) if shown else visit.page.wait_for_load_state()
            assert visit.page.evaluate("[window.ran, document.images.length]") == [None, 0], path
        acted.lines.append(control.LogLine(2, 2.0, SCRIPT, 7, f"new {SCRIPT}", "s-t010000-7"))
        visit.page.get_by_role("log").filter(has_text=f"new {SCRIPT}").wait_for()
        assert visit.page.evaluate("[window.ran, document.images.length]") == [None, 0]
        assert 0 == visit.page.locator("a[href^='javascript:']").count()


def test_a_log_goes_on_after_its_worker_was_away(
    start_manager: StartManager, portal: BlockingPortal, chromium: Any
) -> None:
    """A page that was opened while nobody could be asked for lines has those that come later, by itself."""
    with (
        portal.wrap_async_context_manager(start_manager(dashboard=True)) as manager,
        portal.wrap_async_context_manager(worker(manager, thread())) as acted,
        browsers.visit(chromium, port(manager)) as visit,
    ):
        acted.is_away = True
        visit.log_in(manager.token)
        asks = "**/dashboard/log?*"
        with visit.page.expect_request(asks):
            visit.open("sectors/s-t010000-7")
        with visit.page.expect_request(asks):  # again, by itself
            pass
        acted.lines.append(control.LogLine(1, 1.0, "C2", 7, "back again", "s-t010000-7"))
        acted.is_away = False
        visit.page.get_by_role("log").filter(has_text="back again").wait_for()


def day(now: float) -> Told:
    """Return a day of which four deadlines are over, the fifth is open, and two of the others have faulty sectors."""
    empty = proving.Deadline(
        deadline=0, opens=0, close=60, partitions=0, sectors=0, faulty=0, recovering=0, proved=0,
        standing=Standing.NOTHING, window_opens=None, posts=[], bad={},
    )  # fmt: skip
    usual = proving.Post(
        partitions=[0, 1], stage="over", skipped={}, prover="w1", made_epoch=602, proved_epoch=607, seconds=141.0,
        sent_epoch=608, sends=1, message=5, landed_epoch=611, why="",
    )  # fmt: skip

    def post(number: int, **more: Any) -> list[proving.Post]:
        epochs = {"made_epoch": 2, "proved_epoch": 7, "sent_epoch": 8, "landed_epoch": 11}
        epochs = {name: 60 * number + after for name, after in epochs.items()}
        return [msgspec.structs.replace(usual, message=number, **epochs, **more)]

    standings: dict[int, dict[str, Any]] = {
        10: {"standing": Standing.PROVED, "posts": post(10)},
        11: {"standing": Standing.PROVED, "posts": post(11, skipped={812: "its tree is cut short"}), "faulty": 1},
        12: {"standing": Standing.MISSED, "faulty": 2349},
        13: {"standing": Standing.PROVED, "posts": post(13)},
        14: {"standing": Standing.LATE, "proved": 1, "posts": post(14, partitions=[0])},
        15: {"standing": Standing.AHEAD, "recovering": 1, "faulty": 1},
        **{number: {"standing": Standing.AHEAD} for number in range(16, 40)},
    }  # fmt: skip
    found = [
        msgspec.structs.replace(
            empty,
            deadline=number,
            opens=60 * number if number >= 14 else 60 * (number + 48),
            close=60 * number + 60,
            **({"partitions": 2, "sectors": 4698} if number in standings else {}),
            **standings.get(number, {}),
        )
        for number in range(48)
    ]
    made = proving.Day(miner=1000, epoch=875, at=int(now), block_seconds=30.0, current=14, deadlines=found)
    return Told(miner=1000, day=made)


@pytest.fixture(params=[("light", 1280), ("dark", 390)], ids=["at a desk", "on a phone"])
def watched(
    request: pytest.FixtureRequest,
    start_manager: StartManager,
    portal: BlockingPortal,
    chromium: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[browsers.Visit]:
    """A browser, logged in to a manager that knows the day of a miner."""

    async def told(_: deadlines.Deadlines, __: core.Call) -> list[Told]:
        return [day(time.time())]

    monkeypatch.setattr(deadlines.Deadlines, "told", told)
    scheme, width = request.param
    look = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    with (
        portal.wrap_async_context_manager(start_manager(dashboard=True)) as manager,
        browsers.visit(chromium, port(manager), **look) as visit,
    ):
        visit.log_in(manager.token, "proving")
        yield visit


def test_a_day_is_a_clock(watched: browsers.Visit) -> None:
    """However deadlines stand, each is on the clock and in words beside it; axe finds nothing, and the page fits the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = watched.page
    watched.heading("Proving")
    assert 48 == page.locator("svg.clock path").count()
    for standing in (Standing.PROVED, Standing.MISSED, Standing.LATE, Standing.AHEAD):
        assert page.locator("table .state", has_text=standing.value).count() >= 1
    if page.viewport_size["width"] > 1000:
        browsers.keep_picture(page, "proving")
    found = axe.run(page).response["violations"]
    assert [] == [(one["id"], [node["html"] for node in one["nodes"][:3]]) for one in found]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
