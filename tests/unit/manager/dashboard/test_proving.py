"""The day of a miner: what the chain says of its deadlines, and how their proofs went."""

from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.lotus import layout, miners
from damocles.manager.dashboard import drawing
from damocles.manager.dashboard.views import proving
from damocles.operating import posts
from damocles.wire import wdpost
from damocles.wire.codec import Bytes32

NOW = 1_000_000.0


def job(deadline: int, state: wdpost.State, *, faults: int = 0, error: str = "", age: float = 60.0) -> wdpost.Brief:
    """Return a job of one partition."""
    return wdpost.Brief(
        id=f"{deadline}-{state}-{age}",
        state=state,
        deadline=deadline,
        partitions=[0],
        input=wdpost.Input(sectors=None, miner=1000, proof_name="", seed=Bytes32(bytes(32))),
        error=error,
        created_at=int(NOW - age),
        updated_at=int(NOW),
        sectors=3,
        faults=faults,
    )


def partition(live: int, faulty: int = 0, recovering: int = 0) -> miners.Partition:
    """Return a partition with so many sectors."""
    return miners.Partition(
        all=Bitfield(range(live)),
        faulty=Bitfield(range(faulty)),
        recovering=Bitfield(range(recovering)),
        live=Bitfield(range(live)),
        active=Bitfield(range(faulty, live)),
    )


def chain(*, epoch: int = 65) -> proving.Chain:
    """Return a miner in whose second deadline, of 60 epochs, the chain is; times are of a chain with epochs of 30 s."""
    cycle = layout.Cycle(epoch=epoch, start=0, window=60, count=48, challenge_lookback=20, declaration_cutoff=70)
    places = {(0, 0): partition(4), (1, 0): partition(5), (1, 1): partition(5, 2, 2), (2, 0): partition(3, 1)}
    submitted = [Bitfield([0]), Bitfield([1]), *[Bitfield()] * 46]
    return proving.Chain(
        miner=1000,
        layout=layout.Layout(cycle=cycle, partitions=places),
        deadlines=[miners.Deadline(one, 0, Amount(0)) for one in submitted],
        at=NOW - 10,
        epoch_seconds=30.0,
    )


def test_a_day_is_what_the_chain_says_and_how_proofs_went():
    """Each deadline has its opening, partitions, sectors, faults and recoveries by the chain, and the jobs of the last day."""
    jobs = [
        job(0, wdpost.State.FINISHED),
        job(0, wdpost.State.FINISHED, error="late"),
        job(0, wdpost.State.READY, age=90_000),
    ]
    view = proving.view(wdpost.Listed(jobs, 2), "", NOW, [chain()])
    (clock,) = view.clocks
    assert ("f01000", 65, 17, 3, 2) == (clock.miner, clock.epoch, clock.sectors, clock.faults, clock.recovering)
    assert 48 == len(clock.slots)
    assert [0, 1, 2] == [slot.deadline for slot in clock.shown]
    first, second, third = clock.shown
    assert (False, 1, 4, {"Succeed": 1, "Failed": 1}) == (first.is_open, first.partitions, first.sectors, first.proofs)
    assert NOW - 10 + (48 * 60 - 65) * 30 == first.opens_at  # it has passed, and comes again in the next period
    assert (True, 2, 1, 2, 2, NOW - 10 - 5 * 30) == (
        second.is_open, second.partitions, second.proven, second.faults, second.recovering, second.opens_at,
    )  # fmt: skip
    assert ("bad", "warn", "bad", "") == (first.look, second.look, third.look, clock.slots[3].look)


def test_without_a_chain_the_clock_is_of_the_jobs():
    """A mock chain has no deadlines, and a node that is away shows none: what the jobs say is shown all the same."""
    jobs = [job(7, wdpost.State.FINISHED), job(8, wdpost.State.RUNNING), job(9, wdpost.State.FINISHED, faults=1)]
    view = proving.view(wdpost.Listed(jobs, 2), "Faults", NOW, problem="the node is away")
    (clock,) = view.clocks
    assert None is clock.epoch
    assert {7: "good", 8: "open", 9: "bad"} == {slot.deadline: slot.look for slot in clock.shown}
    assert ({"Faults": 1, "Running": 1, "Succeed": 1}, ["Faults"]) == (
        view.states,
        [posts.state(one).partition("(")[0] for one in view.jobs],
    )
    assert [] == proving.view(wdpost.Listed([], 2), "", NOW).clocks


def test_a_ring_has_its_segments_side_by_side():
    """They begin at the top and go round clockwise, within the ring, and no two are the same."""
    paths = drawing.ring(48, 100.0, 66.0)
    assert 48 == len(set(paths))
    begins = [tuple(float(part) for part in path[1:].split("A")[0].split()) for path in paths]
    assert all(99.9 < (x * x + y * y) ** 0.5 < 100.1 for x, y in begins)
    assert begins[0][1] < -99
    assert begins[12][0] > 99
    assert begins[24][1] > 99
    assert begins[36][0] < -99


def test_numbers_over_time_are_drawn_as_steps():
    """The largest is as high as the picture, nothing at all lies at its bottom, and the last ends at its right side."""
    assert "M0 20V20.0H10.0V10.0H20.0V0.0H30.0V20Z" == drawing.steps([0, 1, 2], 30, 20)
    assert "M0 20V20.0H15.0V20.0H30.0V20Z" == drawing.steps([0, 0], 30, 20)
