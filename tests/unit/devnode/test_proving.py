"""Deadlines: window PoSts, faults and recoveries, extension, termination, compaction."""

from damocles.chain import tuples
from damocles.chain.bitfields import Bitfield
from damocles.chain.methods import (
    COMPACT_PARTITIONS,
    DECLARE_FAULTS,
    DECLARE_RECOVERED,
    EXTEND,
    SECTOR_LOCATION,
    TERMINATE,
)
from damocles.chain.sealing import AllocationKey, Piece, PoStPartition, PoStProof
from damocles.chain.upkeep import (
    Claims,
    CompactPartitions,
    Declaration,
    DeclareFaults,
    DeclareFaultsRecovered,
    ExtendSectorExpiration2,
    Extension,
    SectorLocation,
    SectorLocationParams,
    TerminateSectors,
)
from damocles.devnode import rules
from damocles.devnode.actors import deadlines
from damocles.devnode.actors.execution import Outcome
from damocles.wire import commitments
from damocles.wire.codec import Blob, Rows

from .conftest import MINER, Judge, World

PIECE = commitments.unsealed_cid(bytes([7]) * 32)


def declare(world: World, method, *numbers: int) -> Outcome:
    """Declare faults or recoveries of sectors of one partition."""
    declared = Rows([Declaration(*world.place(numbers[0]), Bitfield(numbers))])
    kinds = {DECLARE_FAULTS: DeclareFaults, DECLARE_RECOVERED: DeclareFaultsRecovered, TERMINATE: TerminateSectors}
    return world.send(method, kinds[method](declared))


def active(world: World, *numbers: int) -> None:
    """Bring sectors onto the chain and prove them once, so that they have power; their deadline is over then."""
    world.proved(*numbers)
    for number in numbers:
        if number in world.partition(number).unproven:
            world.until_open(world.place(number)[0])
            assert world.post(number).exit_code == 0
    world.tick(2 * world.rules.window_epochs)


def test_power_comes_with_the_first_window_post(world):
    """Not before; and only of the deadline that is open, once."""
    world.proved(1)
    assert world.state.power(MINER) == (0, 0)
    deadline, _ = world.place(1)
    early = world.post(1)
    assert (early.exit_code, f"invalid deadline {deadline} at epoch" in early.error) == (16, True)
    world.until_open(deadline)
    wrong = world.post(1, chain_commit_rand=Blob(bytes(32)))
    assert (wrong.exit_code, "post commit randomness mismatched" in wrong.error) == (16, True)
    assert "must be less than the current epoch" in world.post(1, chain_commit_epoch=world.epoch).error
    assert "proof type 8 not allowed" in world.post(1, proofs=Rows([PoStProof(8, Blob(bytes(192)))])).error
    assert world.post(1, partitions=Rows([PoStPartition(5)])).exit_code == 17
    skipping = world.post(1, partitions=Rows([PoStPartition(0, Bitfield([1]))]))
    assert "cannot prove partitions with no active sectors" in skipping.error
    assert world.post(1).exit_code == 0
    assert world.state.power(MINER) == (2048, 2048)
    assert "partition already proven" in world.post(1).error


def test_a_missed_deadline_makes_faults_and_a_post_recovers_them(world):
    """Without a window PoSt the power is gone; after a declared recovery the next one brings it back, verified."""
    active(world, 1)
    deadline, _ = world.place(1)
    world.until_open(deadline)
    world.tick(world.rules.window_epochs)
    assert 1 in world.partition(1).faulty
    assert world.state.power(MINER) == (0, 0)
    assert declare(world, DECLARE_RECOVERED, 1).exit_code == 0
    assert 1 in world.partition(1).faulty & world.partition(1).recovering
    judge = world.verify = Judge(verdict=False)
    world.until_open(deadline)
    refused = world.post(1)
    assert (refused.exit_code, "invalid post was submitted" in refused.error) == (16, True)
    world.verify = lambda _: True
    assert world.post(1).exit_code == 0
    assert world.state.power(MINER) == (2048, 2048)
    assert [replica.sector_id for replica in judge.claims[0].replicas] == [1]


def test_declarations_that_are_late_or_of_nothing(world):
    """Late from 70 of 60 epochs before the deadline on; what is not the case is left out; a fault undoes a recovery."""
    active(world, 1)
    assert declare(world, DECLARE_RECOVERED, 1).exit_code == 0, "a healthy sector: nothing happens"
    assert not world.partition(1).recovering
    assert declare(world, DECLARE_FAULTS, 1).exit_code == 0
    assert declare(world, DECLARE_RECOVERED, 1).exit_code == 0
    assert 1 in world.partition(1).recovering
    assert declare(world, DECLARE_FAULTS, 1).exit_code == 0
    assert not world.partition(1).recovering
    deadline, at = world.place(1)
    params = DeclareFaults(Rows([Declaration(deadline, at, Bitfield([77]))]))
    assert "not all sectors are assigned to the partition" in world.send(DECLARE_FAULTS, params).error
    params = DeclareFaults(Rows([Declaration(deadline, 9, Bitfield([1]))]))
    assert world.send(DECLARE_FAULTS, params).exit_code == 17
    opens = deadlines.opening(world.rules, world.miner, world.epoch, deadline)
    world.tick(opens - world.rules.declaration_cutoff - world.epoch)
    assert "late fault or recovery declaration" in declare(world, DECLARE_FAULTS, 1).error
    assert "late fault" in world.send(DECLARE_FAULTS, params).error, "before the partition is looked at"


