"""The sealing threads and persist stores of a worker: those of its configuration, and what is added and released meanwhile.

Whatever changes is first written into a small file in the worker's home, so that a restart changes nothing: a store that was
released is not opened again, and one that was added is. Once the configuration says the same, the file forgets it.

A thread that ends while the worker goes on has released its store: the journal is closed and its lock is free, the thread's
child is gone, and nothing in the folder was deleted.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
import anyio.abc
import anyio.to_thread
import msgspec
import structlog

from damocles import durable
from damocles.sealing import events, planner
from damocles.stages import errors as stage_errors
from damocles.stores import nowhere
from damocles.stores.persist import PersistStore
from damocles.wire import codec
from damocles.wire.stores import StoreKind
from damocles.worker.config import load
from damocles.worker.config import model as config_model
from damocles.worker.serving import logbook
from damocles.worker.thread import loop, options, surroundings

log = structlog.get_logger(__name__)

FILE_NAME = "stores.json"


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """A store that is not in the configuration."""

    kind: StoreKind
    location: str
    plan: str = ""
    name: str = ""
    read_only: bool = False


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """A store that the configuration, or an `Added`, still has; with `finish` it is used until its sector is finished."""

    kind: StoreKind
    location: str
    finish: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What is different from the configuration."""

    added: tuple[Added, ...] = ()
    released: tuple[Released, ...] = ()

    def without(self, location: str) -> "Changes":
        """Return them without those of a folder."""
        return Changes(
            tuple(one for one in self.added if one.location != location),
            tuple(one for one in self.released if one.location != location),
        )


class Children(Protocol):
    """What is asked of `executor.Stages`."""

    async def warm(self, lane: int) -> int:
        """Start the child of a thread."""

    async def dismiss(self, lane: int) -> None:
        """End it."""


