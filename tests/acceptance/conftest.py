"""Sectors that many tests begin with, sealed once each."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import damocles_proofs as native
import pytest

from damocles import proofs
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import MINER, PARAMETER_CACHE, Farm

from . import browsers, plan_farms
from .once import made_once


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    with browsers.chromium() as started:
        yield started


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a farm's folder whose sector 1 has deals and is persisted, as if it were proven: C2 is left out."""

    def fill(base: Path) -> None:
        plan_farms.make_deals(base, {"a": os.urandom(900), "b": os.urandom(400)})
        nothing = base / "no-parameters"
        nothing.mkdir()
        with Farm(base, threads=1, parameters=nothing, max_sectors=1, sealing="enable_deals = true") as f:
            plan_farms.start_manager(f)
            f.start_worker()
            plan_farms.paused_with(f, "No cached parameters")
            plan_farms.stop_worker(f)
            record = f.ask_manager("FindSector", ["online", plan_farms.SECTOR], dict[str, Any])
            f.ask_manager("ImportSector", ["offline", record | {"Finalized": True}, True], bool)
            f.ask_manager("StoreReleaseReserved", [plan_farms.SECTOR], bool)

    return made_once(tmp_path_factory, "sealed", fill)


@pytest.fixture(scope="session")
def proof_made(tmp_path_factory: pytest.TempPathFactory, porep_parameters: list[Path]) -> Path:
    """Return a farm's folder whose worker was killed before and behind the C2 of sector 1, which has no deals."""

    def fill(base: Path) -> None:
        with Farm(base, threads=1, max_sectors=1, seal_interval="1h") as f:
            plan_farms.start_manager(f)
            for point in ("handler.before:C1Done", "journal.after:C2Done", "handler.before:C2Done"):
                plan_farms.killed_at(f, point, plan_farms.PROVING_SECONDS)

    return made_once(tmp_path_factory, "proof-made", fill)


@pytest.fixture(scope="session")
def proof_for_chain(tmp_path_factory: pytest.TempPathFactory, porep_parameters: list[Path]) -> Path:
    """Return a farm's folder as `proof_made`, whose chain is a devnode."""

    def fill(base: Path) -> None:
        with ChainFarm(base, threads=1, max_sectors=1, seal_interval="1h") as f:
            f.start_devnode()
            f.start_manager()
            plan_farms.killed_at(f, "handler.before:C2Done", plan_farms.PROVING_SECONDS)

    return made_once(tmp_path_factory, "proof-for-chain", fill)


@pytest.fixture(scope="session")
def aggregation_parameters(porep_parameters: list[Path]) -> None:
    """Skip what makes or verifies an aggregate if the file that it takes is not there."""
    file = PARAMETER_CACHE / native.srs_name()
    if not file.exists():
        pytest.skip(f"{PARAMETER_CACHE} lacks {file.name}: run `make params`")


@pytest.fixture(scope="session")
def aggregate_made(tmp_path_factory: pytest.TempPathFactory, aggregation_parameters: None) -> Path:
    """Return a farm's folder whose worker was killed when it had proven sector 1 without an interactive seed."""

    def fill(base: Path) -> None:
        with Farm(base, threads=1, plans=("niporep",), max_sectors=1, seal_interval="1h") as f:
            plan_farms.start_manager(f, "--non-interactive")
            plan_farms.killed_at(f, "handler.before:C2Done", plan_farms.AGGREGATING_SECONDS)

    return made_once(tmp_path_factory, "aggregate-made", fill)


@pytest.fixture(scope="session")
def proven(tmp_path_factory: pytest.TempPathFactory, proof_made: Path) -> Path:
    """Return a farm's folder whose sector 1 is proven and without deals."""

    def fill(base: Path) -> None:
        with plan_farms.going_on(proof_made, base, "sealer", with_store=True, max_sectors=1, seal_interval="1h") as f:
            f.start_worker()
            plan_farms.finished(f)

    return made_once(tmp_path_factory, "proven", fill)


@pytest.fixture(scope="session")
def update_parameters() -> None:
    """Skip what proves an upgrade if its parameters of 2KiB are not there."""
    names = proofs.parameter_files("update", 2048)
    missing = [name for name in names if not (PARAMETER_CACHE / name).exists()]
    if missing:
        pytest.skip(f"{PARAMETER_CACHE} lacks {', '.join(missing)}: run `make params`")


@pytest.fixture(scope="session")
def upgrade_proven(tmp_path_factory: pytest.TempPathFactory, proven: Path, update_parameters: None) -> Path:
    """Return a farm's folder whose worker was killed when it had proven an upgrade of sector 1 with two deals."""

    def fill(base: Path) -> None:
        plan_farms.make_deals(base, {"a": os.urandom(900), "b": os.urandom(400)})
        with plan_farms.going_on(proven, base, "snapup", seal_interval="1h") as f:
            plan_farms.ask(f, "snap", "fetch", str(MINER))
            plan_farms.killed_at(f, "handler.before:SnapProved", plan_farms.PROVING_SECONDS)

    return made_once(tmp_path_factory, "upgrade-proven", fill)


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory, upgrade_proven: Path) -> Path:
    """Return a farm's folder whose sector 1 was upgraded with deals.

    On the way its worker was killed, and one of the files that it had persisted was lost.
    """

    def fill(base: Path) -> None:
        with plan_farms.going_on(upgrade_proven, base, "snapup", with_store=True, seal_interval="1h") as f:
            for name in ("a", "b"):
                shutil.copy(upgrade_proven / name, base / name)
            plan_farms.killed_at(f, "handler.before:Persisted")
            (base / "persist" / "update" / str(plan_farms.SECTOR)).unlink()
            f.start_worker()
            plan_farms.finished(f)
            shutil.copytree(f.stores[0], base / "store-of-upgrade", symlinks=True)

    return made_once(tmp_path_factory, "upgraded", fill)


@pytest.fixture
def wdpost_parameters(tmp_path: Path) -> Path:
    """Return a folder with the parameters of window PoSt and no others: sectors stop behind their persistence."""
    names = native.params_for("wdpost", 2048)
    folder = tmp_path / "wdpost-parameters"
    folder.mkdir()
    for name in (names.params, names.vk, names.meta):
        if not (PARAMETER_CACHE / name).exists():
            pytest.skip(f"{PARAMETER_CACHE} lacks {name}: run `make params`")
        (folder / name).symlink_to(PARAMETER_CACHE / name)
    return folder


@pytest.fixture
def no_parameters(tmp_path: Path) -> Path:
    """Return a parameter cache without parameters."""
    folder = tmp_path / "no-parameters"
    folder.mkdir()
    return folder
