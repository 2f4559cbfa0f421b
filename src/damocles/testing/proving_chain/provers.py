"""Provers: workers that do their work, fail, hang, lie or come late, and the children of the manager's own machine."""

import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import anyio

from damocles.manager.errors import ManagerError
from damocles.manager.plans.wdpost import WdPoSt
from damocles.rpc import core
from damocles.rpc import errors as rpc
from damocles.testing.proving_chain.proofs import Disks, fake_proof
from damocles.wire import tasks, wdpost

Kind: TypeAlias = Literal["works", "fails", "hangs", "stalls", "is late", "lies about proofs", "lies about faults"]
# One that hangs is silent; one that stalls sends heartbeats.
KINDS: Sequence[Kind] = ("fails", "hangs", "stalls", "is late", "lies about proofs", "lies about faults")
Ask: TypeAlias = Callable[[Callable[[WdPoSt], Awaitable[Any]]], Awaitable[Any]]
Proves: TypeAlias = Callable[[int, bytes, list[tuple[int, bytes]]], None]

ASK_SECONDS = 30.0
BEAT_SECONDS = 5.0
LATE_SECONDS = 200.0
_AT_ONCE = 4


class Gone(Exception):
    """There is no manager now, or it died before it answered."""


class Worker:
    """A worker of the plan `wdpost`, from some time on. What it is given is told to `proves`."""

    def __init__(
        self,
        kind: Kind,
        number: int,
        *,
        ask: Ask,
        disks: Disks,
        dice: random.Random,
        proves: Proves,
        tell: Callable[[str], None],
    ) -> None:
        self._tell = tell
        self.kind = kind
        self.name = f"worker {number} that {kind}"
        self._ask = ask
        self._disks = disks
        self._dice = dice
        self._proves = proves
        self._call = core.Call(peer=f"10.0.0.{number + 1}:9000")
        self._at_work: set[str] = set()

    async def run(self, since: float) -> None:
        """Ask for jobs and prove them, for ever."""
        await anyio.sleep(since)
        async with anyio.create_task_group() as group:
            group.start_soon(self._beat)
            while True:
                free = _AT_ONCE - len(self._at_work)
                if free > 0:
                    with contextlib.suppress(Gone, ManagerError, rpc.DiskFails):
                        for job in await self._ask(
                            lambda jobs, count=free: jobs.allocate_jobs(  # type: ignore[misc]
                                self._call, wdpost.AllocateSpec(), count, self.name
                            )
                        ):
                            self._note(job.input)
                            self._tell(f"{self.name} gets {job.id} of f0{job.input.miner}")
                            group.start_soon(self._prove, job)
                await anyio.sleep(self._dice.uniform(0.5, 1.0) * ASK_SECONDS)

    def _note(self, work: wdpost.Input) -> None:
        self._proves(work.miner, work.seed, [(one.number, one.comm_r) for one in work.sectors or ()])

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(BEAT_SECONDS)
            if self._at_work and self.kind != "hangs":
                ids = sorted(self._at_work)
                with contextlib.suppress(Gone, ManagerError, rpc.DiskFails):
                    await self._ask(lambda jobs, ids=ids: jobs.heartbeat_jobs(self._call, ids, self.name))  # type: ignore[misc]

    async def _prove(self, job: wdpost.Job) -> None:
        self._at_work.add(job.id)
        match self.kind:
            case "hangs":
                # It still takes others, and says nothing of this one ever.
                self._at_work.discard(job.id)
                return
            case "stalls":
                return
            case "is late":
                await anyio.sleep(LATE_SECONDS)
            case "works":
                await anyio.sleep(self._dice.uniform(5, 40))
            case _:
                pass
        output = self._output(job.input)
        self._tell(f"{self.name} has {_said(output)} of {job.id} of f0{job.input.miner}")
        error = "" if output is not None else "it is out of memory"
        while True:
            try:
                await self._ask(lambda jobs: jobs.finish_job(self._call, job.id, output, error))
            except (Gone, rpc.DiskFails):
                await anyio.sleep(BEAT_SECONDS)
                continue
            except ManagerError:
                pass  # nobody expects it any more
            self._at_work.discard(job.id)
            return

    def _output(self, work: wdpost.Input) -> wdpost.Output | None:
        now = anyio.current_time()
        numbers = [one.number for one in work.sectors or ()]
        bad = {number: "it is damaged" for number in numbers if self._disks.is_bad(work.miner, number, now)}
        return output(self.kind, self.name, work, bad)


def output(kind: Kind, name: str, work: wdpost.Input, bad: Mapping[int, str]) -> wdpost.Output | None:
    """Return what a prover of some kind makes of a job in which sectors are `bad`, each for a reason; `None` if it fails."""
    sectors = work.sectors or []
    match kind:
        case "fails":
            return None
        case "lies about proofs":
            return wdpost.Output([bytes(192)], None, worker=name)
        case "lies about faults":
            number = sectors[-1].number
            return wdpost.Output(None, [number], {str(number): "it looked odd"}, worker=name)
    if found := {one.number: bad[one.number] for one in sectors if one.number in bad}:
        return wdpost.Output(None, list(found), {str(number): why for number, why in found.items()}, worker=name)
    return wdpost.Output(
        [fake_proof(work.miner, work.seed, [(one.number, one.comm_r) for one in sectors])], None, worker=name
    )


def _said(output: wdpost.Output | None) -> str:
    if output is None:
        return "a failure"
    return f"faults {output.faults}" if output.faults else "a proof"


class Children:
    """The children of the manager's own machine, in place of `executor.Stages`."""

    def __init__(self, disks: Disks, dice: random.Random, proves: Proves) -> None:
        self._proves = proves
        self._disks = disks
        self._dice = dice

    async def run(self, stage: str, task: Any, **_: Any) -> Any:
        """Read sectors, or prove them."""
        await anyio.sleep(self._dice.uniform(1, 20))
        now = anyio.current_time()
        match task:
            case tasks.CheckReplicas():
                return [
                    tasks.Fault(replica.sector_id, "it is damaged", was_read=True)
                    for replica in task.replicas
                    if self._disks.is_bad(task.miner_id, replica.sector_id, now)
                ]
            case tasks.WindowPoSt():
                self._proves(task.miner_id, task.seed, [(one.sector_id, one.comm_r) for one in task.replicas])
                bad = [r.sector_id for r in task.replicas if self._disks.is_bad(task.miner_id, r.sector_id, now)]
                replicas = [(replica.sector_id, replica.comm_r) for replica in task.replicas]
                proofs = [] if bad else [fake_proof(task.miner_id, task.seed, replicas)]
                return tasks.WindowPoStOutput(proofs, bad)
        raise AssertionError(stage)
