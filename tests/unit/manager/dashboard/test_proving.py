"""The day of a miner: how its deadlines stand, how their proofs went, and the jobs where there is no day."""

import re
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from damocles.manager.dashboard import drawing, render
from damocles.manager.dashboard.views import proving
from damocles.operating import posts
from damocles.wire import codec, wdpost
from damocles.wire import proving as wire
from damocles.wire.codec import Bytes32
from damocles.wire.proving import Standing

NOW = 1_000_000.0
POST = wire.Post(
    partitions=[0, 1],
    stage="over",
    skipped={7: "cut"},
    prover="w1",
    made_epoch=58,
    proved_epoch=61,
    seconds=90.0,
    sent_epoch=62,
    sends=2,
    message=5,
    landed_epoch=64,
    why="",
)
EMPTY = wire.Deadline(
    deadline=0,
    opens=0,
    close=60,
    partitions=0,
    sectors=0,
    faulty=0,
    recovering=0,
    proved=0,
    standing=Standing.NOTHING,
    window_opens=None,
    posts=[],
    bad={},
)


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


def deadline(number: int, standing: Standing, **more: Any) -> wire.Deadline:
    """Return a deadline of 60 epochs with one partition of four sectors."""
    given = {"deadline": number, "opens": 60 * number, "standing": standing, "partitions": 1, "sectors": 4, **more}
    return msgspec.structs.replace(EMPTY, **given)


def told(*some: wire.Deadline, miner: int = 1000) -> proving.Told:
    """Return the day of a miner in whose second deadline the chain is, with epochs of 30 s."""
    deadlines = [msgspec.structs.replace(EMPTY, deadline=number, opens=60 * number) for number in range(48)]
    for one in some:
        deadlines[one.deadline] = one
    day = wire.Day(miner=miner, epoch=65, at=int(NOW - 10), block_seconds=30.0, current=1, deadlines=deadlines)
    return proving.Told(miner=miner, day=day)


def test_a_day_is_what_the_manager_tells():
    """Each deadline has its standing, opening, sectors and proofs; the jobs, which have led to them, are not told twice."""
    day = told(
        deadline(0, Standing.PROVED, opens=48 * 60, posts=[POST]),
        deadline(1, Standing.LATE, sectors=10, partitions=2, proved=1, faulty=2, recovering=2),
        deadline(47, Standing.MISSED, faulty=1),
    )
    view = proving.view(wdpost.Listed([job(0, wdpost.State.FINISHED, error="late")], 2), "", NOW, [day])
    (clock,) = view.clocks
    assert ("f01000", 65, "", 18, 3, 2) == (
        clock.miner, clock.epoch, clock.problem, clock.sectors, clock.faulty, clock.recovering,
    )  # fmt: skip
    first, second, third = clock.shown
    assert [("proved", "good"), ("late", "warn"), ("missed", "bad")] == [
        (one.says, one.look) for one in (first, second, third)
    ]
    assert (False, {}, NOW - 10 + (48 * 60 - 65) * 30) == (first.is_open, first.jobs, first.opens_at)
    assert (True, NOW - 10 - 5 * 30) == (second.is_open, second.opens_at)
    assert [("bad", "missed", 1), ("warn", "late", 1), ("good", "proved", 1), ("", "nothing to prove", 45)] == (
        clock.legend
    )
    (twin,) = codec.to_builtins(view)["clocks"]
    assert ("late", 2) == (twin["slots"][1]["told"]["standing"], twin["slots"][1]["told"]["faulty"])
    assert ("w1", 5, 64) == tuple(
        twin["slots"][0]["told"]["posts"][0][key] for key in ("prover", "message", "landed_epoch")
    )


@pytest.mark.parametrize("standing", Standing)
def test_each_standing_has_a_look(standing: Standing):
    """However a deadline stands, it is drawn, and said in the word that the command line has, too; with nothing to prove it is blank."""
    slot = proving.Slot(deadline=1, told=deadline(1, standing))
    assert standing.value == slot.says
    assert (standing is Standing.NOTHING) == (slot.look == "")
    assert slot.look in proving._LOOKS


