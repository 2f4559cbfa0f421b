"""One simulated world: a manager, machines with workers, a network, and what goes wrong in them."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from sqlalchemy import select

from damocles import methods
from damocles.manager.db import tables
from damocles.rpc import core, messages
from damocles.sealing import planner
from damocles.stores import identity, nowhere, persist, sealing
from damocles.stores.layout import Layout
from damocles.stores.outlets import Outlets
from damocles.stores.persist import PersistStore
from damocles.stores.pieces import PieceStores
from damocles.testing.simulation import books, disks, fleet, keeper, mounts, sham, virtual, wishes
from damocles.testing.simulation.box import MINER, PERSIST, ManagerBox
from damocles.testing.simulation.machines import Line, Machine
from damocles.testing.simulation.options import Options
from damocles.wire.fleet import WorkerInfo
from damocles.worker import upstream
from damocles.worker.plans import job
from damocles.worker.thread import loop as threads
from damocles.worker.thread import surroundings

OTHER_PLANS = ("snapup", "rebuild", "unseal", "wdpost")
STALE = "is over: attempt"
LANDED_OTHERWISE = "on chain already, with other content"


class World:
    """Everything, and what must hold in it."""

    def __init__(self, seed: int, base: Path, options: Options) -> None:
        self.dice = random.Random(seed)  # noqa: S311, has to be repeatable
        self.options = options
        self.loss = options.loss
        self.others = options.others if seed % 2 else 0
        market = keeper.Market(options.sectors + keeper.SPARE_DEALS)
        self.box = ManagerBox(base, options, market)
        self.disk = disks.Disk(base, lazy=options.lazy_disk, deaf=options.deaf)
        self.wishes = wishes.Wishes(self.disk)
        self.persist = PersistStore(name=PERSIST, path=base / PERSIST)
        persist.init(self.persist.path)
        self.drains = wishes.Drains(base / "homes", random.Random(f"drains of {seed}"))  # noqa: S311, likewise
        self.undrained = anyio.Event()  # for good
        self.mounted = anyio.Event()  # likewise
        self.base = base
        self.plans: dict[str, str] = {}  # of stores, by their first names
        self.posts = fleet.Posts()
        self.shared = seed % 5 == 4  # all machines have one configuration, with the name in it
        self.own_dice = random.Random(-seed - 1)  # noqa: S311 (likewise; for what came to the simulation later)
        self.keeper = keeper.Keeper(self.box, self.dice, self.persist.path, base / "out", MINER, market)
        self.keeper.posts_seen = self.posts.check
        self.machines: list[Machine] = []
        self.books = books.Books(options.sectors)
        mount_dice = random.Random(f"mounts of {seed}")  # noqa: S311, has to be repeatable
        self.mounts = mounts.Mounts(mount_dice, self.persist.path, self.disk, self.machines, self._stopped, self._tell)
        self.story: list[str] = []
        self.tasks: anyio.abc.TaskGroup

    async def run(self) -> None:
        """Live through the seed's trouble, then heal everything and see every sector end."""
        options = self.options
        async with anyio.create_task_group() as self.tasks:
            self.tasks.start_soon(self.box.run)
            chosen = self.dice.sample(OTHER_PLANS, options.machines * self.others)
            self.keeper.plans = tuple(chosen)
            self._tell(f"beside sealer: {', '.join(chosen) or 'nothing'}")
            for number in range(options.machines):
                plans = ["sealer"] * (options.threads - self.others) + [chosen.pop() for _ in range(self.others)]
                names = [f"store{number}{'abcdef'[index]}" for index in range(len(plans))]
                self.plans |= dict(zip(names, plans, strict=True))
                name = f"machine{number}"
                memory = identity.NOTHING if options.any_store else identity.Memory(self.base / "homes" / name)
                memory.admit(self.persist.path)
                places = [self.disk.make(store) for store in names]
                self.machines.append(Machine(name, places, memory, "twin" if self.shared else name))
            if self.others:
                self.tasks.start_soon(self.keeper.run)
            self.tasks.start_soon(self._mounts)
            self.tasks.start_soon(self._drains)
            for machine in self.machines:
                machine.thawed.set()
                self.tasks.start_soon(self._live, machine)
                self.tasks.start_soon(self._ping, machine)
            if "wdpost" in self.keeper.plans:
                self.posts.fit = {machine.instance for machine in self.machines}
                self.posts.aware = {"aware"}
                for name in ("unfit", "aware"):
                    self.tasks.start_soon(self._live_in_vain, name)
            for when in sorted(self.dice.uniform(1, options.trouble_seconds) for _ in range(options.faults)):
                await anyio.sleep(max(0.0, when - anyio.current_time()))
                await self._trouble()
            await self._heal()
            await self._ends()
            self.tasks.cancel_scope.cancel()

    # What happens.

    async def _live(self, machine: Machine) -> None:
        """Run the machine's worker, again and again."""
        while True:
            with anyio.CancelScope() as machine.life:
                machine.generation += 1
                generation = machine.generation
                machine.stages = sham.ShamStages(
                    self.dice,
                    lambda: machine.thawed,
                    self._unlucky,
                    partial(self._data, machine),
                    lazy=self.options.lazy_copies,
                )
                manager, gate = upstream.Manager(Line(self, machine)), surroundings.Gate()
                around = surroundings.Surroundings(
                    instance=machine.instance,
                    manager=manager,
                    stages=machine.stages,  # type: ignore[arg-type]
                    persist_stores={"persist": self.persist},
                    static_tree_d={},
                    pieces=PieceStores(origin="sim://manager"),
                    outlets=Outlets(folders=(self.keeper.outputs.parent,)),
                    trash_retention_seconds=1e9,
                    memory=machine.memory,
                    gate=gate,
                )
                async with anyio.create_task_group() as working:
                    machine.workers = [
                        wishes.Watched(
                            index,
                            location,
                            around,
                            partial(self._settings, location.name),
                            virtual.wall_clock,
                            partial(self._opened, machine, generation),
                        )
                        for index, location in enumerate(machine.stores)
                    ]
                    self.drains.start(machine.name, gate, machine.workers, working)
                    for thread in machine.workers:
                        working.start_soon(thread.run)
                        working.start_soon(self.wishes.check, thread)
            machine.workers = []
            await anyio.sleep(self.dice.uniform(1, 60))

    async def _live_in_vain(self, name: str) -> None:
        """Run a worker that cannot prove, and may know it; nothing else goes wrong there."""
        machine = Machine(name, [], identity.NOTHING, name)
        machine.thawed.set()
        around = surroundings.Surroundings(
            instance=name,
            manager=upstream.Manager(Line(self, machine, self.own_dice)),
            stages=fleet.UnfitStages(),  # type: ignore[arg-type]
            persist_stores={"persist": self.persist},
            static_tree_d={},
            pieces=PieceStores(origin="sim://manager"),
            trash_retention_seconds=1e9,
            lacking_for_post=lambda _: fleet.LACKING if name == "aware" else None,
        )
        settings = partial(self._settings, "unfit")
        thread = threads.SealingThread(
            0, nowhere.LOCATION, around, settings, virtual.wall_clock, open_store=nowhere.opened
        )
        await thread.run()

    async def _ping(self, machine: Machine) -> None:
        """Ping as the machine's worker does, from another port after each restart; see that names are kept apart."""
        while True:
            await anyio.sleep(self.own_dice.uniform(25, 35))
            await machine.thawed.wait()
            if machine.cut_off or not machine.workers or self.box.service is None:
                continue
            dest = f"{machine.name}:{fleet.PORT + machine.generation % 2}"
            ask = methods.sealer.worker_ping(WorkerInfo(machine.instance, dest))
            body = messages.encode_call(1, ask.method, ask.params)
            await self.box.service.answer(body, core.Call(peer=machine.name))
            found = self.box.watch.sharing(machine.instance)
            if found and not self.shared:
                raise disks.Violation(f"{machine.name} is alone, and is taken for {[row.info.dest for row in found]}")

    def _opened(
        self, machine: Machine, generation: int, location: Path
    ) -> AbstractContextManager[sealing.SealingStore]:
        return self.disk.opened(location, self._gate(machine, generation), machine.memory)

    def _gate(self, machine: Machine, generation: int) -> Callable[[], None]:
        def check() -> None:
            if machine.generation != generation:
                raise disks.Violation(f"{machine.name} writes after its death")

        return check

    def _data(self, machine: Machine, lane: int) -> tuple[Path, bool]:
        location = machine.stores[lane]
        return location / "data", self.disk.journals[location.name].full

    def _unlucky(self) -> bool:
        return self.dice.random() < self.loss

    async def _trouble(self) -> None:
        """Let one thing go wrong."""
        machine = self.dice.choice(self.machines)
        kind = self.dice.choice(
            ["kill", "power", "cut", "manager", "full", "pause", "resume", "abort", "move", "freeze"]
        )
        self._tell(f"{kind} {machine.name}")
        thread = self.dice.choice(machine.workers) if machine.workers else None
        match kind:
            case "kill" | "power":
                self._kill(machine, power=kind == "power")
            case "cut":
                self.tasks.start_soon(self._for_a_while, lambda on: setattr(machine, "cut_off", on))
            case "freeze":
                self.tasks.start_soon(self._for_a_while, lambda on: self._freeze(machine, on=on))
            case "manager":
                self.box.kill()
                self.posts.forget()
            case "full":
                book = self.disk.journals[self.dice.choice(machine.stores).name]
                self.tasks.start_soon(self._for_a_while, lambda on: setattr(book, "full", on))
            case "pause" if thread is not None:
                thread.pause(now=self.dice.random() < 0.5)
            case "resume" if thread is not None:
                self._resume(thread)
            case "abort" if thread is not None and thread.sector.id is not None and self.dice.random() < 0.3:
                if thread.sector.plan == "sealer":  # what is given up by others the keeper asks for again
                    self.books.given_up.add(thread.sector.id)
                thread.abort("simulated operator")
            case "move" if thread is not None and thread.sector.id is not None:
                self._move(machine, thread)
            case _:
                pass

    def _kill(self, machine: Machine, *, power: bool) -> None:
        self.wishes.note(machine.workers)
        if machine.life is not None:
            machine.life.cancel()
        machine.generation += 1
        if power:
            if machine.stages is not None:
                machine.stages.power_cut()
            for location in machine.stores:
                self.disk.journals[location.name].power_cut()

    def _freeze(self, machine: Machine, *, on: bool) -> None:
        machine.freezers += 1 if on else -1
        if machine.freezers == 0:
            machine.thawed.set()
        elif machine.thawed.is_set():
            machine.thawed = anyio.Event()

    def _move(self, machine: Machine, thread: threads.SealingThread) -> None:
        """The machine seems dead: copy its store to another one and go on there. It comes back later."""
        self._freeze(machine, on=True)
        self.tasks.start_soon(self._thaw_later, machine)
        target = self.dice.choice([other for other in self.machines if other is not machine])
        new = self.disk.copy(thread.location.name, f"{thread.location.name}-{len(self.disk.journals)}")
        target.stores.append(new)
        self._kill(target, power=False)

    async def _thaw_later(self, machine: Machine) -> None:
        await anyio.sleep(self.dice.uniform(60, 600))
        self._freeze(machine, on=False)

    async def _for_a_while(self, switch: Callable[[bool], None]) -> None:
        switch(True)
        await anyio.sleep(self.dice.uniform(5, 300))
        switch(False)

    async def _drains(self) -> None:
        names = [machine.name for machine in self.machines]
        await self.drains.run(names, self.options.drains, self.options.trouble_seconds)
        self.undrained.set()

    async def _mounts(self) -> None:
        await self.mounts.run(self.options.mounts, self.options.trouble_seconds)
        self.mounted.set()

    async def _stopped(self, machine: Machine) -> None:
        self._kill(machine, power=False)
        while machine.workers:  # noqa: ASYNC110 - virtual time, and nobody tells
            await anyio.sleep(0.1)

    def _resume(self, thread: threads.SealingThread) -> None:
        if not thread.paused:
            return
        plan, sector = planner.PLANS[thread.sector.plan], thread.sector
        place = Layout(thread.location / "data", sector.id, sector.proof_type.size) if sector.id else None
        targets = [t for t in plan.targets(sector, place.at_hand() if place else frozenset()) if t != "Aborted"]
        target = self.dice.choice([None, *targets])
        self._tell(f"resume {thread.location.name} at {target}")
        thread.resume(target)

    # The end.

    async def _heal(self) -> None:
        """Mend everything."""
        await anyio.sleep(700)  # every passing fault is over by then
        await self.mounted.wait()
        await self.undrained.wait()
        self._tell("all troubles are over")
        self.loss = 0.0
        self.keeper.restless = False

    async def _ends(self) -> None:
        """Resume whatever pauses until every sector has ended; check the chain's books."""
        deadline = anyio.current_time() + self.options.patience_seconds
        while anyio.current_time() < deadline:
            for thread in [thread for machine in self.machines for thread in machine.workers]:
                error = thread.sector.last_error or ""
                if thread.paused and STALE in error:
                    thread.abort("the sector was moved")
                elif thread.paused and LANDED_OTHERWISE in error and thread.sector.id is not None:
                    # An old copy of a store went on, after the newer one had landed its pre-commit: nobody can finish it.
                    self.books.given_up.add(thread.sector.id)
                    thread.abort("landed with other content")
                elif thread.paused and thread.sector.plan == "unseal" and thread.sector.id in self.keeper.broken:
                    thread.abort(
                        "its files are lost, and are to be made again first"
                    )  # both have the sector to themselves
                elif thread.paused:
                    thread.resume(None)
            await anyio.sleep(30)
            if await self._all_over():
                break
        else:
            held = {
                str(t.location.name): f"{t.sector.id} {t.sector.state} {t.sector.last_error}"
                for m in self.machines
                for t in m.workers
            }
            raise disks.Violation(f"not every sector ended: the stores hold {held}; {await self.keeper.open_ends()}")
        assert self.box.database is not None
        await self.keeper.check(await self.books.balance(self.box.database))
        if self.shared and len(self.box.watch.sharing("twin")) != len(self.machines):
            raise disks.Violation("the machines share a name, and nobody has noticed")

    async def _all_over(self) -> bool:
        database = self.box.database
        assert database is not None
        rows = await database.read(lambda tx: tx.execute(select(tables.sectors.c.online)).all())
        held = [thread for machine in self.machines for thread in machine.workers if thread.sector.id is not None]
        if len(rows) != self.options.sectors or any(row.online for row in rows) or held:
            return False
        return not await self.keeper.open_ends()

    def saw(self, ask: methods.Ask[Any], result: Any) -> None:
        """Check a call that succeeded."""
        if ask.method == methods.wdpost.allocate_jobs.name:
            self.posts.saw(ask.params, result or ())
        self.books.saw(ask, result)

    def _settings(self, store: str) -> surroundings.Settings:
        plan = self.plans.get(store.partition("-")[0], "wdpost")
        return surroundings.Settings(
            plan=plan,
            options=job.Options(allowed_miners=(MINER,), rpc_polling_seconds=30.0, heartbeat_seconds=6.0),
            limits=planner.Limits(
                max_retries=5,
                seal_interval_seconds=60.0 if plan == "wdpost" else self.options.seal_interval_seconds,
                recover_interval_seconds=60,
            ),
        )

    def _tell(self, line: str) -> None:
        self.story.append(f"{anyio.current_time():8.1f} {line}")


def run_seed(seed: int, base: Path, options: Options | None = None, story: list[str] | None = None) -> None:
    """Run one world to its end in virtual time; `story` takes what happened.

    Raises:
        disks.Violation: An invariant does not hold; perhaps in groups of exceptions.
    """
    world = World(seed, base, options or Options())
    if story is not None:
        world.story = story
    virtual.run(world.run)
