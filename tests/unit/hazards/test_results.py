"""What a stage has worked out for hours is not lost by what people or disks do meanwhile."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from damocles import methods
from damocles.rpc import errors as rpc_errors
from damocles.sealing import foresight
from damocles.sealing.states import State
from damocles.stages import errors
from damocles.stages.supervision import executor, limits
from damocles.stores import journal, sealing
from damocles.wire import seal, tasks

from .conftest import PC2OUT, Scene, ScriptedStages, full_disk, sector_in, until

# Big enough not to fit into the free pages that a journal has.
LONG_NAME = tasks.PC2Output("x" * 100_000, PC2OUT.comm_r, PC2OUT.comm_d)


@pytest.fixture
def encoding(scene: Scene) -> Scene:
    """Return a scene whose sector is about to go through PC2, which waits for the test."""
    scene.holds(sector_in(State.PC1Done))
    data = scene.location / "data"
    (data / "cache/s-t010000-1").mkdir(parents=True)
    for folder in ("unsealed", "sealed"):
        (data / folder).mkdir()
        (data / folder / "s-t010000-1").write_bytes(bytes(2048))
    scene.stages.outputs["pc2"] = [PC2OUT]
    scene.stages.held["pc2"] = anyio.Event()
    return scene


async def test_a_pause_while_a_stage_runs_keeps_its_result(encoding: Scene) -> None:
    """The stage ends, its result is recorded, and only then the thread pauses; nothing is computed again."""
    async with encoding.running() as thread:
        await until(lambda: encoding.stages.began)
        assert thread.pause()
        encoding.stages.held["pc2"].set()
        await until(lambda: thread.paused)
    assert (State.PC2Done, PC2OUT) == (encoding.recorded().state, encoding.recorded().pc2out)
    async with encoding.running() as thread:
        await until(lambda: thread.paused)
        assert thread.resume(None)
        await until(lambda: encoding.asked("PollPreCommitState"))
    assert ["pc2"] == encoding.stages.began


async def test_a_shutdown_while_a_stage_runs_keeps_its_result(encoding: Scene) -> None:
    """A worker that is told to stop records what the running stage gives, and begins no other one."""
    async with encoding.running() as thread:
        await until(lambda: encoding.stages.began)
        thread.stop()
        encoding.stages.held["pc2"].set()
        await until(lambda: thread.sector.state is State.PC2Done)
    assert PC2OUT == encoding.recorded().pc2out
    assert [] == encoding.asked("SubmitPreCommit")


class OneSlot(ScriptedStages):
    """Fake: one stage at a time, as with a limit of 1."""

    def __init__(self, stage: str = "pc2") -> None:
        super().__init__()
        self._stage = stage
        self._desk = limits.Desk(concurrent={stage: 1}, staggered={}, locks={})
        self._place = limits.Place(name="child", capacity=None, state="open")

    async def claim(self) -> limits.Claim:
        """Take the slot away from the threads."""
        return await self._desk.claim(self._stage, [self._place], lambda _: None)

    async def run(self, stage: str, task: Any, *, on_status: Callable[[executor.Status], None], **more: Any) -> Any:
        """Run a stage when it has its turn."""
        claim = await self._desk.claim(
            stage, [self._place], lambda what: on_status(executor.Status(state="waiting", what=what))
        )
        try:
            return await super().run(stage, task, on_status=on_status, **more)
        finally:
            claim.release()


async def test_a_shutdown_lets_no_stage_have_the_slot_of_one_that_ends(encoding: Scene, tmp_path: Path) -> None:
    """Of two threads with one slot, the one that waits ends at once; the other one's result is recorded."""
    stages = OneSlot()
    stages.outputs, stages.held = encoding.stages.outputs, encoding.stages.held
    encoding.stages = stages
    shutil.copytree(encoding.location, tmp_path / "other")
    other = replace(encoding, location=tmp_path / "other")
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            runs, waits = encoding.thread(), other.thread()
            group.start_soon(runs.run)
            await until(lambda: stages.began)
            group.start_soon(waits.run)
            await until(lambda: waits.activity.state == "Waiting")
            for thread in (runs, waits):
                thread.stop()
            stages.held["pc2"].set()
    assert ["pc2"] == stages.began
    assert [State.PC2Done, State.PC1Done] == [scene.recorded().state for scene in (encoding, other)]


