"""Two miners on a devnode, over days of deadlines: what goes wrong meanwhile, and what the chain says of each window in the end."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from damocles.chain.bitfields import Bitfield
from damocles.devnode import rules
from damocles.testing import farm
from damocles.testing.chain_farm import WITH_POSTS, ChainFarm
from damocles.testing.farm import wait_until
from damocles.wire.sectors import SectorID

from . import plan_farms

SECTORS = 5  # of each miner: two partitions of two, and one of one, in three deadlines
SHORT = 1  # the sector that expires
DAY = rules.EPOCHS_IN_DAY
WINDOW, CHALLENGE = 60, 20
AHEAD = 150  # epochs before a deadline opens, in which its sectors are read and declared
AFTER = 20  # epochs after its close, in which what is left of it is done
MINED_DELAY = "8s"  # of epochs in which blocks are made, with a winning PoSt each
_NULLS = rules.FINALITY
_SECOND = "second-miner"
_STRIDE = 20  # epochs that are made at once where nothing has to be proved
Name = tuple[int, int, int]
_OFFSETS = range(600, 2000)  # of the second miner: its deadlines are not the first one's


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A deadline on one of its days; the first miner's are 0, the second one's 1."""

    opens: int
    who: int
    place: int  # among the deadlines with sectors
    day: int
    deadline: int = field(compare=False)

    @property
    def close(self) -> int:
        """The first epoch that is too late."""
        return self.opens + WINDOW

    @property
    def name(self) -> Name:
        """Which one it is: miner, deadline and day, each counted from 0."""
        return self.who, self.place, self.day


@dataclass(frozen=True, slots=True)
class Part:
    """A partition as the chain has it."""

    live: frozenset[int]
    faulty: frozenset[int]
    recovering: frozenset[int]
    is_posted: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The partitions of a window as it opened, before it closed, and after that."""

    opened: list[Part]
    closing: list[Part]
    closed: list[Part]


# The beginning -----------------------------------------------------------------------------------------------------


def fill(base: Path) -> None:
    """Seal the sectors of two miners, and let them grow so old that one of each is about to expire.

    No deadline has to be proved until then; from now on all have.
    """
    with ChainFarm(base, threads=2, max_sectors=1, lifetime_days=1, seal_interval="200ms") as f:
        f.start_devnode()
        f.others = [_second_miner(f)]
        (base / _SECOND).write_text(str(*f.others))
        f.write_config()
        f.start_manager()
        f.start_worker()
        _sealed(f, 1)
        assert f.manager is not None
        farm.stop(f.manager)
        f.max_sectors, f.lifetime_days = SECTORS, 540
        f.start_manager()
        _sealed(f, SECTORS)
        plan_farms.stop_worker(f)
        farm.stop(f.manager)
        _grow_old(f)
        assert f.devnode is not None
        farm.stop(f.devnode)
        f.need_posts()


def second(base: Path) -> int:
    """Return the second miner of a folder that was filled."""
    return int((base / _SECOND).read_text())


def _second_miner(f: ChainFarm) -> int:
    for number in itertools.count(f.miner + 1):
        f.create_miner()
        wait_until(partial(_has_miner, f, number), "the miner is there")
        if offset(f, number) in _OFFSETS:
            return number
    raise AssertionError


def _has_miner(f: ChainFarm, number: int) -> bool:
    return f"t0{number}" in f.ask_node("StateListMiners", None)


def offset(f: ChainFarm, miner: int) -> int:
    """Return where in a day the first deadline of a miner opens."""
    return int(f.ask_node("StateMinerProvingDeadline", f"t0{miner}", None)["PeriodStart"]) % DAY


def _sealed(f: ChainFarm, count: int) -> None:
    def done() -> bool:
        finished = [plan_farms.record(f, SectorID(miner, n)) for miner in f.miners for n in range(1, count + 1)]
        return all(one.finalized for one in finished)

    def are_there() -> bool:
        return all(f.ask_node("StateMinerSectorCount", f"t0{miner}", None)["Live"] == count for miner in f.miners)

    wait_until(are_there, f"{count} sectors of each miner are on the chain", 1200.0)
    wait_until(done, "they are finished")


def _grow_old(f: ChainFarm) -> None:
    """Let time pass until shortly before the first miner's deadlines begin, when both short sectors have a day left or less."""
    expires = [f.ask_node("StateSectorGetInfo", f"t0{miner}", SHORT, None)["Expiration"] for miner in f.miners]
    until = min(expires) - (min(expires) + AHEAD + _STRIDE) % DAY
    assert max(expires) < until + DAY + DAY // 2
    while (left := until - f.height) > 0:
        if left > 1:
            f.ask_node("DevnodeNullRounds", min(_NULLS, left - 1), prefix="Damocles")
        f.ask_node("DevnodeStep", 1, prefix="Damocles")


