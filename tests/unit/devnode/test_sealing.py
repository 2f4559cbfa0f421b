"""Pre-commits and proofs: what is taken, and what is refused with which exit code and words."""

from typing import Any

import pytest

from damocles.chain import tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.methods import PRE_COMMIT, PROVE_COMMIT, PROVE_NI, PROVE_UPDATES, WITHDRAW
from damocles.chain.ownership import WithdrawBalance
from damocles.chain.sealing import (
    Activation,
    AllocationKey,
    BatchReturn,
    NonInteractive,
    Notification,
    Piece,
    PreCommitSectorBatch2,
    ProveCommitSectors3,
    ProveCommitSectorsNI,
    ProveReplicaUpdates3,
    Update,
)
from damocles.devnode import beginnings, rules
from damocles.devnode.actors import pieces
from damocles.devnode.actors.deadlines import window
from damocles.devnode.rules import Rules
from damocles.wire import commitments
from damocles.wire.codec import Blob, Rows
from damocles.wire.sectors import SealProof

from .conftest import Judge, World

PROOF = Blob(bytes(192))
PIECE = commitments.unsealed_cid(bytes([7]) * 32)


def proof_of(*numbers: int, proofs: list[Blob] | None = None, **other) -> ProveCommitSectors3:
    """Return the parameters that prove sectors one by one."""
    activations = Rows(Activation(number) for number in numbers)
    return ProveCommitSectors3(activations=activations, sector_proofs=Rows(proofs or [PROOF] * len(numbers)), **other)


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"seal_rand_epoch": -4000}, 16, "seal challenge epoch -4000 too old, must be after -3680"),
        ({"seal_rand_epoch": 579}, 16, "seal challenge epoch 579 must be before now 100"),
        ({"expiration": 1079}, 16, "sector expiration 1079 must be after activation 86510"),
        ({"expiration": 100 + 3680641}, 16, "cannot be more than 3680640 past current epoch 100"),
        ({"seal_proof": 8}, 16, "unsupported seal proof type 8"),
        ({"seal_proof": 0}, 16, "unsupported seal proof type 0"),
        ({"unsealed_cid": commitments.sealed_cid(bytes(32))}, 16, "unsealed CID had wrong prefix"),
        ({"deal_ids": Rows([77])}, 17, "no such deal 77"),
    ],
)
def test_wrong_pre_commits_are_refused_in_the_recorded_words(world, wrong, code, words):
    """And nothing of the batch happens."""
    before = world.state
    outcome = world.send(PRE_COMMIT, PreCommitSectorBatch2(Rows([world.promise(1), world.promise(900, **wrong)])))
    assert outcome.exit_code == code
    assert words in outcome.error
    assert world.state == before


def test_batches_and_numbers(world):
    """An empty batch, a number twice, and one that was ever used."""
    for batch, words in (([], "batch empty"), ([world.promise(900)] * 2, "duplicate sector number 900")):
        outcome = world.send(PRE_COMMIT, PreCommitSectorBatch2(Rows(batch)))
        assert (outcome.exit_code, words in outcome.error) == (16, True)
    world.proved(1)
    outcome = world.send(PRE_COMMIT, PreCommitSectorBatch2(Rows([world.promise(1)])))
    assert (outcome.exit_code, "already allocated" in outcome.error) == (16, True)


def test_only_the_miners_keys_may(world):
    """A stranger is refused with 18, and parameters that cannot be read with 21, a method that is not there with 22."""
    outcome = world.send(PRE_COMMIT, PreCommitSectorBatch2(Rows([world.promise(1)])), sender=beginnings.CLIENT)
    assert outcome.exit_code == 18
    assert "caller f0102 is not one of supported" in outcome.error
    assert world.send(PRE_COMMIT._replace(number=99), PreCommitSectorBatch2(Rows())).exit_code == 22
    assert world.send(PROVE_NI._replace(number=28), ProveCommitSectorsNI(
        sectors=Rows(), aggregate_proof=Blob(), seal_proof_type=15, aggregate_proof_type=1, proving_deadline=1
    )).exit_code == 21  # fmt: skip


