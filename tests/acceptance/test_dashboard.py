"""The dashboard in a browser, with real daemons: a worker's threads are paused for want of parameters, as in the chapter."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from damocles.testing import farm, web
from damocles.testing.farm import Farm

from . import browsers, houses

pytestmark = [pytest.mark.xdist_group("dashboard"), pytest.mark.slow]

PAGES = [
    "fleet",
    "threads",
    "alerts",
    "pipeline",
    "proving",
    "stores",
    "audit",
    "metrics",
    "sectors/s-t010000-1",
    "drain?worker=w1",
    "sectors/s-t010000-99",
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Farm]:
    """A paused house that all tests look at, and in which none moves a thread."""
    with houses.paused(tmp_path_factory.mktemp("dashboard")) as f:
        yield f


@pytest.fixture
def someone(house: Farm, chromium: Any) -> Iterator[browsers.Visit]:
    """A browser at the manager, not logged in."""
    with browsers.visit(chromium, house.manager_port) as made:
        yield made


def test_each_scope_sees_what_it_may_do(house: Farm, chromium: Any) -> None:
    """A reader sees all pages and no button; an operator has them; a worker's token is told that it opens none."""
    for scope, acts in (("read", 0), ("operate", 5), ("admin", 5)):
        with browsers.visit(chromium, house.manager_port) as visit:
            visit.log_in(houses.token(house, f"a {scope}", scope), "threads")
            visit.shows("3 of 3 threads")
            assert acts == visit.page.locator("button[name=verb]").count()
            for path in PAGES if scope == "read" else ():
                visit.open(path)
                assert ("Not done" in visit.page.title()) == (path == "sectors/s-t010000-99")
            visit.page.get_by_role("button", name="Log out").click()
            visit.heading("Log in")
            visit.open("fleet")
            visit.heading("Log in")
    with browsers.visit(chromium, house.manager_port) as visit:
        visit.open("fleet")
        visit.page.get_by_label("Token").fill(houses.token(house, "a worker", "worker"))
        visit.page.get_by_role("button", name="Log in").click()
        assert "pages need read, operate or admin" in visit.page.get_by_role("alert").inner_text()


def test_everything_by_keyboard(house: Farm, someone: browsers.Visit) -> None:
    """Whoever has no mouse logs in, skips to the content, finds a page, marks a thread and sees what an act would do."""
    page = someone.page
    someone.open("fleet")
    page.locator("#token:focus").wait_for()  # the browser gives it when it has drawn the page
    page.keyboard.insert_text(houses.own(house))
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


def test_what_has_not_changed_is_left_alone(house: Farm, someone: browsers.Visit) -> None:
    """A page that shows how things are is not touched by the next look, and what it says of ages grows all the same."""
    page = someone.page
    someone.log_in(houses.own(house), "threads")
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
    someone.log_in(houses.own(house), "threads")
    page.locator("#connection", has_text="live").wait_for()
    box = page.locator("#threads tbody input[name=thread]").first
    box.check()
    page.locator("#troubles").evaluate("part => { part.open = false }")
    page.evaluate("window.scrollTo(0, 120)")
    before = page.evaluate("window.scrollY")
    browsers.replaced(page)
    assert box.is_checked()
    assert box.evaluate("box => box === document.activeElement")
    assert not page.locator("#troubles").evaluate("part => part.open")
    assert before == page.evaluate("window.scrollY")


def test_filters_without_a_new_page(house: Farm, someone: browsers.Visit) -> None:
    """What is typed filters at once, the address says it, and the way back works."""
    page = someone.page
    someone.log_in(houses.own(house), "threads")
    page.get_by_label("Sector", exact=True).press_sequentially("s-t010000-2")
    someone.shows("1 of 3 threads")
    assert page.url.endswith("/dashboard/threads?sector=s-t010000-2")
    page.reload()
    someone.shows("1 of 3 threads")
    page.get_by_role("link", name="All threads").click()
    someone.shows("3 of 3 threads")


def test_a_filter_renews_only_what_changes(house: Farm, someone: browsers.Visit) -> None:
    """A row that stays is the one that was there, with its mark and its error open; one that comes has nothing of the one that went."""
    page = someone.page
    someone.log_in(houses.own(house), "threads")
    rows = page.locator("#threads tbody tr")
    rows.evaluate_all("rows => rows.forEach((row) => { row.was = row.dataset.key })")
    rows.nth(1).get_by_role("checkbox").check()
    rows.nth(1).locator("details").evaluate("part => { part.open = true }")
    field = page.get_by_label("Sector", exact=True)
    name = rows.nth(1).locator(".sector").inner_text()
    other = rows.nth(2).locator(".sector").inner_text()
    field.fill(name)
    someone.shows("1 of 3 threads")
    assert rows.evaluate("row => row.was === row.dataset.key")
    assert rows.get_by_role("checkbox").is_checked()
    assert rows.locator("details").evaluate("part => part.open")
    someone.shows("1 thread marked.")
    field.fill(other)
    page.locator("#threads .sector", has_text=other).wait_for()
    assert rows.evaluate("row => row.was !== row.dataset.key")  # only its texts have been made anew
    assert not rows.get_by_role("checkbox").is_checked()
    assert not rows.locator("details").evaluate("part => part.open")
    field.fill("")
    someone.shows("3 of 3 threads")
    assert 0 == page.locator("#threads tbody input:checked").count()
    assert field.evaluate("field => field === document.activeElement")


