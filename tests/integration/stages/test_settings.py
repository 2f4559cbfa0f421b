"""Settings that we take or refuse, tried on the library."""

from pathlib import Path

import pytest

from damocles.stages import errors, settings
from damocles.stages.supervision import executor
from damocles.wire import tasks

from .sealed import PROOF, Sector, run_here

STRIDE, LOOKAHEAD = "FIL_PROOFS_MULTICORE_SDR_PRODUCER_STRIDE", "FIL_PROOFS_MULTICORE_SDR_LOOKAHEAD"
WINDOW = "FIL_PROOFS_SDR_PARENTS_CACHE_SIZE"


@pytest.fixture
def sector(tmp_path: Path) -> Sector:
    """Return a sector that is ready for PC1."""
    made = Sector(tmp_path)
    made.pieces = run_here("add_pieces", tasks.AddPieces(PROOF, [], made.staged))
    Path(made.prepared).mkdir()
    run_here("tree_d", tasks.TreeD(PROOF, made.staged, made.prepared))
    made.prepare()
    return made


@pytest.mark.parametrize(
    "environment",
    [
        {"FIL_PROOFS_USE_MULTICORE_SDR": "On", "FIL_PROOFS_VERIFY_CACHE": "no"},
        {STRIDE: "10", LOOKAHEAD: "10"},
        # With one thread beside the first: more of them, on busy cores, spin for minutes over so small a window.
        {STRIDE: "10", WINDOW: "10", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS": "1"},
        {STRIDE: "1", LOOKAHEAD: "1", "FIL_PROOFS_MULTICORE_SDR_PRODUCERS": "16"},
        {"FIL_PROOFS_ROWS_TO_DISCARD": "7"},
    ],
)
async def test_pc1_ends_with_what_is_taken(sector: Sector, environment: dict[str, str]) -> None:
    """The bounds are those of the library: at them it works."""
    assert [] == settings.problems(environment)
    async with executor.Stages(envs={"FIL_PROOFS_USE_MULTICORE_SDR": "1", **environment}) as stages:
        await stages.run("pc1", sector.pc1(), lane=0, on_status=lambda _: None)


@pytest.mark.parametrize("environment", [{"FIL_PROOFS_USE_MULTICORE_SDR": ""}, {"FIL_PROOFS_ROWS_TO_DISCARD": "abc"}])
async def test_pc1_panics_with_what_is_refused(sector: Sector, environment: dict[str, str]) -> None:
    """The refusal is no caution of ours."""
    assert [*environment] == [problem.name for problem in settings.problems(environment)]
    async with executor.Stages(envs=environment) as stages:
        with pytest.raises(errors.StageFailed, match="Panic: invalid configuration"):
            await stages.run("pc1", sector.pc1(), lane=0, on_status=lambda _: None)