async def test_a_ticket_is_fetched_when_pc1_has_its_slot(scene: Scene) -> None:
    """A thread that waits for its turn has no ticket yet, which would expire before its pre-commit."""
    stages = OneSlot("pc1")
    stages.outputs, scene.stages = {"pc1": [msgspec.Raw(b"{}")]}, stages
    scene.caller.answers["AssignTicket"] = [seal.Ticket(bytes(32), 100)]
    scene.holds(sector_in(State.TicketAssigned, ticket=None, pc1out=None))
    other = await stages.claim()
    async with scene.running() as thread:
        await until(lambda: thread.activity.state == "Waiting")
        assert [] == scene.asked("AssignTicket")
        other.release()
        await until(lambda: thread.sector.state is State.PC1Done)
    assert 1 == len(scene.asked("AssignTicket"))
    assert seal.Ticket(bytes(32), 100) == scene.recorded().ticket


async def test_a_shutdown_right_before_a_stage_lets_it_not_begin(scene: Scene) -> None:
    """A handler that has got its ticket when the worker is told to stop starts no PC1."""
    scene.holds(sector_in(State.TicketAssigned, ticket=None))
    thread, answers = scene.thread(), scene.caller.call
    scene.caller.answers["AssignTicket"] = [seal.Ticket(bytes(32), 100)]

    async def call(ask: methods.Ask[object]) -> object:
        if ask.method == "Venus.AssignTicket":
            thread.stop()
        return await answers(ask)

    scene.caller.call = call  # type: ignore[method-assign]
    with anyio.fail_after(60):
        await thread.run()
    assert 1 == len(scene.asked("AssignTicket"))
    assert [] == scene.stages.began


