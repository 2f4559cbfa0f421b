"""Read the configuration again, and let what it says of miners take effect: as a whole, or not at all."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import structlog
from sqlalchemy import Connection

from damocles.manager import errors
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.terms import Miner
from damocles.manager.config import model
from damocles.manager.db.engine import Database
from damocles.manager.reloading import differences, obstacles, renewal
from damocles.manager.roster import Roster
from damocles.wire import control

log = structlog.get_logger(__name__)


class Reload:
    """What is in force, and how it is replaced. `read` reads the file and checks all of it, as the start does."""

    def __init__(
        self,
        *,
        file: Path | None,
        config: model.Config,
        read: Callable[[], model.Config],
        rounds: Rounds,
        miners: Roster[Miner],
        database: Database,
    ) -> None:
        self._file = file
        self._started = config
        self._config = config
        self._read = read
        self._rounds = rounds
        self._miners = miners
        self._database = database
        self._size_limit_bytes = max(int(miner.proof.size) for miner in miners)
        self._turn = anyio.Lock()

    def table(self, actor: int) -> model.Miner | None:
        """Return what the configuration in force says of a miner."""
        return self._config.table(actor)

    async def run(self, request: control.ReloadRequest) -> control.Reloaded:
        """Read it again; return what has changed, or on a dry run would.

        Raises:
            errors.ManagerError: Something is wrong with it, and nothing has changed; a line for each thing.
        """
        async with self._turn:
            try:
                after = await anyio.to_thread.run_sync(self._read)
            except ValueError as error:
                raise errors.ManagerError(str(error)) from error
            found = differences.between(self._started, self._config, after)
            added = await self._take(after, found, dry_run=request.dry_run)
        told = control.Reloaded(
            file=str(self._file),
            added=added,
            changed=[control.MinerChange(miner=actor, keys=list(keys)) for actor, keys in found.changed.items()],
            removed=list(found.removed),
            needs_restart=list(found.needs_restart),
        )
        if not request.dry_run:
            log.info(
                "configuration read again",
                file=told.file,
                added=told.added,
                changed={one.miner: one.keys for one in told.changed},
                removed=told.removed,
            )
            if told.needs_restart:
                log.warning("keys take effect at the next start", keys=told.needs_restart)
        return told

    async def _take(self, after: model.Config, found: differences.Difference, *, dry_run: bool) -> list[int]:
        """Let it take effect; return the miners that are new."""
        known = {miner.id: miner for miner in self._miners}
        new = await renewal.renewed(self._rounds, known, after.miners, self._size_limit_bytes)
        before = self._rounds.fitness.problems
        lines = [line for number, some in new.unfit.items() if before.get(number) != some for line in some]
        leaving = [known[number] for number in found.removed if number in known]
        lines += await self._database.read(partial(_refusals, leaving=leaving))
        if lines:
            raise errors.ManagerError("\n".join(f"{self._file}: {line}" for line in lines))
        added = [miner.id for miner in new.miners if miner.id not in known]
        if dry_run:
            return added
        if leaving:
            # In a turn at writing, in which nothing of a miner that goes can begin.
            lines = await self._database.write(lambda tx: self._replace_unless(tx, leaving, new), durable=False)
            if lines:
                raise errors.ManagerError("\n".join(f"{self._file}: {line}" for line in lines))
        self._miners.replace(new.miners)
        self._config = after
        self._rounds.fitness.replace(new.unfit, of=new.looked_at, gone=found.removed)
        self._rounds.wake()
        return added

    def _replace_unless(self, tx: Connection, leaving: list[Miner], new: renewal.Renewal) -> list[str]:
        lines = _refusals(tx, leaving)
        if not lines:
            self._miners.replace(new.miners)
        return lines


def _refusals(tx: Connection, leaving: list[Miner]) -> list[str]:
    found = {miner.id: obstacles.to_removal(tx, miner) for miner in leaving}
    return [obstacles.refusal(number, lines) for number, lines in found.items() if lines]
