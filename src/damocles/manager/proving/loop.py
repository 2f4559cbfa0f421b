"""The loop of proving: at each head of the chain a turn for each miner, and one whenever a prover has brought something.

There is also one when another manager, which has decided so far, may have died.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

import anyio
import structlog

from damocles import beside, logs
from damocles.chain import versions
from damocles.lotus import errors
from damocles.lotus import miners as chain_miners
from damocles.lotus.layout import Cycle
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.terms import Miner
from damocles.manager.proving.day import Days
from damocles.manager.proving.here import Prover
from damocles.manager.proving.reviews import Reviews
from damocles.manager.proving.upcoming import Upcoming
from damocles.manager.proving.windows import Windows
from damocles.pulse import Pulse
from damocles.rpc import errors as rpc_errors

log = structlog.get_logger(__name__)


class Proving:
    """Proves the miners whose configuration says so. `troubles` are what keeps it from that, by what they are about."""

    def __init__(
        self,
        *,
        rounds: Rounds,
        days: Days,
        upcoming: Upcoming,
        miners: Collection[Miner],
        windows: Windows,
        reviews: Reviews,
        prover: Prover | None,
        jobs_changed: Pulse,
        leases_free: Pulse,
        block_seconds: float,
    ) -> None:
        self.days = days
        self.upcoming = upcoming
        self._rounds = rounds
        self._nodes: Nodes = rounds.nodes
        self._miners = miners
        self._windows = windows
        self._reviews = reviews
        self._prover = prover
        self._pulses = (rounds.heads, jobs_changed, leases_free)
        self._block_seconds = block_seconds
        self._periods: dict[int, chain_miners.Period] = {}
        self._reorganisations = 0
        self._news = Pulse()
        self._told: dict[str, str] = {}

    def troubles(self) -> Mapping[str, str]:
        """Return what keeps miners from being proved."""
        return dict(self._told) | self._reviews.troubles

    async def run(self) -> None:
        """Prove, for ever."""
        async with beside.running(
            *(partial(pulse.pass_on, self._news.beat) for pulse in self._pulses), *self._others()
        ):
            while True:
                since = self._news.count
                await self.once()
                with anyio.move_on_after(2 * self._block_seconds):
                    await self._news.wait(since)

    def _others(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        return [self._reviews.run, *([self._prover.run] if self._prover is not None else [])]

    async def once(self) -> None:
        """Take a turn for each miner; what goes wrong with one is no reason to leave out the others."""
        troubles: dict[str, str] = {}
        try:
            async with self._nodes.view() as view:
                versions.network(await view.network_version())
                if self._rounds.reorganisations != self._reorganisations:
                    self._reorganisations = self._rounds.reorganisations
                    self._windows.look_again()
                for miner in self._miners:
                    if miner.config.po_st.enabled:
                        await self._turn(view, miner, troubles)
        except rpc_errors.DiskFails:
            pass  # reported by the database, and an alert
        except (errors.NodeError, versions.UnknownNetwork) as error:
            troubles["proving"] = str(error)
        except Exception:
            # The task is the daemon's: it must outlive what nobody thought of.
            log.exception("a turn of proving failed; trying again")
            troubles["proving"] = "it fails for a reason that is in the manager's log"
        for what, text in troubles.items():
            if not logs.alike(text, self._told.get(what)):
                log.error("proving does not get on", about=what, why=text)
        self._told = troubles

    async def _turn(self, view: View, miner: Miner, troubles: dict[str, str]) -> None:
        try:
            # Where it stands only moves by whole periods, so that it is asked for once.
            if miner.id not in self._periods:
                self._periods[miner.id] = await view.period(miner.address)
            cycle = Cycle.of(self._periods[miner.id], view.epoch)
            await self._windows.turn(view, miner, cycle)
            await self._reviews.turn(miner, cycle)
        except errors.NodeError as error:
            troubles[f"proving of {miner.address}"] = str(error)
