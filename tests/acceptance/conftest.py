"""Sectors that many tests begin with, sealed once each."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from damocles import proofs
from damocles.testing.farm import MINER, PARAMETER_CACHE, Farm, wait_until

from . import plan_farms


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a farm's folder whose sector 1 has deals and is persisted, as if it were proven: C2 is left out."""
    base = tmp_path_factory.mktemp("sealed")
    plan_farms.make_deals(base, {"a": os.urandom(900), "b": os.urandom(400)})
    nothing = base / "no-parameters"
    nothing.mkdir()
    with Farm(base, threads=1, parameters=nothing, max_sectors=1, sealing="enable_deals = true") as f:
        plan_farms.start_manager(f)
        f.start_worker()
        plan_farms.paused_with(f, "No cached parameters")
        plan_farms.stop_worker(f)
        f.ask_manager("ReportFinalized", [plan_farms.SECTOR], None)
    return base


@pytest.fixture(scope="session")
def proven(tmp_path_factory: pytest.TempPathFactory, porep_parameters: list[Path]) -> Path:
    """Return a farm's folder whose sector 1 is proven and without deals."""
    base = tmp_path_factory.mktemp("proven")
    with Farm(base, threads=1, max_sectors=1, seal_interval="1h") as f:
        plan_farms.start_manager(f)
        f.start_worker()
        wait_until(lambda: "Finalized" in f.events(0), "the sector is proven", 700, every=0.5)
    return base


@pytest.fixture(scope="session")
def update_parameters() -> None:
    """Skip what proves an upgrade if its parameters of 2KiB are not there."""
    names = proofs.parameter_files("update", 2048)
    missing = [name for name in names if not (PARAMETER_CACHE / name).exists()]
    if missing:
        pytest.skip(f"{PARAMETER_CACHE} lacks {', '.join(missing)}: run `make params`")


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory, proven: Path, update_parameters: None) -> Path:
    """Return a farm's folder whose sector 1 was upgraded with deals.

    On the way its worker was killed, and one of the files that it had persisted was lost.
    """
    base = tmp_path_factory.mktemp("upgraded")
    plan_farms.make_deals(base, {"a": os.urandom(900), "b": os.urandom(400)})
    with plan_farms.going_on(proven, base, "snapup", seal_interval="1h") as f:
        plan_farms.ask(f, "snap", "fetch", str(MINER))
        f.start_worker(wait=False, DAMOCLES_FAILPOINTS="handler.before:Persisted=kill")
        assert f.worker is not None
        assert f.worker.wait(700) == -signal.SIGKILL, f.logs()
        (base / "persist" / "update" / str(plan_farms.SECTOR)).unlink()
        f.start_worker()
        plan_farms.finished(f)
        shutil.copytree(f.stores[0], base / "store-of-upgrade")
    return base


@pytest.fixture
def no_parameters(tmp_path: Path) -> Path:
    """Return a parameter cache without parameters."""
    folder = tmp_path / "no-parameters"
    folder.mkdir()
    return folder
