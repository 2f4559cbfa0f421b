"""A state of a devnet that messages are applied to, without a node."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from damocles.chain import tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO, Amount
from damocles.chain.messages import Message
from damocles.chain.methods import PRE_COMMIT, PROVE_COMMIT, SUBMIT_WINDOW_POST, Method
from damocles.chain.sealing import (
    Activation,
    Piece,
    PoStPartition,
    PoStProof,
    PreCommit,
    PreCommitSectorBatch2,
    ProveCommitSectors3,
    SubmitWindowedPoSt,
)
from damocles.devnode import beginnings, verifying
from damocles.devnode.actors import deadlines, execution, registry
from damocles.devnode.actors.draft import Surroundings
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.rules import FIRST_MINER, TERM_MAX, TERM_MIN, Rules
from damocles.devnode.state import DATACAP, Miner, Partition, State
from damocles.wire import commitments
from damocles.wire.codec import CID, Blob, Rows

SECRET = bytes(32)
MINER = FIRST_MINER


class Plain:
    """Randomness that says what it is of."""

    def tickets(self, domain: int, epoch: int, entropy: bytes) -> bytes:
        """Return epoch and domain."""
        return b"t" + domain.to_bytes(1) + epoch.to_bytes(8, "big", signed=True) + bytes(22)

    beacon = tickets


class Judge:
    """Says of all claims the same, and remembers them."""

    def __init__(self, verdict: bool) -> None:
        self.verdict = verdict
        self.claims: list[Any] = []

    def __call__(self, claim: Any) -> bool:
        """Return the verdict."""
        self.claims.append(claim)
        return self.verdict


@dataclasses.dataclass
class World:
    """A state and an epoch; `verify` is asked about proofs."""

    rules: Rules = dataclasses.field(default_factory=lambda: Rules(window_epochs=6))
    epoch: int = 100
    verify: Callable[[Any], bool] = verifying.accept_any
    state: State = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.state = beginnings.first_state(SECRET, self.rules)

    @property
    def miner(self) -> Miner:
        """The miner of the beginning."""
        return self.state.miners[MINER]

    def around(self) -> Surroundings:
        """Return what messages are executed in."""
        return Surroundings(rules=self.rules, epoch=self.epoch, base_fee=100, randomness=Plain(), verify=self.verify)

    def send(
        self,
        method: Method | None,
        params: Any = None,
        *,
        to: int = MINER,
        sender: int = beginnings.WORKER,
        value: int = 0,
        target: Address | None = None,
    ) -> Outcome:
        """Apply a message as a trial does, but keep what it made."""
        message = Message(
            to=target or Address.of_id(to),
            sender=Address.of_id(sender),
            method=0 if method is None else method.number,
            params=Blob() if method is None else method.params_of(params),
            value=Amount(value),
        )
        self.state, outcome = execution.simulate(self.state, message, self.around())
        return outcome

    def tick(self, count: int = 1) -> None:
        """End epochs."""
        for _ in range(count):
            self.state = execution.end_epoch(self.state, self.around())
            self.epoch += 1

    def promise(self, number: int, **other: Any) -> PreCommit:
        """Return a pre-commit that is all right, but for what is said."""
        fields: dict[str, Any] = {
            "seal_proof": 5,
            "sector_number": number,
            "sealed_cid": commitments.sealed_cid(bytes([number % 60, 1]) * 16),
            "seal_rand_epoch": self.epoch - 1,
            "expiration": self.epoch + 300 * 2880,
        }
        return PreCommit(**fields | other)

    def promised(self, *numbers: int, unsealed: CID | None = None) -> None:
        """Pre-commit sectors and let their seeds come."""
        batch = Rows(self.promise(number, unsealed_cid=unsealed) for number in numbers)
        assert self.send(PRE_COMMIT, PreCommitSectorBatch2(batch)).exit_code == 0
        self.tick(self.rules.challenge_delay + 1)

    def proved(self, *numbers: int, pieces: Rows[Piece] | None = None) -> None:
        """Bring sectors onto the chain."""
        self.promised(*numbers, unsealed=pieces[0].cid if pieces else None)
        params = ProveCommitSectors3(
            activations=Rows(Activation(number, pieces or Rows()) for number in numbers),
            sector_proofs=Rows(Blob(bytes(192)) for _ in numbers),
        )
        outcome = self.send(PROVE_COMMIT, params)
        assert (outcome.exit_code, outcome.error) == (0, "")

    def place(self, number: int) -> tuple[int, int]:
        """Return where a sector is."""
        found = self.miner.place_of(number)
        assert found is not None
        return found

    def partition(self, number: int) -> Partition:
        """Return the partition of a sector."""
        deadline, at = self.place(number)
        return self.miner.deadlines[deadline].partitions[at]

    def until_open(self, deadline: int) -> deadlines.Window:
        """Let epochs end until a deadline is open for two of them."""
        while True:
            now = deadlines.window(self.rules, self.miner, self.epoch)
            if now.index == deadline and self.epoch == now.open + 2:
                return now
            self.tick()

    def post(self, number: int, **other: Any) -> Outcome:
        """Prove the partition of a sector; its deadline is open."""
        deadline, at = self.place(number)
        now = deadlines.window(self.rules, self.miner, self.epoch)
        fields: dict[str, Any] = {
            "deadline": deadline,
            "partitions": Rows([PoStPartition(at)]),
            "proofs": Rows([PoStProof(10, Blob(bytes(192)))]),
            "chain_commit_epoch": now.open,
            "chain_commit_rand": Blob(Plain().tickets(9, now.open, b"")),
        }
        return self.send(SUBMIT_WINDOW_POST, SubmitWindowedPoSt(**fields | other))

    def allocate(self, piece: CID, **other: Any) -> int:
        """Let the client allocate a piece of a sector's size; return the number."""
        fields: dict[str, Any] = {
            "provider": MINER,
            "data": piece,
            "size_bytes": 2048,
            "term_min": TERM_MIN,
            "term_max": TERM_MAX,
            "expiration": self.epoch + 1000,
        }
        requests = registry.AllocationRequests(Rows([registry.AllocationRequest(**fields | other)]))
        params = registry.Transfer(Address.of_id(6), Amount(2048 * ATTO), Blob(tuples.encode(requests)))
        outcome = self.send(registry.TRANSFER, params, to=DATACAP, sender=beginnings.CLIENT)
        assert outcome.exit_code == 0, outcome.error
        returned = tuples.decode(outcome.returned, registry.TransferReturn)
        (number,) = tuples.decode(returned.data, registry.AllocationsReturn).new
        return number


@pytest.fixture
def world() -> World:
    """Return a new devnet that takes any proof, with short deadlines."""
    return World()
