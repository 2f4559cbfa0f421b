"""The kill matrix on two machines: every part of a Ray cluster, and of the worker, is struck while a stage stands on the other machine.

A cell is a strike at a point, in a run that came to its end with the commitments of an undisturbed one, or with one proof. A slice, with
one strike at each point up to C1, runs with the other tests; `make test-ray` runs each strike at every point.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from damocles import failpoints
from damocles.testing.farm import Farm
from tests.integration.stages.far import two_machines

from . import far_strikes, kill_scenarios, plan_farms
from .far_strikes import C2_POINTS, POINTS
from .once import made_once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(not two_machines.can_be_made(), reason="machines are made by root, with iproute2"),
    pytest.mark.timeout(2500),
]
_SLICE = dict(
    zip(
        POINTS,
        ("actor killed", "frozen and woken", "helper killed", "cable cut", "daemon killed", "paused at once"),
        strict=True,
    )
)


def sealed_over(strikes: Mapping[str, str], folder: Path, **env: str) -> Mapping[str, str]:
    """Seal a sector up to its SNARK over strikes, and check what has become of it; return what struck."""
    marks, base, parameters = folder / "marks", folder / "farm", folder / "no-parameters"
    for made in (marks, base, parameters, folder / "ray"):
        made.mkdir()
    with two_machines.machines(folder / "ray") as pair:
        pair.start_head()
        pair.start_prover()
        processors = far_strikes.groups(pair, base, marks)
        with (
            far_strikes.at(pair.head),
            Farm(base, threads=1, parameters=parameters, recover_interval="200ms", processors=processors) as f,
        ):
            plan_farms.start_manager(f)
            scene = far_strikes.Scene(f, pair, marks)
            struck = far_strikes.ride(
                scene, strikes, kill_scenarios.failed_with(f, "No cached parameters"), 1200, **env
            )
            assert [] == far_strikes.left_on(pair)
            on = {entry.event: entry.hosts for entry in f.history(0)}
            assert [("gpu1",)] * 3 == [on["PC1"], on["PC2"], on["C1"]]
            assert () == on["SubmitPC"]
            sector = plan_farms.sector_of(f)
            direct = plan_farms.seal_directly(folder / "direct", sector.id.number, sector.ticket.ticket)
            assert direct == (sector.pc2out.comm_d, sector.pc2out.comm_r)
            aborted = list(strikes.values()).count("aborted")
            rows = f.ask_manager("ListSectors", ["online", 0], list[dict[str, Any]])
            assert [aborted + 1] == [row["ID"]["Number"] for row in rows]
            attempts = f.stores[0] / "data" / "attempts"
            assert [] == [path for path in attempts.iterdir() if not path.name.startswith("over-")]
    return struck


@pytest.mark.parametrize(
    "strikes",
    [
        pytest.param(_SLICE, id="one at each point"),
        *(pytest.param(dict.fromkeys(POINTS, name), id=name, marks=pytest.mark.whole) for name in far_strikes.STRIKES),
    ],
)
def test_a_sector_survives(tmp_path, record_property, strikes):
    """Whatever is struck, and wherever: the sector is sealed once, as an undisturbed one, and no process is left on any machine."""
    assert strikes == sealed_over(strikes, tmp_path)
    record_property("cells", len(strikes))


@pytest.mark.whole
def test_a_sector_survives_helpers_that_die_while_they_move_files(tmp_path, record_property):
    """A helper may die at every rename of an attempt's files."""
    marks = tmp_path / "renames"
    marks.mkdir()
    armed = {failpoints.VARIABLE: "attempt.*=kill", failpoints.ONCE_VARIABLE: str(marks)}
    sealed_over({}, tmp_path, **armed)
    cells = sorted(path.name for path in marks.iterdir())
    assert "attempt.take:sealed" in cells
    record_property("cells", len(cells))


@pytest.fixture(scope="session")
def before_c2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a farm's folder whose worker was killed in front of the C2 of sector 1."""

    def fill(base: Path) -> None:
        with Farm(base, threads=1, max_sectors=1, seal_interval="1h") as f:
            plan_farms.start_manager(f)
            plan_farms.killed_at(f, "handler.before:C1Done")

    return made_once(tmp_path_factory, "before-c2", fill)


@pytest.mark.whole
@pytest.mark.params
@pytest.mark.parametrize(
    ("point", "strike"),
    [
        *((C2_POINTS[0], name) for name in far_strikes.STRIKES),
        *((C2_POINTS[1], name) for name in ("actor killed", "cable cut")),
    ],
)
def test_a_sector_is_proved_once(
    tmp_path: Path, before_c2: Path, porep_parameters: list[Path], point: str, strike: str
) -> None:
    """From C1 to its end with C2 on the other machine, whatever is struck there before the proof is made, or when it is: there is one proof."""
    marks, base = tmp_path / "marks", tmp_path / "farm"
    for made in (marks, base, tmp_path / "ray"):
        made.mkdir()
    with two_machines.machines(tmp_path / "ray") as pair:
        pair.start_head()
        pair.start_prover()
        processors = far_strikes.groups(pair, base, marks, ("c2",))
        with (
            far_strikes.at(pair.head),
            plan_farms.going_on(before_c2, base, "sealer", with_store=True, processors=processors, max_sectors=2) as f,
        ):
            scene = far_strikes.Scene(f, pair, marks)
            done = partial(_is_finished, f)
            assert {point: strike} == far_strikes.ride(
                scene, {point: strike}, done, 2 * plan_farms.PROVING_SECONDS, C2_POINTS
            )
            assert [] == far_strikes.left_on(pair)
            events = f.events(0)
            assert 1 == events[: events.index("Finalized")].count("C2")
            assert [("gpu1",)] == [entry.hosts for entry in f.history(0) if entry.event == "C2"][:1]
            rows = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
            assert [True] == [row["Proof"] is not None for row in rows if not row["AbortReason"]]


def _is_finished(f: Farm) -> bool:
    return "Finalized" in f.events(0)
