"""A manager and a worker on loopback, with methods to play with."""

from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import pytest

from damocles.rpc import address, core, dialects
from damocles.rpc.serving import asgi, server, site
from damocles.wire import fleet


async def version() -> str:
    """Return a version."""
    return "v0.13.1"


async def ping(info: fleet.WorkerInfo) -> None:
    """Take a ping."""


async def echo(value: str) -> str:
    """Return what comes."""
    return value


async def whoami(call: core.Call) -> list[str | None]:
    """Return what is known of the caller."""
    return [call.transport, call.peer, call.token]


async def wait(seconds: float) -> str:
    """Answer late."""
    await anyio.sleep(seconds)
    return "waited"


async def remove(name: str) -> None:
    """Return only an error, or none."""


async def count(until: int) -> AsyncGenerator[int, None]:
    """Stream numbers."""
    for number in range(until):
        yield number


@pytest.fixture
def manager() -> core.Service:
    """Methods in the manager's dialect."""
    service = core.Service(dialects.MANAGER)
    for handler in (version, echo, whoami, wait, count):
        service.add(f"Venus.{handler.__name__.capitalize()}", handler)
    service.add("Venus.WorkerPing", ping)
    service.add("Venus.Remove", remove, has_result=False)
    return service


@pytest.fixture
def worker() -> core.Service:
    """Methods in the worker's dialect."""
    service = core.Service(dialects.WORKER)
    service.add("VenusWorker.WorkerVersion", version)
    service.add("VenusWorker.Echo", echo)
    return service


@pytest.fixture
async def manager_at(manager: core.Service) -> AsyncIterator[address.Endpoint]:
    """Where the manager listens."""
    async with server.serve(site.manager_app(manager), "127.0.0.1", 0, grace_seconds=5) as bound:
        yield bound


@pytest.fixture
async def worker_at(worker: core.Service) -> AsyncIterator[address.Endpoint]:
    """Where the worker listens."""
    async with server.serve(asgi.worker_app(worker), "127.0.0.1", 0, grace_seconds=5) as bound:
        yield bound
