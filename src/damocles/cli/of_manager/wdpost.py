"""`damocles-manager util worker wdpost`: window PoSt jobs, as the manager lends them to workers.

Tables and texts are the original's.
"""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

from cyclopts import App, Parameter

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.operating import posts
from damocles.text import units
from damocles.wire import codec, wdpost

app = App(name="wdpost", version_flags=[])  # its help is in `cli.of_manager.workers`

_PLAIN_COLUMNS = (
    "JobID MinerID DDL Partitions Sectors Worker State Try CreateAt Elapsed Heartbeat Error",
    "JobID Prefix Miner DDL Partitions Sectors Worker State Try CreateAt StartedAt HeartbeatAt FinishedAt UpdatedAt Error",
)

_COLUMNS = (
    "Job Miner Deadline Partitions Sectors Worker State Try Created Elapsed Heartbeat Error",
    "Job Queue Miner Deadline Partitions Sectors Worker State Try Created Started Heartbeat Finished Updated Error",
)

Id = Annotated[str, Parameter(name="JOB", help="Ids of jobs, as in the list.")]


@app.command(name="list", help_epilogue=options.examples("damocles-manager util worker wdpost list --all"))
@watching.watchable
def list_(
    *,
    everything: Annotated[bool, Parameter(name="--all", help="Also those that were proved.")] = False,
    detail: Annotated[bool, Parameter(name="--detail", help="Show all times.")] = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List the jobs, the newest first."""
    with at.call() as found:
        listed = found.call(methods.wdpost.all_jobs())
    jobs = sorted(listed.jobs, key=lambda job: -job.created_at)
    shown = [job for job in jobs if everything or posts.state(job) != "Succeed"]
    if json:
        exits.print_json([{**codec.to_builtins(job), "DisplayState": posts.state(job)} for job in shown])
        return exits.OK
    left_out = f" but {len(jobs)} that succeeded: --all" if jobs and not shown else ""
    nothing = f"no window PoSt jobs{left_out}"
    tables.show(_table(listed.max_tries, time.time(), detail=detail), shown, full=full, nothing=nothing)
    return exits.OK


@app.command
def reset(*jobs: Id, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Reset jobs, so that they are tried again from the beginning."""
    _each(methods.wdpost.reset_job, jobs, at, "reset wdpost job: ", as_json=json)
    return exits.OK


@app.command
def remove(*jobs: Id, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Forget jobs. A worker that proves one of them stops."""
    _each(methods.wdpost.remove_job, jobs, at, "remove wdpost job: ", as_json=json)
    return exits.OK


@app.command
def remove_all(
    *,
    really_do_it: Annotated[bool, Parameter(name="--really-do-it", help="Do it.")] = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Forget all jobs."""
    if not really_do_it:
        exits.error("Pass --really-do-it to actually execute this action")
        return exits.USAGE
    with at.call() as found:
        jobs = [job.id for job in found.call(methods.wdpost.all_jobs()).jobs]
        for job in jobs:
            found.call(methods.wdpost.remove_job(job))
            if not json:
                exits.print_line(f"wdpost job {job} removed")
    if json:
        exits.print_json(jobs)
    return exits.OK


@app.command
def make(
    *,
    deadline: Annotated[int, Parameter(name="--ddl-idx", help="The index of the deadline.")] = 0,
    partition: Annotated[tuple[int, ...], Parameter(name="--partition-idx", help="Only these; repeatable.")] = (),
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Make jobs for all sectors that are persisted; they stay with the manager."""
    with at.call() as found:
        made = found.call(methods.wdpost.make_jobs(deadline, list(partition) or None))
    if json:
        exits.print_json([codec.to_builtins(job) for job in made])
    else:
        for job in made:
            exits.print_line(
                f"{job.id}: partitions {job.partitions}, {job.sectors} sector{'' if job.sectors == 1 else 's'}"
            )
    return exits.OK


def _each(
    method: methods.Method[[str], None], jobs: Sequence[str], at: manager_at.At, prefix: str, *, as_json: bool
) -> None:
    if not jobs:
        raise exits.WrongUsage("no job is named: see the list")
    with at.call() as found:
        for job in jobs:
            try:
                found.call(method(job))
            except exits.Failed as error:
                raise type(error)(f"{prefix}{error}") from error
    exits.print_result("", list(jobs), as_json=as_json)


def _table(max_tries: int, now: float, *, detail: bool) -> tables.Table[wdpost.Brief]:
    def plain_cells(job: wdpost.Brief) -> list[str]:
        return _detail_cells(job, max_tries) if detail else _cells(job, max_tries, now, units.go_duration)

    def cells(job: wdpost.Brief) -> list[str]:
        found = _detail_cells(job, max_tries) if detail else _cells(job, max_tries, now, units.brief_duration)
        return [cell or "-" for cell in found]

    return tables.Table(
        columns=_COLUMNS[detail].split(),
        cells=cells,
        plain_columns=_PLAIN_COLUMNS[detail].split(),
        plain_cells=plain_cells,
    )


def _cells(job: wdpost.Brief, max_tries: int, now: float, lasting: Callable[[float], str]) -> list[str]:
    is_running = job.state is wdpost.State.RUNNING
    elapsed = "-"
    if is_running:
        elapsed = lasting(max(0, int(now) - job.started_at))
    elif job.started_at and job.finished_at:
        elapsed = f"{lasting(job.finished_at - job.started_at)}(done)"
    heartbeat = lasting(max(0, int(now) - job.heartbeat_at)) if is_running else "-"
    return [
        *(job.id, str(job.input.miner), str(job.deadline), str(job.partitions), str(job.sectors), _workers(job)),
        *(posts.state(job), posts.tries(job, max_tries), _time(job.created_at), elapsed, heartbeat, posts.error(job)),
    ]


def _detail_cells(job: wdpost.Brief, max_tries: int) -> list[str]:
    times = (job.created_at, job.started_at, job.heartbeat_at, job.finished_at, job.updated_at)
    return [
        *(job.id, job.state.value, str(job.input.miner), str(job.deadline), str(job.partitions), str(job.sectors)),
        *(_workers(job), posts.state(job), posts.tries(job, max_tries), *map(_time, times), posts.error(job)),
    ]


def _workers(job: wdpost.Brief) -> str:
    return ", ".join([job.worker, *(job.slower or ())])


def _time(seconds: int) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"
