"""The kill matrix on two machines: every part of a Ray cluster, and of the worker, is struck while a stage stands on the other machine.

A cell is a strike at a point, in a run that came to its end with the commitments of an undisturbed one. A slice, with one strike
at each point, runs with the other tests; `make test-ray` runs each strike at every point.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from damocles import failpoints
from damocles.testing.farm import Farm
from tests.integration.stages.far import two_machines

from . import far_strikes, kill_scenarios, plan_farms
from .far_strikes import POINTS

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