def test_a_sector_that_stays_faulty_is_terminated_and_one_that_is_old_ends(world):
    """42 days after the fault; or at the end of the deadline in which it expires."""
    active(world, 1)
    assert declare(world, DECLARE_FAULTS, 1).exit_code == 0
    world.epoch += rules.FAULT_MAX_AGE
    world.until_open(world.place(1)[0])
    world.tick(world.rules.window_epochs)
    assert not world.partition(1).live
    assert (world.miner.pledge, world.miner.cron_active) == (0, False)


def extension(world: World, number: int, new: int, claims: Claims | None = None) -> Outcome:
    """Extend a sector."""
    deadline, at = world.place(number)
    one = Extension(
        deadline=deadline,
        partition=at,
        sectors=Bitfield([] if claims else [number]),
        sectors_with_claims=Rows([claims] if claims else []),
        new_expiration=new,
    )
    return world.send(EXTEND, ExtendSectorExpiration2(Rows([one])))


def test_extension(world):
    """Only expiration and power base change; it cannot be shorter, too long, or of a sector without power."""
    world.proved(9)
    assert extension(world, 9, world.miner.sectors[9].expiration).exit_code == 20
    active(world, 1)
    old = world.miner.sectors[1]
    assert extension(world, 1, old.expiration - 1).exit_code == 16
    assert extension(world, 1, world.epoch + rules.LONGEST_EXTENSION + 1).exit_code == 16
    assert extension(world, 1, old.expiration + 1000).exit_code == 0
    new = world.miner.sectors[1]
    assert (new.expiration, new.power_base_epoch) == (old.expiration + 1000, world.epoch)
    assert (new.activation, new.pledge, new.daily_fee) == (old.activation, old.pledge, old.daily_fee)
    declare(world, DECLARE_FAULTS, 1)
    assert "early expiration" in extension(world, 1, old.expiration + 2000).error
    assert world.send(EXTEND, ExtendSectorExpiration2(Rows())).exit_code == 0


def test_extension_with_claims(world):
    """The claims of a sector have to be named, and are kept; dropping is for the end of its life."""
    number = world.allocate(PIECE)
    piece = Piece(cid=PIECE, size_bytes=2048, allocation=AllocationKey(102, number))
    world.proved(1, pieces=Rows([piece]))
    world.until_open(world.place(1)[0])
    assert world.post(1).exit_code == 0
    assert world.state.power(MINER) == (2048, 20480)
    new = world.miner.sectors[1].expiration + 1000
    assert "claim missing from declaration for sector 1" in extension(world, 1, new).error
    assert "invalid claims" in extension(world, 1, new, Claims(1, Rows([77]))).error
    both = Claims(1, Rows([number]), Rows([number]))
    assert extension(world, 1, new, both).exit_code in {16, 18}
    assert extension(world, 1, new, Claims(1, Rows(), Rows([number]))).exit_code == 18
    assert extension(world, 1, new, Claims(1, Rows([number]))).exit_code == 0
    sector = world.miner.sectors[1]
    assert sector.verified_deal_weight == 2048 * (new - world.epoch)


def test_termination(world):
    """A fee, and the sector is dead while its record stays; a second time, or with one that is dead, nothing happens."""
    active(world, 1)
    balance = world.miner.balance
    outcome = declare(world, TERMINATE, 1)
    assert outcome.returned.hex() == "81f5", outcome.error
    pledge = world.miner.sectors[1].pledge
    assert balance - world.miner.balance == rules.termination_fee(pledge)
    assert world.miner.pledge == 0
    assert 1 in world.partition(1).all - world.partition(1).live
    assert "can only terminate live sectors" in declare(world, TERMINATE, 1).error
    answer = world.send(SECTOR_LOCATION, SectorLocationParams(1))
    assert tuples.decode(answer.returned, SectorLocation).status == 0


def test_no_termination_in_or_just_before_the_deadline(world):
    """Refused before the sectors are looked at."""
    active(world, 1)
    deadline, _ = world.place(1)
    world.until_open((deadline - 1) % 48)
    assert f"immutable deadline {deadline}" in declare(world, TERMINATE, 1).error


def test_compaction_forgets_the_dead(world):
    """Long after the deadline closed; the record is gone, the number stays used, living ones stay."""
    active(world, 1, 2)
    assert world.place(1) == world.place(2)
    declare(world, TERMINATE, 1)
    deadline, at = world.place(1)
    params = CompactPartitions(deadline, Bitfield([at]))
    assert world.send(COMPACT_PARTITIONS, params).exit_code == 18
    closed = deadlines.opening(world.rules, world.miner, world.epoch, deadline) - 47 * world.rules.window_epochs
    world.tick(closed + world.rules.dispute_window - world.epoch)
    assert world.send(COMPACT_PARTITIONS, params).exit_code == 0
    assert set(world.miner.sectors) == {2}
    assert world.miner.place_of(1) is None
    assert world.place(2) == (deadline, 0)
    assert 1 in world.miner.allocated


def test_one_and_only_one_deadline_is_open_at_any_time(world):
    """And expirations are rounded up to the end of a sector's own deadline."""
    miner = world.miner
    for epoch in range(-50, 700):
        now = deadlines.window(world.rules, miner, epoch)
        assert now.open <= epoch < now.close
        assert deadlines.opening(world.rules, miner, epoch, now.index) == now.open
        ends = deadlines.rounded_up(world.rules, miner, epoch, 5)
        assert epoch <= ends < epoch + world.rules.period_epochs
        assert deadlines.window(world.rules, miner, ends).index == 5
        assert deadlines.window(world.rules, miner, ends).close == ends + 1
