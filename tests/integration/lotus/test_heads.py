"""Following the head: recorded subscriptions, breaks, reorganisations, and other nodes."""

import contextlib
import itertools
import logging
from typing import Any

import anyio
import pytest
from tests.golden.chain import recordings
from websockets.asyncio import client as websockets_client
from websockets.asyncio import server as websockets_server
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from damocles.lotus import errors, heads, node
from damocles.lotus.answers import TipSet
from damocles.lotus.heads import Change
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.rpc import errors as rpc_errors
from damocles.rpc.calling import subscription
from damocles.wire import codec

from .replay import Replay, serve

TWO, OTHER_ORDER, REORG = (row["frames"] for row in recordings.rows("heads"))


def incoming(frames: list[Any]) -> list[Any]:
    """Return the frames that came from the node."""
    return [row["frame"] for row in frames if row["dir"] == "in"]


def tipsets() -> dict[str, Any]:
    """Return the tipsets of the recorded reorganisation by key."""
    found = {}
    for frame in incoming(REORG):
        for change in frame.get("params", [0, []])[1]:
            found[change["Val"]["Cids"][0]["/"]] = change["Val"]
    return found


def opened(*changes: tuple[str, Any], channel: int = 7) -> list[Any]:
    """Return the frames of a subscription: each change in a frame of its own."""
    values = [
        {"jsonrpc": "2.0", "method": "xrpc.ch.val", "params": [channel, [{"Type": kind, "Val": value}]]}
        for kind, value in changes
    ]
    return [{"id": 1, "jsonrpc": "2.0", "result": channel}, *values]


def made(height: int, parent: int, branch: str = "a") -> dict[str, Any]:
    """Return a tipset of a made chain."""
    block = {
        "Miner": "t01000",
        "Parents": [{"/": f"{branch}{parent}"}],
        "Height": height,
        "Timestamp": height,
        "ParentBaseFee": "100",
    }
    return {"Cids": [{"/": f"{branch}{height}"}], "Blocks": [block], "Height": height}


async def taken(lotus: Node, count: int, since: TipSet | None = None, **options: Any) -> list[Change]:
    """Return the first changes."""

    async def pick() -> Node:
        return lotus

    found: list[Change] = []
    with anyio.fail_after(20):
        async with contextlib.aclosing(heads.follow(pick, since=since, pause_seconds=0, **options)) as changes:
            async for change in changes:
                found.append(change)
                if len(found) == count:
                    return found
    raise AssertionError


def shown(change: Change) -> tuple[list[int], list[int], bool]:
    """Return the heights of what was taken back and what was applied, and whether it begins anew."""
    return [t.height for t in change.reverted], [t.height for t in change.applied], change.anew


async def test_a_recorded_reorganisation_is_told(replay: Replay, lotus: Node) -> None:
    """Three tipsets are taken back, newest first, in a change of their own; what was below them is the head then."""
    known = tipsets()
    replay.answer("ChainGetTipSet", lambda params: known[params[0][0]["/"]])
    replay.dialogues = [incoming(REORG)]

    changes = await taken(lotus, 10)

    assert shown(changes[0]) == ([], [330], True)
    assert [shown(change) for change in changes[1:5]] == [([], [height], False) for height in (331, 332, 333, 334)]
    assert shown(changes[5]) == ([334, 333, 332], [], False)
    assert changes[5].head.height == 331
    assert [shown(change) for change in changes[6:]] == [([], [height], False) for height in (335, 336, 337, 338)]
    assert changes[6].applied[0].parents == changes[5].head.key
    await replay.hung_up.wait()


@pytest.mark.parametrize("frames", [TWO, OTHER_ORDER])
async def test_the_channel_is_that_of_the_answer(replay: Replay, lotus: Node, frames: list[Any]) -> None:
    """Values of another channel, and answers to other calls, are none of ours."""
    mine = [frame for frame in incoming(frames) if frame.get("id") == 1]
    others = [frame for frame in incoming(frames) if frame.get("id") != 1]
    replay.dialogues = [mine + others]

    changes = await taken(lotus, 3)

    assert not any(change.anew for change in changes[1:])
    heights = [change.head.height for change in changes]
    assert heights == sorted(heights)


async def test_what_was_missed_between_two_connections_is_told(replay: Replay, lotus: Node) -> None:
    """A connection that breaks: the path from the last head to the new one, with what was taken back."""
    replay.dialogues = [
        opened(("current", made(10, 9)), ("apply", made(11, 10))),
        opened(("current", made(13, 12, "b"))),
    ]
    replay.answer(
        "ChainGetPath",
        [
            {"Type": "revert", "Val": made(11, 10)},
            {"Type": "apply", "Val": made(12, 11, "b")},
            {"Type": "apply", "Val": made(13, 12, "b")},
        ],
    )

    changes = await taken(lotus, 3)

    assert [shown(change) for change in changes] == [([], [10], True), ([], [11], False), ([11], [12, 13], False)]
    path = next(request for request, _ in replay.requests if request["method"].endswith("ChainGetPath"))
    assert path["params"] == [[{"/": "a11"}], [{"/": "b13"}]]


async def test_the_same_head_again_is_no_change(replay: Replay, lotus: Node) -> None:
    """Nor is a frame without any."""
    replay.dialogues = [
        opened(("current", made(10, 9))),
        [
            *opened(("current", made(10, 9))),
            {"method": "xrpc.ch.val", "params": [7, []]},
            *opened(("apply", made(11, 10)))[1:],
        ],
    ]

    assert [shown(change) for change in await taken(lotus, 2)] == [([], [10], True), ([], [11], False)]


