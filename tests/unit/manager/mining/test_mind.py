"""What is done about a round: at its time, once, and nothing that could be a consensus fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.manager.mining import mind
from damocles.manager.mining.mind import Head, Known, Round, Stage
from damocles.wire.codec import CID

ROUND = Round(epoch=100, begins=3000.0, delay_seconds=30.0, spread_seconds=10.0)
HEAD = Head(epoch=99, key=(CID("base"),))
OLD = 50  # a first base long ago


def act(now: float, known: Known | None = None, head: Head = HEAD, base_from: int = OLD) -> mind.Act:
    """Ask the mind about the round."""
    return mind.act(now, ROUND, head, known, base_from)


def test_a_round_is_prepared_when_the_blocks_before_it_have_spread() -> None:
    """Twenty seconds before its epoch begins, on a network with thirty; and there are thirty in all."""
    assert ROUND.prepares == 2980.0
    assert act(2979.0) == mind.Wait(2980.0)
    assert act(2980.0) == mind.Elect()
    assert ROUND.budget_seconds == 30.0


@pytest.mark.parametrize(
    ("known", "then"),
    [
        (Known(stage=Stage.WON), mind.Prove()),
        (Known(stage=Stage.WON, has_proof=True), mind.Sign()),
        (Known(stage=Stage.SIGNING), mind.SignAgain()),
        (Known(stage=Stage.SIGNED), mind.Wait(3000.0)),
        (Known(stage=Stage.SUBMITTED), mind.Done()),
        (Known(stage=Stage.INCLUDED), mind.Done()),
        (Known(stage=Stage.LOST), mind.Done()),
    ],
)
def test_each_stage_leads_to_the_next(known: Known, then: mind.Act) -> None:
    """By what is recorded alone, so that another process goes on where one has ended."""
    assert act(2990.0, known) == then


def test_a_block_is_handed_in_when_its_epoch_begins_and_not_before() -> None:
    """Earlier, nodes refuse it; until others have chosen their base it is of use."""
    known = Known(stage=Stage.SIGNED)
    assert act(3000.0, known) == act(3009.9, known) == mind.Submit()
    assert isinstance(act(3010.0, known), mind.LetGo)


@pytest.mark.parametrize("stage", mind.OPEN)
def test_what_comes_too_late_is_let_go(stage: Stage) -> None:
    """With a reason; without a record there is nothing to let go."""
    assert isinstance(act(3010.0, Known(stage=stage)), mind.LetGo)
    assert isinstance(act(3010.0), mind.Done)


@pytest.mark.parametrize(
    ("head", "base_from"),
    [
        (Head(epoch=100, key=HEAD.key), OLD),
        (Head(epoch=99, key=HEAD.key, is_strange=True), OLD),
        (HEAD, 100),
    ],
    ids=["the chain has the epoch", "another program mines", "just started"],
)
def test_nothing_is_begun_or_signed_where_it_could_be_a_fault(head: Head, base_from: int) -> None:
    """What is signed already may still be handed in: it is the one block of its round."""
    for known in (None, Known(stage=Stage.WON), Known(stage=Stage.WON, has_proof=True)):
        found = act(2990.0, known, head, base_from)
        assert isinstance(found, mind.Done | mind.LetGo)
    assert act(3001.0, Known(stage=Stage.SIGNED), head, base_from) == mind.Submit()


def test_a_process_builds_on_nothing_that_one_before_it_may_have_signed_for() -> None:
    """A block is signed before its epoch begins, so one that has just ended may have signed for the next epoch."""
    assert mind.first_base(100) == 102


@given(
    now=st.floats(2900, 3100),
    head=st.integers(80, 110),
    stage=st.sampled_from([None, *Stage]),
    has_proof=st.booleans(),
    base_from=st.integers(0, 120),
    is_strange=st.booleans(),
)
def test_a_new_block_is_signed_on_a_fresh_base_below_its_epoch_alone(
    *, now: float, head: int, stage: Stage | None, has_proof: bool, base_from: int, is_strange: bool
) -> None:
    """Whatever is seen: never after the round has ended, on a base from before the start, or beside another program."""
    known = None if stage is None else Known(stage=stage, has_proof=has_proof)
    found = mind.act(now, ROUND, Head(epoch=head, key=HEAD.key, is_strange=is_strange), known, base_from)

    if isinstance(found, mind.Sign):
        assert stage is Stage.WON
        assert base_from <= head < ROUND.epoch
        assert ROUND.prepares <= now < ROUND.ends
        assert not is_strange
    if isinstance(found, mind.SignAgain | mind.Submit):
        assert now < ROUND.ends
        assert stage is (Stage.SIGNING if isinstance(found, mind.SignAgain) else Stage.SIGNED)
