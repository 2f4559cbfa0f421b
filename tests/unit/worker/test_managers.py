"""One worker, several addresses of managers."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from damocles import methods
from damocles.methods import Ask
from damocles.rpc import errors
from damocles.worker import managers

PING = Ask("Venus.WorkerPing", [], str)


class Peer:
    """Fake: a manager that answers by `does`, and keeps what it was asked beside its database."""

    def __init__(self, name: str, database: str | None = "farm") -> None:
        self.url = f"https://{name}:1789/rpc/v0"
        self.database = database
        self.does: Callable[[], Awaitable[str]] = self.answer
        self.answers_questions = True
        self.asked: list[str] = []

    async def call(self, ask: Ask[Any], /, *, timeout_seconds: float | None = None) -> Any:
        """Answer."""
        if ask.method == methods.util.database.name and self.does == self.answer:
            if self.database is None:
                raise errors.RpcError(errors.Code.METHOD_NOT_FOUND, "method not found")
            return self.database
        if ask.method == methods.util.version.name and self.answers_questions:
            return "v"
        if timeout_seconds is not None and self.does == self.hang:
            raise errors.TimedOut(self.url, timeout_seconds)
        if ask.method == PING.method:
            self.asked.append(ask.method)
        return await self.does()

    async def answer(self) -> str:
        """Answer the call."""
        return self.url

    async def hang(self) -> str:
        """Never answer."""
        await anyio.sleep_forever()
        raise AssertionError

    def fails(self, error: errors.CallError) -> None:
        """Fail from now on, whatever it is asked."""

        async def fail() -> str:
            raise error

        self.does = fail


class Scene:
    """Peers and a clock that stands still."""

    def __init__(self, memory: Path, *peers: Peer) -> None:
        self.peers = peers
        self.time = 100.0
        self.managers = managers.Managers(
            peers, managers.Memory(memory), now=lambda: self.time, chances=random.Random(7)
        )

    async def ping(self) -> str:
        """Make a call; return who answered."""
        return await self.managers.call(PING)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    """Return where the worker keeps which database is its own."""
    return tmp_path / managers.MEMORY_NAME


@pytest.fixture
def scene(memory: Path) -> Scene:
    """Return two managers of one database."""
    return Scene(memory, Peer("one"), Peer("two"))


async def test_a_worker_stays_where_it_is_answered(scene: Scene) -> None:
    """The first address is used for as long as it answers, the other one is not called."""
    for _ in range(20):
        assert scene.peers[0].url == await scene.ping()
        scene.time += 10
    assert [] == scene.peers[1].asked
    assert [True, False] == [one.in_use for one in scene.managers.seen()]


UNSENT = [
    errors.Unreachable("u", "connection refused"),
    errors.Untrusted("u", "self-signed certificate"),
    errors.Unknowing("u", "the server there does not know our token"),
    errors.RpcError(errors.Code.UNAUTHORIZED, "unknown token"),
]


@pytest.mark.parametrize("error", UNSENT, ids=lambda error: type(error).__name__)
async def test_a_call_that_was_not_sent_is_made_elsewhere_at_once(scene: Scene, error: errors.CallError) -> None:
    """Whoever calls does not notice; the next calls go there as well, and nobody comes back by himself."""
    await scene.ping()
    scene.peers[0].fails(error)
    assert scene.peers[1].url == await scene.ping()
    scene.peers[0].does = scene.peers[0].answer
    scene.time += 1000
    assert scene.peers[1].url == await scene.ping()
    assert 1 == scene.managers.changes


SENT = [
    errors.Disconnected("u", "connection reset"),
    errors.TimedOut("u", 60),
    errors.DatabaseAway("db", "connection refused"),
    errors.BadAnswer("u", "HTTP 502", status=502),
]


@pytest.mark.parametrize("error", SENT, ids=lambda error: type(error).__name__)
async def test_a_call_that_may_have_had_its_effect_is_not_repeated_here(scene: Scene, error: errors.CallError) -> None:
    """It fails as with one manager, so that its maker repeats it by its own rules; that goes elsewhere."""
    await scene.ping()
    scene.peers[0].fails(error)
    with pytest.raises(type(error)):
        await scene.ping()
    assert [] == scene.peers[1].asked
    assert scene.peers[1].url == await scene.ping()


@pytest.mark.parametrize(
    "error",
    [
        errors.RpcError(errors.Code.FAILED, "no"),
        errors.RpcError(errors.Code.STALE_ATTEMPT, "another worker has it"),
        errors.BadAnswer("u", "result of Venus.WorkerPing: expected text"),
    ],
    ids=["refused", "stale", "unread"],
)
async def test_an_answer_is_no_reason_to_leave(scene: Scene, error: errors.CallError) -> None:
    """What a manager refuses, another one of its database would refuse as well."""
    await scene.ping()

    async def refuse() -> str:
        raise error

    scene.peers[0].does = refuse
    with pytest.raises(type(error)):
        await scene.ping()
    assert [] == scene.peers[1].asked
    assert [True, False] == [one.in_use for one in scene.managers.seen()]


async def test_a_frozen_manager_is_left_while_calls_wait_for_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts connections and never answers is asked whether it is there; all that waits there ends."""
    monkeypatch.setattr(managers, "PATIENCE_SECONDS", 0.01)
    await scene.ping()
    frozen, other = scene.peers
    frozen.does, frozen.answers_questions = frozen.hang, False
    failed = []

    async def wait() -> None:
        with pytest.raises(errors.Disconnected):
            await scene.ping()
        failed.append(1)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(wait)
    assert [1, 1, 1] == failed
    assert other.url == await scene.ping()


