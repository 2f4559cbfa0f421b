"""Twenty people watch the fleet in their browsers: what that costs the manager, and whoever uses the command line meanwhile.

And how long somebody waits for the table of ten thousand threads in Chromium, if there is one. Every thread is paused and
has an alert, as if a farm had lost its parameters.
"""

import http.client
import multiprocessing
import re
import shutil
import statistics
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench import fleet
from bench.figures import Figure
from damocles import methods
from damocles.rpc.calling import sync
from damocles.testing.farm import Farm
from damocles.wire import control

BROWSERS = 20
# Each call ten times a second for a minute: so that looks at all threads, twice a minute, fall into it on both sides.
ROUNDS, BETWEEN_SECONDS = 600, 0.1
OPENED = 10  # pages
OPEN_SECONDS = 300  # until all threads have their alerts, and all browsers their first page
TYPED = {
    "error": "no cached parameters",
    "worker": "sham-123",
}  # each letter of the first leaves all rows, of the second none
ALERTS = '[rules.thread-paused]\nfor = "0s"\n'
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
        alerts = Path(folder) / "alerts.toml"
        alerts.write_text(ALERTS)
        farm.start_manager("--dashboard", "--alerts", str(alerts))
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
        threads = fleet.WORKERS * fleet.THREADS
        with sync.connect(url, token=admin, timeout_seconds=60) as peer:
            asks: Mapping[str, Callable[[], Any]] = {
                "list (registry)": lambda: peer.call(methods.fleet.workers()),
                "info of one worker": lambda: peer.call(methods.fleet.threads(control.Selection(workers=["sham-007"]))),
            }
            _until_told(lambda: len(peer.call(methods.alerts.board()).alerts), threads)
            yield fleet.load(farm, "manager's CPU for pings and alerts, nobody watches")
            alone = _taken(asks)
            with _watched(farm.manager_port, admin) as heard:
                yield fleet.load(farm, f"manager's CPU, {BROWSERS} dashboards on {threads} threads", at_most=10)
                watched = _taken(asks)
            for name in asks:
                for part in ("p50", "p99"):
                    before, now = _part(alone[name], part), _part(watched[name], part)
                    yield Figure(name=f"{name}: {part}, nobody watches", value=before, unit="ms")
                    yield Figure(name=f"{name}: {part}, {BROWSERS} watch", value=now, unit="ms")
                    yield Figure(
                        name=f"{name}: {part}, the one over the other",
                        value=now / before,
                        unit="times",
                        at_most=1.2 if part == "p99" else None,
                    )
            yield Figure(name="news that they heard", value=heard["news"], unit="")
            yield Figure(name="pages that they were sent", value=heard["pages"], unit="")
            yield from _seen(farm.manager_port, admin)


def _until_told(count: Callable[[], int], threads: int) -> None:
    """Wait until there is an alert for each thread: what writing them takes once is no part of what follows."""
    ends = time.monotonic() + OPEN_SECONDS
    while count() < threads:
        assert time.monotonic() < ends, f"{count()} alerts of {threads} threads"
        time.sleep(1)


def _taken(asks: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Make each call in turn for a minute; return how many milliseconds each took, by its name."""
    taken: dict[str, list[float]] = {name: [] for name in asks}
    for _ in range(ROUNDS):
        time.sleep(BETWEEN_SECONDS)
        for name, ask in asks.items():
            began = time.perf_counter()
            ask()
            taken[name].append((time.perf_counter() - began) * 1000)
    return taken


def _part(taken: Sequence[float], part: str) -> float:
    return statistics.median(taken) if part == "p50" else statistics.quantiles(taken, n=100, method="inclusive")[-1]


@contextmanager
def _watched(port: int, token: str) -> Iterator[dict[str, int]]:
    """Have browsers watch while the block runs, in a process of their own; what they have heard is known at its end."""
    heard: dict[str, int] = {}
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_watch, args=(port, token, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(OPEN_SECONDS + 30), "the browsers did not open"
        ours.recv()
        yield heard
        ours.send("enough")
        heard |= ours.recv()
    finally:
        process.kill()


def _watch(port: int, token: str, told: "Connection[Any, Any]") -> None:
    browsers = [Browser(port, token, PAGES[number % len(PAGES)]) for number in range(BROWSERS)]
    for browser in browsers:
        browser.start()
    assert all(browser.opened.wait(OPEN_SECONDS) for browser in browsers)
    told.send("opened")
    told.recv()
    told.send({"news": sum(one.heard for one in browsers), "pages": sum(one.refreshed for one in browsers)})


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
        paints, wholes = [], []
        for _ in range(OPENED):
            page.goto(f"http://127.0.0.1:{port}/dashboard/threads")
            paints.append(page.evaluate(_PAINTED))
            wholes.append(page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
        trips = [page.evaluate(_TRIP) for _ in range(OPENED)]
        filters = {
            name: [page.evaluate(_FILTERED, [name, text[: end + 1]]) for end in range(len(text))]
            for name, text in TYPED.items()
        }
        chromium.close()
    threads = fleet.WORKERS * fleet.THREADS
    yield Figure(
        name=f"first paint of the table of {threads} threads: median of {OPENED}",
        value=statistics.median(paints),
        unit="ms",
        at_most=1000,
    )
    yield Figure(name=f"the worst of {OPENED}", value=max(paints), unit="ms")
    yield Figure(name=f"until its rows are there, too: median of {OPENED}", value=statistics.median(wholes), unit="ms")
    yield Figure(name=f"an empty round trip beside that: median of {OPENED}", value=statistics.median(trips), unit="ms")
    for name, taken in filters.items():
        yield Figure(
            name=f"from a letter in the filter of the {name} to its rows, painted: median of {len(taken)}",
            value=statistics.median(taken),
            unit="ms",
            at_most=100,
        )
        yield Figure(name=f"the worst of {len(taken)}", value=max(taken), unit="ms")


# Waits within the page: its policy lets no string be evaluated, which is how Playwright would ask again and again.
_PAINTED = """() => new Promise((done) => {
  const look = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    if (paint) done(paint.startTime);
    else requestAnimationFrame(look);
  };
  look();
})"""

# Asks for a small file that the manager has in memory: what the machine lets a browser have now.
_TRIP = """() => new Promise(async (done) => {
  const began = performance.now();
  await fetch(`/dashboard/static/icon.svg?at=${began}`, { cache: "no-store" });
  done(performance.now() - began);
})"""

# Types into a filter, and waits until the frame after the swap that follows from it, and from no news.
_FILTERED = """([name, text]) => new Promise((done) => {
  const field = document.getElementById(`f-${name}`);
  const began = performance.now();
  const settled = (event) => {
    if (event.detail.requestConfig.elt.id !== "filters") return;
    document.body.removeEventListener("htmx:afterSettle", settled);
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
  };
  document.body.addEventListener("htmx:afterSettle", settled);
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

    def _ask(self, state: str = "") -> str:
        """Ask for the page, or what of it has changed; return the state that is shown then."""
        shown = {"hx-request": "true", "hx-target": "live", "damocles-shown": state} if state else {}
        self._pages.request("GET", self._page, headers={**self._headers, **shown})
        answer = self._pages.getresponse()
        assert answer.status in {200, 204}, answer.status
        found = re.search(rb'data-state="(\w+)"', answer.read())
        return found[1].decode() if found else state
