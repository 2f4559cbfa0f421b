"""Dialogues over a connection that carries frames both ways."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
import structlog.testing
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from damocles.rpc import core, dialects, errors, limits
from damocles.rpc.serving import duplex
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID

GOLDEN = Path(__file__).parents[3] / "golden" / "rpc"


class Peer:
    """The other end of a conversation."""

    def __init__(self, into: MemoryObjectSendStream[bytes], out: MemoryObjectReceiveStream[bytes]) -> None:
        self.into = into
        self.out = out

    async def say(self, frame: dict[str, Any] | bytes) -> None:
        """Send a frame."""
        await self.into.send(frame if isinstance(frame, bytes) else msgspec.json.encode(frame))

    async def call(self, number: Any, method: str, *params: Any) -> None:
        """Send a call."""
        await self.say({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    async def hear(self) -> dict[str, Any]:
        """Return the next frame, decoded."""
        with anyio.fail_after(60):
            return msgspec.json.decode(await self.out.receive(), type=dict[str, Any])


@contextlib.asynccontextmanager
async def talk(service: core.Service) -> AsyncIterator[Peer]:
    """Hold a conversation while the block runs; leaving it hangs up."""
    into, frames = anyio.create_memory_object_stream[bytes](100)
    said, out = anyio.create_memory_object_stream[bytes](100)
    with frames, out:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(duplex.serve, service, core.Call(peer="p"), frames, said.send)
            try:
                yield Peer(into, out)
            finally:
                into.close()
        said.close()


@pytest.fixture
def service() -> core.Service:
    """A service in the dialect that has conversations."""
    return core.Service(dialects.MANAGER)


async def test_streams_speak_as_recorded(service: core.Service) -> None:
    """A streaming method answers a channel, its values, and the channel's end, byte for byte as v0.13.1."""

    async def unseal(sector: SectorID, piece: CID, offset: int, size: int, dest: str) -> AsyncGenerator[bytes, None]:
        for part in (b"unsealed piece bytes", b"", b""):
            yield part

    service.add("Venus.UnsealPiece", unseal)
    lines = (GOLDEN / "manager_unseal_stream.txt").read_text().splitlines()
    (request,) = [line[2:].encode() for line in lines if line.startswith("> ")]
    recorded = [line[2:].encode() + b"\n" for line in lines if line.startswith("< ")]

    async with talk(service) as peer:
        await peer.say(request)
        with anyio.fail_after(60):
            heard = [await peer.out.receive() for _ in recorded]

    assert [frame.rstrip() for frame in recorded] == [frame.rstrip() for frame in heard]


async def test_calls_run_side_by_side(service: core.Service) -> None:
    """A call that waits holds up nobody; answers carry the id of their request."""
    go = anyio.Event()

    async def wait() -> str:
        await go.wait()
        return "slow"

    async def release() -> str:
        go.set()
        return "fast"

    service.add("X.Wait", wait)
    service.add("X.Release", release)

    async with talk(service) as peer:
        await peer.call("a", "X.Wait")
        await peer.call(2, "X.Release")
        answers = [await peer.hear() for _ in range(2)]

    assert {("a", "slow"), (2, "fast")} == {(answer["id"], answer["result"]) for answer in answers}


async def test_a_cancelled_call_is_answered(service: core.Service) -> None:
    """`xrpc.cancel` stops the handler, also before it began, and the caller gets Go's words."""
    stopped = []

    async def hang(name: str) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(name)

    service.add("X.Hang", hang)

    async with talk(service) as peer:
        await peer.call(1, "X.Hang", "a")
        await anyio.wait_all_tasks_blocked()
        await peer.say({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [1]})
        answer = await peer.hear()
        await peer.call(2, "X.Hang", "b")
        await peer.say({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [2]})
        early = await peer.hear()

    assert {"code": 1, "message": "context canceled"} == answer["error"] == early["error"]
    assert "a" == stopped[0]
    assert [1, 2] == [answer["id"], early["id"]]


async def test_a_cancelled_stream_is_closed(service: core.Service) -> None:
    """A stream that its caller cancels ends with the close of its channel, and its generator is finished."""
    finished = anyio.Event()

    async def count() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await anyio.sleep_forever()
        finally:
            finished.set()

    service.add("X.Count", count)

    async with talk(service) as peer:
        await peer.call(1, "X.Count")
        assert [1, [1, 0]] == [(await peer.hear())["result"], (await peer.hear())["params"]]
        await peer.say({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [1]})
        closing = await peer.hear()

    assert ("xrpc.ch.close", [1]) == (closing["method"], closing["params"])
    assert finished.is_set()


async def test_streams_have_channels_of_their_own(service: core.Service) -> None:
    """Two streams on one connection are told apart by their channels."""

    async def one(value: str) -> AsyncGenerator[str, None]:
        yield value

    service.add("X.One", one)

    async with talk(service) as peer:
        await peer.call(1, "X.One", "a")
        first = [await peer.hear() for _ in range(3)]
        await peer.call(2, "X.One", "b")
        second = [await peer.hear() for _ in range(3)]

    assert [[1, "a"], [2, "b"]] == [first[1]["params"], second[1]["params"]]


