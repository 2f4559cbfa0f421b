"""A worker that knows two managers of one PostgreSQL, all of them real processes, and real proofs."""

import json
from collections import Counter
from pathlib import Path

import pytest

from damocles.chain import methods
from damocles.manager.db import managers
from damocles.testing import postgres
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import cli, wait_until
from damocles.testing.several_managers import Several

PROVING_SECONDS = 300.0


@pytest.mark.slow
@pytest.mark.params
@pytest.mark.timeout(900)
def test_a_worker_that_knows_both_goes_on_when_its_manager_is_killed_in_the_middle_of_a_stage(
    tmp_path: Path, postgres_server: postgres.Server, porep_parameters: list[Path]
) -> None:
    """The sector's proof is handed in to the other one, which brings it onto the chain: no stage is repeated, no message sent twice.

    `status` of the other one tells of the first, as long as it is silent.
    """
    with ChainFarm(tmp_path, threads=1, max_sectors=1, block_delay="500ms") as f:
        f.start_devnode()
        with Several(f, postgres_server, postgres_server.new()) as several:
            worker = several.start_worker(0, threads=1, others=[1])
            wait_until(lambda: worker.thread(0).job_state == "C1Done", "the proof is being made", 120)
            first = f"127.0.0.1:{several.members[0].port} ({managers.name_of(several.members[0].home)})"
            assert f"{first} since " in told_beside(several, 1)
            several.end(0, kill=True)
            assert "C1Done" == worker.thread(0).job_state, "it was too late for this test"
            wait_until(lambda: "Finish" in worker.events(0), "the sector is finished", PROVING_SECONDS)
            wait_until(
                lambda: f"{first} is silent for " in told_beside(several, 1), "the first one is silent", every=1.0
            )
            events = Counter(worker.events(0))
            executed = several.check({})
    assert [1, 1, 1] == [events[stage] for stage in ("PC1", "PC2", "C2")], events
    kinds = Counter(one.message.method for one in executed if one.exit_code == 0)
    assert [1, 1] == [kinds[method.number] for method in (methods.PRE_COMMIT, methods.PROVE_COMMIT)]


def told_beside(several: Several, number: int) -> str:
    """Return what `status` of a manager tells of the other one; a program is told of both."""
    member = several.members[number]
    at = ("--home", str(member.home), "--listen", f"127.0.0.1:{member.port}")
    command = ("damocles-manager", "status", *at, "--timeout", "30s")  # a C2 is made beside it
    listed = json.loads(cli(*command, "--json").stdout)["managers"]
    assert [number] == [place for place, one in enumerate(listed) if one["is_asked"]]
    (line,) = [line for line in cli(*command, "--full").stdout.splitlines() if line.startswith("beside ")]
    return line