def test_each_miner_has_its_clock():
    """They come in the order in which they are configured; where the day of one is not known, its jobs are shown, and why."""
    away = proving.Told(miner=1000, problem="the node is away")
    jobs = [job(9, wdpost.State.RUNNING)]
    first, second = proving.view(wdpost.Listed(jobs, 2), "", NOW, [told(miner=1001), away]).clocks
    assert ("f01001", 65, []) == (first.miner, first.epoch, first.shown)
    assert ("f01000", None, "the node is away") == (second.miner, second.epoch, second.problem)
    assert [(9, "open", {"Running": 1})] == [(slot.deadline, slot.look, slot.jobs) for slot in second.shown]


def test_without_a_day_the_clock_is_of_the_jobs():
    """On its own devnode a manager has no deadlines: what the jobs of the last day say is shown."""
    jobs = [
        job(7, wdpost.State.FINISHED),
        job(8, wdpost.State.RUNNING),
        job(9, wdpost.State.FINISHED, faults=1),
        job(9, wdpost.State.FINISHED),
        job(10, wdpost.State.READY, age=90_000),
    ]
    view = proving.view(wdpost.Listed(jobs, 2), "Faults", NOW)
    (clock,) = view.clocks
    assert None is clock.epoch
    assert {7: "good", 8: "open", 9: "bad"} == {slot.deadline: slot.look for slot in clock.shown}
    assert ("bad", "faults", 1) == clock.legend[0]
    assert ({"Faults": 1, "ReadyToRun": 1, "Running": 1, "Succeed": 2}, ["Faults"]) == (
        view.states,
        [posts.state(one).partition("(")[0] for one in view.jobs],
    )
    assert [] == proving.view(wdpost.Listed([], 2), "", NOW).clocks


def test_a_proof_is_told_in_a_few_words():
    """What is known of it is said: prover and time, message, epochs, what it leaves out, and why it came to nothing."""
    assert "0,1: over, by w1 in 1m30s at 61, message 5, ordered at 62 (order 2), landed at 64, without 7" == (
        posts.went(POST)
    )
    waits = msgspec.structs.replace(POST, stage="sent", landed_epoch=None, skipped={})
    assert "0,1: ordered, by w1 in 1m30s at 61, message 5, ordered at 62 (order 2)" == posts.went(waits)
    nothing = {"proved_epoch": None, "seconds": None, "sent_epoch": None, "message": None, "landed_epoch": None}
    begun = msgspec.structs.replace(POST, stage="proving", skipped={}, why="no store", **nothing)
    assert "0,1: proving, no store" == posts.went(begun)


def test_a_page_says_in_words_what_it_draws():
    """A standing is text in the table, not a colour alone; each miner has a clock, and what provers tell stands as text."""
    hostile = msgspec.structs.replace(POST, stage="proving", why="<script>x</script>\x1b[31m")
    days = [
        told(deadline(1, Standing.AT_RISK, proved=0, faulty=1, posts=[hostile], bad={7: "<b>cut</b>"})),
        told(deadline(2, Standing.PROVED), miner=1001),
        proving.Told(miner=1002, problem="the node is <away>"),
    ]
    scope = {"type": "http", "method": "GET", "path": "/dashboard/proving", "query_string": b"", "headers": []}
    view = proving.view(wdpost.Listed([], 2), "", NOW, days)
    text = bytes(render.Pages(lambda: NOW).page(Request(scope), "proving", view).body).decode()
    assert ["f01000", "f01001", "f01002"] == re.findall(r"The day of (\w+)</h2>", text)
    assert '<span class="state risk">at risk</span><span class="under">0 of 1 proved</span>' in text
    assert "<title>Deadline 1: at risk, 1 faulty</title>" in text
    assert '<span class="state good">proved</span>' in text
    assert "&lt;script&gt;x&lt;/script&gt;\\x1b[31m" in text
    assert "1 sector could not be read" in text
    assert "7: &lt;b&gt;cut&lt;/b&gt;" in text
    assert "the node is &lt;away&gt;. What follows is of the jobs alone." in text


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
