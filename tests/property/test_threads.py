"""Walks of sealing threads: requests, results, disks and the end of the worker in any order."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.sealing import events, foresight, planner, shift, thread, validity
from damocles.sealing.sectors import Sector
from damocles.testing import happenings
from damocles.worker.thread import display

LIMITS = planner.Limits(max_retries=2)
FILES = frozenset(name for plan in planner.PLANS.values() for step in plan.steps.values() for name in step.files)


@dataclass
class Walk:
    """A thread, and what the journal of its store holds; every step is looked at."""

    mind: thread.Thread
    held: Sector | None = None
    now: float = 0.0
    is_wanted: bool = False  # a pause that is to come before the next stage

    def hear(self, event: thread.Event) -> None:
        """Let something happen."""
        before = self.mind
        if isinstance(event, thread.Recorded):
            self._keep(before.writing)
        self.now += 1.0
        self.mind, told = shift.step(before, event, self.now)
        assert [] == validity.flaws(self.mind), event
        assert all(isinstance(each, shift.Send | shift.Keep) for each in told)
        if display.drawn(self.mind).state == "Paused" and not self._is_going_on():
            resumed, _ = shift.step(self.mind, events.Resume(None), self.now)
            assert resumed is not self.mind, "what is shown as paused cannot be resumed"
        begins = self.mind.doing is not before.doing
        if begins and isinstance(self.mind.doing, planner.Execute):
            assert not self.is_wanted, "a stage begins, though a pause is wanted"
            assert not before.stopping, "a stage begins, though the worker ends"
            is_new = self.mind.sector.job_id is None
            assert not (is_new and self.mind.orders.closed), "a sector begins, though the worker is drained"
            assert not (is_new and self.mind.leaving), "a sector begins, though the thread is to leave"
        if isinstance(event, events.PauseWanted):
            self.is_wanted = not self.mind.is_paused or self.mind.trouble is not None
        if isinstance(event, events.Resume) or isinstance(self.mind.doing, planner.Hold):
            self.is_wanted = False

    def _is_going_on(self) -> bool:
        """Whether something is recorded that ends a pause, or the thread ends."""
        entry = self.mind.writing
        is_decided = isinstance(entry, thread.Entry) and not (entry.is_wish or isinstance(entry.event, events.Restart))
        return is_decided or self.mind.is_resuming or self.mind.stopping

    def _keep(self, entry: Any) -> None:
        """Take an entry into the journal."""
        assert isinstance(entry, thread.Entry)
        if self.held is not None:
            assert self.held.id == entry.before.id, "a step is missing"
            # With another plan a thread without a sector begins afresh.
            is_afresh = self.held.id is None and self.held.plan != entry.before.plan
            assert is_afresh or self.held.state == entry.before.state, "a step is missing"
        self.held = entry.after

    def well(self, *, disk_fails: bool = False) -> Iterator[thread.Event]:
        """Yield what happens if all goes well, but perhaps for the disk, until nothing happens by itself."""
        while True:
            if isinstance(self.mind.writing, thread.Entry):
                yield thread.Unrecorded("critical: full", heals=True) if disk_fails else thread.Recorded()
            elif self.mind.halting:
                yield thread.Interrupted()
            elif isinstance(self.mind.doing, thread.OpenStore):
                yield thread.Found(self.held)
            elif good := happenings.answers(self.mind):
                yield good[0]
            else:
                return


def begun(plan: str, held: Sector | None = None) -> Walk:
    """Return the walk of a thread that has just been started, on a store with this in its journal."""
    return Walk(thread.Thread(sector=Sector(plan=plan), plan=plan, limits=LIMITS), held)


def draw(data: st.DataObject, walk: Walk) -> thread.Event:
    """Draw the next thing that happens to a thread; the disk may fail, the worker may end."""
    mind = walk.mind
    possible = happenings.answers(mind) * 2
    if isinstance(mind.doing, thread.OpenStore):
        possible = [thread.Found(walk.held), *possible[1:]]
    match mind.writing:
        case thread.Entry():
            possible += [thread.Recorded()] * 4 + [
                thread.Unrecorded("critical: full", heals) for heals in (True, False)
            ]
        case thread.Rest():
            possible += [thread.Rested()]
        case None:
            pass
    is_held = isinstance(mind.doing, planner.Hold)  # then the files decide where it may go on
    at_hand = data.draw(st.frozensets(st.sampled_from(sorted(FILES)))) if is_held else FILES
    return data.draw(st.sampled_from([*possible, *happenings.requests(mind, at_hand)]))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), plan=st.sampled_from(sorted(planner.PLANS)), disk_fails=st.booleans())
def test_whatever_happens_a_thread_makes_sense_and_ends_when_it_is_stopped(data, plan, disk_fails):
    """Nothing is done unrecorded or unasked, no wish is forgotten; a stopped thread begins no stage and ends."""
    walk = begun(plan)
    for _ in range(data.draw(st.integers(0, 60))):
        walk.hear(draw(data, walk))
    walk.hear(thread.Stop())
    for event, _ in zip(walk.well(disk_fails=disk_fails), range(50), strict=False):
        walk.hear(event)
    assert isinstance(walk.mind.doing, thread.End)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), plan=st.sampled_from(sorted(planner.PLANS)))
def test_a_thread_that_is_to_leave_ends_its_sector_and_begins_no_other(data, plan):
    """Whatever it is at: once it is resumed and what it waits for is there, it ends, and its store has no sector."""
    walk = begun(plan)
    for _ in range(data.draw(st.integers(0, 60))):
        walk.hear(draw(data, walk))
    walk.hear(thread.Leave())
    for _ in range(10):
        for event, _ in zip(walk.well(), range(100), strict=False):
            walk.hear(event)
        walk.hear(thread.Orders())
        walk.hear(events.Resume())
    assert isinstance(walk.mind.doing, thread.End)
    assert walk.mind.sector.job_id is None


@settings(max_examples=80, deadline=None)
@given(data=st.data(), plan=st.sampled_from(sorted(planner.PLANS)))
def test_a_thread_that_is_stopped_now_kills_its_stage_and_keeps_its_sector(data, plan):
    """Nothing of the stage counts; the sector is in the journal as it was, and the thread ends."""
    walk = begun(plan)
    for _ in range(data.draw(st.integers(0, 60))):
        walk.hear(draw(data, walk))
    held, runs = walk.mind.sector, isinstance(walk.mind.doing, planner.Execute)
    is_calm = walk.mind.asked is None and not walk.mind.pause_wanted and walk.mind.writing is None
    walk.hear(thread.Stop(now=True))
    assert not runs or walk.mind.halting
    for event, _ in zip(walk.well(), range(50), strict=False):
        walk.hear(event)
    assert isinstance(walk.mind.doing, thread.End)
    if runs and is_calm:
        assert (held.job_id, held.state) == (walk.mind.sector.job_id, walk.mind.sector.state)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), plan=st.sampled_from(sorted(planner.PLANS)))
def test_a_pause_that_was_recorded_comes_after_a_kill_at_any_moment(data, plan):
    """What the journal has of a wish is done by the next process, before any stage, unless the journal has its end too."""
    walk = begun(plan)
    for _ in range(data.draw(st.integers(0, 60))):
        walk.hear(draw(data, walk))
    if not walk.mind.is_pausing or walk.mind.is_unrecorded:
        return
    again = begun(plan, walk.held)
    again.is_wanted = True
    for event, _ in zip(again.well(), range(50), strict=False):
        again.hear(event)
        if isinstance(again.mind.doing, planner.Hold):
            return
    pytest.fail("the pause has not come")


@settings(max_examples=80, deadline=None)
@given(data=st.data(), plan=st.sampled_from(sorted(planner.PLANS)))
def test_a_look_ahead_ends_and_is_where_the_act_leads(data, plan):
    """What a dry run shows is what comes of the act, if nothing else happens meanwhile and all goes well."""
    walk = begun(plan)
    for _ in range(data.draw(st.integers(0, 40))):
        walk.hear(draw(data, walk))
    request = data.draw(st.sampled_from(happenings.requests(walk.mind, frozenset())))
    ahead = foresight.foreseen(walk.mind, request, walk.now + 1.0)
    walk.hear(request)
    shown = _shown if not isinstance(request, events.PauseWanted) else _shown_of_pause
    for event, _ in zip(walk.well(), range(50), strict=False):
        if shown(walk.mind) == shown(ahead):
            break
        walk.hear(event)
    assert shown(ahead) == shown(walk.mind)


def _shown(mind: thread.Thread) -> tuple[Any, ...]:
    return mind.sector.state, mind.sector.job_id, *_shown_of_pause(mind)


def _shown_of_pause(mind: thread.Thread) -> tuple[Any, ...]:
    # What a call brings that ends before the pause, nobody can know.
    return mind.is_paused, type(mind.doing)


def test_a_wish_goes_into_the_journal_while_a_stage_runs():
    """It is written beside the work; one that the disk does not take is tried again, and with whatever is recorded next."""
    walk = _at_work()
    walk.hear(events.PauseWanted())
    assert events.PauseWanted() == _written(walk).event
    assert (True, True) == (walk.mind.is_pausing, walk.mind.is_unrecorded)
    walk.hear(thread.Unrecorded("critical: full", heals=True))
    assert (None, True) == (walk.mind.trouble, walk.mind.is_unrecorded)
    walk.hear(thread.Rested())
    assert events.PauseWanted() == _written(walk).event
    walk.hear(thread.Unrecorded("critical: full", heals=True))
    walk.hear(happenings.answers(walk.mind)[0])  # the stage ends
    assert _written(walk).after.pause_wanted
    walk.hear(thread.Recorded())
    walk.hear(thread.Recorded())
    assert isinstance(walk.mind.doing, planner.Hold)
    assert walk.held is not None
    assert (True, False) == (walk.held.paused_at is not None, walk.held.pause_wanted)


def test_a_wish_that_is_taken_back_while_it_is_written_is_taken_back_on_the_disk():
    """The journal gets both lines, in their order, and a restart does not pause."""
    walk = _at_work()
    walk.hear(events.PauseWanted())
    walk.hear(events.Resume())
    assert not walk.mind.is_pausing
    walk.hear(thread.Recorded())
    assert events.PauseDropped() == _written(walk).event
    walk.hear(thread.Recorded())
    assert walk.held is not None
    assert not walk.held.pause_wanted


def test_what_changes_nothing_returns_the_very_same_thread():
    """Who asks for what is so already hears that nothing has changed."""
    walk = _at_work()
    for request in (events.Resume(), replace(walk.mind.orders)):
        assert shift.step(walk.mind, request, 9.0)[0] is walk.mind
    walk.hear(events.PauseWanted(now=True))
    for event, _ in zip(walk.well(), range(9), strict=False):
        walk.hear(event)
    assert isinstance(walk.mind.doing, planner.Hold)
    assert shift.step(walk.mind, events.PauseWanted(), 9.0)[0] is walk.mind


def _written(walk: Walk) -> thread.Entry:
    """Return what the pen is at."""
    assert isinstance(walk.mind.writing, thread.Entry)
    return walk.mind.writing


def _at_work() -> Walk:
    """Return a thread whose handler runs a stage."""
    walk = begun("sealer")
    for event in walk.well():
        if isinstance(walk.mind.doing, planner.Execute) and walk.mind.sector.job_id is not None:
            break
        walk.hear(event)
    walk.hear(thread.StageShown(thread.Stage(waits=False, what="ext(pid: 1)", pid=1)))
    return walk


def test_a_thread_that_is_found_paused_can_be_resumed_at_once() -> None:
    """A resume while the options of a store that was out of order are read is not refused: the thread is shown as paused."""
    held = Sector(plan="sealer", paused_at=1.0, last_error="permanent: no parameters")
    walk = Walk(thread.Thread(sector=Sector(plan="sealer"), plan="sealer", limits=LIMITS), held)
    for event in (
        thread.OptionsRead("sealer", LIMITS),
        thread.OutOfOrder("critical: in use", heals=True),
        thread.Waited(),
        thread.Found(held),
    ):
        walk.hear(event)
    assert isinstance(walk.mind.doing, thread.ReadOptions)
    assert "Paused" == display.drawn(walk.mind).state
    before = walk.mind
    walk.hear(events.Resume(None))
    assert walk.mind is not before
    for follows in walk.well():
        if isinstance(walk.mind.doing, planner.Execute):
            break
        walk.hear(follows)
    assert isinstance(walk.mind.doing, planner.Execute)
