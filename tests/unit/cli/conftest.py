"""Fixtures of the command lines' tests."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import anyio.to_thread
import cyclopts
import pytest

from damocles.cli import worker
from damocles.rpc import core, dialects, errors
from damocles.rpc.serving import asgi, server
from damocles.wire import fleet


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch, tmp_path_factory):
    """Take away what the shell and the home of whoever runs the tests may hold."""
    for name in [name for name in os.environ if name.startswith("DAMOCLES_")] + ["IPFS_GATEWAY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def _pages(app: cyclopts.App, name: str) -> Iterator[tuple[str, cyclopts.App]]:
    inner = [each for each in app if not each.startswith("-")]
    if not inner:
        yield name, app
    for each in inner:
        yield from _pages(app[each], f"{name} {each}")


@pytest.fixture
def pages() -> Callable[..., Iterator[tuple[str, cyclopts.App]]]:
    """Return what yields the commands below an app, with their names."""
    return _pages


@pytest.fixture
def options_of(pages):
    """Return what gives the options of each command of a program."""

    def options_of(program) -> dict[str, set[str]]:
        return {
            name: {option for argument in page.assemble_argument_collection() for option in argument.names}
            for name, page in pages(program.parser(), program.PROGRAM)
        }

    return options_of


@pytest.fixture
def run(capsys):
    """Return what runs `damocles-worker` with arguments and gives its exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = worker.main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def run_async(run):
    """Return the same for tests whose event loop must go on meanwhile."""

    async def run_async(*arguments: object) -> tuple[int, str, str]:
        return await anyio.to_thread.run_sync(run, *arguments)

    return run_async


class Worker:
    """A control API with canned threads; remembers what it was asked."""

    def __init__(self, threads: list[fleet.ThreadInfo]) -> None:
        self.threads = threads
        self.asked: list[tuple[object, ...]] = []
        self.done = True
        self.refusal = ""
        self.address = ""

    async def _list(self) -> list[fleet.ThreadInfo]:
        return self.threads

    async def _pause(self, index: int) -> bool:
        self.asked.append(("pause", index))
        return self._answer(index)

    async def _resume(self, index: int, state: str | None = None) -> bool:
        self.asked.append(("resume", index, state))
        return self._answer(index)

    def _answer(self, index: int) -> bool:
        if index >= len(self.threads):
            raise errors.RpcError(errors.Code.INVALID_PARAMS, f"worker #{index} not found")
        if self.refusal:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, self.refusal)
        return self.done


@pytest.fixture
def serving():
    """Return what serves canned threads on a free port, as a context."""

    @asynccontextmanager
    async def serve(*threads: fleet.ThreadInfo) -> AsyncIterator[Worker]:
        canned = Worker(list(threads))
        service = core.Service(dialects.WORKER)
        service.add("VenusWorker.WorkerList", canned._list)
        service.add("VenusWorker.WorkerPause", canned._pause)
        service.add("VenusWorker.WorkerResume", canned._resume)
        async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
            canned.address = str(bound)
            yield canned

    return serve
