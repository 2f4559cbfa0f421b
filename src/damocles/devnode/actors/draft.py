"""A state that is being worked on by one message, and what the actors know of the chain meanwhile."""

from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import msgspec

from damocles.chain import exits
from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.devnode.rules import Rules
from damocles.devnode.state import BURNT, Account, Miner, Registry, State, with_


class Abort(Exception):
    """An actor refuses: nothing of the message happens but what its gas costs."""

    def __init__(self, exit_code: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.text = text


def refuse(text: str, exit_code: int = exits.ILLEGAL_ARGUMENT) -> NoReturn:
    """Refuse a message, as an actor does."""
    raise Abort(exit_code, text)


def shown(numbers: Bitfield) -> str:
    """Return a set as actors write it in their refusals."""
    runs, ranges, start = numbers.runs(), [], 0
    for at, length in enumerate(runs):
        if at % 2:
            ranges.append(f"{start}..{start + length}")
        start += length
    return f"BitField {{ ranges: [{', '.join(ranges)}], set: {{}}, unset: {{}} }}"


class Unverifiable(Exception):
    """This machine cannot say whether a proof is valid: its verifying key is missing. No verdict on the message."""


class Randomness(Protocol):
    """What the chain draws; epochs that have not come are `Abort`."""

    def tickets(self, domain: int, epoch: int, entropy: bytes) -> bytes:
        """Return 32 bytes drawn from the chain, which a reorganisation changes."""

    def beacon(self, domain: int, epoch: int, entropy: bytes) -> bytes:
        """Return 32 bytes drawn from the beacon, which none changes."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a message is executed in. `verify` gets a claim of `verifying` and returns whether it holds."""

    rules: Rules
    epoch: int
    base_fee: int
    randomness: Randomness
    verify: Callable[[Any], bool]


class Draft:
    """A state in the making; `state` is the present one. Another one is put there for each change."""

    def __init__(
        self, state: State, around: Surroundings, *, sender: int = 0, receiver: int = 0, value: int = 0
    ) -> None:
        self.state = state
        self.around = around
        self.sender = sender
        self.receiver = receiver
        self.value = value
        self.gas = 0
        self.gas_of_proofs = 0

    @property
    def epoch(self) -> int:
        """The epoch that executes the message."""
        return self.around.epoch

    @property
    def rules(self) -> Rules:
        """The rules of the devnet."""
        return self.around.rules

    @property
    def miner(self) -> Miner:
        """The miner that the message is to."""
        return self.state.miners[self.receiver]

    def change(self, **fields: Any) -> None:
        """Change the miner that the message is to."""
        self.put_miner(self.receiver, with_(self.miner, **fields))

    def put_miner(self, number: int, miner: Miner) -> None:
        """Put a miner into the state."""
        self.state = with_(self.state, miners={**self.state.miners, number: miner})

    def put_account(self, number: int, account: Account) -> None:
        """Put an account into the state."""
        self.state = with_(self.state, accounts={**self.state.accounts, number: account})

    def change_registry(self, **fields: Any) -> None:
        """Change what is known of verified data."""
        self.state = with_(self.state, registry=with_(self.state.registry, **fields))

    @property
    def registry(self) -> Registry:
        """What is known of verified data."""
        return self.state.registry

    def resolve(self, address: Address, role: str = "") -> int:
        """Return the number of an actor; refuse what is not on the chain."""
        number = self.state.id_of(address)
        if number is None:
            refuse(f"unable to resolve {role}address: {address}")
        return number

    def caller_is(self, *allowed: int) -> None:
        """Refuse a sender that is none of these."""
        if self.sender not in allowed:
            refuse(f"caller f0{self.sender} is not one of supported", exits.FORBIDDEN)

    def caller_is_of_miner(self) -> None:
        """Refuse a sender that is not owner, worker or control address of the miner."""
        self.caller_is(self.miner.owner, self.miner.worker, *self.miner.control)

    def repay(self) -> None:
        """Pay the miner's debt of fees; refuse what it wants to do if it has too little."""
        debt = self.miner.fee_debt
        if self.miner.available < 0:
            refuse("unlocked balance can not repay fee debt", exits.INSUFFICIENT_FUNDS)
        if debt:
            self.change(fee_debt=0)
            self.burn(self.receiver, debt)

    def verify(self, claim: Any, gas: int) -> bool:
        """Return whether a proof holds, and count what that costs."""
        self.gas_of_proofs += gas
        return self.around.verify(claim)

    def move(self, source: int, target: int, amount: int) -> None:
        """Move money between actors, which the source must have."""
        self._add(source, -amount)
        self._add(target, amount)

    def burn(self, source: int, amount: int) -> None:
        """Burn money."""
        self.move(source, BURNT, amount)

    def _add(self, number: int, amount: int) -> None:
        if number in self.state.miners:
            miner = self.state.miners[number]
            self.put_miner(number, with_(miner, balance=miner.balance + amount))
        else:
            account = self.state.account(number)
            self.put_account(number, with_(account, balance=account.balance + amount))