async def test_a_manager_that_takes_its_time_is_not_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long call goes on for as long as the manager answers others."""
    monkeypatch.setattr(managers, "PATIENCE_SECONDS", 0.001)
    await scene.ping()
    slow, done = scene.peers[0], anyio.Event()
    questions = 0
    ordinary = slow.call

    async def call(ask: Ask[Any], /, *, timeout_seconds: float | None = None) -> Any:
        nonlocal questions
        if ask.method == methods.util.version.name:
            questions += 1
            if questions == 3:
                done.set()
        return await ordinary(ask, timeout_seconds=timeout_seconds)

    async def late() -> str:
        await done.wait()
        return "late"

    monkeypatch.setattr(slow, "call", call)
    slow.does = late
    assert "late" == await scene.ping()
    assert [] == scene.peers[1].asked


async def test_a_frozen_manager_costs_an_idle_worker_one_question(scene: Scene) -> None:
    """It is asked for its database first, so that the call itself is sent to the other one, once."""
    await scene.ping()
    scene.time += managers.CHECK_SECONDS
    scene.peers[0].does = scene.peers[0].hang
    assert scene.peers[1].url == await scene.ping()
    assert (1, 1) == (len(scene.peers[0].asked), len(scene.peers[1].asked))


async def test_a_manager_of_another_database_gets_no_call(memory: Path) -> None:
    """It is refused loudly, with both ways out, also after a restart; calls go on elsewhere, or wait."""
    scene = Scene(memory, Peer("one", "ours"), Peer("other", "theirs"))
    await scene.ping()
    assert "ours\n" == memory.read_text()
    scene.peers[0].fails(errors.Unreachable("u", "connection refused"))
    with capture_logs() as logs, pytest.raises(errors.Unreachable) as raised:
        await scene.ping()
    assert not isinstance(raised.value, managers.OtherDatabase)  # what passes by itself comes first
    (told,) = [line for line in logs if line["log_level"] == "error"]
    assert "has another database than the manager of this worker's sectors" in told["error"]
    assert f"remove {memory} and restart" in told["error"]
    assert [] == scene.peers[1].asked

    again = Scene(memory, Peer("other", "theirs"), Peer("one", "ours"))
    assert again.peers[1].url == await again.ping()
    assert [] == again.peers[0].asked
    assert ["has another database" in one.error for one in again.managers.seen()] == [True, False]


async def test_a_manager_that_changes_its_database_is_noticed(scene: Scene) -> None:
    """At an address another manager may take the place of ours, without a connection that breaks."""
    await scene.ping()
    scene.peers[0].database = "theirs"
    scene.time += managers.CHECK_SECONDS
    assert scene.peers[1].url == await scene.ping()


async def test_managers_that_know_no_identity_are_taken_as_they_are(memory: Path) -> None:
    """Those of the original, and older ones, until one that knows its database has answered."""
    scene = Scene(memory, Peer("one", None), Peer("two", "farm"))
    assert scene.peers[0].url == await scene.ping()
    scene.peers[0].fails(errors.Unreachable("u", "connection refused"))
    assert scene.peers[1].url == await scene.ping()
    scene.peers[0].does = scene.peers[0].answer
    scene.peers[1].fails(errors.Unreachable("u", "connection refused"))
    scene.time += 1000
    with pytest.raises(errors.Unreachable):
        await scene.ping()


async def test_a_manager_that_fails_again_rests_for_longer(scene: Scene) -> None:
    """While the other one is away too, each call tries one of them alone; a return is noticed by the next call there."""
    for peer in scene.peers:
        peer.fails(errors.Unreachable(peer.url, "connection refused"))
    for _ in range(10):
        with pytest.raises(errors.Unreachable):
            await scene.ping()
        scene.time += 0.1
    rests = [way.rests_until - scene.time for way in scene.managers._ways]
    for _ in range(600):
        with pytest.raises(errors.Unreachable):
            await scene.ping()
        scene.time += 0.1
    assert all(
        way.failures > 3 and way.rests_until - scene.time > rest
        for way, rest in zip(scene.managers._ways, rests, strict=True)
    )
    scene.peers[1].does = scene.peers[1].answer
    scene.time += 60
    assert scene.peers[1].url == await scene.ping()


def test_rests_grow_and_differ() -> None:
    """From a second to a minute; no two workers come back at one moment."""
    assert [1, 2, 4, 8] == [managers.rest_seconds(failures, 0) for failures in (1, 2, 3, 4)]
    assert 60 == managers.rest_seconds(1000, 1.0)
    assert managers.rest_seconds(3, 0.2) < managers.rest_seconds(3, 0.9)


async def test_a_fleet_that_loses_its_manager_spreads_over_the_others(tmp_path: Path) -> None:
    """Not everybody goes to the same next one."""
    went = set()
    for number in range(40):
        peers = [Peer("one"), Peer("two"), Peer("three")]
        one = managers.Managers(peers, managers.Memory(tmp_path / f"{number}"), chances=random.Random(number))
        peers[0].fails(errors.Unreachable(peers[0].url, "connection refused"))
        went.add(await one.call(PING))
    assert {"https://two:1789/rpc/v0", "https://three:1789/rpc/v0"} == went


async def test_with_one_address_calls_are_as_they_were() -> None:
    """Nothing is asked beside them, and every call is tried, however often it failed."""
    peer = Peer("one", None)
    alone = managers.Managers([peer], None, now=lambda: 0.0)
    peer.fails(errors.Unreachable(peer.url, "connection refused"))
    for _ in range(3):
        with pytest.raises(errors.Unreachable):
            await alone.call(PING)
    assert 3 == len(peer.asked)
    (seen,) = alone.seen()
    assert (True, None) == (seen.in_use, seen.answered_since)
    assert "cannot be reached" in seen.error
    peer.does = peer.answer
    assert peer.url == await alone.call(PING)
    assert "" == alone.seen()[0].error
