"""The command line against a node that replays."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import httpcore2  # noqa: F401, else httpx2 imports it in the event loop
import pytest
import structlog
from tests.integration.lotus.replay import Replay, serve

from damocles import beside
from damocles.chain.addresses import Address
from damocles.cli import manager
from damocles.cli.of_chain import acting
from damocles.cli.terminal import tables
from damocles.devnode.node import Node as Devnode
from damocles.lotus import node as lotus_node
from damocles.lotus import nodes
from damocles.lotus.places import Place
from damocles.manager.db import engine
from damocles.manager.outbox import fees, lotus
from damocles.manager.outbox import sending as outboxes
from damocles.manager.serving import chain_api
from damocles.manager.upkeep import doing
from damocles.rpc import core, dialects
from damocles.rpc.serving import server, site

from .scene import Scene
from .sending import SENDER, Node

Command = Callable[..., Awaitable[tuple[int, str, str]]]


def commands(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return what runs `damocles-manager …` beside the event loop: its exit code, and what it prints and says."""

    async def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await anyio.to_thread.run_sync(manager.main, words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Take away what the shell and the home of whoever runs the tests may hold."""
    for name in [name for name in os.environ if name.startswith("DAMOCLES_")]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def place(devnode: Devnode, tmp_path: Path) -> Place:
    """Return where the test's devnode is, with a token that may do everything."""
    file = tmp_path / "token"
    file.write_text(devnode.tokens["admin"])
    file.chmod(0o600)
    return Place(url=devnode.url, token_file=file)


@pytest.fixture(name="lotus")
async def _lotus(place: Place) -> AsyncIterator[lotus_node.Node]:
    """Yield our client of it."""
    async with lotus_node.connect(place, pauses_seconds=()) as made:
        yield made


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
        yield lambda *arguments: commands(capsys)("util", *arguments, "--node", url)


@pytest.fixture
def node(scene: Scene) -> Node:
    """Return that node as it takes messages."""
    return Node(scene)


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Keep the manager's logs out of what its commands print."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


@dataclass
class Farm:
    """A manager that sends to the node: its command line, its outbox, and what it has audited."""

    run: Command
    run_alone: Command  # without the manager's address
    outbox: outboxes.Outbox
    doing: doing.Doing


@asynccontextmanager
async def farming(
    place: Place,
    sender: Address,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    go_on: Callable[[], Awaitable[object]],
) -> AsyncIterator[Farm]:
    """Yield a manager that sends to a node by one key; its outbox turns all the time, and the chain goes on in between."""
    async with (
        nodes.connect([place], pauses_seconds=()) as members,
        engine.open_sqlite(home / "manager.db") as database,
    ):
        terms = outboxes.Terms(senders=[sender], policy=fees.Policy(confidence=3, stuck_epochs=1000))
        outbox = outboxes.Outbox(database, lotus.LotusNode(members), lambda *_: terms)
        means = doing.Means(nodes=members, outbox=outbox, terms=lambda *_: terms)
        service = core.Service(dialects.MANAGER)
        acting_there = doing.Doing(database, means, lambda: 0.0)
        chain_api.ChainAPI(lambda: acting_there).register(service)

        async def turning() -> None:
            while True:
                await outbox.turn()
                await go_on()
                await anyio.sleep(0.01)

        async with server.serve(site.manager_app(service), "127.0.0.1", 0) as bound, beside.running(turning):

            async def alone(*arguments: str) -> tuple[int, str, str]:
                return await commands(capsys)("util", *arguments)

            async def run(*arguments: str) -> tuple[int, str, str]:
                at = () if "--node" in arguments else ("--listen", str(bound), "--insecure")
                return await alone(*arguments, *at)

            yield Farm(run, alone, outbox, acting_there)


@pytest.fixture
async def farm(
    scene: Scene,
    node: Node,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    _quiet: None,
) -> AsyncIterator[Farm]:
    """Yield a manager that sends to the node that replays, five epochs at once."""
    monkeypatch.setattr(acting, "_LOOK_SECONDS", 0.01)
    monkeypatch.setenv("COLUMNS", "80")

    async def go_on() -> None:
        scene.epoch += 5

    async with (
        serve(scene.replay) as url,
        farming(Place(url=url), SENDER, tmp_path, capsys, go_on) as made,
    ):
        yield made