async def test_a_gap_in_a_subscription_is_bridged(replay: Replay, lotus: Node) -> None:
    """A tipset whose parents are not the last head."""
    replay.dialogues = [opened(("current", made(10, 9)), ("apply", made(12, 11)))]
    replay.answer("ChainGetPath", [{"Type": "apply", "Val": made(11, 10)}, {"Type": "apply", "Val": made(12, 11)}])

    assert [shown(change) for change in await taken(lotus, 2)] == [([], [10], True), ([], [11, 12], False)]


async def test_null_rounds_are_ordinary(replay: Replay, lotus: Node) -> None:
    """The next tipset has the last one as its parent, however much higher it is; nobody is asked."""
    replay.dialogues = [opened(("current", made(89, 88)), ("apply", made(92, 89)))]

    assert [shown(change) for change in await taken(lotus, 2)] == [([], [89], True), ([], [92], False)]
    assert replay.methods() == ["ChainNotify"]


@pytest.mark.parametrize("case", ["unknown", "long ago"])
async def test_without_a_path_it_begins_anew(replay: Replay, lotus: Node, case: str) -> None:
    """The node does not know the last head, or it is beyond finality; both are said."""
    height = 20 if case == "unknown" else 5000
    replay.refuse("ChainGetPath", "loading tipset: ipld: could not find a10")
    replay.dialogues = [opened(("current", made(height, height - 1)))]

    (change,) = await taken(lotus, 1, since=codec.from_builtins(made(10, 9, "x"), TipSet))

    assert shown(change) == ([], [height], True)
    assert ("ChainGetPath" in replay.methods()) is (case == "unknown")


async def test_a_silent_node_is_left(replay: Replay, lotus: Node) -> None:
    """A subscription without a word for too long is begun again, perhaps at another node."""
    replay.dialogues = [opened(("current", made(10, 9)))]
    picks = itertools.count()

    async def pick() -> Node:
        if next(picks):
            raise Left
        return lotus

    async with contextlib.aclosing(heads.follow(pick, quiet_seconds=0.05, pause_seconds=0)) as changes:
        assert (await anext(changes)).head.height == 10
        with pytest.raises(Left):
            await anext(changes)


class Left(Exception):
    """Another node is asked for."""


@pytest.mark.parametrize(
    "frames",
    [
        [{"id": 1, "jsonrpc": "2.0", "error": {"code": -32601, "message": "method not found"}}],
        [{"id": 1, "jsonrpc": "2.0", "result": "x"}],
        [*opened(), {"method": "xrpc.ch.val", "params": [7, [{"Type": "sideways"}]]}],
        [*opened(), {"method": "xrpc.ch.val", "params": 5}],
    ],
)
async def test_what_is_no_subscription_is_an_error(replay: Replay, lotus: Node, frames: list[Any]) -> None:
    """A refusal, another result, and values of another shape."""
    replay.dialogues = [frames]

    with pytest.raises(errors.NoNode):
        async with lotus.changes() as changes:
            await anext(changes)


async def test_a_subscription_that_is_not_answered_is_given_up(
    replay: Replay, lotus: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection comes about, and no more."""
    monkeypatch.setattr(subscription, "OPEN_SECONDS", 0.2)
    replay.dialogues = [[]]

    with pytest.raises(errors.TooSlow):
        async with lotus.changes():
            pass


async def test_a_node_that_stays_away_is_logged_once(capfd: pytest.CaptureFixture[str]) -> None:
    """However often it is tried."""
    tries = itertools.count()

    async def pick() -> Node:
        if next(tries) == 5:
            raise Left
        raise errors.Away("http://node is down")

    async with contextlib.aclosing(heads.follow(pick, pause_seconds=0)) as changes:
        with pytest.raises(Left):
            await anext(changes)

    assert capfd.readouterr().out.count("http://node is down") == 1


async def test_the_end_of_a_channel_ends_the_subscription(replay: Replay, lotus: Node) -> None:
    """The node says so."""
    replay.dialogues = [[*opened(("current", made(1, 0))), {"method": "xrpc.ch.close", "params": [7]}]]

    async with lotus.changes() as changes:
        assert [change[0].tipset.height async for change in changes] == [1]


async def test_a_subscription_shows_the_token_to_the_node_alone(
    replay: Replay, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Another one is refused; none is in a log, however much that tells."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text("aaa.bbb.ccc")
    file.chmod(0o600)
    replay.dialogues = [opened(("current", made(1, 0)))]
    async with serve(replay) as url, node.connect(Place(url=url, token_file=file)) as lotus:
        async with lotus.changes() as changes:
            await anext(changes)
        replay.token = "another"
        with pytest.raises(errors.NodeError):
            async with lotus.changes():
                pass

    assert replay.requests[0][1] == "aaa.bbb.ccc"
    assert "aaa.bbb.ccc" not in caplog.text


async def test_a_node_that_leaves_right_after_the_greeting_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is stopped between the handshake and the subscription breaks off, like one that is stopped later."""

    async def leave(connection: ServerConnection) -> None:
        await connection.close(1012, "service restart")

    async def connect(*args: Any, **options: Any) -> ClientConnection:
        connection = await websockets_client.connect(*args, **options)
        await connection.wait_closed()
        return connection

    monkeypatch.setattr("damocles.rpc.calling.subscription.connect", connect)
    async with websockets_server.serve(leave, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        with pytest.raises(rpc_errors.Disconnected, match="service restart"):
            async with subscription.open_stream(f"http://127.0.0.1:{port}/", "Filecoin.ChainNotify", (), returns=int):
                pass
