"""Stages under a limit of memory: what does not fit beside another waits for it."""

import functools
import os
import subprocess
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from damocles.stages import errors
from damocles.stages.admission import machine, policy
from damocles.stages.supervision import executor
from damocles.text import toml
from damocles.wire import sectors
from damocles.worker import processors
from damocles.worker.config import model

FOREIGN = Path(__file__).with_name("foreign.py")
LIMIT = 4 << 30
CONFIG = """
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
[[sealing_thread]]
location = "store"
[processors]
limitation.concurrent = { c2 = 2 }
costs.c2."2KiB" = { memory = "2.5GiB" }
"""
LOOK = """
import os, sys, msgspec
from collections.abc import Hashable
from pathlib import Path
Path(sys.argv[1]).write_text(str(os.getpid()))
from damocles.stages.admission import machine
sys.stdout.buffer.write(msgspec.json.encode(machine.look(nvidia=lambda: None)))
"""


def tree(folder: Path, version: int) -> machine.Machine:
    """Return a machine that is limited by a group of this version, as its files tell."""
    group = folder / "sys/fs/cgroup/limited"
    group.mkdir(parents=True)
    (folder / "proc/self").mkdir(parents=True)
    kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
    (folder / "proc/self/mountinfo").write_text(f"1 2 0:3 / /sys/fs/cgroup rw - {kind}\n")
    (folder / "proc/self/cgroup").write_text("0::/limited\n" if version == 2 else "4:memory:/limited\n")
    (folder / "proc/meminfo").write_text(f"MemTotal: {64 << 20} kB\n")
    (group / ("memory.max" if version == 2 else "memory.limit_in_bytes")).write_text(f"{LIMIT}\n")
    return machine.look(folder, nvidia=lambda: None)


def real() -> machine.Machine:
    """Return this machine as a process sees it in a group that is limited for real; made for the test, and removed."""
    name = f"damocles-test-{os.getpid()}"
    for top, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(top) / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / file).exists():
                continue
            (group / file).write_text(str(LIMIT))
            command = [sys.executable, "-c", LOOK, str(group / "cgroup.procs")]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
            return msgspec.json.decode(done.stdout, type=machine.Machine)
        finally:
            group.rmdir()
    pytest.skip("no control group of memory can be made here")


@pytest.fixture(params=["v1", "v2", "real"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> machine.Machine:
    """Return a machine of which a control group leaves us 4 GiB."""
    return real() if request.param == "real" else tree(tmp_path, int(request.param[1:]))


def configured(text: str = CONFIG) -> Any:
    """Return the configuration, with the foreign processor for C2."""
    data = toml.parse(text)
    program = {"bin": sys.executable, "args": [str(FOREIGN), "c2", "--threads"]}
    data["processors"]["c2"] = [program]
    return model.Config.model_validate(data)


def c2_of(number: int) -> policy.Errand:
    """Return whose a C2 is."""
    return policy.Errand(label=f"C2 of s-t01000-{number}", size=sectors.SectorSize.KIB2)


def lines(lane: Hashable, stage: str, pid: int, line: str, host: str = "") -> None:
    """Take a line of a child's log."""


async def test_two_c2_that_do_not_fit_together_run_one_after_the_other(
    limited: machine.Machine, deed: Any, tmp_path: Path, eventually: Any
) -> None:
    """The first runs at once; the second hears what it lacks and who has it, and runs when the first is done."""
    assert LIMIT == limited.usable_memory_bytes
    config = configured()
    admitted_by = processors.admission(config, limited)
    seen: dict[int, list[executor.Status]] = {1: [], 2: []}
    proof = {"proof": [1, 2, 3]}
    async with processors.stages(config, lines, admitted_by) as stages, anyio.create_task_group() as group:
        first = deed(do="wait", started=str(tmp_path / "started"), until=str(tmp_path / "until"))
        second = deed(do="echo", value=proof)

        async def run(number: int, task: msgspec.Struct) -> None:
            try:
                await stages.run("c2", task, lane=number, on_status=seen[number].append, errand=c2_of(number))
            except errors.StageFailed:
                assert number == 1, "the first one's answer is no proof, which is no matter here"

        group.start_soon(run, 1, first)
        await eventually((tmp_path / "started").exists)
        group.start_soon(run, 2, second)
        await eventually(lambda: seen[2])
        assert ["running"] == [status.state for status in seen[1]]
        line = "memory (needs 2.5GiB, 1.5GiB free; C2 of s-t01000-1 holds 2.5GiB)"
        assert [executor.Status(state="waiting", what=line)] == seen[2]
        assert ["C2 of s-t01000-1"] == [one.label for one in stages.granted()]
        (tmp_path / "until").touch()
        await eventually(lambda: seen[2][-1].state == "running")
    assert [] == stages.granted()


async def test_what_never_fits_is_refused_or_runs_alone(limited: machine.Machine, deed: Any) -> None:
    """As configured: a clear error at once, or with all the memory that there is."""
    told = 'costs.c2."2KiB" = { memory = "5GiB" }\n'
    declared = CONFIG.replace('costs.c2."2KiB" = { memory = "2.5GiB" }\n', told)
    task = deed(do="echo", value={"proof": [1]})
    for text, refuses in ((declared, False), (declared + 'admission.never_fits = "refuse"\n', True)):
        config = configured(text)
        admitted_by = processors.admission(config, limited)
        lines_at_start = list(processors.unfit(admitted_by, {sectors.SectorSize.KIB2}))
        assert ["C2 of 2KiB needs 5GiB of memory, this machine has 4GiB"] == [
            line.partition(":")[0] for line in lines_at_start
        ]
        async with processors.stages(config, lines, admitted_by) as stages:
            run = functools.partial(stages.run, "c2", task, lane=0, on_status=lambda _: None, errand=c2_of(1))
            if refuses:
                with pytest.raises(
                    errors.StageFailed, match="needs 5GiB of memory, this machine has 4GiB, so c2 can never"
                ):
                    await run()
            else:
                assert await run()


async def test_off_limits_nothing(limited: machine.Machine) -> None:
    """As before there was any admission."""
    admitted_by = processors.admission(configured(CONFIG + 'admission.mode = "off"\n'), limited)
    assert {} == admitted_by.needs("c2", sectors.SectorSize.KIB2)
    full = processors.admission(configured(CONFIG + 'admission = { mode = "full", cores = 7 }\n'), limited)
    assert {"memory": 5 << 29, "cores": 1} == full.needs("c2", sectors.SectorSize.KIB2)
    assert {"memory": 64 << 20, "cores": 4} == full.needs("pc1", sectors.SectorSize.KIB2)
