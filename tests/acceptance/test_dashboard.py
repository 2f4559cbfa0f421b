"""The dashboard in a browser, with real daemons: a worker's threads are paused for want of parameters, as in the chapter."""

import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from damocles import methods
from damocles.methods.rules import Scope
from damocles.rpc.admission import tokens
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.testing.fleet import MISSING
from tests.security.browsing import thread, worker

from . import browsers

pytestmark = [pytest.mark.xdist_group("dashboard"), pytest.mark.slow]

PAGES = [
    "fleet",
    "threads",
    "alerts",
    "pipeline",
    "proving",
    "stores",
    "audit",
    "sectors/s-t010000-1",
    "drain?worker=w1",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    with browsers.chromium() as started:
        yield started


@contextmanager
def paused_house(base: Path) -> Iterator[Farm]:
    """A manager with a dashboard, and a worker whose three threads are paused at C1Done, each with its error."""
    folder = base / "parameters"
    folder.mkdir()
    with Farm(base, parameters=folder, max_sectors=3, seal_interval="1h", name="w1") as f:
        f.start_manager("--dashboard", "--store", f"persist={base}/persist", "--wdpost-every", "1h")
        f.start_worker()
        wait_until(
            lambda: all(one.last_error and one.thread_state.state == "Paused" for one in f.all_threads()),
            "all threads pause",
        )
        yield f


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Farm]:
    """A paused house that all tests look at, and in which none moves a thread."""
    with paused_house(tmp_path_factory.mktemp("dashboard")) as f:
        yield f


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[Farm]:
    """A paused house for one test, which may move its threads."""
    with paused_house(tmp_path) as f:
        yield f


@pytest.fixture
def someone(house: Farm, chromium: Any) -> Iterator[browsers.Visit]:
    """A browser at the manager, not logged in."""
    with browsers.visit(chromium, house.manager_port) as made:
        yield made


@pytest.fixture
def visitor(paused: Farm, chromium: Any) -> Iterator[browsers.Visit]:
    """A browser at the manager of the paused house, not logged in."""
    with browsers.visit(chromium, paused.manager_port) as made:
        yield made


def token(f: Farm, name: str, scope: str, seconds: float | None = None) -> str:
    """Make a token."""
    with f.manager_client() as manager:
        return manager.call(methods.access.create_token(name, Scope(scope), seconds)).text


def own(f: Farm) -> str:
    """Return the manager's own token, an admin's."""
    return tokens.read_file(f.base / "manager" / "token")


def test_each_scope_sees_what_it_may_do(house: Farm, chromium: Any) -> None:
    """A reader sees all pages and no button; an operator has them; a worker's token is told that it opens none."""
    for scope, acts in (("read", 0), ("operate", 4), ("admin", 4)):
        with browsers.visit(chromium, house.manager_port) as visit:
            visit.log_in(token(house, f"a {scope}", scope), "threads")
            visit.shows("3 of 3 threads")
            assert acts == visit.page.locator("button[name=verb]").count()
            for path in PAGES if scope == "read" else ():
                visit.open(path)
                assert "Not done" not in visit.page.title()
            visit.page.get_by_role("button", name="Log out").click()
            visit.heading("Log in")
            visit.open("fleet")
            visit.heading("Log in")
    with browsers.visit(chromium, house.manager_port) as visit:
        visit.open("fleet")
        visit.page.get_by_label("Token").fill(token(house, "a worker", "worker"))
        visit.page.get_by_role("button", name="Log in").click()
        assert "pages need read, operate or admin" in visit.page.get_by_role("alert").inner_text()


def test_the_story_of_the_chapter(paused: Farm, visitor: browsers.Visit, porep_parameters: list[Path]) -> None:
    """Three threads are paused: found on the first page, understood there, mended, marked, tried without effect, and resumed
    with a reason, which the audit has.
    """
    page = visitor.page
    visitor.log_in(token(paused, "alice", "operate"))
    trouble = page.locator("li.trouble").first
    assert "3 threads, 3 paused: C2 parameters missing (2KiB)" in trouble.inner_text()
    assert "damocles-worker params fetch --sector-size 2KiB --for porep" in trouble.inner_text()
    browsers.keep_picture(page, "fleet")
    visitor.open("alerts")
    visitor.shows("proof parameters are missing, so that #0-#2 cannot go on")
    browsers.keep_picture(page, "alerts")
    visitor.open("fleet")
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
    cli("damocles-manager", "util", "worker", "pause", "w1", "--all", "--now", *at)  # no proof need be waited for here
    visitor.open("audit?who=alice")
    row = page.locator("tbody tr", has_text="parameters fetched").inner_text()
    assert "resume" in row
    assert "2 done" in row
    for name in ("audit", "pipeline", "stores", "proving"):
        visitor.open(name)
        browsers.keep_picture(page, name)
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    visitor.open("threads")
    browsers.keep_picture(page, "phone")