async def test_a_stream_can_be_refused_before_it_begins(service: core.Service) -> None:
    """A handler that checks first, and then returns a generator, may still answer with an error."""

    async def checked(sector: int) -> AsyncGenerator[int, None]:
        raise errors.RpcError(errors.Code.FAILED, f"no sector {sector}")

    service.add("X.Checked", checked)

    async with talk(service) as peer:
        await peer.call(1, "X.Checked", 5)
        answer = await peer.hear()

    assert {"code": 1, "message": "no sector 5"} == answer["error"]


async def test_a_stream_that_breaks_off_is_logged_and_closed(service: core.Service) -> None:
    """The protocol cannot say why a stream ends early; the log does."""

    async def broken() -> AsyncGenerator[int, None]:
        yield 1
        raise OSError("disk gone")

    service.add("X.Broken", broken)

    with structlog.testing.capture_logs() as logs:
        async with talk(service) as peer:
            await peer.call(1, "X.Broken")
            frames = [await peer.hear() for _ in range(3)]

    assert "xrpc.ch.close" == frames[-1]["method"]
    assert [("rpc stream broke off", "X.Broken")] == [(entry["event"], entry["method"]) for entry in logs]


async def test_too_many_calls_are_refused(service: core.Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a call is refused at once, while cancelling still works and frees a place."""
    monkeypatch.setattr(limits, "CALLS_OF_A_WEBSOCKET", 2)

    async def hang() -> None:
        await anyio.sleep_forever()

    async def quick() -> str:
        return "ok"

    service.add("X.Hang", hang)
    service.add("X.Quick", quick)

    async with talk(service) as peer:
        for number in (1, 2, 3):
            await peer.call(number, "X.Hang")
        refused = await peer.hear()
        await peer.say({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": [1]})
        cancelled = await peer.hear()
        await peer.call(4, "X.Quick")
        answer = await peer.hear()

    assert (3, errors.Code.OVERLOADED) == (refused["id"], refused["error"]["code"])
    assert (1, 4, "ok") == (cancelled["id"], answer["id"], answer["result"])


@pytest.mark.parametrize("params", [[], ["unknown"], [{}], None, [1, 2]])
async def test_senseless_cancels_are_ignored(service: core.Service, params: Any) -> None:
    """A cancel that names no running call changes nothing."""

    async def quick() -> str:
        return "ok"

    service.add("X.Quick", quick)

    async with talk(service) as peer:
        await peer.say({"jsonrpc": "2.0", "method": "xrpc.cancel", "params": params})
        await peer.call(1, "X.Quick")

        assert "ok" == (await peer.hear())["result"]


async def test_frames_that_are_no_request_are_answered(service: core.Service) -> None:
    """What is not JSON, a batch, and an unknown method are answered; the conversation goes on."""
    async with talk(service) as peer:
        await peer.say(b"{")
        await peer.say(b"[]")
        await peer.call(5, "X.Nope")
        answers = [await peer.hear() for _ in range(3)]

    assert [(None, -32700), (None, -32600), (5, -32601)] == [(a["id"], a["error"]["code"]) for a in answers]


async def test_notifications_are_run_and_not_answered(service: core.Service) -> None:
    """A notification runs its handler; neither its result nor an error is sent."""
    seen = []

    async def note(value: int) -> int:
        seen.append(value)
        return value

    service.add("X.Note", note)

    async with talk(service) as peer:
        await peer.say({"jsonrpc": "2.0", "method": "X.Note", "params": [1]})
        await peer.say({"jsonrpc": "2.0", "method": "X.Nope", "params": [1]})
        await anyio.wait_all_tasks_blocked()
        await peer.call(9, "X.Note", 2)
        answer = await peer.hear()

    assert 9 == answer["id"]
    assert [1, 2] == seen


async def test_hanging_up_cancels_what_runs(service: core.Service) -> None:
    """When the peer goes, its calls and streams are cancelled."""
    ended = []

    async def hang() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("call")

    async def stream() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            ended.append("stream")

    service.add("X.Hang", hang)
    service.add("X.Stream", stream)

    async with talk(service) as peer:
        await peer.call(1, "X.Hang")
        await peer.call(2, "X.Stream")
        await anyio.wait_all_tasks_blocked()

    assert ["call", "stream"] == sorted(ended)


async def test_a_batch_in_a_frame_is_refused_in_words(service: core.Service) -> None:
    """Batches are answered over HTTP; here the error says what to do instead."""
    async with talk(service) as peer:
        await peer.say(b'[{"jsonrpc":"2.0","id":1,"method":"Venus.Version"}]')
        answer = await peer.hear()
    assert (None, -32600) == (answer["id"], answer["error"]["code"])
    assert "send its requests one by one" in answer["error"]["message"]
