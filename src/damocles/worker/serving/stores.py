"""Add stores to a running worker, and release them (`Damocles.Stores`, `Damocles.ChangeStore`).

Only what somebody on this machine has made a store before is added: a caller from elsewhere cannot have folders made, or a bare
mount point used. Nothing is ever deleted.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import msgspec

from damocles import methods
from damocles.operating import selection
from damocles.rpc import core, errors
from damocles.sealing import failures, planner
from damocles.sealing.sectors import Sector
from damocles.stores import holding, identity, journal, nowhere, sealing
from damocles.stores.persist import PersistStore
from damocles.text import spelling
from damocles.wire import codec, control, stores
from damocles.worker import upstream
from damocles.worker.config import stores as config_stores
from damocles.worker.serving import roster as rosters
from damocles.worker.thread import loop

T = TypeVar("T")

PATIENCE_SECONDS = 2.0  # with a disk, and with a thread that ends


class Refused(Exception):
    """The change cannot be made; the message gives the reason."""


class Stores:
    """The stores of one worker. Nothing here waits for a stage."""

    def __init__(self, roster: rosters.Roster, manager: upstream.Manager) -> None:
        self._roster = roster
        self._manager = manager
        self._turn = anyio.Lock()
        # Not the limit that all share: a disk that hangs must not use that up.
        self._looks = anyio.CapacityLimiter(4)

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.worker.stores_of, self.seen)
        service.add(methods.worker.change_store, self.change)

    async def seen(self) -> list[stores.StoreSeen]:
        """Return every store that is used, sealing stores first."""
        roster = self._roster
        added = {one.location for one in roster.book.changes.added}
        found = [
            stores.StoreSeen(
                kind="sealing",
                location=str(thread.location),
                index=thread.index,
                plan=thread.sector.plan,
                sector=thread.sector.job_id,
                state=thread.sector.state.value,
                added=str(thread.location) in added,
                leaving=self._leaving(thread),
            )
            for thread in roster.threads
            if thread.location != nowhere.LOCATION
        ]
        return found + [
            stores.StoreSeen(
                kind="persist",
                location=str(store.path),
                name=store.name,
                read_only=store.read_only,
                added=str(store.path) in added,
                leaving=self._in_use(store) if roster.book.released(store.path) is not None else "",
            )
            for store in roster.persist.values()
        ]

    async def change(self, wanted: stores.StoreChange, asked_by: str = "") -> control.Outcome:
        """Add or release a store, or predict that."""
        async with self._turn:
            try:
                return await self._made(wanted)
            except Refused as refusal:
                return control.Outcome(ok=False, text=f"{wanted.store}: {refusal}")
            except OSError as error:
                raise errors.DiskFails(str(error.filename or "the worker's home"), error.strerror or "") from error

    async def _made(self, wanted: stores.StoreChange) -> control.Outcome:
        if not self._roster.has_begun():
            raise Refused("the worker starts or ends at this moment")
        if wanted.verb == "release":
            which = await self._named(wanted.store)
            if isinstance(which, PersistStore):
                return await self._detach(which, wanted)
            return await self._release(which, wanted)
        return await (self._add if wanted.kind == "sealing" else self._attach)(wanted)

    async def _named(self, which: str) -> loop.SealingThread | PersistStore:
        """Return the store that is to be released: by the number of its thread, its name, or its folder."""
        threads, persist = self._roster.threads, self._roster.persist
        if which.removeprefix("#").isdigit():
            index = int(which.removeprefix("#"))
            thread = next((one for one in threads if one.index == index), None)
            if thread is None:
                raise Refused(selection.no_thread([index], [one.index for one in threads]))
            if thread.location == nowhere.LOCATION:
                raise Refused(f"#{index} works in no store")
            return thread
        if which in persist:
            return persist[which]
        known: dict[Path, loop.SealingThread | PersistStore] = {store.path: store for store in persist.values()}
        known.update({thread.location: thread for thread in threads if thread.location != nowhere.LOCATION})
        if which.startswith("/"):
            # As it is written first: the disk that is to go may not answer any more.
            found = known.get(Path(which)) or known.get(await self._look(lambda: Path(which).resolve()))
            if found is not None:
                return found
        raise Refused(
            f"no store of this worker is named so{spelling.did_you_mean(which, [*persist, *map(str, known)])}"
        )

    # Sealing stores.

    async def _add(self, wanted: stores.StoreChange) -> control.Outcome:
        plan = planner.PLANS.get(wanted.plan)
        if plan is None or not plan.has_store:
            known = [name for name, one in planner.PLANS.items() if one.has_store]
            hint = spelling.did_you_mean(wanted.plan, known) or f": {', '.join(known)}"
            raise Refused(f"{wanted.plan!r} is no plan that works in a sealing store{hint}")
        location = await self._folder(wanted)
        for thread in self._roster.threads:
            if thread.location == location:
                leaving = f", which {self._leaving(thread)}" if self._leaving(thread) else ""
                raise Refused(f"is the store of #{thread.index} already{leaving}")
        sector = await self._look(lambda: _in_store(location))
        goes_on = sector is not None and sector.job_id is not None
        what = f"{sector.job_id} goes on from {sector.state}" if sector and goes_on else "it has no sector"
        index, text = len(self._roster.config.sealing_thread), f"{location} with plan {wanted.plan}: {what}"
        if not wanted.dry_run:
            index = (await self._roster.add(location, wanted.plan)).index
            text = f"works in {text}; add it to the configuration (a restart keeps it until then)"
        else:
            text = f"would work in {text}"
        return control.Outcome(
            index=index,
            sector=sector.job_id if sector else None,
            state=sector.state.value if sector else "",
            ok=True,
            text=text,
        )

    async def _release(self, thread: loop.SealingThread, wanted: stores.StoreChange) -> control.Outcome:
        if wanted.finish and wanted.now:
            raise Refused("either finish the sector, or kill its stage now")
        if thread.mind.stopping:
            raise Refused(f"#{thread.index} {self._leaving(thread)} already")
        sector, before = thread.sector.job_id, f"{thread.activity.state} {thread.sector.state}"
        if wanted.finish and thread.trouble is not None:
            raise Refused(f"#{thread.index} cannot finish anything ({thread.trouble}): release it without finishing")
        outcome = control.Outcome(
            index=thread.index,
            sector=sector,
            state=thread.sector.state.value,
            before=before,
            after="released",
            ok=True,
            text=_words(thread, wanted),
        )
        if wanted.dry_run:
            return outcome
        await self._roster.release(thread, finish=wanted.finish, now=wanted.now)
        with anyio.move_on_after(PATIENCE_SECONDS):
            while thread in self._roster.threads:
                await self._roster.around.gate.news.wait()
        if thread in self._roster.threads:
            return msgspec.structs.replace(outcome, after=self._leaving(thread))
        left = (
            f"{thread.sector.job_id} is left in it at {thread.sector.state}" if thread.sector.job_id else "it is empty"
        )
        text = f"{thread.location} is released: {left}, and its disk may go; remove it from the configuration"
        return msgspec.structs.replace(outcome, state=thread.sector.state.value, text=text)

    def _leaving(self, thread: loop.SealingThread) -> str:
        """Return how far a thread is on its way out."""
        if self._roster.is_ending or not (thread.mind.stopping or thread.mind.leaving):
            return ""
        return "finishes its sector" if not thread.mind.stopping else "waits for the end of its stage"

    # Persist stores.

    async def _attach(self, wanted: stores.StoreChange) -> control.Outcome:
        location = await self._folder(wanted)
        store = PersistStore(name=wanted.name or str(location), path=location, read_only=wanted.read_only)
        for other in self._roster.persist.values():
            if other.path == location or other.name == store.name:
                raise Refused(f"is attached already: {other.name} is {other.path}")
        if not store.read_only and await self._look(lambda: identity.mark_of(location)) is None:
            raise Refused(f"is no persist store: make it one with `damocles-worker store file-init --loc {location}`")
        try:
            known = await self._manager.call(methods.sealer.store_info(store.name))
        except failures.Failure as error:
            raise Refused(f"whether the manager knows {store.name} cannot be told: {error}") from error
        if known is None:
            raise Refused(f"the manager knows no store {store.name}: give the manager's name for it, or add it there")
        text = f"{store.name} is {location}{', readonly' if store.read_only else ''}"
        if wanted.dry_run:
            return control.Outcome(ok=True, text=f"would be attached: {text}")
        memory = self._roster.around.memory
        await self._look(lambda: memory.admit(location, may_mark=False))
        await self._roster.attach(store)
        return control.Outcome(ok=True, text=f"attached: {text}; add it to the configuration")

    async def _detach(self, store: PersistStore, wanted: stores.StoreChange) -> control.Outcome:
        persist = self._roster.persist
        if self._roster.book.released(store.path) is not None:
            raise Refused(f"is being released: {self._in_use(store)}")
        others = [one for one in persist.values() if one.name != store.name and not one.read_only]
        needs = [one for one in self._roster.threads if planner.PLANS[one.sector.plan].persists]
        if needs and not others and not store.read_only:
            raise Refused("is the only store that files of finished sectors can go to: add another one first")
        text = (
            f"{store.name} ({store.path}) gets no more files, and is let go: {self._in_use(store) or 'nothing uses it'}"
        )
        if not wanted.dry_run:
            await self._roster.release_persist(store)
            with anyio.move_on_after(PATIENCE_SECONDS):
                while store.name in persist:
                    await self._roster.around.gate.news.wait()
            if store.name not in persist:
                text = (
                    f"{store.name} ({store.path}) is released; remove it from the configuration before the next start"
                )
        return control.Outcome(ok=True, text=text)

    def _in_use(self, store: PersistStore) -> str:
        names = [f"#{one.index} {one.sector.job_id or ''}".strip() for one in self._roster.users(store.name)]
        return f"waits for {', '.join(names)}" if names else ""

    # Disks.

    async def _folder(self, wanted: stores.StoreChange) -> Path:
        """Return the folder of a store that is to be added, if it may be one."""
        if not wanted.store.startswith("/"):
            raise Refused("name the folder from the root on, like /mnt/nvme1/store1")
        roster = self._roster

        def look() -> Path:
            location = Path(wanted.store).resolve()
            if not location.is_dir():
                raise Refused("there is no such folder; is the disk mounted?")
            try:
                roster.around.memory.check(location)
            except identity.NotTheStore as error:
                raise Refused(str(error)) from error
            data: dict[str, Any] = {
                "worker": {
                    "home": str(roster.config.worker.home),
                    "unseal_dirs": [str(folder) for folder in roster.config.worker.unseal_dirs],
                },
                "sealing_thread": [{"location": str(one.location)} for one in roster.threads],
                "attached": [{"location": str(one.path)} for one in roster.persist.values()],
            }
            data["sealing_thread" if wanted.kind == "sealing" else "attached"].append({"location": str(location)})
            for _, _, text in config_stores.errors(data):
                raise Refused(text)
            return location

        return await self._look(look)

    async def _look(self, look: Callable[[], T]) -> T:
        """Look at a disk, which may hang."""
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                return await anyio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._looks)
        except TimeoutError:
            raise Refused("its disk does not answer") from None
        except OSError as error:
            raise Refused(f"cannot be read: {error.strerror}") from error


def _in_store(location: Path) -> Sector | None:
    """Return the sector in a sealing store that nobody uses; reads the disk."""
    if (problem := sealing.not_ours(location)) is not None:
        raise Refused(problem)
    if not (location / sealing.HOLDER).is_file():
        raise Refused(f"is no sealing store: make it one with `damocles-worker store sealing-init --loc {location}`")
    if (owner := holding.owner(location / sealing.HOLDER)) is not None:
        raise Refused(f"is in use by another worker ({owner})")
    if not (location / "meta" / journal.FILE_NAME).exists():
        return None
    try:
        head = next(iter(journal.contents(location)), None)
        record = head.record if isinstance(head, journal.Head) else None
        return codec.decode(record, Sector) if record is not None else None
    except (journal.JournalError, msgspec.MsgspecError) as error:
        raise Refused(str(error)) from error


def _words(thread: loop.SealingThread, wanted: stores.StoreChange) -> str:
    """Return what a release does."""
    sector, mind = thread.sector.job_id, thread.mind
    if sector is None:
        return f"{thread.location} is released; it has no sector"
    if wanted.finish:
        stuck = "; it is paused, and goes on only once somebody resumes it" if thread.paused else ""
        return f"finishes {sector}, begins no other sector, and {thread.location} is released{stuck}"
    stage = ""
    if mind.pid is not None:
        stage = (
            f": its running stage (pid {mind.pid}) is killed, and runs again where the store is next used"
            if wanted.now
            else f", once its running stage (pid {mind.pid}) has ended"
        )
    return f"leaves {sector} in {thread.location}, and that is released{stage}; nothing is deleted"
