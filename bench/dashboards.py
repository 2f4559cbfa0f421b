"""Twenty people watch the fleet in their browsers: what that costs the manager, and whoever uses the command line meanwhile.

And how long somebody waits for the table of ten thousand threads in Chromium, if there is one.
"""

import http.client
import re
import shutil
import statistics
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import fleet
from bench.figures import Figure
from damocles.rpc.calling import sync
from damocles.testing.farm import Farm
from damocles.wire import control

BROWSERS = 20
# A call ten times a second for a minute: so that looks at all threads, twice a minute, fall into it on both sides.
ROUNDS, BETWEEN_SECONDS = 600, 0.1
OPENED = 10  # pages
TYPED = "no cached parameters"
PAGES = (
    "/dashboard/threads",
    "/dashboard/fleet",
    "/dashboard/threads?error=cached&sort=-for",
    "/dashboard/pipeline",
)


def figures() -> Iterator[Figure]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        farm = stack.enter_context(Farm(Path(folder), threads=0, parameters=Path(folder), max_sectors=0))
        farm.start_manager("--dashboard")
        url = f"http://127.0.0.1:{farm.manager_port}/rpc/v0"
        home = Path(folder) / "manager"
        share = fleet.WORKERS // fleet.PROCESSES
        fleets = [
            fleet.start(stack, url, home, first=number * share, workers=share) for number in range(fleet.PROCESSES)
        ]
        for process in fleets:
            assert process.stdout is not None
            process.stdout.readline()
        admin = (home / "token").read_text().strip()
        with sync.connect(url, token=admin, timeout_seconds=60) as peer:

            def info() -> Any:
                chosen = control.Selection(workers=["sham-007"])
                return peer.call("Damocles.FleetThreads", [chosen], returns=control.FleetThreads)

            def listed() -> Any:
                return peer.call("Damocles.Workers", [])

            yield fleet.load(farm, "manager's CPU for pings and alerts, nobody watches")
            alone = {figure.name: figure for figure in _both(info, listed)}
            yield from (replace(figure, name=f"{name}, nobody watches") for name, figure in alone.items())
            browsers = [Browser(farm.manager_port, admin, PAGES[number % len(PAGES)]) for number in range(BROWSERS)]
            for browser in browsers:
                browser.start()
            for browser in browsers:
                browser.opened.wait(120)
            watched = f"{BROWSERS} dashboards on {fleet.WORKERS * fleet.THREADS} threads"
            yield fleet.load(farm, f"manager's CPU, {watched}", at_most=10)
            for figure in _both(info, listed):
                goal = 1.2 * alone[figure.name].value if "p99" in figure.name else None
                yield replace(figure, name=f"{figure.name}, {BROWSERS} watch", at_most=goal)
            yield Figure(name="news that they heard", value=sum(one.heard for one in browsers), unit="")
            yield Figure(name="pages that they were sent", value=sum(one.refreshed for one in browsers), unit="")
            for browser in browsers:
                browser.close()
            yield from _seen(farm.manager_port, admin)


def _both(info: Callable[[], Any], listed: Callable[[], Any]) -> Iterator[Figure]:
    yield from fleet.times("list (registry)", listed, ROUNDS, BETWEEN_SECONDS)
    yield from fleet.times("info of one worker", info, ROUNDS, BETWEEN_SECONDS)


def _seen(port: int, token: str) -> Iterator[Figure]:
    """Measure in a browser what somebody waits for."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        return
    from playwright import sync_api  # noqa: PLC0415, for those who have a browser

    with sync_api.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"http://127.0.0.1:{port}/dashboard/threads")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Log in").click()
        page.locator("#threads").wait_for()
        paints = []
        for _ in range(OPENED):
            page.goto(f"http://127.0.0.1:{port}/dashboard/threads")
            paints.append(page.evaluate(_PAINTED))
        filters = [page.evaluate(_FILTERED, TYPED[: end + 1]) for end in range(len(TYPED))]
        chromium.close()
    threads = fleet.WORKERS * fleet.THREADS
    yield Figure(
        name=f"first paint of the table of {threads} threads: median of {OPENED}",
        value=statistics.median(paints),
        unit="ms",
        at_most=1000,
    )
    yield Figure(name=f"the worst of {OPENED}", value=max(paints), unit="ms")
    yield Figure(
        name=f"from a letter in a filter to its rows, painted: median of {len(filters)}",
        value=statistics.median(filters),
        unit="ms",
        at_most=100,
    )
    yield Figure(name=f"the worst of {len(filters)}", value=max(filters), unit="ms")


# Waits within the page: its policy lets no string be evaluated, which is how Playwright would ask again and again.
_PAINTED = """() => new Promise((done) => {
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    if (paint) done(paint.startTime);
    else requestAnimationFrame(look);
  };
  look();
})"""

# Types into the filter of the error, and waits until the frame after the swap.
_FILTERED = """text => new Promise((done) => {
  const field = document.getElementById("f-error");
  const began = performance.now();
  document.body.addEventListener("htmx:afterSettle", () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - began))), { once: true });
  field.value = text;
  field.dispatchEvent(new InputEvent("input", { bubbles: true }));
})"""


class Browser(threading.Thread):
    """Somebody who is logged in, listens for news, and asks for their page again at each."""

    def __init__(self, port: int, token: str, page: str) -> None:
        super().__init__(daemon=True)
        self.opened = threading.Event()
        self.heard = 0
        self.refreshed = 0
        self._page = page
        self._stream = http.client.HTTPConnection("127.0.0.1", port)
        self._pages = http.client.HTTPConnection("127.0.0.1", port)
        form = urllib.parse.urlencode({"token": token})
        kind = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{port}"}
        self._pages.request("POST", "/dashboard/login", form, kind)
        answer = self._pages.getresponse()
        answer.read()
        self._headers = {"cookie": (answer.getheader("set-cookie") or "").partition(";")[0], "accept": "text/html"}

    def run(self) -> None:
        """Watch until closed."""
        with suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            state = self._ask()
            self._stream.request("GET", "/dashboard/events", headers=self._headers)
            lines = self._stream.getresponse()
            self.opened.set()
            while line := lines.readline():
                if line.startswith(b"event: looked"):
                    self.heard += 1
                    if (now := self._ask(state)) != state:
                        state = now
                        self.refreshed += 1

    def close(self) -> None:
        """Close the browser."""
        for connection in (self._stream, self._pages):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(2)
            connection.close()

    def _ask(self, state: str = "") -> str:
        """Ask for the page, or what of it has changed; return the state that is shown then."""
        shown = {"hx-request": "true", "hx-target": "live", "damocles-shown": state} if state else {}
        self._pages.request("GET", self._page, headers={**self._headers, **shown})
        answer = self._pages.getresponse()
        assert answer.status in {200, 204}, answer.status
        found = re.search(rb'data-state="(\w+)"', answer.read())
        return found[1].decode() if found else state