async def test_a_result_that_cannot_be_recorded_stops_one_thread_and_is_kept(
    encoding: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a full disk the thread keeps the result in its hands, and records it once there is room; nobody need resume it."""
    stores: list[sealing.SealingStore] = []

    @contextmanager
    def kept(location: Path) -> Iterator[sealing.SealingStore]:
        with sealing.opened(location) as store:
            stores.append(store)
            yield store

    encoding.open_store = kept
    encoding.stages.outputs["pc2"] = [LONG_NAME]
    async with encoding.running() as thread:
        await until(lambda: encoding.stages.began)
        with full_disk(stores[0]):
            encoding.stages.held["pc2"].set()
            await until(lambda: thread.paused)
            assert "cannot write the journal" in (thread.info().last_error or "")
            assert State.PC1Done is thread.sector.state
            with pytest.raises(
                foresight.ResumeRefused,
                match=r"cannot write the journal.* once there is room; fix that and resume without",
            ):
                await thread.check_target("PC1Done")  # which would be forgotten
            logged = capsys.readouterr().out.count("thread blocked")
            assert 1 == logged, "once, however often it is tried"
        await until(lambda: encoding.asked("PollPreCommitState"))
        assert (None, False) == (thread.info().last_error, thread.paused)
    assert ["pc2"] == encoding.stages.began
    assert LONG_NAME == encoding.recorded().pc2out


async def test_a_full_disk_is_waited_for_and_told_once(encoding: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """More tries than a sector has are in no budget; the error names the store, and the log has it once."""
    encoding.stages.held.clear()
    full = errors.StageFailed("pc2", "[Errno 28] No space left on device")
    encoding.stages.outputs["pc2"] = [full] * 6 + [PC2OUT]
    shown = set()
    async with encoding.running() as thread:

        def is_past() -> bool:
            shown.add(thread.info().last_error)
            return bool(encoding.asked("PollPreCommitState"))

        await until(is_past)
        assert not thread.paused
    assert 7 == len(encoding.stages.began)
    told = f"no room in the sealing store {encoding.location}: [Errno 28] No space left on device"
    assert {f"temporary: {told}; it goes on once there is room", None} == shown
    assert 1 == capsys.readouterr().out.count("sealing failed")


async def test_a_process_that_dies_on_a_full_disk_says_so(encoding: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that writes to a mapping is killed by a signal there: no budget is spent on that."""
    encoding.stages.held.clear()
    died = errors.StageDied("pc2", "child process exited: pc2 (pid 1, SIGBUS)")
    encoding.stages.outputs["pc2"] = [died] * 6 + [PC2OUT]
    usage = shutil.disk_usage(encoding.location)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    async with encoding.running():
        await until(lambda: encoding.asked("PollPreCommitState"))


@pytest.mark.parametrize("died", [True, False])
async def test_a_full_folder_for_temporary_files_is_named(
    encoding: Scene, monkeypatch: pytest.MonkeyPatch, died: bool
) -> None:
    """Where the store has room and TMPDIR has none, that is what is waited for, and what the error names."""
    encoding.stages.held.clear()
    failed: errors.StageError = (
        errors.StageDied("pc2", "child process exited: pc2 (pid 1, SIGBUS)")
        if died
        else errors.StageFailed("pc2", "No space left on device (os error 28)")
    )
    failed.scratch = "/mnt/scratch"
    encoding.stages.outputs["pc2"] = [failed] * 6 + [PC2OUT]
    usage = shutil.disk_usage(encoding.location)

    def disk_usage(folder: Path) -> object:
        return usage._replace(free=4096) if str(folder) == "/mnt/scratch" else usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    shown = set()
    async with encoding.running() as thread:

        def is_past() -> bool:
            shown.add(thread.info().last_error)
            return bool(encoding.asked("PollPreCommitState"))

        await until(is_past)
    told = f"no room in /mnt/scratch, where the stage has its temporary files (TMPDIR): {failed}"
    assert {f"temporary: {told}; it goes on once there is room", None} == shown


async def test_a_stage_whose_process_dies_costs_a_retry_and_not_the_worker(encoding: Scene) -> None:
    """Every stage has a process of its own: its crash is a temporary failure, after which the stage runs again."""
    encoding.stages.held.clear()
    encoding.stages.outputs["pc2"] = [errors.StageDied("pc2", "child process exited: pc2 (pid 1, SIGSEGV)"), PC2OUT]
    async with encoding.running() as thread:
        await until(lambda: encoding.asked("PollPreCommitState"))
        assert not thread.paused
    assert ["pc2", "pc2"] == encoding.stages.began


async def test_a_computation_can_be_stopped_at_once(encoding: Scene) -> None:
    """`pause --now` does not wait for hours of PC2; the state stays, and a resume runs the stage again."""
    async with encoding.running() as thread:
        await until(lambda: encoding.stages.began)
        thread.pause(now=True)
        await until(lambda: thread.paused)
        assert State.PC1Done is thread.sector.state
        encoding.stages.held["pc2"].set()
        thread.resume(None)
        await until(lambda: encoding.asked("PollPreCommitState"))
    assert ["pc2", "pc2"] == encoding.stages.began


async def test_a_report_names_what_happened_and_does_not_wait_for_the_next_stage(encoding: Scene) -> None:
    """The manager hears of PC1 with its event while PC2 runs, not when that is over."""
    encoding.holds(sector_in(State.TicketAssigned))
    encoding.stages.outputs["pc1"] = [msgspec.Raw(b"{}")]
    async with encoding.running():
        await until(lambda: encoding.stages.began == ["pc1", "pc2"])
        await until(lambda: encoding.asked("ReportState"))
    (_, request) = encoding.asked("ReportState")[0]
    change = request.state_change
    assert ("TicketAssigned", "PC1Done", "PC1") == (change.prev, change.next, change.event)


async def test_a_worker_that_was_overtaken_stops_at_once(scene: Scene) -> None:
    """Told with a report that another worker has the sector, the thread ends its stage and pauses; the files stay."""
    scene.holds(sector_in(State.DealsAcquired, pieces=None, ticket=None, claim=1))
    stale = rpc_errors.RpcError(rpc_errors.Code.STALE_ATTEMPT, "attempt 1 at s-t010000-1 is over")
    scene.caller.answers |= {"Damocles.Claim": [1], "Damocles.As": [stale]}
    scene.stages.outputs["add_pieces"] = [[tasks.PieceInfo(PC2OUT.comm_d, 2032)]]
    scene.stages.held["tree_d"] = anyio.Event()
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "permanent: attempt 1 at s-t010000-1 is over" == thread.info().last_error
        await anyio.sleep(0.05)
        assert 3 >= len([method for method, _ in scene.caller.asked if method == "Damocles.As"]), "no storm of reports"
        assert thread.resume(None)
        await until(lambda: "tree_d" in scene.stages.began)  # who resumes knows better
    assert State.PieceAdded is scene.recorded().state
    assert (scene.location / "data/unsealed/s-t010000-1").exists()


class Broken:
    """Fake: a journal that breaks in a way that nobody expects, as long as the test wants."""

    def __init__(self, book: journal.Journal) -> None:
        self._book = book
        self.broken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._book, name)

    def record(self, *arguments: Any, **more: Any) -> None:
        """Record, or break."""
        if self.broken:
            raise RuntimeError("a defect")
        self._book.record(*arguments, **more)


