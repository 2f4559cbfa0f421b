"""A worker whose C2 runs on a second machine, with real daemons and real proofs; the machines are network namespaces of this one."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from damocles import methods
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import control
from tests.integration.stages.far import two_machines

from . import far_strikes, plan_farms

pytestmark = [
    pytest.mark.slow,
    pytest.mark.params,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(not two_machines.can_be_made(), reason="machines are made by root, with iproute2"),
    pytest.mark.timeout(2500),
]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[two_machines.Pair]:
    """Return two machines whose cluster runs."""
    (tmp_path / "ray").mkdir()
    with two_machines.machines(tmp_path / "ray") as made:
        made.start_head()
        made.start_prover()
        yield made


def detail(f: Farm) -> control.ThreadDetail:
    """Ask the worker for its thread, with everything."""
    with f.worker_client() as worker:
        (found,) = worker.call(methods.worker.threads())
    return found


def c2_there(f: Farm) -> psutil.Process:
    """Wait until a C2 runs on the other machine; return its process."""

    def begun() -> control.ThreadDetail | None:
        found = detail(f)
        return found if found.far_host and found.info.job_state == "C1Done" else None

    found = wait_until(begun, "C2 runs on the other machine", 300)
    assert (found.far_host, found.host) == ("gpu1", "gpu1")
    return psutil.Process(found.pid)


def test_c2_on_another_machine_gives_one_proof_whatever_is_stopped(
    tmp_path: Path, pair: two_machines.Pair, porep_parameters: list[Path]
) -> None:
    """A sector is proved there, once, with a proof that verifies, over a pause, a kill of the worker and an abort of the next one.

    After each of them, nothing of the C2 goes on.
    """
    group = (
        f'[[processors.c2]]\nexecutor = "ray"\naddress = "{pair.address}"\nresources = {{ prover = 1 }}\n'
        f'token_file = "{pair.token}"\n'
    )
    base = tmp_path / "farm"
    base.mkdir()
    with far_strikes.at(pair.head), Farm(base, threads=1, max_sectors=2, processors=group, recover_interval="1s") as f:
        plan_farms.start_manager(f)
        f.start_worker()

        process = c2_there(f)
        assert "gpu1" in cli("damocles-worker", "worker", "-c", str(f.config), "list", "--json").stdout
        cli("damocles-worker", "worker", "-c", str(f.config), "pause", "--index", "0", "--now")
        plan_farms.wait_for(f, "Paused")
        assert not two_machines.is_running(process)
        cli("damocles-worker", "worker", "-c", str(f.config), "resume", "--index", "0")

        process = c2_there(f)
        assert f.worker is not None
        f.worker.send_signal(signal.SIGKILL)
        f.worker.wait()
        assert far_strikes.is_gone(process)
        f.start_worker()

        assert c2_there(f).pid in pair.prover.processes
        assert len(far_strikes.ours(pair.prover)) == 2  # the guard and the child
        wait_until(lambda: "Finalized" in f.events(0), "the sector is finished", plan_farms.PROVING_SECONDS)
        assert f.events(0).count("C2") == 1

        process = c2_there(f)
        abort = ("damocles-worker", "worker", "-c", str(f.config), "abort", "--index", "0")
        assert f"(pid {process.pid} on gpu1) is killed" in cli(*abort, "--dry-run").stdout
        cli(*abort, "--yes")
        assert far_strikes.is_gone(process)
        farm.stop(f.worker)
        f.worker = None
        rows = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
        assert [row["Proof"] is not None for row in rows if not row["AbortReason"]] == [True]
    wait_until(lambda: not far_strikes.ours(pair.prover), "nothing of ours is left there")
