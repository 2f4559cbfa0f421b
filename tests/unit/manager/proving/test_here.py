"""What the manager's machine says when it cannot prove."""

from pathlib import Path
from typing import Any, cast

from structlog.testing import capture_logs

from damocles.manager.proving.here import Prover
from damocles.manager.proving.machine import name_of
from damocles.wire.sectors import SectorSize


def test_a_machine_without_parameters_says_so_once(tmp_path: Path) -> None:
    """It takes no job, and the log names the folder and what to do: nothing else tells why deadlines are not proved."""
    nothing = cast("Any", None)
    prover = Prover(
        jobs=nothing,
        persist=nothing,
        stages=nothing,
        count=1,
        sizes={SectorSize.GIB32},
        parameters=lambda: tmp_path,
    )
    with capture_logs() as logs:
        assert [] == prover._able()
        assert [] == prover._able()
    (said,) = logs
    assert ("warning", "32GiB") == (said["log_level"], said["size"])
    assert str(tmp_path) in said["why"]
    assert "params fetch" in said["why"]


def test_machines_of_several_managers_are_known_apart() -> None:
    """Each has tries of its own; a single one keeps its name, whatever its home."""
    homes = Path("first"), Path("second")
    assert {"the manager's machine"} == {name_of(home, is_shared=False) for home in homes}
    assert 2 == len({name_of(home, is_shared=True) for home in homes})