def pass_quickly(f: ChainFarm, until: int) -> None:
    """Let epochs pass in which nothing is to be proved."""
    while (left := until - f.height) > 0:
        f.ask_node("DevnodeStep", min(left, _STRIDE), prefix="Damocles")


# Days --------------------------------------------------------------------------------------------------------------

Strike = Callable[["Days", Window], bool]  # true when it has struck


class Days:
    """Lets epochs pass: by the clock where a deadline is near or open, else as fast as the devnode makes blocks."""

    def __init__(self, f: ChainFarm, epochs: int) -> None:
        self.farm = f
        self.began = f.height
        self.until = self.began + epochs
        self.windows = sorted(self._windows())
        self.seen: dict[Name, Seen] = {}
        self._waiting = list(self.windows)

    def _windows(self) -> Iterator[Window]:
        for who, miner in enumerate(self.farm.miners):
            start = self.began - (self.began - offset(self.farm, miner)) % DAY
            deadlines = [
                n for n in range(rules.DEADLINES) if self.farm.ask_node("StateMinerPartitions", f"t0{miner}", n, None)
            ]
            for place, deadline in enumerate(deadlines):
                first = start + deadline * WINDOW
                opens = [
                    at
                    for at in range(first, self.until, DAY)
                    if at - AHEAD >= self.began and at + WINDOW + AFTER <= self.until
                ]
                for day, at in enumerate(opens):
                    yield Window(at, who, place, day, deadline)

    def run(self, strikes: Iterable[tuple[Name, Strike]]) -> None:
        """Let the epochs pass; a strike is asked at each look from its window's reviews on until it has struck."""
        left = [(window, strike) for name, strike in strikes for window in self.windows if window.name == name]
        while (height := self.farm.height) < self.until:
            left = [
                (window, strike) for window, strike in left if height < window.opens - AHEAD or not strike(self, window)
            ]
            self._look(height)
            if any(one.opens - AHEAD <= height + _STRIDE and height <= one.close + AFTER for one in self.windows):
                time.sleep(0.1)
            else:
                self.farm.ask_node("DevnodeStep", _STRIDE, prefix="Damocles")
        self._look(self.until)
        assert not left, f"these have not struck: {left}"
        assert not self._waiting

    def _look(self, height: int) -> None:
        for window in [one for one in self._waiting if height >= one.close + AFTER - 2]:
            self._waiting.remove(window)
            at = (window.opens, window.close - 1, window.close + 3)
            self.seen[window.name] = Seen(*(self.parts(window, epoch) for epoch in at))

    def parts(self, window: Window, epoch: int | None = None) -> list[Part]:
        """Return the partitions of a window's deadline, at the head or at an epoch."""
        f, miner = self.farm, f"t0{self.farm.miners[window.who]}"
        key = None if epoch is None else f.ask_node("ChainGetTipSetByHeight", epoch, None)["Cids"]
        deadline = f.ask_node("StateMinerDeadlines", miner, key)[window.deadline]
        posted = Bitfield.from_json(deadline["PostSubmissions"])
        rows: list[dict[str, Any]] = f.ask_node("StateMinerPartitions", miner, window.deadline, key) or []
        return [
            Part(
                live=_set(row, "Live"),
                faulty=_set(row, "Faulty"),
                recovering=_set(row, "Recovering"),
                is_posted=number in posted,
            )
            for number, row in enumerate(rows)
        ]

    def file(self, window: Window, number: int) -> Path:
        """Return the replica of a sector."""
        return self.farm.base / "persist" / "sealed" / str(SectorID(self.farm.miners[window.who], number))


