"""Twenty people watch the fleet in their browsers: what that costs the manager, and whoever uses the command line meanwhile."""

import http.client
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
            yield Figure(name="pages that they asked for again", value=sum(one.refreshed for one in browsers), unit="")
            for browser in browsers:
                browser.close()


def _both(info: Callable[[], Any], listed: Callable[[], Any]) -> Iterator[Figure]:
    yield from fleet.times("list (registry)", listed)
    yield from fleet.times("info of one worker", info)


class Browser(threading.Thread):
    """Somebody who is logged in, listens for news, and asks for their page again at each."""

    def __init__(self, port: int, token: str, page: str) -> None:
        super().__init__(daemon=True)
        self.opened = threading.Event()
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
            self._ask()
            self._stream.request("GET", "/dashboard/events", headers=self._headers)
            lines = self._stream.getresponse()
            self.opened.set()
            while line := lines.readline():
                if line.startswith(b"event: looked"):
                    self._ask()
                    self.refreshed += 1

    def close(self) -> None:
        """Close the browser."""
        for connection in (self._stream, self._pages):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(2)
            connection.close()

    def _ask(self) -> None:
        self._pages.request("GET", self._page, headers=self._headers)
        answer = self._pages.getresponse()
        assert answer.status == 200, answer.status
        answer.read()
