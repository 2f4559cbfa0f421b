"""The chapter's story from the browser, with real daemons, and the table of ten thousand threads."""

import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from damocles.testing.farm import Farm, cli, wait_until
from damocles.testing.fleet import MISSING
from tests.security.browsing import thread, worker

from . import browsers, houses

pytestmark = [pytest.mark.xdist_group("dashboard"), pytest.mark.slow]


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[Farm]:
    """A paused house for one test, which may move its threads."""
    with houses.paused(tmp_path) as f:
        yield f


@pytest.fixture
def visitor(paused: Farm, chromium: Any) -> Iterator[browsers.Visit]:
    """A browser at the manager of the paused house, not logged in."""
    with browsers.visit(chromium, paused.manager_port) as made:
        yield made


def test_the_story_of_the_chapter(paused: Farm, visitor: browsers.Visit, porep_parameters: list[Path]) -> None:
    """Three threads are paused: found on the first page, understood there, mended, marked, tried without effect, and resumed
    with a reason, which the audit has.
    """
    page = visitor.page
    visitor.open("fleet")
    browsers.keep_picture(page, "login")
    visitor.log_in(houses.token(paused, "alice", "operate"))
    trouble = page.locator("li.trouble").first
    assert "3 threads, 3 paused: C2 parameters missing (2KiB)" in trouble.inner_text()
    assert "damocles-worker params fetch --sector-size 2KiB --for porep" in trouble.inner_text()
    visitor.open("alerts")
    visitor.shows("proof parameters are missing, so that #0-#2 cannot go on")
    browsers.keep_picture(page, "alerts")
    visitor.open("fleet")
    browsers.keep_picture(page, "fleet")
    trouble.get_by_role("link", name="3 threads").click()
    visitor.shows("3 of 3 threads")
    assert "error=No+cached+parameters" in page.url
    browsers.keep_picture(page, "threads")
    page.get_by_role("link", name="s-t010000-1").click()
    visitor.heading("Sector s-t010000-1")
    assert "here" in page.locator("svg .node.here").text_content()
    browsers.keep_picture(page, "sector")
    page.go_back()
    for file in porep_parameters:
        (paused.parameters / file.name).symlink_to(file)
    for sector in ("s-t010000-1", "s-t010000-2"):
        page.locator("#threads tbody tr", has_text=sector).get_by_role("checkbox").check()
    page.get_by_role("button", name="Resume…").click()
    visitor.shows("2 of 2 would do it")
    states = page.get_by_label("Go on from").locator("option").all_inner_texts()
    assert "C1Done" in states
    assert "Aborted" not in states
    assert all(one.thread_state.state == "Paused" for one in paused.all_threads())
    browsers.keep_picture(page, "resume")
    page.get_by_label("Reason").fill("parameters fetched")
    page.get_by_role("button", name="Resume: 2 threads").click()
    visitor.shows("2 of 2 done")
    browsers.keep_picture(page, "outcome")
    wait_until(
        lambda: sum(one.thread_state.state == "Paused" for one in paused.all_threads()) == 1, "two threads go on"
    )
    # The third one is resumed by somebody else while a page shows that it could be.
    visitor.open("threads")
    page.locator("#threads tbody tr", has_text="s-t010000-3").get_by_role("checkbox").check()
    page.get_by_role("button", name="Resume…").click()
    visitor.shows("1 of 1 would do it")
    at = ("--listen", visitor.origin)
    cli("damocles-manager", "util", "worker", "resume", "w1", "--sector", "s-t010000-3", *at)
    page.get_by_role("button", name="Resume: 1 thread").click()
    visitor.shows("0 of 1 done, 1 refused")
    visitor.shows("is not paused")
    # One that computes is paused by two at once, and resumed by two at once.
    index = wait_until(
        lambda: [one.index for one in paused.all_threads() if one.thread_state.state == "Running"], "one computes"
    )[0]
    assert any(by_two_at_once(paused, visitor, index, "pause", "Pause at once", "--now"))
    assert 1 == sum(by_two_at_once(paused, visitor, index, "resume", "Resume"))
    cli("damocles-manager", "util", "worker", "pause", "w1", "--all", "--now", *at)  # no proof need be waited for here
    visitor.open("audit?who=alice")
    row = page.locator("tbody tr", has_text="parameters fetched").inner_text()
    assert "resume" in row
    assert "2 done" in row
    visitor.open("threads")
    page.locator("#threads tbody tr").first.get_by_role("checkbox").check()
    page.get_by_role("button", name="Drain workers…").click()
    visitor.heading("Drain w1")
    browsers.keep_picture(page, "drain")
    page.get_by_label("Reason").fill("new disk")
    page.get_by_role("button", name="Take no new sectors").click()
    visitor.shows("1 of 1 done")
    for name in ("audit", "pipeline", "stores", "metrics"):
        visitor.open(name)
        browsers.keep_picture(page, name)
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    visitor.open("threads")
    browsers.keep_picture(page, "phone")


