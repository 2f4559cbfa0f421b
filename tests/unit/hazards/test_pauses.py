"""A pause is what was asked for: once, soon, and until somebody resumes."""

import errno
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from damocles import durable, methods
from damocles.parameters import catalog, lacking
from damocles.parameters.catalog import Kind
from damocles.sealing.states import State
from damocles.stores import journal, sealing
from damocles.wire import codec, control, seal, tasks
from damocles.wire.sectors import SectorSize
from damocles.worker.serving import control as worker_control
from damocles.worker.serving import drain
from damocles.worker.thread import pauses, remedies, surroundings

from .conftest import SECTOR, Scene, sector_in, until


async def test_pausing_a_paused_thread_leaves_no_second_pause(scene: Scene) -> None:
    """However often a thread is paused, one resume brings it on."""
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        for _ in range(3):
            assert thread.pause()
        assert thread.resume(None)
        await until(lambda: len(scene.asked("PollPreCommitState")) == 1)
        assert not thread.paused
        assert not thread.pausing


async def test_a_pause_ends_a_wait_at_once(scene: Scene) -> None:
    """A thread that waits for the chain for an hour pauses now, and does not ask the chain once more first."""
    scene.option(rpc_polling_seconds=3600.0)
    scene.holds(sector_in(State.PCSubmitted))
    async with scene.running() as thread:
        await until(lambda: thread.activity.what == "the pre-commit on chain")
        thread.pause()
        await until(lambda: thread.paused)
    assert 1 == len(scene.asked("PollPreCommitState"))


async def test_a_thread_that_an_error_paused_stays_paused_after_a_restart(scene: Scene) -> None:
    """A restart of the worker is no resume: the thread holds, with its error, and asks for nothing."""
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0, last_error="permanent: look at me"))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "permanent: look at me" == thread.info().last_error
    assert [] == scene.asked("PollPreCommitState")