def test_everything_by_keyboard(house: Farm, someone: browsers.Visit) -> None:
    """Whoever has no mouse logs in, skips to the content, finds a page, marks a thread and sees what an act would do."""
    page = someone.page
    someone.open("fleet")
    page.locator("#token:focus").wait_for()  # the browser gives it when it has drawn the page
    page.keyboard.insert_text(own(house))
    page.keyboard.press("Enter")
    someone.heading("Fleet")
    page.wait_for_load_state()
    page.keyboard.press("Tab")
    assert "Skip to the content" == focused(page)
    for name in ("Damocles", "Fleet", "Threads"):
        page.keyboard.press("Tab")
        assert name == focused(page)
    page.keyboard.press("Enter")
    someone.heading("Threads")
    page.wait_for_load_state()
    page.keyboard.press("Tab")
    page.wait_for_function("document.activeElement.innerText === 'Skip to the content'")
    page.keyboard.press("Enter")
    page.wait_for_url("**/threads#main")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "thread":
            break
    page.keyboard.press("Space")
    assert 1 == page.locator("#threads tbody input:checked").count()
    for _ in range(60):
        page.keyboard.press("Shift+Tab")
        if focused(page) == "Pause…":
            break
    page.keyboard.press("Enter")
    someone.heading("Pause: what would happen")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != ""


def focused(page: Any) -> str:
    """Return the text of what has the focus."""
    return str(page.evaluate("document.activeElement.innerText"))


def replaced(page: Any) -> None:
    """Have a page believe that it shows something old, and wait until it shows something new."""
    page.locator("#live").evaluate("live => { live.dataset.old = 'yes'; live.dataset.state = '' }")
    page.locator("#live:not([data-old])").wait_for()


def test_what_has_not_changed_is_left_alone(house: Farm, someone: browsers.Visit) -> None:
    """A page that shows how things are is not touched by the next look, and what it says of ages grows all the same."""
    page = someone.page
    someone.log_in(own(house), "threads")
    page.locator("#connection", has_text="live").wait_for()
    page.locator("#live").evaluate("live => { live.dataset.old = 'yes' }")
    age = page.locator("#threads tbody time").first
    before = age.inner_text()
    with page.expect_response(lambda answer: answer.request.headers.get("hx-target") == "live") as answered:
        pass
    assert 204 == answered.value.status
    page.wait_for_function("([age, before]) => age.innerText !== before", arg=[age.element_handle(), before])
    assert page.locator("#live[data-old]").count() == 1


def test_updates_leave_what_somebody_does(house: Farm, someone: browsers.Visit) -> None:
    """A new look at the fleet changes the page in place: marks, opened errors, the focus and the scrolled place stay."""
    page = someone.page
    page.set_viewport_size({"width": 500, "height": 300})
    someone.log_in(own(house), "threads")
    page.locator("#connection", has_text="live").wait_for()
    box = page.locator("#threads tbody input[name=thread]").first
    box.check()
    page.locator("#troubles").evaluate("part => { part.open = false }")
    page.evaluate("window.scrollTo(0, 120)")
    before = page.evaluate("window.scrollY")
    replaced(page)
    assert box.is_checked()
    assert box.evaluate("box => box === document.activeElement")
    assert not page.locator("#troubles").evaluate("part => part.open")
    assert before == page.evaluate("window.scrollY")


def test_filters_without_a_new_page(house: Farm, someone: browsers.Visit) -> None:
    """What is typed filters at once, the address says it, and the way back works."""
    page = someone.page
    someone.log_in(own(house), "threads")
    page.get_by_label("Sector").press_sequentially("s-t010000-2")
    someone.shows("1 of 3 threads")
    assert page.url.endswith("/dashboard/threads?sector=s-t010000-2")
    page.reload()
    someone.shows("1 of 3 threads")
    page.get_by_role("link", name="All threads").click()
    someone.shows("3 of 3 threads")


