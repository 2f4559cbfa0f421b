"""A manager in this process on a free port, with a clock and a verifier that the test holds."""

from collections.abc import AsyncIterator, Callable, Container, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from damocles.manager import daemon
from damocles.manager.alerts import config
from damocles.manager.sectors import ledger
from damocles.rpc import address
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.testing import simulated_chain
from damocles.wire import tasks
from damocles.wire.sectors import SealProof, SectorSize

BLOCK_SECONDS = 4.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def to_epoch(self, epoch: int) -> None:
        """Let a chain of 4 s epochs that began at the clock's first second reach `epoch`."""
        self.now = 1_790_000_000.0 + (epoch - 1000) * BLOCK_SECONDS


@dataclass
class RecordedVerifier:
    """Fake: gives the answer it is told, and keeps what it was asked."""

    answer: bool | Exception = True
    claims: list[tasks.VerifySeal] = field(default_factory=list)
    posts: list[tasks.VerifyWindowPoSt] = field(default_factory=list)

    async def verify(self, claim: tasks.VerifySeal) -> bool:
        """Answer as told."""
        self.claims.append(claim)
        return self._told()

    async def verify_window_post(self, claim: tasks.VerifyWindowPoSt) -> bool:
        """Answer as told."""
        self.posts.append(claim)
        return self._told()

    async def verify_update(self, claim: tasks.SnapVerify) -> bool:
        """Answer as told."""
        return self._told()

    def _told(self) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Manager:
    """A running manager as a client sees it."""

    url: str
    rpc: client.Client
    token: str

    async def call(self, method: str, *params: Any, returns: Any = None) -> Any:
        """Call a method of the API."""
        return await self.rpc.call(f"Venus.{method}", list(params), returns=returns or Any)


Start = Callable[..., AbstractAsyncContextManager[Manager]]


@pytest.fixture
def clock() -> Clock:
    """Return the manager's clock."""
    return Clock()


@pytest.fixture
def verifier() -> RecordedVerifier:
    """Return the chain's verifier."""
    return RecordedVerifier()


@pytest.fixture
def start(
    tmp_path: Path,
    clock: Clock,
    verifier: RecordedVerifier,
    monkeypatch: pytest.MonkeyPatch,
    database_url: str | None,
) -> Start:
    """Return a function that runs a manager on a home which stays for the whole test, where commands find its token."""
    monkeypatch.setenv("DAMOCLES_PATH", str(tmp_path / "home"))
    monkeypatch.delenv("DAMOCLES_TOKEN", raising=False)

    @asynccontextmanager
    async def run(
        stores: Mapping[str, Path] | None = None,
        *,
        deals: Path | None = None,
        wdpost_every_seconds: float | None = None,
        alerts: config.Config = config.Config(),  # noqa: B008 (frozen)
        unfit: Callable[[], Container[int]] = frozenset,
        **delays: int,
    ) -> AsyncIterator[Manager]:
        settings = daemon.Settings(
            home=tmp_path / "home",
            listen=address.Endpoint("127.0.0.1", 0),
            stores=stores or {},
            database=database_url,
            chain=simulated_chain.Source(
                miner=ledger.Miner(id=10000, proof=SealProof.of(SectorSize.KIB2)),
                options=simulated_chain.Options(block_seconds=BLOCK_SECONDS, **delays),
                unfit=unfit,
            ),
            deals=deals,
            wdpost_every_seconds=wdpost_every_seconds,
            alerts=alerts,
        )
        async with daemon.serve(settings, verifier, clock) as bound:
            url = bound.url(address.MANAGER_PATH)
            token = tokens.read_file(tmp_path / "home" / "token")
            async with client.connect(url, token=token) as rpc:
                yield Manager(url, rpc, token)

    return run