def by_two_at_once(
    f: Farm, visitor: browsers.Visit, index: int, verb: str, button: str, *options: str
) -> tuple[bool, bool]:
    """Act on a thread from the page and from the command line at once; return who has done it, when it has happened once."""
    page, before = visitor.page, len(f.events(index))
    visitor.open("threads")
    page.get_by_role("checkbox", name=f"Mark w1 #{index}").check()
    page.get_by_role("button", name=f"{button}…").click()
    visitor.shows("1 of 1 would do it")
    with ThreadPoolExecutor(1) as other:
        command = ("damocles-manager", "util", "worker", verb, "w1", str(index), *options, "--listen", visitor.origin)
        told = other.submit(cli, *command, check=False)
        page.get_by_role("button", name=re.compile(r": 1 thread$")).click()
        visitor.shows("of 1 done")
    wait_until(lambda: f.events(index)[before:].count(verb.title()) == 1, f"the journal has one {verb}")
    return page.get_by_text("1 of 1 done").count() > 0, told.result().returncode == 0


@dataclass
class Registry:
    """The manager of a farm, as those who ping it see it."""

    farm: Farm

    async def call(self, method: str, *params: Any) -> None:
        """Call it."""
        with self.farm.manager_client() as manager:
            manager.call(method, list(params))


@asynccontextmanager
async def crowd(f: Farm, workers: int, threads: int) -> AsyncIterator[None]:
    """Run workers that are none, with threads that are none either: they are paused for ever."""
    async with AsyncExitStack() as stack:
        for number in range(workers):
            first = number * threads
            held = [
                thread(index, job_id=f"s-t010000-{first + index}", last_error=f"permanent: {MISSING}")
                for index in range(threads)
            ]
            await stack.enter_async_context(worker(Registry(f), *held, name=f"sham-{number:02}"))
        yield


def test_ten_thousand_threads_are_a_page(tmp_path: Path, chromium: Any) -> None:
    """However many threads there are, a page has fifty of them, its filters look through all, and it follows them without a jump."""
    with Farm(tmp_path, threads=1, name="none") as f, start_blocking_portal() as portal:
        f.start_manager("--dashboard")
        with (
            portal.wrap_async_context_manager(crowd(f, 20, 500)),
            browsers.visit(chromium, f.manager_port) as visit,
        ):
            visit.log_in(houses.own(f), "threads")
            visit.shows("10000 of 10000 threads, page 1 of 200")
            assert 50 == visit.page.locator("#threads tbody tr").count()
            visit.page.get_by_label("Sector", exact=True).fill("s-t010000-7777")
            visit.shows("1 of 10000 threads")
            visit.open("threads?paused=yes&sort=-sector&page=2")
            visit.shows("page 2 of 200")
            visit.page.evaluate("window.scrollTo(0, 900)")
            before = visit.page.evaluate("window.scrollY")
            assert before > 0
            browsers.replaced(visit.page)
            visit.shows("page 2 of 200")
            assert before == visit.page.evaluate("window.scrollY")
            visit.open("fleet")
            visit.shows("10000 threads")
            assert visit.page.locator("li.alert").count() <= 50
