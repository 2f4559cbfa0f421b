"""Farms that begin where another one ended: a sector is sealed once, and each test gets a copy of it."""

import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import damocles_proofs as native

from damocles.stores import sealing
from damocles.testing import farm, web
from damocles.testing.farm import MINER, Farm, cli, wait_until
from damocles.wire import records, sectors
from damocles.wire.sectors import SectorID

SECTOR = SectorID(MINER, 1)
PROOF = "StackedDrg2KiBV1_1"
PROVING_SECONDS = 1200.0  # at most: a C2 takes a minute of two cores that have nothing else to do
AGGREGATING_SECONDS = 3600.0  # thirteen circuits
_KEPT = ("manager", "persist", "deals")


def make_deals(base: Path, payloads: Mapping[str, bytes]) -> None:
    """Offer payloads as deals to the managers of farms in `base`."""
    (base / "deals").mkdir(exist_ok=True)
    for name, payload in payloads.items():
        file = base / name
        file.write_bytes(payload)
        cli("damocles-manager", "mock-deals", str(base / "deals"), str(file))


def start_manager(f: Farm, *options: str) -> None:
    """Start a manager that knows the persist store, and the deals if there are any."""
    deals = ("--deals", str(f.base / "deals")) if (f.base / "deals").is_dir() else ()
    f.start_manager("--store", f"persist={f.base}/persist", *deals, *options)


@contextmanager
def going_on(
    template: Path, base: Path, plan: str, *manager: str, with_store: bool = False, **fields: Any
) -> Iterator[Farm]:
    """Yield a farm with a copy of another one's manager and files, its manager running, and a fresh thread for a plan.

    With `with_store` the thread has a copy of the other one's sealing store instead, and goes on with its sector.
    """
    for name in _KEPT:
        if (template / name).is_dir():
            shutil.copytree(template / name, base / name)
    fields = {"seal_interval": "1s", "recover_interval": "200ms", "threads": 1, **fields}
    with Farm(base, plans=(plan,) * fields["threads"], **fields) as f:
        if with_store:
            shutil.rmtree(f.stores[0])
            shutil.copytree(template / f.stores[0].name, f.stores[0], symlinks=True)
        start_manager(f, *manager)
        yield f


def ask(f: Farm, *command: str) -> str:
    """Run a command of the manager's `util sealer`."""
    at = ("--listen", f"127.0.0.1:{f.manager_port}", "--home", str(f.base / "manager"))
    return cli("damocles-manager", "util", "sealer", *command, *at).stdout


def record(f: Farm, sector: SectorID = SECTOR) -> records.SectorState:
    """Return what the manager knows of a sector."""
    found: records.SectorState = f.ask_manager("FindSectorInAllStates", [sector], records.SectorState)
    return found


def paused_with(f: Farm, text: str, seconds: float = 90.0) -> None:
    """Wait until the thread pauses with this error."""
    wait_until(
        lambda: f.thread(0).thread_state.state == "Paused" and text in (f.thread(0).last_error or ""),
        f"the thread pauses with {text!r}",
        seconds,
    )


def wait_for(f: Farm, thread_state: str) -> None:
    """Wait until the thread is in a state."""
    wait_until(lambda: f.thread(0).thread_state.state == thread_state, f"the thread is {thread_state}")


def wait_for_event(f: Farm, event: str) -> None:
    """Wait until an event is in the thread's journal."""
    wait_until(lambda: event in f.events(0), f"{event} is recorded")


def killed_at(f: Farm, point: str, seconds: float = 120.0) -> None:
    """Start the worker, and wait until it was killed at a failpoint."""
    f.start_worker(wait=False, DAMOCLES_FAILPOINTS=f"{point}=kill")
    assert f.worker is not None
    assert f.worker.wait(seconds) == -signal.SIGKILL, f"not killed at {point}\n{f.logs()}"


def sector_of(f: Farm, index: int = 0) -> Any:
    """Return the sector in the store of a thread; its worker must not be running."""
    with sealing.opened(f.stores[index]) as store:
        sector = store.journal.load()
    assert sector is not None
    return sector


def seal_directly(folder: Path, number: int, ticket: bytes, proof: str = PROOF) -> tuple[bytes, bytes]:
    """Seal an empty sector by calling the proofs crate, and return CommD and CommR."""
    staged, sealed, cache = folder / "staged", folder / "sealed", folder / "cache"
    cache.mkdir(parents=True)
    staged.write_bytes(bytes(2048))
    sealed.touch()
    prover, pieces = sectors.prover_id(MINER), [native.zero_piece(2032)]
    labels = native.pc1(proof, cache, staged, sealed, prover, number, ticket, pieces)
    output = native.pc2(labels, cache, sealed)
    return output.comm_d, output.comm_r


def finished(f: Farm, seconds: float = 120.0, times: int = 1) -> None:
    """Wait until the thread has finished its job; nothing is left in its store then."""
    wait_until(lambda: f.events(0).count("Finalized") == times, "the job is finished", seconds)
    assert [] == [str(path) for path in (f.stores[0] / "data").rglob("*")]


def files(base: Path, *folders: str) -> dict[str, bytes]:
    """Return replicas, trees and `p_aux` below folders of the persist store; `t_aux` names the paths of its sealing."""
    persist = base / "persist"
    found = [path for folder in folders for path in (persist / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(persist)): path.read_bytes() for path in found if path.name != "t_aux"}


def stop_worker(f: Farm) -> None:
    """Stop the worker."""
    assert f.worker is not None
    assert farm.stop(f.worker) == 0
    f.worker = None


@dataclass
class Receiver:
    """An HTTP server that takes files, or says how often it does not before it does."""

    refusals: int = 0
    puts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0


@contextmanager
def receiver(refusals: int = 0) -> Iterator[Receiver]:
    """Run a receiver."""
    state = Receiver(refusals)

    class Handler(web.Handler):
        def do_PUT(self) -> None:
            state.puts.append((self.path, dict(self.headers), self.body()))
            if len(state.puts) <= state.refusals:
                self.answer(503, b"come back later")
            else:
                self.answer(200)

    with web.serving(Handler) as url:
        state.port = int(url.rpartition(":")[2])
        yield state