def test_a_token_that_ends_leads_to_the_log_in(house: Farm, someone: browsers.Visit) -> None:
    """An open page whose token is good for nothing any more asks for another by itself, and goes on where it was; one that
    has expired is told so.
    """
    someone.log_in(houses.token(house, "for a moment", "read"), "threads?worker=w1")
    someone.shows("3 of 3 threads")
    someone.page.locator("#connection", has_text="live").wait_for()
    with house.manager_client() as manager:
        manager.call("Damocles.AuthRevoke", ["for a moment"])
    someone.heading("Log in")
    someone.page.get_by_label("Token").fill(houses.token(house, "over", "read", 0.000_001))
    someone.page.get_by_role("button", name="Log in").click()
    someone.shows("has expired")
    someone.page.get_by_label("Token").fill(houses.own(house))
    someone.page.get_by_role("button", name="Log in").click()
    someone.shows("3 of 3 threads")
    assert someone.page.url.endswith("/dashboard/threads?worker=w1")


def test_a_token_expires_under_an_open_page(house: Farm, someone: browsers.Visit) -> None:
    """A page whose token comes to its end asks for another by itself."""
    someone.open("threads")
    for seconds in (5, 10, 20, 40, 80):  # until the page is open before the end comes: the machine may be busy
        someone.page.get_by_label("Token").fill(houses.token(house, f"for {seconds} s", "read", seconds))
        someone.page.get_by_role("button", name="Log in").click()
        live = someone.page.locator("#connection", has_text="live")
        expired = someone.page.get_by_text("has expired")
        live.or_(expired).or_(someone.page.get_by_label("Token")).first.wait_for()
        if live.count():
            break
    someone.heading("Log in")


def test_a_restart_under_an_open_page(house: Farm, someone: browsers.Visit) -> None:
    """A page says that its manager is away; when it is back, nobody is logged in, and the page asks for the token."""
    page = someone.page
    someone.log_in(houses.own(house), "threads?worker=w1")
    page.locator("#connection", has_text="live").wait_for()
    assert house.manager is not None
    assert 0 == farm.stop(house.manager)
    try:
        someone.shows("connection lost")
    finally:
        house.start_manager(*house.manager_options)
    someone.heading("Log in")
    page.get_by_label("Token").fill(houses.own(house))
    page.get_by_role("button", name="Log in").click()
    someone.shows("of 3 threads")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 900), ("light", 390), ("dark", 390)])
def test_nothing_bars_a_screen_reader(house: Farm, chromium: Any, scheme: str, width: int) -> None:
    """No violation is found by axe on any page, and none is wider than the window: light and dark, at a desk and on a phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    size = {"width": width, "height": 800}
    with browsers.visit(chromium, house.manager_port, color_scheme=scheme, viewport=size) as visit:
        visit.open("fleet")
        found = [(violation, "login") for violation in axe.run(visit.page).response["violations"]]
        visit.log_in(houses.own(house))
        for path in PAGES:
            visit.open(path)
            found += [(violation, path) for violation in axe.run(visit.page).response["violations"]]
            assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        visit.open("threads")
        visit.page.locator("#everything").check()
        visit.page.get_by_role("button", name="Abort…").click()
        visit.heading("Abort")
        found += [(violation, "act") for violation in axe.run(visit.page).response["violations"]]
        visit.open("threads")
        visit.page.locator("#everything").check()
        visit.page.get_by_role("button", name="Pause…").click()
        visit.page.get_by_role("button", name=re.compile(r"^Pause: ")).click()
        visit.heading("Pause: what came of it")
        found += [(violation, "outcome") for violation in axe.run(visit.page).response["violations"]]
    assert [] == [(one["id"], path, [node["html"] for node in one["nodes"][:3]]) for one, path in found]


@contextmanager
def other_site(body: str) -> Iterator[str]:
    """Serve a page of another site."""

    class Page(web.Handler):
        def do_GET(self) -> None:
            self.answer(200, body.encode(), content_type="text/html")

    with web.serving(Page) as url:
        yield f"{url.replace('127.0.0.1', 'localhost')}/"


def test_other_sites_link_and_do_nothing(house: Farm, someone: browsers.Visit) -> None:
    """A link on another site leads whoever is logged in to the page; a form or a frame there gets nothing."""
    target = f"{someone.origin}/dashboard/threads"
    body = f"""<a href="{target}?worker=w1">link</a><iframe src="{target}"></iframe>
        <form method="post" action="{target}"><input name="verb" value="pause"><input name="everything" value="yes">
        <input name="step" value="do"><button>do</button></form>"""
    someone.log_in(houses.own(house))
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
