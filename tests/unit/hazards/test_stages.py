"""A stage that is run again, after a kill or a lost result, gives what the first run would have given."""

import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from damocles.sealing import events
from damocles.sealing.states import State
from damocles.stages import descriptors, job, processes, protocol
from damocles.stages.processor import builtin, child
from damocles.testing import farm
from damocles.wire import codec, seal, tasks
from damocles.worker.plans import job as jobs
from damocles.worker.plans import sealer

from ..worker.conftest import Bench
from .conftest import sector_in, until


def really(stage: str) -> Any:
    """Return what does a stage in this process, with its output on the way through JSON."""

    def run(task: Any) -> Any:
        output = codec.encode(builtin.PROCESSORS[stage](task, job.Job()))
        return codec.decode(output, descriptors.STAGES[stage].output)

    return run


@pytest.fixture
async def before_pc1(bench: Bench) -> jobs.Job:
    """Return the job of PC1 of an empty sector of 2KiB, whose stages are real."""
    bench.stages = {stage: really(stage) for stage in ("add_pieces", "tree_d", "pc1", "pc2")}
    fresh = bench.job(sector_in(State.DealsAcquired, pieces=None))
    added = await sealer.add_pieces(fresh)
    assert isinstance(added, events.AddPiece)
    ready = fresh.having(pieces=added.pieces)
    await sealer.tree_d(ready)
    return ready


async def pc1(job_of_pc1: jobs.Job) -> jobs.Job:
    """Run PC1 and return the job of PC2."""
    done = await sealer.pc1(job_of_pc1)
    assert isinstance(done, events.PC1)
    return job_of_pc1.having(pc1out=done.pc1out)


async def pc2(job_of_pc2: jobs.Job) -> tasks.PC2Output:
    """Run PC2 and return what it gives."""
    done = await sealer.pc2(job_of_pc2)
    assert isinstance(done, events.PC2)
    return done.pc2out


async def test_pc2_that_is_run_again_starts_from_untouched_files(before_pc1: jobs.Job) -> None:
    """However far a run of PC2 came whose result is lost, the next one gives the same commitment."""
    ready = await pc1(before_pc1)
    first = await pc2(ready)
    assert first == await pc2(ready)
    sealed = ready.place.sealed_file
    sealed.write_bytes(sealed.read_bytes()[:1024] + bytes(1024))
    (ready.place.cache_dir / "p_aux").write_bytes(b"half")
    assert first == await pc2(ready)
    assert ready.sector.pc1out is not None
    task = tasks.PC2(ready.sector.pc1out, str(ready.place.cache_dir), str(sealed))
    assert first.comm_r != builtin.pc2(task).comm_r, "encoded twice it would be another replica"


async def test_pc1_that_is_run_again_trusts_no_layer_from_before(before_pc1: jobs.Job) -> None:
    """What a killed run has left of the layers is not taken for good."""
    first = await pc2(await pc1(before_pc1))
    for layer in before_pc1.place.cache_dir.glob("sc-02-data-layer-*"):
        layer.write_bytes(os.urandom(layer.stat().st_size))
    assert first == await pc2(await pc1(before_pc1))


def by_hand(stage: str) -> Any:
    """Return what does a stage as somebody would by hand: a processor of its own, one request, one answer."""

    def run(task: Any) -> Any:
        command = [farm.program("damocles-worker"), "processor", stage]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as here:
            assert here.stdin is not None
            assert here.stdout is not None
            assert protocol.is_ready(here.stdout.readline(), stage)
            here.stdin.write(protocol.request(1, codec.encode(task)))
            here.stdin.flush()
            answer = json.loads(here.stdout.readline())
        assert answer["err_msg"] is None
        return codec.decode(codec.encode(answer["output"]), descriptors.STAGES[stage].output)

    return run


def as_it_is(job_here: jobs.Job, bench: Bench) -> jobs.Job:
    """Stay where it is."""
    return job_here


