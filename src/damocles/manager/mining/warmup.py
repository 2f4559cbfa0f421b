"""Whether a miner could make a block now: looked at when it begins, so that nobody learns of a missing file by losing a block."""

from dataclasses import dataclass

from damocles.chain.addresses import Protocol
from damocles.lotus.view import View
from damocles.manager.chain.terms import Miner
from damocles.manager.mining.prover import NotProved, Prover

SLOW_PART = 0.5  # of the time that there is, above which a winning PoSt is too slow to count on


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmth:
    """What was found at an epoch: what a winning PoSt on trial took, and what keeps the miner from making blocks."""

    epoch: int
    seconds: float | None = None
    lacking: tuple[str, ...] = ()


async def look(view: View, miner: Miner, prover: Prover, epoch: int, budget_seconds: float) -> Warmth:
    """Look for the parameters, the worker's key, and prove what an epoch challenges, on trial.

    A child has then loaded the parameters, and the next proof is faster.

    Raises:
        errors.NodeError: The node gives no answer.
    """
    lacking: list[str] = []
    if (why := await prover.lacking(miner.proof.size)) is not None:
        lacking.append(why)
    worker = await view.key_of((await view.info(miner.address)).worker)
    if worker.protocol is not Protocol.BLS:
        lacking.append(f"the worker {worker} is no BLS key, and only such keys take part in elections")
    elif not await view.node.has_key(worker):
        lacking.append(f"the wallet of {view.node.url} has no key of the worker {worker}: lotus wallet import")
    seconds = None
    base = await view.base_info(miner.address, epoch)
    if base is not None and not lacking:
        try:
            _, seconds = await prover.prove(miner, base, epoch)
        except NotProved as error:
            lacking.append(f"no winning PoSt on trial: {error}")
        else:
            if seconds > SLOW_PART * budget_seconds:
                lacking.append(
                    f"a winning PoSt took {seconds:.1f} s on trial, of {budget_seconds:.1f} s that there are for all of a block"
                )
    return Warmth(epoch=epoch, seconds=seconds, lacking=tuple(lacking))
