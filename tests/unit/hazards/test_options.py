"""A thread's own file of options: broken it harms nobody else, and it never holds by half."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from damocles.sealing import failures, foresight
from damocles.sealing.states import State
from damocles.stores import layout
from damocles.worker.config import load
from damocles.worker.serving import connections, control
from damocles.worker.thread import loop, options, surroundings

from .conftest import Scene, sector_in, until

MAIN = """
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"

[sealing]
enable_deals = false

[[sealing_thread]]
location = "{store}"
sealing.enable_deals = true

[[sealing_thread]]
plan = "wdpost"

[[attached]]
location = "{persist}"
"""


@pytest.fixture
def whole(scene: Scene, tmp_path: Path) -> load.Config:
    """Return a configuration with the scene's store and a thread without one."""
    (tmp_path / "persist").mkdir()
    file = tmp_path / "worker.toml"
    file.write_text(MAIN.format(store=scene.location, persist=tmp_path / "persist"))
    return load.load(file).config


@pytest.fixture
def settings(whole: load.Config, scene: Scene) -> Callable[[], surroundings.Settings]:
    """Return what reads the options of the thread on the scene's store."""
    return options.reader(whole, 0, scene.location)


@pytest.mark.parametrize("broken", ['allowed_sizes = ["3GiB"]', "max_deals = -1", "max_deals = "])
async def test_a_broken_file_of_options_keeps_its_thread_from_starting_and_not_the_worker(
    scene: Scene, settings: Callable[[], surroundings.Settings], broken: str
) -> None:
    """The thread says what is wrong, again at each resume, and begins nothing until the file is mended."""
    file = scene.location / "config.toml"
    file.write_text(f"[sealing]\nseal_interval = '10ms'\n{broken}\n")
    reads = [0]

    def counted() -> surroundings.Settings:
        reads[0] += 1
        return settings()

    async with scene.running(settings=counted) as thread:
        for _ in range(3):
            await until(lambda: thread.paused)
            assert f"{file}:3: " in (thread.info().last_error or "")
            seen = reads[0]
            assert thread.resume(None)
            await until(lambda: reads[0] > seen and thread.paused)  # noqa: B023
        assert [] == scene.caller.asked
        file.write_text("[sealing]\nmax_deals = 3\n")
        thread.resume(None)
        await until(lambda: scene.asked("AllocateSector"))
        assert 3 == thread._hands.now.options.max_deals


async def test_options_that_cannot_be_read_never_hold_by_half(
    scene: Scene, settings: Callable[[], surroundings.Settings]
) -> None:
    """One wrong value in a file that is changed leaves all options as they were, and the thread shows the error."""
    file = scene.location / "config.toml"
    file.write_text("[sealing]\nallowed_miners = [7]\nrecover_interval = '10ms'\nseal_interval = '10ms'\n")
    async with scene.running(settings=settings) as thread:
        await until(lambda: scene.asked("AllocateSector"))
        before = thread._hands.now
        file.write_text('[sealing]\nallowed_miners = [8]\nallowed_sizes = ["3GiB"]\n')
        await until(lambda: thread.info().last_error)
        assert f"{file}:3: sealing.allowed_sizes[0] = " in (thread.info().last_error or "")
        assert before == thread._hands.now
    assert {(7,)} == {tuple(spec.allowed_miners) for (spec,) in scene.asked("AllocateSector")}


