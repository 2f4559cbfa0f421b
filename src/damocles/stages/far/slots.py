"""A slot: one place, the heartbeat that holds its lease, and the attempts made there.

An attempt is over when its answer is here, when the place says that it was stopped, or when the lease has certainly run out: that is its
length after we received the last stamp that we have shown, whatever was delayed on its way. No other attempt at the task
begins before that.
"""

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from damocles.stages import protocol
from damocles.stages.far import actor

SILENCE_SECONDS = 3.0  # without an answer to the heartbeat, until it is told
_BEAT_SECONDS = 1.0
_STOP_SECONDS = 5.0
_DEATH_SECONDS = 1.0  # between the end of a lease and that of the processes under it

Emit = Callable[[bytes], Awaitable[None]]


class Place(Protocol):
    """Where a stage runs: an actor on a cluster, or a workplace here."""

    async def about(self) -> actor.About:
        """Wait until it is there."""
        ...

    def run(self, attempt: str, stamp: float, request: bytes) -> AsyncIterator[bytes]:
        """Yield the lines about a task."""
        ...

    async def renew(self, stamp: float) -> float:
        """Renew the lease; return the next stamp."""
        ...

    async def stop(self, attempt: str) -> bool:
        """End an attempt; return whether nothing of it goes on."""
        ...

    async def listed(self, folder: str) -> Mapping[str, int]:
        """Return what is in the folder of an attempt there (see `attempts.listed`)."""
        ...

    async def read(self, probes: Sequence[str], *, answers: bool) -> Mapping[str, str]:
        """Return what is in small files there (see `actor.read`)."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class Slot:
    """A place that is there; `watch` it from the start."""

    place: Place
    host: str
    stamp: float
    lease_seconds: float
    received: float = field(default_factory=anyio.current_time)  # when the stamp came, by our clock
    attempt: str | None = None  # that is under way
    trouble: str = ""  # why nobody answers
    lost: anyio.Event = field(default_factory=anyio.Event)  # nobody answers any more; no new tasks
    over: anyio.Event = field(default_factory=anyio.Event)  # and nothing goes on there

    async def watch(self) -> None:
        """Renew the lease for as long as somebody answers; return once nothing goes on there any more."""
        with anyio.CancelScope() as beating:

            async def end_when_given_up() -> None:
                await self.lost.wait()
                beating.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(end_when_given_up)
                while await self._beat():  # noqa: ASYNC110 - a clock
                    await anyio.sleep(min(_BEAT_SECONDS, self.lease_seconds / 5))
                tasks.cancel_scope.cancel()
        self.lost.set()
        await anyio.sleep_until(self.received + self.lease_seconds + _DEATH_SECONDS)
        self.over.set()

    async def _beat(self) -> bool:
        left = self.received + self.lease_seconds - anyio.current_time()
        with anyio.move_on_after(left):
            try:
                self.stamp = await self.place.renew(self.stamp)
            except Exception as error:  # noqa: BLE001 - whatever Ray says, nobody has answered
                self.trouble = f"{type(error).__name__}"
                return False
            self.received = anyio.current_time()
            return True
        self.trouble = f"no answer for {self.lease_seconds:g}s"
        return False

    @property
    def silent_seconds(self) -> float:
        """How long nobody has answered."""
        return anyio.current_time() - self.received

    async def carry(self, number: int, request: bytes, emit: Emit) -> bytes:
        """Make one attempt at a task and return the line with its answer; `emit` gets the lines before.

        Cancelled, it returns to the caller only when nothing of the attempt goes on.
        """
        self.attempt = attempt = uuid.uuid4().hex
        answer = b""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell_silence, number, emit)
                tasks.start_soon(self._end_with_slot, tasks.cancel_scope)
                answer = await self._answer(attempt, number, request, emit)
                tasks.cancel_scope.cancel()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stop(attempt)
            raise
        finally:
            self.attempt = None
        return answer or protocol.lost(number, f"{self.host} is lost: {self.trouble}")

    async def _answer(self, attempt: str, number: int, request: bytes, emit: Emit) -> bytes:
        try:
            async for line in self.place.run(attempt, self.stamp, request):
                match protocol.read_line(line.rstrip(b"\n")):
                    case protocol.Answer(is_last=True, error=error, detail=detail):
                        # Its process ends and is replaced there; ours goes on.
                        return protocol.detailed_failure(number, error or "", detail=detail or "", is_last=False)
                    case protocol.Answer():
                        return line
                    case _:
                        await emit(line)
            reason = "it has ended without an answer"
        except Exception as error:  # noqa: BLE001 - Ray's errors are many, and mean the same here
            reason = type(error).__name__
        await self._stop(attempt)
        return protocol.lost(number, f"the attempt on {self.host} is lost: {self.trouble or reason}")

    async def _stop(self, attempt: str) -> None:
        """Return when nothing of an attempt goes on; where that cannot be heard, the slot is given up."""
        with anyio.move_on_after(_STOP_SECONDS):
            try:
                if await self.place.stop(attempt):
                    return
            except Exception as error:  # noqa: BLE001
                self.trouble = self.trouble or type(error).__name__
        self.trouble = self.trouble or "it could not be stopped"
        self.lost.set()
        await self.over.wait()

    async def stop_now(self) -> None:
        """Ask for the end of what runs there."""
        if self.attempt is not None:
            with contextlib.suppress(Exception):
                await self.place.stop(self.attempt)

    async def _end_with_slot(self, scope: anyio.CancelScope) -> None:
        await self.over.wait()
        scope.cancel()

    async def _tell_silence(self, number: int, emit: Emit) -> None:
        is_told = False
        while True:
            await anyio.sleep(SILENCE_SECONDS / 3)
            if self.silent_seconds > SILENCE_SECONDS:
                is_told = True
                text = f"{self.host} has not answered for {self.silent_seconds:.0f}s"
                await emit(protocol.progress(number, protocol.Progress(0, waiting=text)))
            elif is_told:
                is_told = False
                await emit(protocol.progress(number, protocol.Progress(0)))


async def at(place: Place, lease_seconds: float) -> Slot:
    """Return the slot of a place, once that is there."""
    about = await place.about()
    return Slot(place=place, host=about.host, stamp=about.stamp, lease_seconds=lease_seconds)
