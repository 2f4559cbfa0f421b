"""Window PoSts: jobs that workers prove, and what operators do with them."""

from damocles.chain.addresses import Address
from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.wire import blocks as wire_blocks
from damocles.wire import proving, wdpost


@declared("Venus.WdPoStAllocateJobs", rules.SEALING)
def allocate_jobs(spec: wdpost.AllocateSpec, count: int, worker: str, /) -> list[wdpost.Job] | None:
    """Lend up to `count` jobs, the oldest first."""


@declared("Venus.WdPoStHeartbeatJobs", rules.SEALING)
def heartbeat_jobs(ids: list[str], worker: str, /) -> None:
    """Prolong leases: all that can be, whatever is wrong with others."""


@declared("Venus.WdPoStFinishJob", rules.SEALING)
def finish_job(job_id: str, output: wdpost.Output | None, error: str, /) -> None:
    """Take a proof from anybody; faults, or the reason why there is neither, from the machine that the job was lent to."""


@declared("Venus.WdPoStResetJob", rules.OPERATE)
def reset_job(job_id: str, /) -> None:
    """Let a job be tried again from the beginning."""


@declared("Venus.WdPoStRemoveJob", rules.OPERATE)
def remove_job(job_id: str, /) -> None:
    """Forget a job; an unknown one is no error."""


@declared("Venus.WdPoStAllJobs", rules.READ)
def all_jobs() -> wdpost.Listed:
    """Return all jobs, the oldest first."""


@declared("Damocles.MockWdPoSt", rules.OPERATE)
def make_jobs(deadline: int = 0, partitions: list[int] | None = None, /) -> list[wdpost.Brief]:
    """Make jobs for the sectors that are persisted, one for each partition, and return them."""


@declared("Damocles.ProvingDay", rules.READ)
def day(miner: int, /) -> proving.Day:
    """Return the deadlines of a miner on a real chain, and how each proof of the last window went."""


@declared("Damocles.Blocks", rules.READ)
def blocks(miner: int | None = None, count: int = 20, /) -> wire_blocks.Listed:
    """Return the miners on a real chain that take part in elections, and the last rounds that were won, of one of them or of all."""


@declared("Venus.SimulateWdPoSt", rules.OPERATE, has_result=False)
def simulate(
    deadline: int,
    partition: int,
    miner: Address,
    post_proof: int,
    sectors: list[proving.Extended] | None,
    randomness: bytes,
    /,
) -> None:
    """Make a job for these sectors on trial, which no message follows; its result is in the log and in the list of jobs."""
