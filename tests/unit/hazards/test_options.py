"""A thread's own file of options: broken it harms nobody else, and it never holds by half."""

from collections.abc import Callable
from pathlib import Path

import pytest

from damocles.sealing import failures
from damocles.worker import config, connections, daemon, threads

from .conftest import Scene, until

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
def whole(scene: Scene, tmp_path: Path) -> config.Config:
    """Return a configuration with the scene's store and a thread without one."""
    (tmp_path / "persist").mkdir()
    file = tmp_path / "worker.toml"
    file.write_text(MAIN.format(store=scene.location, persist=tmp_path / "persist"))
    return config.load(file).config


@pytest.fixture
def settings(whole: config.Config, scene: Scene) -> Callable[[], threads.Settings]:
    """Return what reads the options of the thread on the scene's store."""
    return daemon._settings_of(whole, 0, scene.location)


@pytest.mark.parametrize("broken", ['allowed_sizes = ["3GiB"]', "max_deals = -1", "max_deals = "])
async def test_a_broken_file_of_options_keeps_its_thread_from_starting_and_not_the_worker(
    scene: Scene, settings: Callable[[], threads.Settings], broken: str
) -> None:
    """The thread says what is wrong, again at each resume, and begins nothing until the file is mended."""
    file = scene.location / "config.toml"
    file.write_text(f"[sealing]\nseal_interval = '1ms'\n{broken}\n")
    reads = [0]

    def counted() -> threads.Settings:
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
        assert 3 == thread._now.options.max_deals


async def test_options_that_cannot_be_read_never_hold_by_half(
    scene: Scene, settings: Callable[[], threads.Settings]
) -> None:
    """One wrong value in a file that is changed leaves all options as they were, and the thread shows the error."""
    file = scene.location / "config.toml"
    file.write_text("[sealing]\nallowed_miners = [7]\nrecover_interval = '1ms'\nseal_interval = '1ms'\n")
    async with scene.running(settings=settings) as thread:
        await until(lambda: scene.asked("AllocateSector"))
        before = thread._now
        file.write_text('[sealing]\nallowed_miners = [8]\nallowed_sizes = ["3GiB"]\n')
        await until(lambda: thread.info().last_error)
        assert f"{file}:3: sealing.allowed_sizes[0] = " in (thread.info().last_error or "")
        assert before == thread._now
    assert {(7,)} == {tuple(spec.allowed_miners) for (spec,) in scene.asked("AllocateSector")}


def test_a_thread_without_a_store_reads_no_file_of_options(
    whole: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no place where a file that somebody leaves could become its options."""

    def reads(*_: object) -> None:
        raise failures.Critical("a file was read")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "load_hot", reads)
    assert "wdpost" == daemon._settings_of(whole, 1, None)().plan


def test_deals_that_one_thread_has_enabled_are_found(whole: config.Config) -> None:
    """Pieces come from the manager whatever the worker-wide option says: `enable_deals` decides about asking alone."""
    assert not whole.sealing.enable_deals
    assert config.effective(whole, 0).sealing.enable_deals
    assert "http://127.0.0.1:1789" == connections.piece_stores(whole).origin