def test_money_of_a_sector(world):
    """The deposit is bound from the pre-commit to the proof, the pledge from then on; both come from what the miner has."""
    before = world.miner.available
    world.promised(1)
    assert before - world.miner.available == rules.deposit(2048)
    assert world.send(PROVE_COMMIT, proof_of(1)).exit_code == 0
    assert before - world.miner.available == rules.pledge(2048) == world.miner.sectors[1].pledge


def test_a_deposit_that_is_not_there(world):
    """Exit code 19."""
    world.send(WITHDRAW, WithdrawBalance(Amount(10**30)), sender=beginnings.OWNER)
    assert world.miner.available == 0
    outcome = world.send(PRE_COMMIT, PreCommitSectorBatch2(Rows([world.promise(1)])))
    assert outcome.exit_code == 19
    assert "for pre-commit deposit" in outcome.error
    value = rules.deposit(2048)
    assert world.send(PRE_COMMIT, PreCommitSectorBatch2(Rows([world.promise(1)])), value=value).exit_code == 0


def test_a_promise_that_is_not_kept_costs_its_deposit(world):
    """The pre-commit is gone after its time, and its number stays used."""
    world.promised(1)
    balance = world.miner.balance
    world.epoch += rules.PROVE_WITHIN + world.rules.challenge_delay
    world.tick()
    assert world.miner.pre_committed == {}
    assert balance - world.miner.balance == rules.deposit(2048)
    assert 1 in world.miner.allocated


def test_forms_of_proofs(world):
    """Single proofs and an aggregate exclude each other; each has its rules, decided before anything is verified."""
    world.verify = lambda _: pytest.fail("verified")
    world.promised(1, 2, 3, 4)
    activations = Rows(Activation(number) for number in (1, 2, 3, 4))
    for params, words in (
        (ProveCommitSectors3(activations=activations), "exactly one of sector proofs or aggregate proof"),
        (proof_of(1, 2, proofs=[PROOF]), "mismatched lengths: 2 sector activations, 1 proofs"),
        (proof_of(1, aggregate_proof_type=1), "aggregate proof type must be null with batched proofs"),
        (ProveCommitSectors3(activations=activations, aggregate_proof=PROOF), "must be SnarkPackV2"),
        (
            ProveCommitSectors3(activations=Rows(activations[:3]), aggregate_proof=PROOF, aggregate_proof_type=1),
            "too few sectors addressed, addressed 3 want >= 4",
        ),
    ):
        outcome = world.send(PROVE_COMMIT, params)
        assert (outcome.exit_code, words in outcome.error) == (16, True), outcome.error
    assert world.send(PROVE_COMMIT, proof_of(5)).exit_code == 17
    world.epoch -= world.rules.challenge_delay
    assert world.send(PROVE_COMMIT, proof_of(1)).exit_code == 18


def test_an_aggregate_is_all_or_nothing(world):
    """Four sectors by one proof, in one claim."""
    world.promised(1, 2, 3, 4)
    judge = world.verify = Judge(verdict=False)
    params = ProveCommitSectors3(
        activations=Rows(Activation(number) for number in (4, 3, 2, 1)),
        aggregate_proof=PROOF,
        aggregate_proof_type=1,
    )
    refused = world.send(PROVE_COMMIT, params)
    assert (refused.exit_code, "invalid aggregate" in refused.error) == (16, True)
    assert [member.number for member in judge.claims[0].members] == [4, 3, 2, 1]
    world.verify = lambda _: True
    outcome = world.send(PROVE_COMMIT, params)
    assert outcome.returned.hex() == "820480"
    assert outcome.gas_used > refused.gas_used > 100_000_000


def test_a_bad_proof_in_a_batch(world):
    """Without `require` its place is in the return value, with it nothing happens."""
    world.promised(1, 2)
    refused = world.send(PROVE_COMMIT, proof_of(1, 2, proofs=[Blob(), PROOF], require_activation_success=True))
    assert refused.exit_code == 16
    assert "invalid proof for sector 1 while requiring activation success: [false, true]" in refused.error
    assert set(world.miner.pre_committed) == {1, 2}
    done = world.send(PROVE_COMMIT, proof_of(1, 2, proofs=[Blob(), PROOF]))
    assert (done.exit_code, done.returned.hex()) == (0, "820181820010")
    assert (set(world.miner.pre_committed), set(world.miner.sectors)) == ({1}, {2})


