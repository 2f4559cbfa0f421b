"""A miner on a node that replays: shapes are the recorded ones, and what a test is about is set by it."""

import time
from collections.abc import Callable
from typing import Any

from tests.golden.chain import recordings
from tests.integration.lotus.replay import Replay

TIPSET = "bafy2bzacedx3dgrhxjvb5fzmtzfqvnfd7gsvgbvnzzhiorrwcpm6qx3sjbkaq"
OWNER = "t3rbeb2fanu6qitbgfrckijcudsrxghrlfscfuj6wx7lgy7pmhezwokvoz7uljznwb22ou3pddxycbgbak5l7q"
EPOCH = 3000


def first(method: str, note: str = "") -> Any:
    """Return the first recorded result of a method whose note has a text."""
    return next(result for found, result in recordings.results(method) if note in found)


def partition(
    *numbers: int, faulty: tuple[int, ...] = (), recovering: tuple[int, ...] = (), dead: tuple[int, ...] = ()
) -> dict[str, Any]:
    """Return a partition with sectors that are active unless they are said to be otherwise."""
    live = set(numbers) - set(dead)
    kinds = {"AllSectors": set(numbers), "FaultySectors": set(faulty), "RecoveringSectors": set(recovering)}
    kinds |= {"LiveSectors": live, "ActiveSectors": live - set(faulty)}
    return {name: runs(some) for name, some in kinds.items()}


def runs(numbers: set[int]) -> list[int]:
    """Return the run lengths of a set."""
    lengths: list[int] = []
    last = 0
    for number in sorted(numbers):
        if lengths and number == last:
            lengths[-1] += 1
        else:
            lengths += [number - last, 1]
        last = number + 1
    return lengths or [0]


class Scene:
    """Miner t01002 at epoch 3000: deadline 30 of its period is open, since 2990."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.epoch = EPOCH
        self.partitions: dict[int, list[dict[str, Any]]] = {
            0: [partition(0, 1, 2, dead=(2,)), partition(3)],
            7: [partition(10, 11, 12, faulty=(11, 12), recovering=(12,))],
        }
        self.info = {**first("StateMinerInfo", "fresh miner"), "ControlAddresses": ["t01044"]}
        self.sectors = {number: self.sector(number) for number in (0, 1, 2, 3, 10, 11, 12)}
        self.claims: dict[str, Any] = {}
        replay.answer("StateGetNetworkParams", first("StateGetNetworkParams"))
        replay.answer("ChainHead", lambda _: self.tipset(self.epoch))
        replay.answer("ChainGetTipSetByHeight", lambda params: self.tipset(params[0]))
        replay.answer("StateMinerProvingDeadline", first("StateMinerProvingDeadline"))
        replay.answer("StateMinerPartitions", lambda params: self.partitions.get(params[1]))
        replay.answer("StateMinerDeadlines", lambda _: self._deadlines())
        replay.answer("StateMinerInfo", lambda _: self.info)
        replay.answer("StateReadState", first("StateReadState", "fresh miner"))
        replay.answer("StateMinerAvailableBalance", "593718132")
        replay.answer("StateMinerPower", {**first("StateMinerPower")})
        replay.answer("StateMinerSectorCount", first("StateMinerSectorCount"))
        replay.answer("StateAccountKey", OWNER)
        replay.answer("StateGetActor", first("StateGetActor"))
        replay.answer("StateMinerSectors", lambda params: self._chosen(params[1]))
        replay.answer("StateSectorGetInfo", lambda params: self.sectors.get(params[1]))
        replay.answer("StateSectorPreCommitInfo", None)
        replay.answer("StateSectorExpiration", lambda params: self._expiration(params[1]))
        replay.answer("StateMinerAllocated", lambda _: runs(set(self.sectors) | {20}))
        replay.answer("StateGetClaims", lambda _: self.claims)
        replay.answer("StateNetworkVersion", 28)

    def tipset(self, height: int) -> dict[str, Any]:
        """Return the tipset of an epoch; the head's is now."""
        at = int(time.time()) - 4 * (self.epoch - height)
        block = {"Miner": "t01000", "Parents": [], "Height": height, "Timestamp": at, "ParentBaseFee": "100"}
        return {"Cids": [{"/": TIPSET}], "Blocks": [block], "Height": height}

    def sector(self, number: int, **changes: Any) -> dict[str, Any]:
        """Return the record of a sector."""
        recorded = first("StateMinerSectors", "after the proof of sector 0")[0]
        return {**recorded, "SectorNumber": number, **changes}

    def _chosen(self, which: list[int] | None) -> list[dict[str, Any]]:
        numbers = None if which is None else _numbers(which)
        return [record for number, record in self.sectors.items() if numbers is None or number in numbers]

    def _deadlines(self) -> list[dict[str, Any]]:
        plain = first("StateMinerDeadlines")[0]
        return [{**plain, "PostSubmissions": [0, 1] if number == 0 else [0]} for number in range(48)]

    def _expiration(self, number: int) -> dict[str, int]:
        early = any(number in _numbers(one["FaultySectors"]) for parts in self.partitions.values() for one in parts)
        return {"OnTime": 1556449, "Early": 124557 if early else 0}


def _numbers(lengths: list[int]) -> set[int]:
    found: set[int] = set()
    at = 0
    for index, length in enumerate(lengths):
        found |= set(range(at, at + length)) if index % 2 else set()
        at += length
    return found


Run = Callable[..., tuple[int, str, str]]