async def test_a_defect_in_recording_stops_one_thread_and_keeps_the_result(encoding: Scene) -> None:
    """An error of any kind between a stage and its record is shown at the thread, and the record is tried again."""
    books: list[Broken] = []

    @contextmanager
    def kept(location: Path) -> Iterator[Any]:
        with sealing.opened(location) as store:
            books.append(Broken(store.journal))
            yield replace(store, journal=books[0])  # type: ignore[arg-type]

    encoding.open_store = kept
    async with encoding.running() as thread:
        await until(lambda: encoding.stages.began)
        books[0].broken = True
        encoding.stages.held["pc2"].set()
        await until(lambda: thread.paused)
        assert "critical: RuntimeError: a defect" == thread.info().last_error
        books[0].broken = False
        assert thread.resume(None)
        await until(lambda: encoding.asked("PollPreCommitState"))
    assert ["pc2"] == encoding.stages.began


@pytest.mark.parametrize("method", ["ReportFinalized", "Damocles.Claim"])
async def test_a_defect_around_a_call_stops_one_thread(scene: Scene, method: str) -> None:
    """An error that nobody expects outside of handlers pauses the thread with its text; a resume tries again."""
    scene.caller.answers |= {"Damocles.Claim": [rpc_errors.RpcError(rpc_errors.Code.METHOD_NOT_FOUND, "no claims")]}
    good = scene.caller.answers[method]
    scene.caller.answers[method] = [RuntimeError("a defect")]
    scene.holds(sector_in(State.Finished if method == "ReportFinalized" else State.PCSubmitted))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert "critical: RuntimeError: a defect" == thread.info().last_error
        scene.caller.answers[method] = good
        thread.resume(None)
        await until(lambda: scene.asked("AllocateSector") or scene.asked("PollPreCommitState"))


async def test_a_defect_in_a_report_costs_the_report_alone(scene: Scene) -> None:
    """An error that nobody expects while the manager is told of a step holds up neither the sector nor the next report."""
    (good,) = scene.caller.answers["ReportState"]
    scene.caller.answers["ReportState"] = [OSError(28, "No space left on device"), good]
    scene.holds(sector_in(State.PC2Done))
    scene.caller.answers["PollPreCommitState"] = [seal.Polled(seal.OnChainState.LANDED)]
    async with scene.running():
        await until(lambda: scene.asked("PollPreCommitState") and len(scene.asked("ReportState")) > 1)


async def test_an_error_with_an_odd_file_name_is_recorded(encoding: Scene) -> None:
    """Bytes in a file's name that are not UTF-8 are shown as escapes, in the journal too."""
    encoding.stages.held.clear()
    encoding.stages.outputs["pc2"] = [errors.StageFailed("pc2", os.fsdecode(b"no \xff.dat"))]
    async with encoding.running() as thread:
        await until(lambda: thread.paused)
    assert "udcff.dat" in (encoding.recorded().last_error or "")


async def test_a_call_without_a_claim_says_why_there_is_none(scene: Scene) -> None:
    """While the manager is away a result is not delivered, and the thread shows that it cannot be reached."""
    scene.caller.answers["Damocles.Claim"] = [rpc_errors.Unreachable("http://manager", "Connection refused")]
    scene.holds(sector_in(State.PCSubmitted))
    async with scene.running() as thread:
        await until(lambda: thread.info().last_error)
        assert "the manager has not confirmed yet that s-t010000-1 is ours: " in (thread.info().last_error or "")
        assert "Connection refused" in (thread.info().last_error or "")


@pytest.mark.parametrize("claims", [True, False])
async def test_a_manager_that_is_away_for_long_pauses_nobody(scene: Scene, claims: bool) -> None:
    """More tries than the budget has fail, and when the manager is back the sector goes on by itself."""
    away = [rpc_errors.Unreachable("u", "refused"), rpc_errors.Disconnected("u", "reset"), rpc_errors.TimedOut("u", 1)]
    (landed,) = scene.caller.answers["SubmitPreCommit"]
    if claims:
        scene.caller.answers["Damocles.Claim"] = [*away, *away, 7]
    else:
        scene.caller.answers["SubmitPreCommit"] = [*away, *away, landed]
    answers = scene.caller.call

    async def call(ask: methods.Ask[Any]) -> object:
        method, params = ask.params[2:4] if ask.method == "Damocles.As" else (ask.method, ask.params)
        return await answers(methods.Ask(method, params, Any))

    scene.caller.call = call  # type: ignore[method-assign]
    scene.holds(sector_in(State.PC2Done))
    async with scene.running() as thread:
        await until(lambda: thread.sector.state is State.PCSubmitted)
    assert len(away) * 2 > scene.settings.limits.max_retries
    assert "Pause" not in [entry.event for entry in journal.read(scene.location)]
