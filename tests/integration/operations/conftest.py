"""The command line against a node that replays."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio.to_thread
import httpcore2  # noqa: F401, else httpx2 imports it in the event loop
import pytest
from tests.integration.lotus.replay import Replay, serve

from damocles.cli import manager
from damocles.cli.terminal import tables

from .scene import Scene

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take away what the shell and the home of whoever runs the tests may hold."""
    for name in [name for name in os.environ if name.startswith("DAMOCLES_")]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def scene() -> Scene:
    """Return a miner on a node."""
    return Scene(Replay())


@pytest.fixture
async def util(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Command]:
    """Yield what runs `damocles-manager util …` at that node; on a terminal of 80 columns, unless output is JSON."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    async with serve(scene.replay) as url:

        async def run(*arguments: str) -> tuple[int, str, str]:
            capsys.readouterr()
            words = ["util", *arguments, "--node", url]
            code = await anyio.to_thread.run_sync(manager.main, words)
            printed = capsys.readouterr()
            return code, printed.out, printed.err

        yield run
