"""A manager and a worker in this process, as their daemons put them together, on free ports."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.routing import Route

from damocles.manager import daemon
from damocles.manager.chain import interface
from damocles.manager.sectors import ledger
from damocles.methods.rules import Scope
from damocles.rpc import address, core
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.rpc.serving import asgi, reloading, site
from damocles.stages.supervision import executor
from damocles.testing import simulated_chain
from damocles.wire import control
from damocles.wire.sectors import SealProof, SectorSize
from damocles.worker import upstream
from damocles.worker.config import load
from damocles.worker.serving import access as worker_access
from damocles.worker.serving import capacity, connections, drain, logbook, roster, stores
from damocles.worker.serving import control as worker_control
from damocles.worker.thread import surroundings

CONFIG = """
[worker]
home = "{home}"
rpc_server.port = 0
{worker}

[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1"

[[sealing_thread]]
location = "{home}/store"

[[attached]]
location = "{home}"
"""


class NoVerifier:
    """Fake: nothing is proven here."""


@dataclass
class Daemon:
    """A running daemon: where it is, the service behind, the folder with its own token."""

    url: str
    home: Path
    service: core.Service
    routes: Sequence[Route] = field(default_factory=tuple)

    @property
    def token(self) -> str:
        """Its own token, an admin's."""
        return tokens.read_file(self.home / "token")

    def client(self, token: str | None) -> AbstractAsyncContextManager[client.Client]:
        """Return a connection, to be entered."""
        return client.connect(self.url, token=token, timeout_seconds=10)

    async def call(self, method: str, *params: Any, token: str | None = None, returns: Any = Any) -> Any:
        """Call a method, as admin unless another token is given."""
        async with self.client(token or self.token) as peer:
            return await peer.call(method, list(params), returns=returns)

    async def create(self, name: str, scope: Scope, expires_seconds: float | None = None) -> str:
        """Make a token."""
        params = (name, scope, expires_seconds)
        made: control.NewToken = await self.call("Damocles.AuthCreate", *params, returns=control.NewToken)
        return made.text


StartManager = Callable[..., AbstractAsyncContextManager[Daemon]]
StartWorker = Callable[..., AbstractAsyncContextManager[Daemon]]


@pytest.fixture
def start_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartManager:
    """Return a function that runs a manager on a home which stays for the whole test."""
    seen: list[tuple[core.Service, Sequence[Route]]] = []
    made = site.manager_app

    def spy(service: core.Service, *, routes: Sequence[Any] = ()) -> Any:
        seen.append((service, routes))
        return made(service, routes=routes)

    monkeypatch.setattr(site, "manager_app", spy)

    @asynccontextmanager
    async def run(**options: Any) -> AsyncIterator[Daemon]:
        settings = daemon.Settings(
            home=tmp_path / "manager",
            chain=simulated_chain.Source(miner=ledger.Miner(id=10000, proof=SealProof.of(SectorSize.KIB2))),
            listen=address.Endpoint("127.0.0.1", 0),
            **options,
        )
        scheme = "https" if settings.certificate else "http"
        async with daemon.serve(settings, cast("interface.Verifier", NoVerifier())) as bound:
            yield Daemon(bound.url(address.MANAGER_PATH, scheme), settings.home, *seen[-1])

    return run


@pytest.fixture
def start_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartWorker:
    """Return a function that serves the control API of a worker without threads, with lines in its `[worker]`."""
    seen: list[core.Service] = []
    made = asgi.worker_app

    def spy(service: core.Service) -> Any:
        seen.append(service)
        return made(service)

    monkeypatch.setattr(asgi, "worker_app", spy)

    @asynccontextmanager
    async def run(worker: str = "") -> AsyncIterator[Daemon]:
        home = tmp_path / "worker"
        home.mkdir(exist_ok=True, mode=0o700)
        file = tmp_path / "worker.toml"
        file.write_text(CONFIG.format(home=home, worker=worker))
        settings = load.load(file).config
        ring = await worker_access.open_keyring(home)
        draining = drain.Drain(home, surroundings.Gate(), [])
        plans = capacity.Capacity(lambda: settings, executor.Stages())
        changes = stores.Stores(cast("roster.Roster", None), cast("upstream.Manager", None))  # there are none
        ours = worker_control.Control([], draining, logbook.Logbook())
        guard = worker_access.guard(ring, settings.worker.rpc_server)
        scheme = "https" if settings.worker.rpc_server.certificate else "http"
        async with connections.served(
            settings, ours, draining, others=[plans, changes], ring=ring, guard=guard, reloads=reloading.Reloads()
        ) as bound:
            yield Daemon(bound.url("/", scheme), home, seen[-1])

    return run