def test_a_thread_without_a_store_reads_no_file_of_options(
    whole: load.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no place where a file that somebody leaves could become its options."""

    def reads(*_: object) -> None:
        raise failures.Critical("a file was read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "load_hot", reads)
    assert "wdpost" == options.reader(whole, 1, None)().plan


def test_deals_that_one_thread_has_enabled_are_found(whole: load.Config) -> None:
    """Pieces come from the manager whatever the worker-wide option says: `enable_deals` decides about asking alone."""
    assert not whole.sealing.enable_deals
    assert load.effective(whole, 0).sealing.enable_deals
    assert "http://127.0.0.1:1789" == connections.piece_stores(whole).origin


@contextmanager
def hanging(file: Path) -> Iterator[None]:
    """Let the reading of a file take as long as the block lasts, as on a disk that does not answer."""
    os.mkfifo(file)
    try:
        yield
    finally:
        # Whoever reads gets an empty file, now or later.
        end = os.open(file, os.O_RDWR | os.O_NONBLOCK)
        file.unlink()
        os.close(end)


async def test_a_disk_that_hangs_holds_up_its_own_thread_alone(
    scene: Scene, settings: Callable[[], surroundings.Settings]
) -> None:
    """While the options of one store cannot be read, listings show its thread's plan, others seal, and it begins nothing."""
    with hanging(scene.location / "config.toml"):
        async with anyio.create_task_group() as tasks:
            stuck = scene.thread(settings=settings, plan="snapup")
            tasks.start_soon(stuck.run)
            await until(lambda: stuck.activity.what == "its options (config.toml)")
            (shown,) = await control.Control([stuck], None, None).details()  # type: ignore[arg-type]
            assert ("snapup", "Waiting", None) == (shown.info.plan, shown.info.thread_state.state, shown.sector)
            other = scene.location.with_name("other")
            tasks.start_soon(loop.SealingThread(1, other, stuck.around, lambda: scene.settings).run)
            await until(lambda: len(scene.asked("AllocateSector")) > 3)
            assert [] == scene.asked("AllocateSanpUpSector")
            assert "its options (config.toml)" == stuck.activity.what
            tasks.cancel_scope.cancel()  # the end of the worker does not wait for the disk either


async def test_a_disk_that_hangs_later_holds_up_its_own_thread_alone(scene: Scene) -> None:
    """The same for a file that is read again; the thread goes on when the disk answers."""
    main, where = threading.get_ident(), set[int]()
    free = threading.Event()
    free.set()

    def slow() -> surroundings.Settings:
        where.add(threading.get_ident())
        assert free.wait(10)
        return scene.settings

    async with scene.running(settings=slow) as thread:
        await until(lambda: scene.asked("AllocateSector"))
        free.clear()
        await until(lambda: thread.activity.what == "its options (config.toml)")
        free.set()
        asked = len(scene.asked("AllocateSector"))
        await until(lambda: len(scene.asked("AllocateSector")) > asked)
    assert main not in where


async def test_options_that_a_disk_cannot_read_stop_one_thread(
    scene: Scene, settings: Callable[[], surroundings.Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk is the thread's trouble, at the start too, and a resume reads again."""

    def fails(_: Path) -> None:
        raise OSError(5, os.strerror(5), str(scene.location / "config.toml"))

    with monkeypatch.context() as patch:
        patch.setattr(load, "load_hot", fails)
        async with scene.running(settings=settings) as thread:
            await until(lambda: thread.paused)
            assert f"Input/output error: '{scene.location}/config.toml'" in (thread.info().last_error or "")
            patch.undo()
            assert thread.resume(None)
            await until(lambda: scene.asked("AllocateSector"))


async def test_a_target_on_a_disk_that_hangs_is_refused_and_takes_one_thread_of_the_process(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked; once the disk answers, the target is judged again, and listings go on all the while."""
    free, looks = threading.Event(), [0]
    real = layout.Layout.at_hand

    def slow(place: layout.Layout) -> frozenset[str]:
        looks[0] += 1
        assert free.wait(10)
        return real(place)

    monkeypatch.setattr(layout.Layout, "at_hand", slow)
    monkeypatch.setattr(loop, "PATIENCE_SECONDS", 0.05)
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        ours = control.Control([thread], None, None)  # type: ignore[arg-type]
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(_refused, thread)
                assert ["Paused"] == [info.thread_state.state for info in await ours.list_threads()]
        assert 1 == looks[0]
        free.set()
        await until(lambda: not thread._looking)
        assert thread.resume(await thread.check_target("PCSubmitted"))
        await until(lambda: scene.asked("PollPreCommitState"))


async def _refused(thread: loop.SealingThread) -> None:
    with pytest.raises(foresight.ResumeRefused, match="its disk does not answer"):
        await thread.check_target("PCSubmitted")


async def test_a_target_is_not_taken_for_a_sector_that_has_moved_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found out about a paused sector says nothing about it once somebody else has aborted it."""
    free = threading.Event()

    def slow(_: layout.Layout) -> frozenset[str]:
        assert free.wait(10)
        return frozenset()

    monkeypatch.setattr(layout.Layout, "at_hand", slow)
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        async with anyio.create_task_group() as tasks:

            async def late() -> None:
                with pytest.raises(foresight.ResumeRefused, match="has moved on"):
                    await thread.check_target("PCSubmitted")

            tasks.start_soon(late)
            await until(lambda: thread._disk.borrowed_tokens)
            thread.abort("no use")
            await until(lambda: scene.asked("ReportAborted"))
            free.set()
