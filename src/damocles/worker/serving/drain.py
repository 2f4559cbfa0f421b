"""Drain a worker: it begins no new sector and finishes what it has; at the deadline, what is left pauses.

A drain survives a restart: it is in a small file in the worker's home. A pause survives only once a sector has come to
its boundary, so the file keeps a deadline that has passed: what is still in progress after a restart pauses again.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import msgspec
import structlog

from damocles import durable, pulse
from damocles.wire import codec, control
from damocles.worker.thread import loop, surroundings

log = structlog.get_logger(__name__)

FILE_NAME = "drain.json"


class Drain:
    """The drain of one worker; `run` watches the deadline."""

    def __init__(
        self,
        home: Path,
        gate: surroundings.Gate,
        all_threads: Sequence[loop.SealingThread],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = home / FILE_NAME
        self._gate = gate
        self._threads = all_threads
        self._clock = clock
        self._changed = pulse.Pulse()
        self._turn = anyio.Lock()
        self._state = control.Drain(on=False)
        if self._file.exists():
            try:
                self._state = codec.decode(self._file.read_bytes(), control.Drain)
            except msgspec.MsgspecError as error:
                log.warning("drain file is damaged; ignoring it", file=str(self._file), error=str(error))
        self._apply(is_overdue=self._state.deadline is not None and self._state.deadline <= self._clock())

    async def set(self, *, on: bool, deadline_seconds: float | None = None, reason: str = "") -> control.Drain:
        """Begin or end a drain and return it; one that goes on keeps the deadline and the reason that are not given."""
        async with self._turn:
            now, before = self._clock(), self._state
            goes_on = on and before.on
            deadline = now + deadline_seconds if on and deadline_seconds is not None else None
            if goes_on and deadline is None:
                deadline = before.deadline
            since = before.since if goes_on else now if on else None
            kept = reason or (before.reason if goes_on else "")
            was_on, was_overdue = before.on, self._gate.overdue
            wanted = control.Drain(on=on, since=since, deadline=deadline, reason=kept)
            await anyio.to_thread.run_sync(self._save, wanted)  # first: on a disk that is full nothing has changed
            self._state = wanted
            self._apply(is_overdue=goes_on and was_overdue and deadline_seconds is None)  # what it paused is paused
            log.info("drain" if on else "undrain", reason=reason, deadline=deadline)
            return msgspec.structs.replace(self.state(), was_on=was_on)

    def state(self) -> control.Drain:
        """Return the drain and the sectors still in progress; a deadline that has passed is no longer shown."""
        busy = [(thread.sector.job_id, thread.paused) for thread in self._threads if thread.sector.job_id is not None]
        deadline = None if self._gate.overdue else self._state.deadline
        return msgspec.structs.replace(
            self._state,
            busy=[sector for sector, _ in busy],
            paused=[sector for sector, is_paused in busy if is_paused],
            deadline=deadline,
        )

    async def news(self) -> None:
        """Return when a thread, or the drain, has changed."""
        await self._gate.news.wait()

    async def run(self) -> None:
        """Pause what is still in progress when the deadline comes."""
        while True:
            deadline = self._state.deadline
            if deadline is None or self._gate.overdue:
                await self._changed.wait()
                continue
            with anyio.move_on_after(max(0.0, deadline - self._clock())):
                await self._changed.wait()
                continue
            for thread in self._threads:
                if thread.sector.job_id is not None:
                    log.warning(
                        "deadline of the drain has passed: pausing", thread=thread.index, sector=thread.sector.job_id
                    )
            self._apply(is_overdue=True)

    def _apply(self, *, is_overdue: bool) -> None:
        self._gate.closed, self._gate.overdue = self._state.on, is_overdue
        self._gate.why = (
            f"the end of the drain ({self._state.reason})" if self._state.reason else "the end of the drain"
        )
        for thread in self._threads:
            thread.wake()
        self._changed.beat()
        self._gate.changed()

    def _save(self, wanted: control.Drain) -> None:
        if wanted.on:
            durable.replace(self._file, codec.encode(wanted))
        else:
            self._file.unlink(missing_ok=True)
