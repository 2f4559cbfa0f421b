"""`damocles-manager util plan-capacity`: its exit code."""

import json
from contextlib import asynccontextmanager

import anyio.to_thread
import pytest

from damocles.cli import manager
from damocles.rpc import core, dialects
from damocles.rpc.serving import asgi, server
from damocles.wire import capacity, control

_STEP = capacity.Step(state="TicketAssigned", stage="pc1", seconds=3600.0, samples=3)
SEALS = capacity.Report(worker="w1", lines=[capacity.Line(plan="sealer", size="32GiB", threads=1, steps=[_STEP])])
NEW = capacity.Report(worker="w2", lines=[capacity.Line(plan="sealer", size="32GiB", threads=1)])
PROVES = capacity.Report(worker="p1")
SILENT = control.Silence(worker="w3", reason="away")


@asynccontextmanager
async def fleet(workers, silent=()):
    """Yield the address of a manager whose workers report so."""

    async def report(_: control.Selection, __: float) -> capacity.Fleet:
        return capacity.Fleet(workers=workers, silent=silent)

    service = core.Service(dialects.MANAGER)
    service.add("Damocles.FleetCapacity", report)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        yield str(bound)


@pytest.mark.parametrize(
    ("workers", "silent", "expected", "told"),
    [
        ([SEALS], [], 0, ""),
        ([SEALS, NEW], [], 1, "error: w2: no times of stages"),
        ([NEW], [], 1, "error: w2: no times of stages"),
        ([SEALS, PROVES], [], 0, "p1: no thread seals sectors\n"),
        ([PROVES], [], 1, "error: p1: no thread seals sectors"),
        ([SEALS], [SILENT], 1, "error: w3: away"),
        ([], [], 1, ""),
    ],
)
async def test_an_error_is_an_exit_code(capsys, workers, silent, expected, told):
    """A worker that seals and has no forecast fails the command; one that only proves has nothing to be forecast."""
    async with fleet(workers, silent) as bound:
        capsys.readouterr()  # what the server has logged
        for option in ((), ("--json",)):
            command = ["util", "plan-capacity", *option, "--listen", str(bound)]
            assert expected == await anyio.to_thread.run_sync(manager.main, command)
            err = capsys.readouterr().err
            assert told in err
            assert (expected == 1 and told != "") == ("error: " in err)


async def test_sectors_of_one_size_are_forecast_alone(capsys):
    """Threads that seal others count for nothing."""
    small = capacity.Line(plan="sealer", size="2KiB", threads=7, steps=[_STEP])
    both = capacity.Report(worker="w1", lines=[*SEALS.lines, small])
    async with fleet([both]) as bound:
        capsys.readouterr()
        command = ["util", "plan-capacity", "--sector-size", "32GiB", "--json", "--listen", bound]
        assert 0 == await anyio.to_thread.run_sync(manager.main, command)
    assert 24 == round(json.loads(capsys.readouterr().out)["sectors_per_day"])
