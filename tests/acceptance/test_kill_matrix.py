"""The kill matrix: for every plan, a run for each family of failpoints, in which each point strikes once.

A cell is a point that struck, in a run that came to its end with the commitments of an undisturbed one. A slice runs with
the other tests; `make test-kill` runs the whole.
"""

import itertools

import pytest

from damocles.testing import storm

from .kill_scenarios import SCENARIOS

_CHILDS_FILES = {
    "child dies before a sync",
    "power cut tears a file",
    "child dies around a rename",
    "child's disk breaks",
}
# A window PoSt writes no files, and a sector that is proven needs no child any more, so that nothing can be torn, renamed
# or left half; giving up is no handler's work.
_NOTHING = {
    *(("wdpost", family) for family in _CHILDS_FILES),
    ("wdpost", "worker dies while it moves files"),
    ("snapup to its encoding", "worker dies while it moves files"),
    *(
        ("giving up", family)
        for family in storm.FAMILIES
        if family in _CHILDS_FILES
        or family.startswith(("child ", "sealing store ", "persist store "))
        or "handler" in family
    ),
    *(
        (f"{plan} from its proof on", family)
        for plan in ("sealer", "niporep")
        for family in (*_CHILDS_FILES, "child dies before a stage", "child dies before its answer", "child hangs")
    ),
}
_LONG = {"niporep from its proof on"}  # needs a SNARK of thirteen circuits
# Every plan and every family is in the slice.
_SLICE = {
    *zip(itertools.cycle([scenario for scenario in SCENARIOS if scenario not in _LONG]), storm.FAMILIES, strict=False),
    ("wdpost", "child dies before its answer"),
    ("rebuild", "child dies before a sync"),
    ("sealer to C1", "power cut tears a file"),
    ("giving up", "worker dies while it moves files"),
    ("sealer to C1", "sealing store is away after a death"),
    ("sealer with deals to C1", "persist store is away after a death"),
    ("niporep to C1", "manager's store is away after a death"),
}


@pytest.mark.slow
@pytest.mark.timeout(3700)  # the first run that needs a SNARK makes it for all of them
@pytest.mark.parametrize(
    ("scenario", "family"),
    [
        pytest.param(*cell, id=" - ".join(cell), marks=[] if cell in _SLICE else [pytest.mark.whole])
        for cell in itertools.product(SCENARIOS, storm.FAMILIES)
        if cell not in _NOTHING
    ],
)
def test_a_sector_survives(request, tmp_path, record_property, scenario, family):
    """Whatever dies, and wherever: the run ends as an undisturbed one."""
    with SCENARIOS[scenario](tmp_path, request.getfixturevalue) as run:
        struck = storm.ride(run.farm, storm.FAMILIES[family], tmp_path / "marks", run.done, 300)
        run.check()
        assert struck, "no point of the family was reached"
    record_property("cells", len(struck))
    record_property("action", storm.FAMILIES[family].action)
