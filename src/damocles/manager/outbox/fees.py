"""What a message may cost: limits on gas and fees, and by how much a replacement has to be dearer.

All prices are attoFIL for a unit of gas. A message is executed if its fee cap reaches the base fee; the premium goes to
whoever includes it, as far as the cap leaves room above the base fee.
"""

import math
from dataclasses import dataclass

from damocles.chain.amounts import Amount
from damocles.manager.outbox.node import Estimate

# A base fee rises by an eighth at most with each epoch: a cap of twice the present one lasts five full epochs.
_HEADROOM = 2
# Lotus' pool takes a message with a used nonce for a premium that is a tenth higher; a quarter is what Lotus itself pays.
_DEARER = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How messages of a kind are paid for and waited for.

    `wait_above` is the base fee above which a message that is not urgent waits; `most` is what one message may cost at
    most, gas and all, and `most_cap` what a unit of gas may. Without them nothing is limited.
    """

    over_estimation: float = 1.0  # on top of the node's own margin, which may also be made smaller
    over_premium: float = 1.0  # of the premium that the node estimates
    wait_above: Amount | None = None
    most: Amount | None = None
    most_cap: Amount | None = None
    confidence: int = 10  # epochs on top of the one that executed a message
    stuck_epochs: int = 20  # after which a signed message is made dearer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a message is signed with."""

    gas_limit: int
    cap: Amount
    premium: Amount

    @property
    def most(self) -> Amount:
        """What it costs at most."""
        return Amount(self.gas_limit * self.cap)


class TooDear(Exception):
    """The message would cost more than its policy allows; the text has both amounts."""


def first(estimate: Estimate, base_fee: Amount, policy: Policy) -> Fees:
    """Return the fees of a new message.

    Raises:
        TooDear: Even a cap of the present base fee and the premium is more than the policy allows.
    """
    limit = math.ceil(estimate.gas_limit * policy.over_estimation)
    premium = _premium(estimate, policy)
    return _capped(limit, Amount(_HEADROOM * base_fee + premium), premium, base_fee + premium, policy)


def dearer(before: Fees, estimate: Estimate, base_fee: Amount, policy: Policy) -> Fees:
    """Return the fees of a message that replaces one with the same nonce.

    Raises:
        TooDear: As much as the pool asks for is more than the policy allows.
    """
    premium = Amount(max(math.floor(before.premium * _DEARER) + 1, _premium(estimate, policy)))
    limit = max(before.gas_limit, math.ceil(estimate.gas_limit * policy.over_estimation))
    needed = max(base_fee + premium, before.cap)
    return _capped(limit, Amount(max(_HEADROOM * base_fee + premium, before.cap)), premium, needed, policy)


def _premium(estimate: Estimate, policy: Policy) -> Amount:
    return Amount(math.ceil(estimate.premium * policy.over_premium) if policy.over_premium != 1 else estimate.premium)


def _capped(gas_limit: int, cap: Amount, premium: Amount, needed: int, policy: Policy) -> Fees:
    if policy.most is not None and gas_limit * cap > policy.most:
        cap = Amount(policy.most // gas_limit)
        if cap < needed:
            raise TooDear(
                f"it would cost {Amount(gas_limit * needed)} and may cost {policy.most}:"
                " raise the limit, or wait for a lower base fee"
            )
    if policy.most_cap is not None and cap > policy.most_cap:
        cap = policy.most_cap
        if cap < needed:
            raise TooDear(
                f"a unit of gas would cost {Amount(needed)} and may cost {cap}: raise GasFeeCap, or wait for a lower base fee"
            )
    return Fees(gas_limit=gas_limit, cap=cap, premium=premium)
