"""Sectors that many tests begin with, sealed once each; the count of the kill matrix."""

import os
import shutil
from collections import Counter
from pathlib import Path

import damocles_proofs as native
import pytest

from damocles import proofs
from damocles.testing.farm import MINER, PARAMETER_CACHE, Farm

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
def proof_made(tmp_path_factory: pytest.TempPathFactory, porep_parameters: list[Path]) -> Path:
    """Return a farm's folder whose worker was killed when it had proven sector 1, which has no deals."""
    base = tmp_path_factory.mktemp("proof-made")
    with Farm(base, threads=1, max_sectors=1, seal_interval="1h") as f:
        plan_farms.start_manager(f)
        plan_farms.killed_at(f, "handler.before:C2Done", plan_farms.PROVING_SECONDS)
    return base


@pytest.fixture(scope="session")
def aggregation_parameters(porep_parameters: list[Path]) -> None:
    """Skip what makes or verifies an aggregate if the file that it takes is not there."""
    file = PARAMETER_CACHE / native.srs_name()
    if not file.exists():
        pytest.skip(f"{PARAMETER_CACHE} lacks {file.name}: run `make params`")


@pytest.fixture(scope="session")
def aggregate_made(tmp_path_factory: pytest.TempPathFactory, aggregation_parameters: None) -> Path:
    """Return a farm's folder whose worker was killed when it had proven sector 1 without an interactive seed."""
    base = tmp_path_factory.mktemp("aggregate-made")
    with Farm(base, threads=1, plans=("niporep",), max_sectors=1, seal_interval="1h") as f:
        plan_farms.start_manager(f, "--non-interactive")
        plan_farms.killed_at(f, "handler.before:C2Done", plan_farms.AGGREGATING_SECONDS)
    return base


@pytest.fixture(scope="session")
def proven(tmp_path_factory: pytest.TempPathFactory, proof_made: Path) -> Path:
    """Return a farm's folder whose sector 1 is proven and without deals."""
    base = tmp_path_factory.mktemp("proven")
    with plan_farms.going_on(proof_made, base, "sealer", with_store=True, max_sectors=1, seal_interval="1h") as f:
        f.start_worker()
        plan_farms.finished(f)
    return base


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
    base = tmp_path_factory.mktemp("upgrade-proven")
    plan_farms.make_deals(base, {"a": os.urandom(900), "b": os.urandom(400)})
    with plan_farms.going_on(proven, base, "snapup", seal_interval="1h") as f:
        plan_farms.ask(f, "snap", "fetch", str(MINER))
        plan_farms.killed_at(f, "handler.before:SnapProved", plan_farms.PROVING_SECONDS)
    return base


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory: pytest.TempPathFactory, upgrade_proven: Path) -> Path:
    """Return a farm's folder whose sector 1 was upgraded with deals.

    On the way its worker was killed, and one of the files that it had persisted was lost.
    """
    base = tmp_path_factory.mktemp("upgraded")
    with plan_farms.going_on(upgrade_proven, base, "snapup", with_store=True, seal_interval="1h") as f:
        for name in ("a", "b"):
            shutil.copy(upgrade_proven / name, base / name)
        plan_farms.killed_at(f, "handler.before:Persisted")
        (base / "persist" / "update" / str(plan_farms.SECTOR)).unlink()
        f.start_worker()
        plan_farms.finished(f)
        shutil.copytree(f.stores[0], base / "store-of-upgrade", symlinks=True)
    return base


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


_cells: Counter[str] = Counter()
_lost: list[str] = []
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of a run."""
    if "test_kill_matrix" not in report.nodeid:
        return
    found = dict(report.user_properties)
    if report.skipped:
        _skipped.append(report.nodeid)
    elif report.failed:
        _lost.append(f"{report.nodeid} ({report.when})")
    elif report.when == "call":
        _cells[str(found["action"])] += int(str(found["cells"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the count, and which runs were lost."""
    if _cells or _lost or _skipped:
        terminalreporter.section("kill matrix")
        kinds = ", ".join(f"{count} {action}" for action, count in sorted(_cells.items()))
        terminalreporter.line(f"{_cells.total()} cells ({kinds}), {len(_lost)} runs lost, {len(_skipped)} skipped")
        for what, names in (("lost", _lost), ("skipped", _skipped)):
            for name in names:
                terminalreporter.line(f"{what}: {name}")
