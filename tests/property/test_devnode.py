"""Whatever is sent to a devnet, and whatever comes of it: no money is made or lost, and its books agree."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.devnode.conftest import MINER, World

from damocles.chain import methods
from damocles.chain.amounts import ATTO, Amount
from damocles.chain.bitfields import Bitfield
from damocles.chain.ownership import WithdrawBalance
from damocles.chain.sealing import (
    Activation,
    AllocationKey,
    Piece,
    PoStPartition,
    PreCommitSectorBatch2,
    ProveCommitSectors3,
)
from damocles.chain.upkeep import (
    CompactPartitions,
    Declaration,
    DeclareFaults,
    DeclareFaultsRecovered,
    ExtendSectorExpiration2,
    Extension,
    TerminateSectors,
)
from damocles.devnode import beginnings, rules
from damocles.devnode.rules import Rules
from damocles.wire import codec, commitments
from damocles.wire.codec import Blob, Rows

PIECE = commitments.unsealed_cid(bytes([7]) * 32)
NUMBERS = st.integers(1, 5)
SETS = st.sets(NUMBERS, min_size=1, max_size=3)

acts = st.one_of(
    st.tuples(st.just("promise"), SETS, st.booleans()),
    st.tuples(st.just("prove"), SETS, st.sets(NUMBERS)),
    st.tuples(st.just("seal"), SETS, st.booleans()),
    st.tuples(st.just("post"), NUMBERS, st.sets(NUMBERS, max_size=1)),
    st.tuples(st.just("fault"), SETS),
    st.tuples(st.just("recover"), SETS),
    st.tuples(st.just("extend"), SETS),
    st.tuples(st.just("terminate"), SETS),
    st.tuples(st.just("compact"), NUMBERS),
    st.tuples(st.just("withdraw"), st.integers(0, 20_000)),
    st.tuples(st.just("allocate")),
    st.tuples(st.just("tick"), st.integers(1, 400)),
    st.tuples(st.just("until"), NUMBERS),
    st.tuples(st.just("years"), st.sampled_from([rules.PROVE_WITHIN, rules.FAULT_MAX_AGE, 400 * 2880])),
)


class Actor:
    """Does one of the acts, as far as it can be said at all."""

    def __init__(self) -> None:
        self.world = World(Rules(window_epochs=2, challenge_delay=1), verify=lambda claim: bool(claim.proof))
        self.allocations: list[int] = []

    def __call__(self, act: tuple[Any, ...]) -> None:
        """Do it."""
        getattr(self, act[0])(*act[1:])

    def promise(self, numbers: set[int], has_data: bool) -> None:
        """Pre-commit sectors."""
        unsealed = PIECE if has_data else None
        batch = Rows(self.world.promise(number, unsealed_cid=unsealed) for number in sorted(numbers))
        self.world.send(methods.PRE_COMMIT, PreCommitSectorBatch2(batch))

    def prove(self, numbers: set[int], bad: set[int]) -> None:
        """Prove them, some with a bad proof, with whatever allocation there is."""
        activations = []
        for number in sorted(numbers):
            promised = self.world.miner.pre_committed.get(number)
            content: Rows[Piece] = Rows()
            if promised is not None and promised.info.unsealed_cid is not None:
                key = AllocationKey(beginnings.CLIENT, self.allocations[-1]) if self.allocations else None
                content = Rows([Piece(cid=PIECE, size_bytes=2048, allocation=key)])
            activations.append(Activation(number, content))
        proofs = Rows(Blob() if number in bad else Blob(b"proof") for number in sorted(numbers))
        params = ProveCommitSectors3(activations=Rows(activations), sector_proofs=proofs)
        self.world.send(methods.PROVE_COMMIT, params)

    def seal(self, numbers: set[int], has_data: bool) -> None:
        """Bring new sectors onto the chain, and into power."""
        if has_data:
            self.allocate()
        new = {number for number in numbers if number not in self.world.miner.allocated}
        self.promise(new, has_data)
        self.tick(3)
        self.prove(new, set())
        for number in new:
            self.until(number)
            self.post(number, set())

    def post(self, number: int, skipped: set[int]) -> None:
        """Prove the partition of a sector, if there is one."""
        place = self.world.miner.place_of(number)
        if place is not None:
            self.world.post(number, partitions=Rows([PoStPartition(place[1], Bitfield(skipped))]))

    def _declared(self, numbers: set[int]) -> Rows[Declaration]:
        places = {number: self.world.miner.place_of(number) for number in numbers}
        return Rows(Declaration(*place, Bitfield([number])) for number, place in places.items() if place is not None)

    def fault(self, numbers: set[int]) -> None:
        """Declare faults."""
        self.world.send(methods.DECLARE_FAULTS, DeclareFaults(self._declared(numbers)))

    def recover(self, numbers: set[int]) -> None:
        """Declare recoveries."""
        self.world.send(methods.DECLARE_RECOVERED, DeclareFaultsRecovered(self._declared(numbers)))

    def terminate(self, numbers: set[int]) -> None:
        """Terminate sectors."""
        self.world.send(methods.TERMINATE, TerminateSectors(self._declared(numbers)))

    def extend(self, numbers: set[int]) -> None:
        """Extend sectors."""
        extensions = Rows(
            Extension(
                deadline=one.deadline,
                partition=one.partition,
                sectors=one.sectors,
                new_expiration=self.world.epoch + 400 * 2880,
            )
            for one in self._declared(numbers)
        )
        self.world.send(methods.EXTEND, ExtendSectorExpiration2(extensions))

    def compact(self, number: int) -> None:
        """Compact the partition of a sector."""
        place = self.world.miner.place_of(number)
        if place is not None:
            self.world.send(methods.COMPACT_PARTITIONS, CompactPartitions(place[0], Bitfield([place[1]])))

    def withdraw(self, fil: int) -> None:
        """Withdraw money."""
        self.world.send(methods.WITHDRAW, WithdrawBalance(Amount(fil * ATTO)), sender=beginnings.OWNER)

    def allocate(self) -> None:
        """Let the client allocate a piece."""
        self.allocations.append(self.world.allocate(PIECE))

    def tick(self, epochs: int) -> None:
        """Let epochs end."""
        self.world.tick(epochs)

    def until(self, number: int) -> None:
        """Let epochs end until the deadline of a sector is open."""
        place = self.world.miner.place_of(number)
        if place is not None:
            while (self.world.epoch - self.world.miner.offset) // self.world.rules.window_epochs % 48 != place[0]:
                self.world.tick()
            self.world.tick()

    def years(self, epochs: int) -> None:
        """Let so much time pass that something is over, without looking at each epoch."""
        self.world.epoch += epochs
        self.world.tick(100)


def check(world: World) -> None:
    """Compare the books."""
    state, miner = world.state, world.miner
    assert sum(one.balance for one in state.accounts.values()) + sum(one.balance for one in state.miners.values()) == (
        sum(beginnings.first_state(bytes(32), world.rules).balance_of(one) for one in (80, 100, 101, 102, 103, MINER))
    )
    assert all(account.balance >= 0 for account in state.accounts.values())
    assert miner.deposits == sum(found.deposit for found in miner.pre_committed.values())
    partitions = miner.partitions()
    live = {number for one in partitions for number in one.live}
    assert miner.pledge == sum(miner.sectors[number].pledge for number in live)
    assert miner.balance >= miner.deposits + miner.locked + miner.pledge
    assert {number for one in partitions for number in one.all} == set(miner.sectors)
    assert sum(one.all.count for one in partitions) == len(miner.sectors), "each sector has one place"
    assert not set(miner.sectors) & set(miner.pre_committed)
    for one in partitions:
        assert not one.live - one.all
        assert not (one.faulty | one.unproven) - one.live
        assert not one.recovering - one.faulty
        assert not one.faulty & one.unproven
        assert set(one.faulty_since) == set(one.faulty)
    assert miner.cron_active == bool(live) or miner.cron_active
    assert state.power(MINER)[0] == 2048 * sum(one.active.count for one in partitions)
    claimed = {claim.sector for claim in state.registry.claims.values()}
    assert claimed <= set(miner.allocated)
    assert not set(state.registry.claims) & set(state.registry.allocations)


@settings(max_examples=60, deadline=None)
@given(st.lists(acts, max_size=25))
def test_the_books_agree_whatever_happens(history):
    """After each act."""
    actor = Actor()
    for act in history:
        actor(act)
        check(actor.world)
    kept = codec.encode(actor.world.state)
    assert codec.decode(kept, type(actor.world.state)) == actor.world.state, "what is kept on the disk is what was"
