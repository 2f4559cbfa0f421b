"""A worker that knows several addresses of managers: real processes, and a proxy of the test that can be cut or frozen."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from damocles import methods
from damocles.testing.farm import Farm, free_port, program, wait_until
from damocles.worker import managers

pytestmark = pytest.mark.slow


class Proxy:
    """Passes connections on to a port, until it is `cut` (nobody listens) or `frozen` (all is taken, nothing answered)."""

    def __init__(self, to: int) -> None:
        self.port = free_port()
        self.frozen = False
        self._to = to
        self._pairs: list[socket.socket] = []
        self._server = self._listening()

    def _listening(self) -> socket.socket:
        server = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        return server

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed by `cut`
            while True:
                here, _ = server.accept()
                self._pairs.append(here)
                if self.frozen:
                    continue
                there = socket.create_connection(("127.0.0.1", self._to))
                self._pairs.append(there)
                for one, other in ((here, there), (there, here)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                if not self.frozen:
                    other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End all connections, and listen no more."""
        for one in [self._server, *self._pairs]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._pairs.clear()

    def back(self) -> None:
        """Listen again."""
        self.frozen = False
        self._server = self._listening()


def _addresses(farm: Farm, first: int, *others: int) -> None:
    """Write the farm's configuration for several managers; a proxy cannot show that it knows a token."""
    text = farm.config.read_text().replace(f"tcp/{farm.manager_port}", f"tcp/{first}")
    listed = ", ".join(f'"http://127.0.0.1:{port}"' for port in others)
    farm.config.write_text("insecure = true\n" + text.replace("token_file", f"addresses = [{listed}]\ntoken_file", 1))


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    """Yield a farm with one thread that gets no sectors, and a manager."""
    with Farm(tmp_path, threads=1, max_sectors=0) as made:
        made.start_manager()
        yield made


def _status(farm: Farm) -> dict[str, Any]:
    done = subprocess.run(
        [program("damocles-worker"), "status", "--json", "-c", str(farm.config)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _used(farm: Farm) -> int:
    """Return the port of the manager that the worker uses and that answers; 0 while none does."""
    with farm.worker_client() as worker:
        seen = worker.call(methods.worker.managers())
    (at,) = [one for one in seen if one.in_use]
    return 0 if at.error or at.answered_since is None else int(at.url.split(":")[2].split("/")[0])


def _pings(farm: Farm) -> int:
    with farm.manager_client() as manager:
        return sum(found.last_ping for found in manager.call(methods.fleet.list_pings()) or [])


def _pinged_again(farm: Farm) -> None:
    before = _pings(farm)
    wait_until(lambda: _pings(farm) > before, "the worker pings again")


def test_a_worker_goes_to_another_address_when_one_is_gone(farm: Farm) -> None:
    """Whether it is cut or frozen, calls go on by the other one within seconds; `status` shows which, and why."""
    proxies = [Proxy(farm.manager_port), Proxy(farm.manager_port)]
    _addresses(farm, *(proxy.port for proxy in proxies))
    farm.start_worker()
    wait_until(lambda: _used(farm) == proxies[0].port, "the first address is used")
    _pinged_again(farm)

    proxies[0].cut()
    wait_until(lambda: _used(farm) == proxies[1].port, "the second address is used", 30)
    _pinged_again(farm)
    first, second = _status(farm)["managers"]
    assert (False, True) == (first["in_use"], second["in_use"])
    assert "cannot be reached" in first["error"] or "closed the connection" in first["error"]

    proxies[0].back()
    proxies[1].frozen = True
    wait_until(lambda: _used(farm) == proxies[0].port, "the frozen one is left", 60)
    _pinged_again(farm)
    for proxy in proxies:
        proxy.cut()
    wait_until(lambda: _used(farm) == 0, "nobody answers", 60)
    proxies[1].back()
    wait_until(lambda: _used(farm) == proxies[1].port, "the one that is back is used", 90)
    _pinged_again(farm)
    proxies[1].cut()


def test_a_manager_of_another_database_is_refused(farm: Farm, tmp_path: Path) -> None:
    """Though it takes the worker's token: it gets no ping, and the log and `status` say what to do."""
    proxy = Proxy(farm.manager_port)
    (tmp_path / "other").mkdir()
    with Farm(tmp_path / "other", threads=0, max_sectors=0) as other:
        home = other.base / "manager"
        home.mkdir(mode=0o700)
        token = (farm.base / "manager" / "worker-token").read_bytes()
        (home / "worker-token").write_bytes(token)
        (home / "worker-token").chmod(0o600)
        other.start_manager()
        _addresses(farm, proxy.port, other.manager_port)
        farm.start_worker()
        wait_until(lambda: _used(farm) == proxy.port, "the first address is used")
        assert (farm.base / "worker" / managers.MEMORY_NAME).read_text()
        proxy.cut()
        wait_until(
            lambda: "has another database" in _status(farm)["managers"][1]["error"], "the other one is refused", 60
        )
        assert "sector_manager.addresses" in farm.log()
        with other.manager_client() as manager:
            assert [] == manager.call(methods.fleet.list_pings())
        proxy.back()
        wait_until(lambda: _used(farm) == proxy.port, "the first address is used again", 90)
        proxy.cut()