def _set(row: dict[str, Any], kind: str) -> frozenset[int]:
    return frozenset(Bitfield.from_json(row[f"{kind}Sectors"]))


# Blocks ------------------------------------------------------------------------------------------------------------


def mine(f: ChainFarm, epochs: int) -> list[tuple[int, str]]:
    """Let the miners make the blocks for some epochs, and kill the manager halfway; return height and miner of theirs."""
    f.restart(devnode_options=(*WITH_POSTS, "--mined"), makes_blocks=True, block_delay=MINED_DELAY)
    began = f.height
    _pass(f, began + epochs // 2)
    kill_manager(f)
    _pass(f, began + epochs)
    wait_until(lambda: f.listens(f.manager_port), "the manager listens")
    tipsets = [f.ask_node("ChainGetTipSetByHeight", height, None) for height in range(began + 1, f.height)]
    ours = {f"t0{miner}" for miner in f.miners}
    return sorted({(one["Height"], one["Blocks"][0]["Miner"]) for one in tipsets if one["Blocks"][0]["Miner"] in ours})


def _pass(f: ChainFarm, until: int) -> None:
    wait_until(lambda: f.height >= until, f"epoch {until} comes", 900.0)


# What strikes ------------------------------------------------------------------------------------------------------


@dataclass
class Cut:
    """A sector's file is cut from some epochs before its deadline opens on, and whole again once it is closed."""

    number: int
    ahead: int = AHEAD
    content: bytes = b""

    def __call__(self, days: Days, window: Window) -> bool:
        """Cut it, or restore it when that is due."""
        file, height = days.file(window, self.number), days.farm.height
        if not self.content and height >= window.opens - self.ahead:
            self.content = file.read_bytes()
            file.write_bytes(self.content[:1000])
        if self.content and height >= window.close:
            file.write_bytes(self.content)
            return True
        return False


def at_the_challenge(days: Days, window: Window) -> bool:
    """Abandon the tipset of the challenge, once there are some on top of it."""
    if days.farm.height < window.opens - CHALLENGE + 2:
        return False
    days.farm.ask_node("DevnodeReorganise", 4, False, prefix="Damocles")
    return True


def at_the_submission(days: Days, window: Window) -> bool:
    """Abandon the tipset with the message, and the message, as soon as it is executed."""
    if not any(part.is_posted for part in days.parts(window)):
        return False
    days.farm.ask_node("DevnodeReorganise", 3, True, prefix="Damocles")
    return True


@dataclass
class AfterLanding:
    """The same some epochs after it was executed, fewer than the message's confidence."""

    executed: int | None = None

    def __call__(self, days: Days, window: Window) -> bool:
        """Do so when it is time."""
        if self.executed is None:
            if any(part.is_posted for part in days.parts(window)):
                self.executed = days.farm.height
            return False
        if days.farm.height < self.executed + 5:
            return False
        days.farm.ask_node("DevnodeReorganise", 8, True, prefix="Damocles")
        return True


def kill_manager(f: ChainFarm) -> None:
    """Kill the manager, and start it again."""
    assert f.manager is not None
    farm.stop(f.manager, kill=True)
    f.launch_manager()


def manager_dies(days: Days, window: Window) -> bool:
    """Kill the manager as the deadline opens, when the proof is made and not sent, and start it again."""
    if days.farm.height < window.opens + 1:
        return False
    kill_manager(days.farm)
    return True


def prover_dies(days: Days, window: Window) -> bool:
    """Kill the worker that proves as it gets its job; the manager's machine is left."""
    if days.farm.height < window.opens - CHALLENGE // 2 + 1:
        return False
    assert days.farm.worker is not None
    farm.stop(days.farm.worker, kill=True)
    return True