async def test_a_thread_that_lacked_parameters_says_when_they_are_there(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes on by itself, but what it waits for says that a resume would help, also after a restart."""
    monkeypatch.setattr(remedies, "EVERY_SECONDS", 0.01)
    (found,) = catalog.sets([SectorSize.KIB2], [Kind.POREP])
    lacks = f"permanent: No cached parameters found for {found.identifier[4:]} [failure finding {tmp_path}/v28-x]"
    scene.holds(sector_in(State.C1Done, paused_at=1.0, last_error=lacks))
    for file in found.files:
        (tmp_path / file.name).write_bytes(b"x")
    async with scene.running() as thread, anyio.create_task_group() as tasks:
        tasks.start_soon(remedies.watch, [thread])
        await until(lambda: thread.paused and thread.remedy)
        assert control.Waiting(lacking.THERE_NOW, 1.0) == thread.detail().waiting
        tasks.cancel_scope.cancel()
    assert scene.recorded().paused_at == 1.0


@pytest.mark.parametrize("taken_back", [False, True])
async def test_a_pause_that_was_asked_for_outlives_a_restart(scene: Scene, *, taken_back: bool) -> None:
    """A worker that dies before the boundary pauses there when it is back, once; unless somebody has resumed meanwhile."""
    scene.stages.held["c2"] = anyio.Event()
    scene.holds(sector_in(State.C1Done, proof=None))
    async with scene.running() as thread:
        await until(lambda: scene.stages.began)
        thread.pause()
        if taken_back:
            thread.resume(None)
        await until(lambda: not thread.mind.is_unrecorded)
    scene.caller.answers["SubmitProof"] = [seal.Submitted(seal.SubmitResult.ACCEPTED)]
    scene.caller.answers["PollProofState"] = [seal.Polled(seal.OnChainState.PENDING)]
    scene.stages.outputs["c2"] = [tasks.C2Output(codec.NumberList(b"proof"))]
    scene.stages.held["c2"].set()
    async with scene.running() as thread:
        await until(lambda: thread.paused or thread.sector.state is State.ProofSubmitted)
        assert (State.ProofSubmitted if taken_back else State.C1Done) == thread.sector.state
        thread.resume(None)
        await until(lambda: thread.sector.state is State.ProofSubmitted)
    async with scene.running() as thread:
        await until(lambda: len(scene.asked("PollProofState")) >= 2)
        assert not thread.pausing


class Slow:
    """Fake: a journal whose disk takes what it is given when the test lets it, or is full, and which knows who writes."""

    def __init__(self, book: journal.Journal) -> None:
        self._book = book
        self.free = threading.Event()
        self.free.set()
        self.full = False
        self.writers: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    def record(self, *arguments: Any, **more: Any) -> None:
        """Record, some time."""
        self.writers.add(threading.get_ident())
        assert self.free.wait(10)
        if self.full:
            raise journal.JournalError("cannot write the journal")
        self._book.record(*arguments, **more)


@pytest.fixture
def slow(scene: Scene) -> list[Slow]:
    """Return the journals, as they are opened, of a scene whose sector is about to go through C2, which waits."""
    books: list[Slow] = []

    @contextmanager
    def kept(location: Path) -> Iterator[Any]:
        with sealing.opened(location) as store:
            books.append(Slow(store.journal))
            yield replace(store, journal=books[-1])  # type: ignore[arg-type]

    scene.open_store = kept
    scene.stages.held["c2"] = anyio.Event()
    scene.holds(sector_in(State.C1Done, proof=None))
    return books


async def test_a_pause_while_the_disk_hangs_is_taken_and_recorded_once_it_can_be(
    scene: Scene, slow: list[Slow]
) -> None:
    """The answer comes and says that it is not recorded; the worker serves on; once the disk answers, a restart keeps it."""
    async with scene.running() as thread:
        await until(lambda: scene.stages.began)
        slow[0].free.clear()
        ours = worker_control.Control([thread], None, None)  # type: ignore[arg-type]
        (outcome,) = await ours.act_on(control.Selection(all=True), control.Act(verb="pause"))
        assert (True, "Running C1Done, then pauses (not recorded yet)") == (outcome.ok, outcome.after)
        assert [True] == [detail.unrecorded for detail in await ours.details()]
        slow[0].free.set()
        await until(lambda: not thread.detail().unrecorded)
        assert thread.detail().pausing
    assert scene.recorded().pause_wanted
    async with scene.running() as thread:
        await until(lambda: thread.paused)
    assert ["c2"] == scene.stages.began
    assert not scene.recorded().pause_wanted
    assert threading.get_ident() not in slow[0].writers, "the event loop waits for no disk"


async def test_a_pause_that_a_full_disk_does_not_take_is_tried_again(scene: Scene, slow: list[Slow]) -> None:
    """The stage goes on meanwhile, and the thread is not out of order for that."""
    async with scene.running() as thread:
        await until(lambda: scene.stages.began)
        slow[0].full = True
        thread.pause()
        await until(lambda: thread.mind.wish_failure)
        assert (False, None, "Running") == (thread.paused, thread.trouble, thread.activity.state)
        slow[0].full = False
        await until(lambda: not thread.detail().unrecorded)
    assert scene.recorded().pause_wanted


@pytest.mark.parametrize("is_mounted", [True, False])
async def test_pauses_that_an_earlier_release_kept_come_once(scene: Scene, *, is_mounted: bool) -> None:
    """The threads of the file's stores pause, and the file goes; a store that is away keeps its line until it is back."""
    home = scene.location.parent
    other = "/another/store"
    (home / pauses.FILE_NAME).write_text(json.dumps([str(scene.location), other]))
    scene.holds(sector_in(State.PCSubmitted))
    if not is_mounted:
        scene.location.rename(home / "away")
        scene.open_store = sealing.opened
    thread, earlier = scene.thread(), pauses.Earlier(home)
    earlier.take_over([thread])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run)
        tasks.start_soon(earlier.run, scene.gate)
        await until(lambda: thread.paused)
        if not is_mounted:
            assert 2 == len(json.loads((home / pauses.FILE_NAME).read_text()))
            (home / "away").rename(scene.location)
            thread.resume(None)
            thread.pause()
        await until(lambda: [other] == json.loads((home / pauses.FILE_NAME).read_text()))
        await until(lambda: thread.paused and thread.trouble is None)
        thread.resume(None)
        await until(lambda: scene.asked("PollPreCommitState"))
        tasks.cancel_scope.cancel()
    again = scene.thread()
    pauses.Earlier(home).take_over([again])
    assert not again.pausing