def by_processors(job_here: jobs.Job, bench: Bench) -> jobs.Job:
    """Let processors of their own do what comes."""
    bench.stages |= {stage: by_hand(stage) for stage in ("pc1", "pc2")}
    return job_here


def moved(job_here: jobs.Job, bench: Bench) -> jobs.Job:
    """Go on with the store under another path; nothing is left under the old one."""
    new = bench.data.with_name("data elsewhere")
    shutil.copytree(bench.data, new, symlinks=True)
    shutil.rmtree(bench.data)
    return replace(job_here, data=new)


AGAIN = pytest.mark.parametrize("go_on", [as_it_is, by_processors, moved])


@AGAIN
@pytest.mark.parametrize("is_through_pc2", [False, True])
async def test_layers_of_another_ticket_are_not_taken_over(
    before_pc1: jobs.Job, bench: Bench, tmp_path: Path, go_on: Callable[..., jobs.Job], is_through_pc2: bool
) -> None:
    """PC1 under a new ticket gives what it gives in an empty folder, and not a replica that no proof fits."""
    shutil.copytree(before_pc1.data, tmp_path / "fresh", symlinks=True)
    old = await pc1(before_pc1)
    if is_through_pc2:
        await pc2(old)
    ticket = seal.Ticket(bytes([2]) * 32, 200)
    fresh = await pc2(await pc1(replace(before_pc1, data=tmp_path / "fresh").having(ticket=ticket)))
    assert fresh == await pc2(await pc1(go_on(old, bench).having(ticket=ticket)))


@AGAIN
async def test_pc2_does_not_encode_what_is_encoded(
    before_pc1: jobs.Job, bench: Bench, go_on: Callable[..., jobs.Job]
) -> None:
    """Run again, by whomever and wherever the store is, PC2 gives the commitment and the replica of its first run."""
    ready = await pc1(before_pc1)
    first, replica = await pc2(ready), ready.place.sealed_file.read_bytes()
    again = go_on(ready, bench)
    assert first == await pc2(again) == await pc2(again)
    assert replica == again.place.sealed_file.read_bytes()


async def test_the_library_takes_over_what_the_handlers_clear(before_pc1: jobs.Job) -> None:
    """Why they do: without them the layers of the old ticket are taken for the new one's, with success."""
    ready = await pc1(before_pc1)
    first = await pc2(ready)
    place, sector = ready.place, ready.sector
    task = tasks.PC1(
        sector.proof_type.proof_name,
        str(place.cache_dir),
        str(place.staged_file),
        str(place.sealed_file),
        sealer.prover(ready),
        ready.id.number,
        codec.Bytes32(bytes([2]) * 32),
        sector.pieces or [],
    )
    shutil.copyfile(place.staged_file, place.sealed_file)
    output = really("pc2")(tasks.PC2(really("pc1")(task), str(place.cache_dir), str(place.sealed_file)))
    assert first.comm_r == output.comm_r


async def test_what_a_child_writes_with_its_ready_line_is_kept() -> None:
    """The line behind the ready line is read although both come at once."""
    lines: list[str] = []
    script = r"printf 'pc2 processor ready\nloading kernels\n'; cat >/dev/null"
    command = processes.Command(
        stage="pc2", argv=("/bin/sh", "-c", script), env=dict(os.environ), ready_seconds=10, grace_seconds=0.2
    )
    async with anyio.create_task_group() as group:
        keep = functools.partial(
            child.keep, command, on_ready=lambda _: None, on_end=lambda: None, log=lambda _, line: lines.append(line)
        )
        group.start_soon(keep)
        await until(lambda: "on stdout: loading kernels" in lines)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("stage", ["unseal", "c1", "synth_proof", "snap_vanilla"])
def test_every_stage_can_be_a_process_of_its_own(stage: str) -> None:
    """A stage that runs inside the original worker, or has no command there, is served by a child here."""
    done = subprocess.run(
        [farm.program("damocles-worker"), "processor", stage],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"{stage} processor ready\n" == done.stdout
