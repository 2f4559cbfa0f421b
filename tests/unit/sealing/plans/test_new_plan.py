"""What it takes to add a plan: a module of its own on each side, and a line in the registry of each."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import damocles
from damocles.parameters.catalog import Kind
from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.stages.admission import costs
from damocles.worker.plans import repertoire

TABLE = """
from damocles.sealing import events as e
from damocles.sealing.plans import sealer
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S

PLAN = Plan(
    "toy",
    {
        **sealer.PLAN.steps,
        S.Allocated: Step(does="play", stage="AcquireDeals", to={e.AcquireDeals: S.DealsAcquired}, needs=("allocated",)),
    },
    proves=("porep",),
    writes=sealer.PLAN.writes,
    is_original=False,
)
"""

HANDLERS = """
from damocles.sealing import events


async def play(job):
    return events.AcquireDeals(None)


HANDLERS = {play.__name__: play}
"""

RECORDS = """
from damocles.manager.sectors import ledger


class Toys:
    def __init__(self, database):
        self._database = database

    def register(self, service):
        service.add("Damocles.Toys", self.toys)

    async def toys(self) -> list[str]:
        read = await self._database.read(lambda tx: ledger.select_all(tx, online=False))
        return [str(record.id) for record in read]
"""

# The registries: one for the tables, one for the worker's handlers, one for what the manager serves.
LINES = {
    "sealing/planner.py": [("unseal, wdpost", "toy, unseal, wdpost")],
    "worker/plans/repertoire.py": [("unseal, wdpost", "toy, unseal, wdpost")],
    "manager/office.py": [
        ("rebuild, snapup, unseal, wdpost", "rebuild, snapup, toy, unseal, wdpost"),
        ("    posts.register(service)\n", "    posts.register(service)\n    toy.Toys(database).register(service)\n"),
    ],
}

SCRIPT = """
import json, random, sys, types
from pathlib import Path

import anyio

import damocles
from damocles.rpc import core, messages
from damocles.sealing import planner, validity
from damocles.stores import identity, persist, sealing
from damocles.stores.pieces import PieceStores
from damocles.testing.simulation import box, keeper, machines, options, sham, virtual
from damocles.worker import upstream
from damocles.worker.plans import job
from damocles.worker.thread import loop, surroundings


class Watched(loop.SealingThread):
    does = []

    def hear(self, event):
        changed = super().hear(event)
        assert not validity.flaws(self.mind), event
        if isinstance(self.mind.doing, planner.Execute) and self.mind.doing.does not in self.does:
            self.does.append(self.mind.doing.does)
        return changed


async def main():
    base = Path(sys.argv[1])
    store = persist.PersistStore(name=box.PERSIST, path=base / box.PERSIST)
    persist.init(store.path)
    sealing.init(base / "store")
    manager = box.ManagerBox(base, options.Options(sectors=1), keeper.Market(1))
    network = types.SimpleNamespace(dice=random.Random(1), loss=0.0, box=manager, saw=lambda *_: None)
    machine = machines.Machine("toy", [], identity.NOTHING)
    machine.thawed.set()
    around = surroundings.Surroundings(
        instance="toy",
        manager=upstream.Manager(machines.Line(network, machine)),
        stages=sham.ShamStages(
            random.Random(1), lambda: machine.thawed, lambda: False, lambda _: (base / "store" / "data", False)
        ),
        persist_stores={"persist": store},
        static_tree_d={},
        pieces=PieceStores(origin="sim://manager"),
        trash_retention_seconds=1e6,
    )
    settings = surroundings.Settings(plan="toy", options=job.Options(), limits=planner.Limits())
    thread = Watched(0, base / "store", around, lambda: settings, virtual.wall_clock)
    toys = []
    async with anyio.create_task_group() as running:
        running.start_soon(manager.run)
        running.start_soon(thread.run)
        with anyio.fail_after(10000):
            while not toys:
                await anyio.sleep(1)
                if manager.service is not None:
                    body = messages.encode_call(1, "Damocles.Toys", [])
                    toys = json.loads((await manager.service.answer(body, core.Call(peer="test"))).body)["result"]
        running.cancel_scope.cancel()
    print(json.dumps({"source": damocles.__file__, "does": thread.does, "toys": toys}))


virtual.run(main)
"""

REST = (
    *("tree_d", "assign_ticket", "pc1", "pc2", "submit_pre_commit", "poll_pre_commit", "persist"),
    *("submit_persisted", "wait_seed", "c1", "c2", "submit_proof", "poll_proof"),
)


def test_a_plan_is_three_modules_and_three_registries(tmp_path: Path):
    """A toy plan, added to a copy of the source, is configured, drawn, and brings a sector to its end.

    A call to the manager that no plan makes yet would have to be declared besides, like any wire method.
    """
    source = tmp_path / "source" / "damocles"
    shutil.copytree(Path(damocles.__file__).parent, source, ignore=shutil.ignore_patterns("__pycache__"))
    for room, text in (("sealing", TABLE), ("worker", HANDLERS), ("manager", RECORDS)):
        (source / room / "plans" / "toy.py").write_text(text)
    for name, changes in LINES.items():
        text = (source / name).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (source / name).write_text(text)

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(source.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    ended = json.loads(run("-c", SCRIPT, str(tmp_path)).splitlines()[-1])
    assert ended == {
        "source": str(source / "__init__.py"),
        "does": ["allocate_sector", "play", "add_pieces", *REST],
        "toys": ["s-t010000-1"],
    }
    config = tmp_path / "worker.toml"
    config.write_text(
        '[sector_manager]\nrpc_client.addr = "127.0.0.1:1789"\n'
        '[[sealing_thread]]\nlocation = "store"\nplan = "toy"\n[[attached]]\nlocation = "persist"\n'
    )
    assert "toy" in run(
        "-c", "import sys; from damocles.worker.config import load; print(load.load(sys.argv[1]))", str(config)
    )
    assert "## toy\n" in run("-m", "damocles.sealing.graphs")


def test_what_a_plan_says_of_itself_is_there():
    """Kinds of parameters, stages and handlers are known, and every plan begins by being handed work."""
    for plan in planner.PLANS.values():
        assert [Kind(kind) for kind in plan.proves] == list(plan.proves)
        assert set(plan.writes) <= set(costs.STAGES)
        assert next(iter(plan.steps)) is State.Empty
        assert {step.does for step in plan.steps.values()} - {"finalize"} <= set(repertoire.HANDLERS)