async def test_a_deadline_that_came_before_a_restart_still_pauses(scene: Scene, tmp_path: Path) -> None:
    """A worker that dies between the deadline of its drain and the next boundary begins no stage when it is back."""
    scene.stages.held["c2"] = anyio.Event()
    scene.holds(sector_in(State.C1Done))
    thread = scene.thread()
    draining = drain.Drain(tmp_path, scene.gate, [thread])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run)
        tasks.start_soon(draining.run)
        await until(lambda: scene.stages.began)
        await draining.set(on=True, deadline_seconds=0.001, reason="new disks")
        await until(lambda: thread.pausing)
        assert (True, None) == (draining.state().on, draining.state().deadline)
        tasks.cancel_scope.cancel()
    assert None is scene.recorded().paused_at

    scene.gate = surroundings.Gate()
    thread = scene.thread()
    draining = drain.Drain(tmp_path, scene.gate, [thread])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(draining.run)
        tasks.start_soon(thread.run)
        await until(lambda: thread.paused)
        assert (["c2"], ["s-t010000-1"]) == (scene.stages.began, draining.state().busy)
        assert (True, None) == (draining.state().on, draining.state().deadline)
        assert thread.resume(None)  # somebody's wish, which counts for more
        await until(lambda: len(scene.stages.began) == 2)
        assert not thread.pausing
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("state", [State.PCSubmitted, State.Finished])
async def test_nothing_is_done_before_the_worker_is_ready(scene: Scene, state: State) -> None:
    """Until then the sector is shown, with what it waits for; then its work begins."""
    scene.gate.unready = "the manager (StoreBasicInfo)"
    scene.holds(sector_in(state))
    async with scene.running() as thread:
        await until(lambda: thread.activity.what == "the manager (StoreBasicInfo)")
        assert ("s-t010000-1", state.value) == (thread.info().job_id, thread.info().job_state)
        assert [] == scene.caller.asked
        scene.gate.unready = None
        thread.wake()
        await until(lambda: scene.asked("PollPreCommitState") or scene.asked("ReportFinalized"))


async def test_pauses_need_no_manager(scene: Scene) -> None:
    """Before the worker is ready a thread pauses and resumes; a pause from before shows at once."""
    scene.gate.unready = "the manager (StoreBasicInfo)"
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "Paused" == thread.info().thread_state.state
        assert thread.resume(None)
        await until(lambda: thread.activity.what == "the manager (StoreBasicInfo)")
        thread.pause()
        await until(lambda: thread.paused)


@pytest.mark.parametrize("how", ["finished", "given up", "withdrawn"])
async def test_a_pause_outlives_the_end_of_the_sector(scene: Scene, how: str) -> None:
    """Asked for while a sector comes to its end, by itself or not, the pause comes after it: no other sector is begun."""
    state = State.ProofSubmitted if how == "finished" else State.PCSubmitted
    when = {"finished": "PollProofState", "given up": "ReportAborted", "withdrawn": "PollPreCommitState"}[how]
    answers, thread = scene.caller.call, scene.thread()

    async def call(ask: methods.Ask[object]) -> object:
        if ask.method == f"Venus.{when}":
            if how == "withdrawn":
                thread._on_withdrawn(SECTOR, "over")
            assert thread.pause()
        return await answers(ask)

    scene.caller.call = call  # type: ignore[method-assign]
    scene.caller.answers["PollProofState"] = [seal.Polled(seal.OnChainState.LANDED)]
    scene.holds(sector_in(state))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run)
        if how == "given up":
            await until(lambda: scene.asked("PollPreCommitState"))
            thread.abort("no use")
        await until(lambda: thread.paused)
        assert None is thread.sector.job_id
        tasks.cancel_scope.cancel()
    assert [] == scene.asked("AllocateSector")


async def test_a_second_drain_keeps_what_it_does_not_change(tmp_path):
    """Deadline and reason of a drain that goes on stay, unless others are given; a new drain has neither."""
    draining = drain.Drain(tmp_path, surroundings.Gate(), [], lambda: 1000.0)
    await draining.set(on=True, deadline_seconds=600, reason="new disks")
    again = await draining.set(on=True)
    assert (1600.0, "new disks", 1000.0, True) == (again.deadline, again.reason, again.since, again.was_on)
    changed = await draining.set(on=True, deadline_seconds=60, reason="sooner")
    assert (1060.0, "sooner") == (changed.deadline, changed.reason)
    await draining.set(on=False)
    anew = await draining.set(on=True)
    assert (None, "") == (anew.deadline, anew.reason)


async def test_a_drain_that_cannot_be_kept_is_none(tmp_path, monkeypatch):
    """On a disk that is full the drain is refused, and the worker goes on as before."""
    gate = surroundings.Gate()
    draining = drain.Drain(tmp_path, gate, [])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(durable, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            await draining.set(on=True)
    assert (False, False) == (draining.state().on, gate.closed)
