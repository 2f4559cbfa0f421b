"""A window PoSt from its challenge to its message in the node's pool, against the proof alone.

A manager, a process of its own, proves deadlines of one miner on a devnode in the bench's process. Between the two moments that are measured
no head comes but those that open the window: what waited for a head would wait for as long as an epoch of a real chain.
"""

import contextlib
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import anyio
import damocles_proofs as native

from bench import prove
from bench.figures import Figure
from damocles.chain import methods
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import FIRST_MINER, Rules
from damocles.manager.db import engine
from damocles.manager.sectors import ledger
from damocles.parameters import catalog
from damocles.testing import farm, on_chain
from damocles.wire.sectors import SectorID

ROUNDS = 4  # deadlines; the first one has a cold prover and is left out
SECTORS = 20  # of a deadline: ten SNARKs in a proof
WINDOW = 30  # epochs
FIRST = 10  # deadline
STORE = "persist"


def figures() -> Iterator[Figure]:
    """Measure; nothing where the parameters are missing."""
    wanted = native.params_for("wdpost", prove.SECTOR_BYTES).params
    if not (catalog.folder() / wanted).exists():
        print(f"windows are left out: {wanted} is not in {catalog.folder()}; `make params` makes it")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        replicas = [_sealed(folder, number) for number in range(1, ROUNDS * SECTORS + 1)]
        with _prover(replicas) as alone:
            taken, bare = zip(*anyio.run(_all_taken, folder, replicas, alone), strict=True)
    ratio = statistics.median(ours / proof for ours, proof in zip(taken[1:], bare[1:], strict=True))
    yield Figure(
        name=f"window PoSt of {SECTORS} sectors of 2KiB: from challenge and confidence to its message / the proof alone",
        value=ratio,
        unit="",
        at_most=1.2,
        against="; ".join(f"{ours:.2f} s, alone {proof:.2f} s" for ours, proof in zip(taken, bare, strict=True))
        + "; the first one has a cold prover, and does not count",
    )


def _sealed(folder: Path, number: int) -> native.PrivateReplica:
    """Seal a sector into the persist store."""
    work, sector = folder / "work" / str(number), str(SectorID(FIRST_MINER, number))
    _, out = prove.seal(work, number)
    for kind in ("sealed", "cache"):
        (folder / STORE / kind).mkdir(parents=True, exist_ok=True)
        (work / kind).rename(folder / STORE / kind / sector)
    return native.PrivateReplica(
        number, out.comm_r, folder / STORE / "cache" / sector, folder / STORE / "sealed" / sector
    )


def _of_round(replicas: list[native.PrivateReplica], number: int) -> list[native.PrivateReplica]:
    return replicas[number * SECTORS : (number + 1) * SECTORS]


# The proof alone ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _prover(replicas: list[native.PrivateReplica]) -> Iterator[Callable[[int], float]]:
    """Yield what proves the sectors of a round, in a process that does nothing else, and returns how long it took."""
    ours, theirs = multiprocessing.Pipe()
    plain = [(one.sector_id, one.comm_r, one.cache_dir, one.sealed_path) for one in replicas]
    child = multiprocessing.get_context("spawn").Process(target=_prove, args=(theirs, plain), daemon=True)
    child.start()

    def seconds(number: int) -> float:
        ours.send(number)
        return float(ours.recv())

    yield seconds
    child.kill()


def _prove(pipe: Pipe, plain: list[tuple[int, bytes, str, str]]) -> None:
    replicas = [native.PrivateReplica(*one) for one in plain]
    while True:
        some = _of_round(replicas, pipe.recv())
        began = time.perf_counter()
        native.generate_window_post(prove.WINDOW, prove.randomness(), some, prove.PROVER_ID)
        pipe.send(time.perf_counter() - began)


# The whole way -----------------------------------------------------------------------------------------------------


async def _all_taken(
    folder: Path, replicas: list[native.PrivateReplica], alone: Callable[[int], float]
) -> list[tuple[float, float]]:
    """Return how long each deadline takes, and its proof alone just before, in seconds."""
    async with serving.serving(
        Rules(window_epochs=WINDOW, partition_sectors=SECTORS), accepts_any_proof=True
    ) as devnode:
        await devnode.step(5)
        places = {FIRST + number: [[one.sector_id for one in _of_round(replicas, number)]] for number in range(ROUNDS)}
        on_chain.put(devnode, places, {one.sector_id: one.comm_r for one in replicas})
        with farm.Farm(folder, threads=0, miner=FIRST_MINER) as daemons:
            await _know(folder / "manager", len(replicas))
            await anyio.to_thread.run_sync(_start, daemons, devnode)
            made = []
            for number in range(ROUNDS):
                bare = await anyio.to_thread.run_sync(alone, number)
                made.append((await _taken(devnode, FIRST + number), bare))
            return made


async def _know(home: Path, count: int) -> None:
    """Let the manager know where the sectors' files are."""
    home.mkdir(mode=0o700)
    async with engine.open_sqlite(home / "manager.db") as database:
        for number in range(1, count + 1):
            place = partial(ledger.place_files, sector=SectorID(FIRST_MINER, number), store=STORE, upgrade=False)
            await database.write(place)


def _start(made: farm.Farm, devnode: Devnode) -> None:
    token, config = made.base / "token", made.base / "manager.toml"
    token.write_text(devnode.token)
    token.chmod(0o600)
    config.write_text(f"""\
[Chain]
Network = "{devnode.rules.name}"

[[Chain.Nodes]]
API = "{devnode.url}"
TokenFile = "{token}"

[[Common.PersistStores]]
Name = "{STORE}"
Path = "{made.base / STORE}"

[[Miners]]
Actor = {FIRST_MINER}
PoSt = {{ GasFeeCap = "" }}
""")
    made.manager = made.start(
        "manager.log",
        {},
        *("damocles-manager", "daemon", "--config", str(config), "--home", str(made.base / "manager")),
        *("--listen", f"127.0.0.1:{made.manager_port}"),
    )
    farm.wait_until(lambda: made.listens(made.manager_port), "the manager listens")


async def _taken(devnode: Devnode, deadline: int) -> float:
    """Return how long it takes from the head with which a deadline may be proved until its message waits in the node's pool."""
    opens = deadline * WINDOW
    begins = opens - WINDOW // 3 // 2  # half of what is between challenge and opening is confidence
    while devnode.head.height < begins - 1:
        await devnode.step()
    await anyio.sleep(2.0)  # the manager has seen that head, and has nothing to do
    began = time.perf_counter()
    await devnode.step(opens + WINDOW // 15 - devnode.head.height)
    with anyio.fail_after(600):
        while not _waits(devnode):
            await anyio.sleep(0.005)
    seconds = time.perf_counter() - began
    await devnode.step(3)
    return seconds


def _waits(devnode: Devnode) -> bool:
    number = methods.SUBMIT_WINDOW_POST.number
    return any(signed.message.method == number for signed in devnode.chain.pool.all())
