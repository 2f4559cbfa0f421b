"""The documentation that `make docs` has built, beside the dashboard and in a browser: it works under its own policy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import start_blocking_portal

from damocles.manager.dashboard import manual
from tests.integration.access.conftest import Daemon, StartManager, start_manager

from . import browsers

__all__ = ["start_manager"]

pytestmark = [pytest.mark.xdist_group("dashboard"), pytest.mark.slow]

SITE = Path(__file__).parents[2] / "site"
# What a page of the documentation would do with the session of whoever reads it, were it let.
ATTEMPTS = {
    "fetch": "fetch('/dashboard/fleet').then(() => 'done', () => 'refused')",
    "post": "fetch('/dashboard/threads', {method: 'POST', body: 'x'}).then(() => 'done', () => 'refused')",
    "window": "window.open('/dashboard/fleet') === null ? 'refused' : 'done'",
    "frame": "new Promise(done => { const one = document.createElement('iframe'); one.src = '/dashboard/fleet';"
    " one.onload = () => { try { done(one.contentDocument.querySelector('main') ? 'done' : 'refused') }"
    " catch { done('refused') } }; document.body.append(one) })",
    "own": "fetch('/dashboard/docs/search.json').then(() => 'done', () => 'refused')",
}


@pytest.fixture
def manager(start_manager: StartManager, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A manager with the documentation of this clone."""
    if not (SITE / "index.html").is_file():
        pytest.skip("the documentation is not built: run `make docs`")
    monkeypatch.setattr(manual, "FOLDER", SITE)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(start_manager(dashboard=True)) as made:
        yield made


def test_the_documentation_is_read_and_searched(manager: Daemon) -> None:
    """Its pages are shown with their looks and scripts, nothing that they need is blocked, and the search finds a page."""
    port = urlsplit(manager.url).port
    assert port is not None
    with browsers.chromium() as chromium, browsers.visit(chromium, port) as visit:
        visit.log_in(manager.token)
        visit.page.get_by_role("link", name="Documentation").click()
        visit.page.wait_for_url("**/dashboard/docs/")
        visit.open("docs/how-to/dashboard/")
        visit.heading("Look at the fleet in a browser")
        assert "rgb" in visit.page.evaluate("getComputedStyle(document.querySelector('.md-header')).backgroundColor")
        assert visit.page.evaluate("document.querySelector('article img').naturalWidth") > 0
        visit.page.locator("button.md-search__button").first.click()
        search = visit.page.locator("dialog[aria-label=Search]")
        search.get_by_role("combobox").fill("disk")
        found = search.locator("ol[role=listbox] a").first
        found.wait_for()
        assert "disk" in found.inner_text().lower()
        assert "none" == search.locator("ol").first.evaluate("one => getComputedStyle(one).listStyleType")  # its looks


def test_it_cannot_use_the_session(manager: Daemon) -> None:
    """A script that got into a page there would reach no page of the dashboard, let alone act."""
    port = urlsplit(manager.url).port
    assert port is not None
    with browsers.chromium() as chromium:
        context: Any = chromium.new_context()
        visit = browsers.Visit(context.new_page(), f"http://127.0.0.1:{port}")
        visit.log_in(manager.token)
        visit.open("docs/")
        found = {name: visit.page.evaluate(attempt) for name, attempt in ATTEMPTS.items()}
        assert {**dict.fromkeys(ATTEMPTS, "refused"), "own": "done"} == found
        context.close()
