"""What the configuration says, in the outbox's terms."""

from typing import Any

from damocles.chain.amounts import Amount
from damocles.manager.chain.submissions import Kind
from damocles.manager.chain.terms import BATCH, Miner
from damocles.manager.config import load
from damocles.manager.outbox import fees
from damocles.manager.outbox.node import Estimate
from damocles.wire.sectors import SealProof


def _miner(**pre: Any) -> Miner:
    table = {"Actor": 1000, "Commitment": {"Confidence": 3, "Pre": pre}}
    config = load.check({"Chain": {"Nodes": [{"API": "127.0.0.1:1"}]}, "Miners": [table]}, "here")
    return Miner(id=1000, proof=SealProof(5), config=config.miners[0])


def test_batch_has_its_own_fees() -> None:
    """A message of several sectors has the fees of the table Batch, one of a single sector those of the table above."""
    miner = _miner(GasFeeCap="2 nanoFIL", Batch={"GasFeeCap": "7 nanoFIL", "MaxBaseFee": "1 nanoFIL"})
    alone, shared = miner.policy(Kind.PRE_COMMIT), miner.policy(Kind.PRE_COMMIT + BATCH)
    assert (Amount.parse("2 nanoFIL"), Amount.parse("7 nanoFIL")) == (alone.most_cap, shared.most_cap)
    assert (3, Amount.parse("1 nanoFIL")) == (shared.confidence, shared.wait_above)


def test_old_cap() -> None:
    """The cap of old counts where the new one is empty, as in the original."""
    assert _miner(GasFeeCap="", MaxFeeCap="3 nanoFIL").policy(Kind.PRE_COMMIT).most_cap == Amount.parse("3 nanoFIL")


def test_over_estimation_is_of_what_is_used() -> None:
    """A gas limit is the configured factor times what the message used, without the node's own margin of a quarter."""
    estimate = Estimate(gas_limit=1250, premium=Amount(10))
    paid = fees.first(estimate, Amount(100), _miner(GasOverEstimation=1.2, GasOverPremium=2).policy(Kind.PRE_COMMIT))
    assert (paid.gas_limit, paid.premium) == (1200, Amount(20))


def test_waiting_in_epochs() -> None:
    """The longest wait of a sector is told in time, and counted in epochs."""
    rule = _miner(Batch={"Threshold": 5, "MaxWait": "10m"}).rule(Kind.PRE_COMMIT, 30.0)
    assert (rule.at_least, rule.wait_epochs) == (5, 20)
