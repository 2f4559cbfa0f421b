"""The manager's process: one tree of tasks around the server, the database and the chain.

    async with daemon.serve(settings, verifier) as bound:     # all of it, listening on `bound`
    await daemon.run(settings, verifier)                      # the same until SIGTERM or SIGINT

Nothing polls: an idle manager waits for requests.
"""

import contextlib
import fcntl
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import structlog
from sqlalchemy import exc as sql_errors

from damocles.manager import commitments, errors, fleet, sealer_api, sectors, stores
from damocles.manager.chain import interface, mock
from damocles.manager.db import engine, schema
from damocles.rpc import address, core, dialects, server, site
from damocles.rpc import errors as rpc_errors

log = structlog.get_logger(__name__)

DATABASE_NAME = "manager.db"
LOCK_NAME = "lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a manager with a mock chain is started with; no `stores` means that every name is one."""

    home: Path
    miner: sectors.Miner
    listen: address.Endpoint
    stores: Mapping[str, Path] = field(default_factory=dict)
    chain: mock.Options = field(default_factory=mock.Options)


@contextlib.asynccontextmanager
async def serve(
    settings: Settings, verifier: interface.Verifier, clock: Callable[[], float] = time.time
) -> AsyncIterator[address.Endpoint]:
    """Run a manager while the block runs; yield the address it listens on.

    Raises:
        errors.StartError: The home or the address cannot be used; the message says why.
    """
    with _claim(settings.home):
        async with contextlib.AsyncExitStack() as stack:
            yield await _open(stack, settings, verifier, clock)


async def _open(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    verifier: interface.Verifier,
    clock: Callable[[], float],
) -> address.Endpoint:
    try:
        database = await stack.enter_async_context(engine.open_sqlite(settings.home / DATABASE_NAME))
        workers = await stack.enter_async_context(fleet.open_fleet(database, clock))
        app = site.manager_app(await _service(settings, database, workers, verifier, clock))
        return await stack.enter_async_context(server.serve(app, *settings.listen))
    except rpc_errors.ListenError as error:
        raise errors.StartError(str(error)) from error
    except schema.SchemaError as error:
        raise errors.StartError(f"{settings.home / DATABASE_NAME}: {error}") from error
    except sql_errors.DBAPIError as error:
        msg = f"{settings.home / DATABASE_NAME} cannot be used: {error.orig}; bring it back, or choose another --home"
        raise errors.StartError(msg) from error


async def run(settings: Settings, verifier: interface.Verifier) -> None:
    """Run a manager until SIGTERM or SIGINT; calls under way are still answered.

    Raises:
        errors.StartError: As `serve`.
    """
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with serve(settings, verifier):
            async for number in signals:
                log.info("stopping", signal=signal.Signals(number).name)
                break
    log.info("stopped")


async def _service(
    settings: Settings,
    database: engine.Database,
    workers: fleet.Fleet,
    verifier: interface.Verifier,
    clock: Callable[[], float],
) -> core.Service:
    chain = await mock.open_chain(database, settings.chain, verifier, clock)
    log.info(
        "mock chain",
        miner=settings.miner.id,
        proof=settings.miner.proof.proof_name,
        head=await chain.head(),
        home=str(settings.home),
    )
    api = sealer_api.SealerAPI(
        miners=[settings.miner],
        database=database,
        commits=commitments.Commitments(database, chain, clock),
        persist=stores.Stores(settings.stores),
        watch=workers.watch,
        clock=clock,
    )
    service = core.Service(dialects.MANAGER)
    api.register(service)
    workers.register(service)
    return service


@contextlib.contextmanager
def _claim(home: Path) -> Iterator[None]:
    """Make the home and keep other managers off it: two writers on one SQLite file would each believe in its own."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / LOCK_NAME).open("wb")
    except OSError as error:
        raise errors.StartError(f"the home {home} cannot be used: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"the home {home} is in use by another manager: stop it, or choose another --home"
            raise errors.StartError(msg) from None
        yield
