"""What the configuration says of a miner's messages, in the outbox's terms.

A message of several sectors is of the kind `… batch`, and has the fees of that table of the configuration.
"""

import math
from dataclasses import dataclass

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.manager.chain.submissions import Kind
from damocles.manager.config import model
from damocles.manager.outbox import batching, fees
from damocles.wire.sectors import SealProof

BATCH = " batch"
_SEALING = {Kind.PRE_COMMIT, Kind.PROOF, Kind.NON_INTERACTIVE}
# By as much Lotus' estimate of gas goes above what was used (`GasLimitOverestimation`); the configuration's factor,
# as the original's, is on what was used.
_NODES_MARGIN = 1.25
_STUCK_EPOCHS = 20

# Kinds of messages about proving, which have the table `PoSt`.
WINDOW_POST, FAULTS, RECOVERIES = "window-post", "faults", "recoveries"
PROVING = (WINDOW_POST, FAULTS, RECOVERIES)
_PROVING_STUCK_EPOCHS = 4  # of the sixty that a deadline is open


def senders(table: model.Miner) -> tuple[tuple[Address, ...], ...]:
    """Return the accounts that a table names, by what they are to send."""
    commitment = table.commitment
    parts = (commitment.pre, commitment.prove, commitment.terminate, table.snap_up, table.po_st)
    return tuple(part.accounts for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Liberties:
    """What a manager may do on a devnode of its own, whose epochs pass as messages need them, and on no real chain.

    - `sends_at_once`: a hand-in, or what an operator orders, wakes the rounds. On a real chain, sectors that come together would then
      not share a message.
    - `landing_seconds`: for so long a hand-in's answer waits for what became of it. A worker that asks a moment before it lands asks
      again only after its polling interval of minutes.
    - `seed_confidence`: how deep a seed has to be; where nothing is taken back, it may be the newest.
    - `look_seconds`: messages land without the end of an epoch, so that it is worth looking at them more often.
    - `takes_any_piece`: data that nobody has allocated to the miner is sealed too, as data of nobody.
    - `needs_no_posts`: nobody proves deadlines, and none is waited for.
    """

    sends_at_once: bool = False
    landing_seconds: float = 0.0
    seed_confidence: int = 6  # as the original's
    look_seconds: float = math.inf
    takes_any_piece: bool = False
    needs_no_posts: bool = False


NONE = Liberties()
OWN_DEVNODE = Liberties(
    sends_at_once=True,
    landing_seconds=20.0,  # a slow machine verifies its proof for many seconds; a worker waits for a minute
    seed_confidence=0,
    look_seconds=1.0,
    takes_any_piece=True,
    needs_no_posts=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miner:
    """A miner that is sealed for: its number, the proof of its sectors, what its table says, and what its chain allows."""

    id: int
    proof: SealProof
    config: model.Miner
    liberties: Liberties = NONE

    @property
    def address(self) -> Address:
        """Its address."""
        return Address.of_id(self.id)

    def sends_fund(self, kind: Kind) -> bool:
        """Return whether messages bring deposit or pledge along."""
        table = self._table(kind)
        return not isinstance(table, model.PoSt) and table.send_fund

    def accounts(self, kind: str) -> tuple[Address, ...]:
        """Return who is to send messages of a kind; nobody means that it is not said."""
        return self._table(kind.removesuffix(BATCH)).accounts

    def rule(self, kind: Kind, block_seconds: float) -> batching.Rule:
        """Return when sectors share a message."""
        if kind is Kind.UPDATE:
            return batching.Rule(wait_epochs=0)
        if kind is Kind.NON_INTERACTIVE:  # its proof is an aggregate already
            return batching.Rule(at_most=1, wait_epochs=0, wait_above=self._max_base_fee(kind))
        batch = self._batch(kind)
        return batching.Rule(
            at_least=batch.threshold,
            wait_epochs=round(batch.max_wait / block_seconds),
            wait_above=batch.max_base_fee,
        )

    def policy(self, kind: str) -> fees.Policy:
        """Return how messages of a kind are paid for and waited for."""
        single = kind.removesuffix(BATCH)
        table: model.Fees = self._batch(single) if kind.endswith(BATCH) else self._table(single)
        return fees.Policy(
            over_estimation=table.gas_over_estimation / _NODES_MARGIN,
            over_premium=table.gas_over_premium or 1.0,
            wait_above=self._max_base_fee(single),
            most=table.max_fee,
            most_cap=table.gas_fee_cap or table.max_fee_cap,
            confidence=self._confidence(single),
            stuck_epochs=_PROVING_STUCK_EPOCHS if single in PROVING else _STUCK_EPOCHS,
        )

    def priority(self, kind: str) -> int:
        """Return which messages get their nonces first: those that have a deadline of half an hour."""
        return 2 if kind == WINDOW_POST else 1 if kind in PROVING else 0

    def _confidence(self, kind: str) -> int:
        if kind in PROVING:
            return self.config.po_st.confidence
        return self.config.snap_up.confidence if kind == Kind.UPDATE else self.config.commitment.confidence

    def _table(self, kind: str) -> model.Messages | model.SnapUp | model.PoSt:
        commitment = self.config.commitment
        match kind:
            case Kind.PRE_COMMIT:
                return commitment.pre
            case Kind.PROOF | Kind.NON_INTERACTIVE:
                return commitment.prove
            case Kind.UPDATE:
                return self.config.snap_up
            case kind if kind in PROVING:
                return self.config.po_st
            case _:  # what operators ask for
                return commitment.terminate

    def _batch(self, kind: str) -> model.Batch:
        table = self._table(kind)
        return table.batch if isinstance(table, model.Messages) else model.Batch()

    def _max_base_fee(self, kind: str) -> Amount | None:
        return self._batch(kind).max_base_fee if kind in _SEALING else None
