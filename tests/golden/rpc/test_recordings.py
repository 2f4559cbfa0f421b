"""The service answers recorded requests as damocles v0.13.1 did, byte for byte where we keep what it did."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from damocles.rpc import core, dialects, errors
from damocles.wire import codec, fleet, seal
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID

HERE = Path(__file__).parent

# What we answer otherwise than the original, on purpose.
SAYS_WHAT_IS_WRONG = ["bool id", "notification, unknown method", "broken JSON", "empty body"]
SERVED = ["batch"]  # by the original with HTTP 500 and an empty body
STRICTER = ["trailing data after the request"]
OWN_TEXT = ["wrong type inside params", "[32]byte as base64 string", "[]byte bad base64", "CID as bare string"]
# Go's decoder is more lenient than Rust's, and every peer that calls is written in Rust: the types of the wire decide.
LENIENT_GO = [
    "array length mismatch in [32]byte (31 numbers)",
    "[]byte as number array",
    "[]byte null",
    "field names in lower case (Go decodes case-insensitively)",
    "negative sector number",
    "bad CID",
]
BELOW_THE_SERVICE = ["trailing slash path", "/rpc/v1", "GET /rpc/v0"]  # tests/integration/rpc


class Exchange(NamedTuple):
    """A recorded request and its answer."""

    request: bytes
    status: int
    answer: bytes


def recorded(file: str) -> dict[str, Exchange]:
    """Read the exchanges of a recording by their names."""
    exchanges = {}
    for block in (HERE / file).read_text().split("\n## ")[1:]:
        name, *lines = block.rstrip("\n").split("\n")
        sent = [line[2:] for line in lines if line.startswith(">")]
        status, *answer = [line[2:] for line in lines if line.startswith("<")]
        body = "" if sent[-1] == "(empty body)" else sent[-1]
        exchanges[name] = Exchange(body.encode(), int(status.split()[0]), "\n".join(answer).encode())
    return exchanges


EDGES = recorded("manager_protocol_edges.txt")
CONTROL = recorded("worker_control.txt")
DIFFERENT = {*SAYS_WHAT_IS_WRONG, *SERVED, *STRICTER, *OWN_TEXT, *LENIENT_GO, *BELOW_THE_SERVICE}


@pytest.fixture
def manager() -> core.Service:
    """The methods that the recording calls, with the results it shows."""

    async def version() -> str:
        return "v0.13.1-fake-git.4235a895"

    async def allocate(spec: seal.AllocateSectorSpec) -> seal.AllocatedSector | None:
        return None

    async def poll(sector: SectorID) -> seal.Polled:
        return seal.Polled(seal.OnChainState.LANDED if sector.number < 1000 else seal.OnChainState.NOT_FOUND)

    async def pre_commit(sector: seal.AllocatedSector, info: seal.PreCommit, reset: bool) -> seal.Submitted:
        return seal.Submitted(seal.SubmitResult.ACCEPTED)

    async def proof(sector: SectorID, proof: seal.Proof, reset: bool) -> seal.Submitted:
        return seal.Submitted(seal.SubmitResult.ACCEPTED)

    async def unseal_dest(sector: SectorID, piece: CID | None) -> list[str] | None:
        return None

    async def unseal(sector: SectorID, piece: CID, offset: int, size: int, dest: str) -> AsyncGenerator[bytes, None]:
        yield b""

    service = core.Service(dialects.MANAGER)
    service.add("Venus.Version", version)
    service.add("Venus.AllocateSector", allocate)
    service.add("Venus.PollProofState", poll)
    service.add("Venus.SubmitPreCommit", pre_commit)
    service.add("Venus.SubmitProof", proof)
    service.add("Venus.AcquireUnsealDest", unseal_dest)
    service.add("Venus.UnsealPiece", unseal)
    return service


@pytest.fixture
def worker() -> core.Service:
    """The methods that the recording calls, with the results it shows."""
    threads = msgspec.json.decode(CONTROL["WorkerList"].answer)["result"]

    async def listing() -> list[fleet.ThreadInfo]:
        return codec.from_builtins(threads, list[fleet.ThreadInfo])

    async def version() -> str:
        return "v0.13.1-git.4235a895"

    async def pause(index: int) -> bool:
        raise errors.RpcError(errors.Code.INVALID_PARAMS, f"worker #{index} not found")

    service = core.Service(dialects.WORKER)
    service.add("VenusWorker.WorkerList", listing)
    service.add("VenusWorker.WorkerVersion", version)
    service.add("VenusWorker.WorkerPause", pause)
    return service


@pytest.mark.parametrize("name", [name for name in EDGES if name not in DIFFERENT])
async def test_manager_answers_as_recorded(manager: core.Service, name: str) -> None:
    """The manager answers a protocol edge with the recorded status and bytes."""
    exchange = EDGES[name]
    body = exchange.answer + b"\n" if exchange.answer else b""

    assert core.Reply(exchange.status, body) == await manager.answer(exchange.request, core.Call())


@pytest.mark.parametrize("name", SERVED)
async def test_manager_serves_more_than_the_original(manager: core.Service, name: str) -> None:
    """A batch has an answer for each of its requests."""
    reply = await manager.answer(EDGES[name].request, core.Call())

    assert 200 == reply.status
    assert [1, 2] == [answer["id"] for answer in msgspec.json.decode(reply.body)]


@pytest.mark.parametrize("name", SAYS_WHAT_IS_WRONG)
async def test_manager_never_answers_500_without_a_body(manager: core.Service, name: str) -> None:
    """Where the original answers HTTP 500 with an empty body, ours has a JSON-RPC error that says why."""
    exchange = EDGES[name]

    reply = await manager.answer(exchange.request, core.Call())

    assert (exchange.status, exchange.answer) == (reply.status, b"")
    answer = msgspec.json.decode(reply.body)
    assert (None, ["jsonrpc", "id", "error"]) == (answer["id"], list(answer))
    assert answer["error"]["code"] < 0
    assert answer["error"]["message"]


@pytest.mark.parametrize("name", OWN_TEXT)
async def test_manager_says_in_its_own_words_what_does_not_decode(manager: core.Service, name: str) -> None:
    """A parameter of the wrong type has the recorded status, code and frame of the message, around msgspec's words."""
    exchange = EDGES[name]

    reply = await manager.answer(exchange.request, core.Call())

    recording = msgspec.json.decode(exchange.answer)["error"]
    error = msgspec.json.decode(reply.body)["error"]
    assert (exchange.status, recording["code"]) == (reply.status, error["code"])
    frame = recording["message"].split(" (param")[0]
    assert error["message"].startswith(f"{frame} (param: ")
    assert error["message"].endswith(": error code -32700")


async def test_manager_refuses_what_follows_a_request(manager: core.Service) -> None:
    """Data behind the request is an error; the original ignores it."""
    reply = await manager.answer(EDGES["trailing data after the request"].request, core.Call())

    assert reply.status == 500
    assert b"trailing characters" in reply.body


@pytest.mark.parametrize("name", ["WorkerVersion", "WorkerPause of a thread that does not exist"])
async def test_worker_answers_as_recorded(worker: core.Service, name: str) -> None:
    """The worker answers with the recorded bytes."""
    exchange = CONTROL[name]

    assert core.Reply(200, exchange.answer + b"\n") == await worker.answer(exchange.request, core.Call())


async def test_worker_lists_threads_as_recorded(worker: core.Service) -> None:
    """The listing says the same; the original sorts the keys of an entry, which no reader depends on."""
    exchange = CONTROL["WorkerList"]

    reply = await worker.answer(exchange.request, core.Call())

    assert msgspec.json.decode(exchange.answer) == msgspec.json.decode(reply.body)