def test_a_token_that_ends_leads_to_the_log_in(house: Farm, someone: browsers.Visit) -> None:
    """An open page whose token is good for nothing any more asks for another by itself, and goes on where it was; one that
    has expired is told so.
    """
    someone.log_in(token(house, "for a moment", "read"), "threads?worker=w1")
    someone.shows("3 of 3 threads")
    someone.page.locator("#connection", has_text="live").wait_for()
    with house.manager_client() as manager:
        manager.call("Damocles.AuthRevoke", ["for a moment"])
    someone.heading("Log in")
    someone.page.get_by_label("Token").fill(token(house, "over", "read", 0.000_001))
    someone.page.get_by_role("button", name="Log in").click()
    someone.shows("has expired")
    someone.page.get_by_label("Token").fill(own(house))
    someone.page.get_by_role("button", name="Log in").click()
    someone.shows("3 of 3 threads")
    assert someone.page.url.endswith("/dashboard/threads?worker=w1")


def test_a_restart_under_an_open_page(house: Farm, someone: browsers.Visit) -> None:
    """A page says that its manager is away; when it is back, nobody is logged in, and the page asks for the token."""
    page = someone.page
    someone.log_in(own(house), "threads?worker=w1")
    page.locator("#connection", has_text="live").wait_for()
    assert house.manager is not None
    assert 0 == farm.stop(house.manager)
    try:
        someone.shows("connection lost")
    finally:
        house.start_manager(*house.manager_options)
    someone.heading("Log in")
    page.get_by_label("Token").fill(own(house))
    page.get_by_role("button", name="Log in").click()
    someone.shows("of 3 threads")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_nothing_bars_a_screen_reader(house: Farm, chromium: Any, scheme: str, width: int) -> None:
    """No violation is found by axe on any page: with light colours at a desk, with dark ones on a phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"width": width, "height": 800}
    with browsers.visit(chromium, house.manager_port, color_scheme=scheme, viewport=size) as visit:
        visit.open("fleet")
        found = [(violation, "login") for violation in axe.run(visit.page).response["violations"]]
        visit.log_in(own(house))
        for path in PAGES:
            visit.open(path)
            found += [(violation, path) for violation in axe.run(visit.page).response["violations"]]
            assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        visit.open("threads")
        visit.page.locator("#everything").check()
        visit.page.get_by_role("button", name="Abort…").click()
        visit.heading("Abort")
        found += [(violation, "act") for violation in axe.run(visit.page).response["violations"]]
    assert [] == [(one["id"], path, [node["html"] for node in one["nodes"][:3]]) for one, path in found]


@contextmanager
def other_site(body: str) -> Iterator[str]:
    """Serve a page of another site."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        serving.join()


def test_other_sites_link_and_do_nothing(house: Farm, someone: browsers.Visit) -> None:
    """A link on another site leads whoever is logged in to the page; a form or a frame there gets nothing."""
    target = f"{someone.origin}/dashboard/threads"
    body = f"""<a href="{target}?worker=w1">link</a><iframe src="{target}"></iframe>
        <form method="post" action="{target}"><input name="verb" value="pause"><input name="everything" value="yes">
        <input name="step" value="do"><button>do</button></form>"""
    someone.log_in(own(house))
    with other_site(body) as site:
        page = someone.page
        page.goto(site)
        assert not any("Threads" in frame.title() for frame in page.frames[1:])
        page.get_by_role("button", name="do").click()
        someone.shows("asked for by another site")
        page.goto(site)
        page.get_by_role("link", name="link").click()
        someone.heading("Threads")
        assert page.url == f"{target}?worker=w1"
    someone.wrong.clear()  # the other site's frame was refused, and said so


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
    """However many threads there are, a page has a hundred of them, its filters look through all, and it follows them."""
    with Farm(tmp_path, threads=1, name="none") as f, start_blocking_portal() as portal:
        f.start_manager("--dashboard")
        with (
            portal.wrap_async_context_manager(crowd(f, 20, 500)),
            browsers.visit(chromium, f.manager_port) as visit,
        ):
            visit.log_in(own(f), "threads")
            visit.shows("10000 of 10000 threads, page 1 of 100")
            assert 100 == visit.page.locator("#threads tbody tr").count()
            visit.page.get_by_label("Sector").fill("s-t010000-7777")
            visit.shows("1 of 10000 threads")
            visit.open("threads?paused=yes&sort=-sector&page=2")
            visit.shows("page 2 of 100")
            replaced(visit.page)
            visit.shows("page 2 of 100")
            visit.open("fleet")
            visit.shows("10000 threads")
            assert visit.page.locator("li.alert").count() <= 50
