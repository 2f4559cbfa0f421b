"""A slot's lease and its attempts, against a place that answers when the test says so."""

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
import pytest

from damocles.stages import protocol
from damocles.stages.far import actor, slots

LEASE_SECONDS = 0.5
REQUEST = protocol.request(1, b"{}", "c2")
ANSWER = protocol.success(1, b"true")


class Place:
    """A scripted place: whether it answers to renewals and stops, and what its run yields once `go` is set."""

    def __init__(self) -> None:
        self.answers = True
        self.stops = True
        self.lines: list[bytes] = [protocol.at(1, "gpu1", 7), ANSWER]
        self.go = anyio.Event()
        self.shown: list[float] = []
        self.stopped: list[str] = []
        self.begun: list[str] = []

    async def about(self) -> actor.About:
        """Be there."""
        return actor.About(host="gpu1", damocles="0", python="0", stamp=100.0)

    async def run(self, attempt: str, stamp: float, request: bytes) -> AsyncIterator[bytes]:
        """Yield the lines."""
        self.begun.append(attempt)
        await self.go.wait()
        for line in self.lines:
            yield line

    async def renew(self, stamp: float) -> float:
        """Answer with the next stamp, or never."""
        self.shown.append(stamp)
        if not self.answers:
            await anyio.sleep_forever()
        return stamp + 1

    async def stop(self, attempt: str) -> bool:
        """Stop, or say that it cannot be."""
        self.stopped.append(attempt)
        return self.stops

    async def listed(self, folder: str) -> Mapping[str, int]:
        """Find nothing."""
        return {}

    async def read(self, probes: Sequence[str], *, answers: bool) -> Mapping[str, str]:
        """Find nothing."""
        return {}

    def close(self) -> None:
        """Be gone."""


async def emit(_: bytes) -> None:
    """Take a line."""


async def test_each_renewal_shows_the_stamp_of_the_one_before() -> None:
    """So the lease is counted from a moment that lies before whatever delays the renewal."""
    place = Place()
    slot = await slots.at(place, LEASE_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slot.watch)
        while len(place.shown) < 3:
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert place.shown[:3] == [100.0, 101.0, 102.0]


async def test_an_attempt_is_lost_when_its_lease_is_certainly_over() -> None:
    """Without an answer to the renewals the attempt counts as lost a lease after the last stamp came, and not before."""
    place = Place()
    slot = await slots.at(place, LEASE_SECONDS)
    place.answers = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slot.watch)
        answer = protocol.read_line(await slot.carry(1, REQUEST, emit))
    assert anyio.current_time() >= slot.received + LEASE_SECONDS
    assert isinstance(answer, protocol.Answer)
    assert (answer.is_lost, answer.error) == (True, "gpu1 is lost: no answer for 0.5s")
    assert slot.over.is_set()


async def test_an_answer_that_comes_too_late_is_not_taken() -> None:
    """What a lost attempt would have yielded later is heard by nobody: its task has its answer, that it is lost."""
    place = Place()
    slot = await slots.at(place, LEASE_SECONDS)
    place.answers = False
    heard: list[bytes] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slot.watch)

        async def carry() -> None:
            heard.append(await slot.carry(1, REQUEST, emit))

        tasks.start_soon(carry)
        while not heard:
            await anyio.sleep(0.01)
        place.go.set()
    (answer,) = map(protocol.read_line, heard)
    assert isinstance(answer, protocol.Answer)
    assert answer.is_lost


async def test_each_attempt_has_a_name_of_its_own() -> None:
    """Two attempts at one task can be told apart, and so stopped and refused each by itself."""
    place = Place()
    place.go.set()
    slot = await slots.at(place, LEASE_SECONDS)
    assert [await slot.carry(1, REQUEST, emit) for _ in range(2)] == [ANSWER, ANSWER]
    assert len(set(place.begun)) == 2


@pytest.mark.parametrize("stops", [True, False])
async def test_a_cancelled_attempt_returns_when_nothing_goes_on(stops: bool) -> None:
    """Where the place does not confirm the stop, that is when the lease is over, and the slot takes no more tasks."""
    place = Place()
    place.stops = stops
    slot = await slots.at(place, LEASE_SECONDS)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(slot.watch)
        with anyio.move_on_after(0.1):
            await slot.carry(1, REQUEST, emit)
        assert place.stopped == place.begun
        assert (slot.lost.is_set(), slot.over.is_set()) == (not stops, not stops)
        tasks.cancel_scope.cancel()


async def test_a_processor_that_ends_itself_does_not_end_the_helper() -> None:
    """An answer after which the far child ends is passed on without that word, which would be about ours."""
    place = Place()
    place.lines = [protocol.detailed_failure(1, "panicked", detail="trace", is_last=True)]
    place.go.set()
    slot = await slots.at(place, LEASE_SECONDS)
    answer = protocol.read_line(await slot.carry(1, REQUEST, emit))
    assert answer == protocol.Answer(id=1, error="panicked", detail="trace", is_last=False)


async def test_an_end_without_an_answer_is_a_loss() -> None:
    """A run that ends, or fails, without an answer is stopped for certain and then lost."""
    place = Place()
    place.lines = []
    place.go.set()
    slot = await slots.at(place, LEASE_SECONDS)
    answer = protocol.read_line(await slot.carry(1, REQUEST, emit))
    assert isinstance(answer, protocol.Answer)
    assert answer.is_lost
    assert place.stopped == place.begun