class Book:
    """The file in a worker's home."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE_NAME
        self.changes = Changes()
        try:
            self.changes = codec.decode(self._file.read_bytes(), Changes)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("file of changed stores is damaged; ignoring it", file=str(self._file), error=str(error))

    def applied(self, loaded: load.Loaded) -> load.Loaded:
        """Return a configuration with the stores that were added, and forget what it says itself by now."""
        configured = {str(entry.location.resolve()) for entry in loaded.config.sealing_thread if entry.location}
        configured |= {str(store.path) for store in loaded.persist_stores}
        added = tuple(one for one in self.changes.added if one.location not in configured)
        known = configured | {one.location for one in added}
        self.changes = Changes(added, tuple(one for one in self.changes.released if one.location in known))
        for each in added:
            log.warning("a store was added while the worker ran: add it to the configuration", store=each.location)
        for gone in self.changes.released:
            log.warning("a store was released: remove it from the configuration", store=gone.location)
        threads = tuple(
            config_model.SealingThread(location=Path(one.location), plan=one.plan)
            for one in added
            if one.kind == "sealing"
        )
        stores = tuple(
            PersistStore(name=one.name, path=Path(one.location), read_only=one.read_only)
            for one in added
            if one.kind == "persist"
        )
        config = loaded.config.model_copy(update={"sealing_thread": (*loaded.config.sealing_thread, *threads)})
        return replace(loaded, config=config, persist_stores=(*loaded.persist_stores, *stores))

    def released(self, location: Path) -> Released | None:
        """Return how a store was released, if it was."""
        return next((one for one in self.changes.released if one.location == str(location)), None)

    async def write(self, changes: Changes) -> None:
        """Keep the changes, on the disk first.

        Raises:
            OSError: They cannot be written.
        """
        await anyio.to_thread.run_sync(durable.replace, self._file, codec.encode(changes))
        self.changes = changes


@dataclass(kw_only=True)
class Roster:
    """The threads and persist stores of a worker; `run` the threads, `stop` ends them.

    `threads`, `persist` (as `around` has it), `spared` and `folders` (by the names of metrics) are always as things are.
    """

    config: load.Config  # a thread's index is its place there
    around: surroundings.Surroundings
    book: Book
    children: Children
    logs: logbook.Logbook
    persist: dict[str, PersistStore]
    spared: list[Path]
    threads: list[loop.SealingThread] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = anyio.Event()
        self._tasks: anyio.abc.TaskGroup | None = None  # of the threads
        self._beside: anyio.abc.TaskGroup  # what ends with them
        for index, entry in enumerate(self.config.sealing_thread):
            gone = self.book.released(entry.location.resolve()) if entry.location is not None else None
            if gone is None or gone.finish:
                self._make(index)
                if gone is not None:
                    self.threads[-1].leave()
        for store in self.persist.values():
            self.folders[f"persist {store.name}"] = store.path

    @property
    def is_ending(self) -> bool:
        """Whether the worker stops."""
        return self._ended.is_set()

    async def run(self) -> None:
        """Run all threads, and those that are added, until all have ended after `stop`."""
        async with anyio.create_task_group() as self._beside:
            async with anyio.create_task_group() as self._tasks:
                for thread in self.threads:
                    self._start(thread)
                for store in list(self.persist.values()):
                    if self.book.released(store.path) is not None:
                        self._let_go(store)
                await self._ended.wait()
            self._beside.cancel_scope.cancel()

    @property
    def config_in_use(self) -> load.Config:
        """The configuration with the stores that are used now."""
        entries = tuple(self.config.sealing_thread[thread.index] for thread in self.threads)
        return self.config.model_copy(update={"sealing_thread": entries})

    def stop(self) -> None:
        """Let every thread end at its next boundary."""
        self._ended.set()
        for thread in self.threads:
            thread.stop()

    def has_begun(self) -> bool:
        """Whether threads run."""
        return self._tasks is not None and not self.is_ending

    # Sealing stores.

    async def add(self, location: Path, plan: str) -> loop.SealingThread:
        """Begin a thread on a store.

        Raises:
            OSError: It cannot be recorded; nothing has changed.
        """
        changes = self.book.changes.without(str(location))
        one = Added(kind="sealing", location=str(location), plan=plan)
        await self.book.write(Changes((*changes.added, one), changes.released))
        entry = config_model.SealingThread(location=location, plan=plan)
        index = len(self.config.sealing_thread)
        self.config = self.config.model_copy(update={"sealing_thread": (*self.config.sealing_thread, entry)})
        thread = self._make(index)
        self._start(thread)
        self.around.gate.changed()
        log.info("store added", thread=index, location=str(location), plan=plan)
        return thread

    async def release(self, thread: loop.SealingThread, *, finish: bool, now: bool) -> None:
        """Let a thread end, and its store go.

        Raises:
            OSError: It cannot be recorded; nothing has changed.
        """
        changes = self.book.changes.without(str(thread.location))
        added = tuple(one for one in self.book.changes.added if one.location == str(thread.location)) if finish else ()
        one = Released(kind="sealing", location=str(thread.location), finish=finish)
        await self.book.write(Changes((*changes.added, *added), (*changes.released, one)))
        if finish:
            thread.leave()
        else:
            thread.stop(now=now)

    def _make(self, index: int) -> loop.SealingThread:
        entry = self.config.sealing_thread[index]
        location = entry.location.resolve() if entry.location is not None else None
        around, now = self.around, options.reader(self.config, index, location)
        if location is not None:
            opened = partial(surroundings.opened, memory=around.memory)
            thread = loop.SealingThread(index, location, around, now, plan=entry.plan, open_store=opened)
            self.spared.append(location)
            self.folders[f"sealing {location}"] = location
        else:
            thread = loop.SealingThread(
                index, nowhere.LOCATION, around, now, plan=entry.plan, open_store=nowhere.opened
            )
        self.threads.append(thread)
        self.logs.know([thread])
        return thread

    def _start(self, thread: loop.SealingThread) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(self._drive, thread)
        self._beside.start_soon(self._warm, thread.index)

    async def _warm(self, index: int) -> None:
        # A first stage should not pay for the start of its process; if that fails, the stage will say so.
        with suppress(stage_errors.StageError):
            await self.children.warm(index)

    async def _drive(self, thread: loop.SealingThread) -> None:
        """Run a thread; when it ends before the worker, its store is released."""
        await thread.run()
        if self.is_ending:
            return
        location = thread.location
        await self.children.dismiss(thread.index)
        self.around.room.forget(location)
        self.logs.forget(thread.index)
        self.folders.pop(f"sealing {location}", None)
        self.spared.remove(location)
        await self._forget(location)
        await self._end_release("sealing", location)
        self.threads.remove(thread)
        self.around.gate.changed()
        log.info(
            "store released", thread=thread.index, location=str(location), left_in_it=thread.sector.job_id or "nothing"
        )

    # Persist stores.

    async def attach(self, store: PersistStore) -> None:
        """Use a persist store.

        Raises:
            OSError: It cannot be recorded; nothing has changed.
        """
        changes = self.book.changes.without(str(store.path))
        one = Added(kind="persist", location=str(store.path), name=store.name, read_only=store.read_only)
        await self.book.write(Changes((*changes.added, one), changes.released))
        self.persist[store.name] = store
        self.folders[f"persist {store.name}"] = store.path
        self.around.gate.changed()
        log.info("persist store added", name=store.name, location=str(store.path))

    async def release_persist(self, store: PersistStore) -> None:
        """Bring no more files to a persist store, and let it go as soon as nothing is read there.

        Raises:
            OSError: It cannot be recorded; nothing has changed.
        """
        changes = self.book.changes
        one = Released(kind="persist", location=str(store.path))
        await self.book.write(Changes(changes.added, (*changes.released, one)))
        self._let_go(store)

    def users(self, name: str) -> list[loop.SealingThread]:
        """Return the threads that read from a persist store, or may be about to write to it."""
        return [thread for thread in self.threads if _uses(thread, name)]

    def _let_go(self, store: PersistStore) -> None:
        self.persist[store.name] = replace(store, read_only=True)
        self._beside.start_soon(self._detach, store.name)

    async def _detach(self, name: str) -> None:
        while self.users(name):
            await self.around.gate.news.wait()
        store = self.persist.pop(name)
        self.folders.pop(f"persist {name}", None)
        await self._forget(store.path)
        await self._end_release("persist", store.path)
        self.around.gate.changed()
        log.info("persist store released", name=name, location=str(store.path))

    async def _end_release(self, kind: StoreKind, location: Path) -> None:
        kept = self.book.changes.without(str(location))
        end = Released(kind=kind, location=str(location))
        try:
            await self.book.write(Changes(kept.added, (*kept.released, end)))
        except OSError as error:
            log.warning("end of a release not recorded: after a restart it comes once more", error=str(error))

    async def _forget(self, location: Path) -> None:
        """Take whatever comes to a folder later: it need not be this store."""
        try:
            await anyio.to_thread.run_sync(self.around.memory.forget, location, abandon_on_cancel=True)
        except OSError as error:
            log.warning("what was in a folder is still remembered", location=str(location), error=str(error))


def _uses(thread: loop.SealingThread, name: str) -> bool:
    sector, plan = thread.sector, planner.PLANS[thread.sector.plan]
    is_unread = not thread.mind.is_loaded and thread.trouble is None  # its sector is not known yet
    if is_unread or sector.access_instance == name:
        return True
    step = plan.steps.get(sector.state)
    moves_files = step is not None and (events.Persist in step.to or not plan.has_store or plan.name == "unseal")
    return moves_files and isinstance(thread.mind.doing, planner.Execute)