def test_pieces_have_to_make_what_was_promised(world):
    """Also in an aggregate, and also without `require`."""
    world.promised(1, unsealed=PIECE)
    outcome = world.send(PROVE_COMMIT, proof_of(1))
    assert outcome.exit_code == 16
    assert (
        f"unsealed CID does not match pieces for sector 1, computed Cid({commitments.unsealed_cid(commitments.zero_comm_d(2048))})"
        in outcome.error
    )
    large = Rows([Piece(cid=PIECE, size_bytes=4096)])
    outcome = world.send(
        PROVE_COMMIT, ProveCommitSectors3(activations=Rows([Activation(1, large)]), sector_proofs=Rows([PROOF]))
    )
    assert "Piece is larger than sector" in outcome.error


@pytest.mark.parametrize(
    ("sizes", "rest"),
    [
        ([128], [128, 256, 512, 1024]),
        ([128, 256], [512, 1024]),
        ([256, 128, 1024], []),
        ([1024, 128], [128, 256, 512]),
        ([2048], []),
        ([128, 128, 512], [1024]),
    ],
)
def test_zeros_between_pieces_are_those_of_the_library(sizes, rest):
    """CommD of pieces with gaps is what the field's library computes, which fills gaps, but not up to the sector's end."""
    native = pytest.importorskip("damocles_proofs")
    made = [Piece(cid=commitments.unsealed_cid(bytes([at + 1]) * 32), size_bytes=size) for at, size in enumerate(sizes)]
    infos = [native.PieceInfo(bytes([at + 1]) * 32, size // 128 * 127) for at, size in enumerate(sizes)]
    infos += [native.PieceInfo(commitments.zero_comm_d(size), size // 128 * 127) for size in rest]
    expected = native.compute_comm_d("StackedDrg2KiBV1_1", infos)
    assert pieces.comm_d(made, 2048) == commitments.unsealed_cid(expected)


def test_a_claim_makes_pledge_and_power_tenfold(world):
    """The allocation becomes a claim of the same number; the deposit was that of any sector."""
    number = world.allocate(PIECE)
    piece = Piece(cid=PIECE, size_bytes=2048, allocation=AllocationKey(beginnings.CLIENT, number))
    world.proved(5, pieces=Rows([piece]))
    sector = world.miner.sectors[5]
    assert sector.pledge == rules.pledge(10 * 2048)
    assert sector.verified_deal_weight == 2048 * (sector.expiration - sector.activation)
    assert world.state.registry.allocations == {}
    assert world.state.registry.claims[number].sector == 5


def test_an_allocation_that_cannot_be_claimed(world):
    """Unknown, of another client, expired; with `require` the inner code is in the words, without it in the return."""
    number = world.allocate(PIECE, expiration=world.epoch + 5)
    world.promised(1, 2, unsealed=PIECE)
    late = Piece(cid=PIECE, size_bytes=2048, allocation=AllocationKey(beginnings.CLIENT, number))
    plain = Piece(cid=PIECE, size_bytes=2048)

    def params(required: bool, *content: Piece) -> ProveCommitSectors3:
        activations = Rows(Activation(at + 1, Rows([piece])) for at, piece in enumerate(content))
        return ProveCommitSectors3(
            activations=activations, sector_proofs=Rows([PROOF] * len(content)), require_activation_success=required
        )

    refused = world.send(PROVE_COMMIT, params(True, late, plain))
    assert refused.exit_code == 16
    assert "error claiming allocations on batch" in refused.error
    assert "all data activations failed" in world.send(PROVE_COMMIT, params(False, late)).error
    unknown = Piece(cid=PIECE, size_bytes=2048, allocation=AllocationKey(beginnings.CLIENT, 999))
    assert "code=17" in world.send(PROVE_COMMIT, params(True, unknown)).error
    done = world.send(PROVE_COMMIT, params(False, late, plain))
    assert tuples.decode(done.returned, BatchReturn).exit_codes() == [18, 0]


def test_notifications_that_are_required(world):
    """Nobody accepts: 1003 of an account, 1004 of the market, and nothing if it is not required."""
    world.promised(1, unsealed=PIECE)
    for who, code in ((102, 1003), (5, 1004)):
        piece = Piece(cid=PIECE, size_bytes=2048, notify=Rows([Notification(Address.of_id(who), Blob(b"\x07"))]))
        activations = Rows([Activation(1, Rows([piece]))])
        params = ProveCommitSectors3(
            activations=activations, sector_proofs=Rows([PROOF]), require_notification_success=True
        )
        assert world.send(PROVE_COMMIT, params).exit_code == code
    params = ProveCommitSectors3(activations=activations, sector_proofs=Rows([PROOF]))
    assert world.send(PROVE_COMMIT, params).exit_code == 0


def test_non_interactive_sectors_come_into_the_deadline_that_is_named(world):
    """Without pre-commit or seed; their numbers are used from then on."""
    judge = world.verify = Judge(verdict=True)

    def params(*numbers: int, deadline: int = 30, **other) -> ProveCommitSectorsNI:
        sectors = Rows(
            NonInteractive(
                sealing_number=number, sealer_id=1000, sealed_cid=commitments.sealed_cid(bytes([number]) * 32),
                sector_number=number, seal_rand_epoch=world.epoch - 1, expiration=world.epoch + 300 * 2880,
            )
            for number in numbers
        )  # fmt: skip
        fields: dict[str, Any] = {
            "aggregate_proof": PROOF,
            "seal_proof_type": 15,
            "aggregate_proof_type": 1,
            "proving_deadline": deadline,
        }
        return ProveCommitSectorsNI(sectors=sectors, **fields | other)

    outcome = world.send(PROVE_NI, params(1, 2))
    assert (outcome.exit_code, outcome.returned.hex()) == (0, "820280")
    assert [world.place(number)[0] for number in (1, 2)] == [30, 30]
    assert len(judge.claims[0].members) == 2
    assert judge.claims[0].members[0].seed == bytes([1]) * 32
    assert world.send(PROVE_NI, params(3)).exit_code == 0
    assert judge.claims[1].registered_proof == SealProof(15).proof_name
    now = world.epoch // world.rules.window_epochs % 48
    for wrong in (params(1), params(4, deadline=now), params(4, deadline=48), params(4, seal_proof_type=5), params()):
        assert world.send(PROVE_NI, wrong).exit_code == 16


def test_an_upgrade_needs_an_active_sector_outside_its_deadline(world):
    """Then it has data and its CommR from before; twice it cannot be."""
    world.proved(1)
    piece = Piece(cid=PIECE, size_bytes=2048)
    deadline, partition = world.place(1)

    def params() -> ProveReplicaUpdates3:
        update = Update(
            sector_number=1,
            deadline=deadline,
            partition=partition,
            new_sealed_cid=commitments.sealed_cid(bytes([9]) * 32),
            pieces=Rows([piece]),
        )
        return ProveReplicaUpdates3(
            updates=Rows([update]), sector_proofs=Rows([PROOF]), update_proofs_type=0, require_activation_success=True
        )

    assert "isn't active" in world.send(PROVE_UPDATES, params()).error
    world.until_open(deadline)
    assert world.post(1).exit_code == 0
    assert "immutable deadline" in world.send(PROVE_UPDATES, params()).error
    world.tick(3 * world.rules.window_epochs)
    old = world.miner.sectors[1]
    outcome = world.send(PROVE_UPDATES, params())
    assert outcome.returned.hex() == "820180", outcome.error
    new = world.miner.sectors[1]
    assert (new.key_cid, new.activation, new.expiration) == (old.sealed_cid, old.activation, old.expiration)
    assert new.deal_weight == 2048 * (new.expiration - world.epoch)
    assert "non-zero data" in world.send(PROVE_UPDATES, params()).error


def test_where_nobody_proves_deadlines_a_sector_can_be_upgraded_at_any_time():
    """Also in the deadline that is open, since none is waited for."""
    world = World(Rules(window_epochs=6, needs_posts=False))
    world.proved(1)
    deadline, partition = world.place(1)
    while window(world.rules, world.miner, world.epoch).index != deadline:
        world.tick()
    update = Update(
        sector_number=1,
        deadline=deadline,
        partition=partition,
        new_sealed_cid=commitments.sealed_cid(bytes([9]) * 32),
        pieces=Rows([Piece(cid=PIECE, size_bytes=2048)]),
    )
    params = ProveReplicaUpdates3(
        updates=Rows([update]), sector_proofs=Rows([PROOF]), update_proofs_type=0, require_activation_success=True
    )
    assert world.send(PROVE_UPDATES, params).returned.hex() == "820180"
