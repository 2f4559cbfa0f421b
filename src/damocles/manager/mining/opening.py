"""Put together what makes the blocks of miners on a chain."""

from collections.abc import Callable

from damocles.manager.db.engine import Database
from damocles.manager.mining.loop import Mining
from damocles.manager.mining.prover import Prover
from damocles.manager.mining.rounds import Means
from damocles.manager.proving import opening as proving
from damocles.manager.sectors.stores import Stores


def mining(means: proving.Means, *, database: Database, persist: Stores, clock: Callable[[], float]) -> Mining:
    """Return what makes the blocks of the miners that are to take part in elections; its `run` has to run."""
    prover = Prover(database=database, persist=persist, stages=means.stages)
    of_rounds = Means(database=database, nodes=means.rounds.nodes, prover=prover, clock=clock)
    return Mining(of_rounds, means.miners, means.block_seconds)
