"""Runs of a sector on a devnode that the kill matrix of the outbox rides through, and what is looked at in the end."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from damocles.chain import methods
from damocles.testing import farm
from damocles.testing.chain_farm import ChainFarm
from damocles.wire import commitments, records

from . import plan_farms
from .kill_scenarios import Run, event, failed_with

PRE_COMMIT, PROVE_COMMIT = methods.PRE_COMMIT.number, methods.PROVE_COMMIT.number
_KEPT = ("devnet", "manager", "persist")


def is_pre_committed(f: ChainFarm) -> None:
    """The sector's pre-commit is the only message of the chain, with the CommR of its sealing."""
    state, _ = f.check_messages(PRE_COMMIT)
    (pre,) = state.miners[f.miner].pre_committed.values()
    assert pre.info.sealed_cid == commitments.sealed_cid(plan_farms.sector_of(f).pc2out.comm_r)


def is_proven(f: ChainFarm) -> None:
    """The sector was proven once, by one message of each kind and one proof, and its files are there."""
    state, _ = f.check_messages(PRE_COMMIT, PROVE_COMMIT)
    (sector,) = state.miners[f.miner].sectors.values()
    (row,) = f.ask_manager("ListSectors", ["offline", 1], list[records.SectorState])
    assert row.pre_commit is not None
    assert sector.sealed_cid == row.pre_commit.comm_r
    assert 1 == f.events(0).count("C2")
    assert 3 == len(plan_farms.files(f.base, "sealed", "cache"))


@contextmanager
def pre_commit(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Seal a sector up to its SNARK, for which the parameters are missing."""
    parameters = base / "no-parameters"
    parameters.mkdir()
    with ChainFarm(base, threads=1, parameters=parameters, max_sectors=1, recover_interval="200ms") as f:
        f.start_devnode()
        f.start_manager()
        yield Run(f, failed_with(f, "No cached parameters"), lambda: is_pre_committed(f))


@contextmanager
def replacement(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """The same from where the pre-commit is stuck: blocks take no messages until it was made dearer."""
    with pre_commit(base, get) as run:
        f = run.farm
        assert isinstance(f, ChainFarm)
        f.ask_node("DevnodeBlockLimit", 0, prefix="Damocles")
        f.start_worker()
        farm.wait_until(lambda: f.orders() and f.orders()[0]["cids"], "the pre-commit is signed")
        plan_farms.stop_worker(f)

        is_free = False

        def done() -> bool:
            nonlocal is_free
            if not is_free and len(f.orders()[0]["cids"]) > 1:
                f.ask_node("DevnodeBlockLimit", None, prefix="Damocles")
                is_free = True
            return run.done()

        def check() -> None:
            assert len(f.orders()[0]["cids"]) > 1
            run.check()

        yield Run(f, done, check)


@contextmanager
def proof(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Submit a proof that is made, and finish."""
    with going_on(get("proof_for_chain"), base) as f:
        yield Run(f, event(f, "Finalized"), lambda: is_proven(f))


@contextmanager
def going_on(template: Path, base: Path, **fields: Any) -> Iterator[ChainFarm]:
    """Yield a farm that goes on where another one has ended, with its chain; devnode and manager run."""
    for name in _KEPT:
        shutil.copytree(template / name, base / name)
    fields = {"threads": 1, "max_sectors": 1, "recover_interval": "200ms", "seal_interval": "1s", **fields}
    with ChainFarm(base, **fields) as f:
        for store in f.stores:
            shutil.rmtree(store)
            shutil.copytree(template / store.name, store, symlinks=True)
        f.start_devnode()
        f.start_manager()
        yield f


SCENARIOS = {"a pre-commit": pre_commit, "a pre-commit that is replaced": replacement, "a proof": proof}
