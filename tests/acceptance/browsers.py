"""Debian's Chromium, driven by Playwright, on the pages of a manager."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# A page waits for a look at the fleet, which on a busy machine takes its time.
PATIENCE_MILLISECONDS = 60_000


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser that has started; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed (make setup)")
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip("no Chromium is installed (make setup, or apt-get install chromium)")
    # Without a sandbox, which root has none of: it only ever shows pages of ours.
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """Somebody's browser at one manager, with all that went wrong in its pages."""

    page: Any
    origin: str
    wrong: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a page of the dashboard."""
        self.page.goto(f"{self.origin}/dashboard/{path}")

    def log_in(self, token: str, path: str = "fleet") -> None:
        """Open a page, and log in on the way to it."""
        self.open(path)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(lambda url: "/login" not in url)

    def shows(self, text: str) -> None:
        """Wait until the page shows a text."""
        try:
            self.page.get_by_text(text).first.wait_for()
        except Exception as error:
            raise AssertionError(f"{text!r} is not on {self.page.url}:\n{self.page.inner_text('body')}") from error

    def heading(self, text: str) -> None:
        """Wait for the page with this heading."""
        self.page.get_by_role("heading", name=text, level=1).wait_for()


@contextmanager
def visit(browser: Any, port: int, **options: Any) -> Iterator[Visit]:
    """Yield a browser without any cookie; at the end nothing may have been blocked, and no script may have failed."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    made = Visit(context.new_page(), f"http://127.0.0.1:{port}")
    made.page.on("pageerror", lambda error: made.wrong.append(str(error)))
    made.page.on("console", lambda line: made.wrong.append(line.text) if "Content Security" in line.text else None)
    try:
        yield made
        assert [] == made.wrong
    finally:
        context.close()


def replaced(page: Any) -> None:
    """Have a page believe that it shows something old, and wait until it shows something new."""
    page.locator("#live").evaluate("live => { live.dataset.old = 'yes'; live.dataset.state = '' }")
    page.locator("#live:not([data-old])").wait_for()


def keep_picture(page: Any, name: str) -> None:
    """Keep a picture of a page for the documentation, if a folder is given for them."""
    if folder := os.environ.get("DAMOCLES_PICTURES"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
