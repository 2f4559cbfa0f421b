"""Dialogues recorded from the original are answered alike; where ours differs, the recording says how and why."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from damocles.stores import layout
from damocles.wire import commitments
from damocles.wire.sectors import SectorID, SectorSize

from .conftest import Clock, Manager, RecordedVerifier, Start

GOLDEN = Path(__file__).parents[2] / "golden" / "manager"

# Values that no two managers have in common, by key: what stands for each in a comparison.
VOLATILE: dict[str, Any] = {
    "Epoch": 0, "Seed": "<random>", "LastPing": 0, "At": 0, "Total": 0, "Free": 0, "Used": 0, "UsedPercent": 0,
    "Type": "",
}  # fmt: skip
EMPTY_COMM_D = commitments.zero_comm_d(SectorSize.KIB2)


def load(name: str) -> list[dict[str, Any]]:
    """Return the entries of a recording."""
    return list(json.loads((GOLDEN / f"{name}.json").read_text())["dialogue"])


def normal(value: Any, key: str = "") -> Any:
    """Replace volatile values; the order of keys stays and counts."""
    match value:
        case {"Ticket": str(), "Epoch": int()}:
            return {"Ticket": "<random>", "Epoch": 0}
        case {"/": str(cid)} if cid.startswith("bafk4bzaci") or cid == "<message>":
            return {"/": "<message>"}
        case {"/": str(cid)} if cid.startswith("baga6ea4sea") or cid == "<comm_d>":
            return {"/": "<comm_d>"}
        case {"SomeKey": "SomeValue"}:  # of the recorded store; ours have none
            return {}
        case dict():
            return {name: normal(item, name) for name, item in value.items()}
        case list():
            return [normal(item) for item in value]
        case str() if value.startswith("v0."):
            return "<version>"
    return VOLATILE[key] if key in VOLATILE and not isinstance(value, dict | list | None) else value


def adapt(value: Any, ticket: Any) -> Any:
    """Put what ours has checked into a recorded request: the ticket it gave, and CommD of a sector without deals."""
    match value:
        case {"Ticket": str(), "Epoch": int(epoch)}:
            return ticket if epoch >= 0 else {**ticket, "Epoch": epoch}
        case dict():
            return {k: list(EMPTY_COMM_D) if k == "CommD" else adapt(item, ticket) for k, item in value.items()}
        case list():
            return [adapt(item, ticket) for item in value]
    return value


async def replay(manager: Manager, entries: list[dict[str, Any]], store: Path, clock: Clock) -> None:
    """Send the recorded requests in order and compare the answers."""
    ticket: Any = {"Ticket": "", "Epoch": 0}
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {manager.token}"}, timeout=60) as http:
        for entry in entries:
            if "skip" in entry:
                continue
            if "head" in entry:
                clock.to_epoch(entry["head"])
            if entry.get("files"):
                for name in layout.persisted_names(SectorID(10000, 1), SectorSize.KIB2):
                    (store / name).parent.mkdir(parents=True, exist_ok=True)
                    (store / name).touch()
            response = await http.post(manager.url, json=adapt(entry["request"], ticket))
            answer = response.json()
            if entry["request"]["method"] == "Venus.AssignTicket" and "result" in answer:
                ticket = answer["result"]
            expected = json.dumps(normal(entry.get("ours", entry["answer"])))
            expected = expected.replace("<dir>/stores/persist1", str(store))
            unserved = "ours" in entry and '"code": -32601' in expected
            assert (500 if unserved else entry.get("ours_status", entry["status"])) == response.status_code, entry[
                "name"
            ]
            assert expected == json.dumps(normal(answer)), entry["name"]


async def test_methods_like_the_mock(start: Start, tmp_path: Path, clock: Clock) -> None:
    """Without declared stores, every method answers as the original's mock, its omissions filled as its daemon does."""
    async with start() as manager:
        await manager.call("AllocateSector", {})  # the recording begins with number 2
        await replay(manager, load("methods-mock"), tmp_path, clock)


async def test_methods_like_the_daemon(start: Start, tmp_path: Path, clock: Clock) -> None:
    """With declared stores, every method answers as the original's daemon."""
    async with start({"persist-store1": tmp_path}) as manager:
        await replay(manager, load("methods-daemon"), tmp_path, clock)


async def test_life_of_a_sector(start: Start, tmp_path: Path, clock: Clock, verifier: RecordedVerifier) -> None:
    """A sector goes from allocation to a refused proof and the end with the original's answers."""
    verifier.answer = False
    async with start({"persist-store1": tmp_path}, pre_commit_delay=10, challenge_delay=16) as manager:
        await replay(manager, load("sector-life"), tmp_path, clock)


@pytest.mark.parametrize("name", ["methods-mock", "methods-daemon", "sector-life"])
def test_differences_have_reasons(name: str) -> None:
    """Each recorded answer that ours does not give is there with a reason."""
    assert [] == [entry["name"] for entry in load(name) if "ours" in entry and not entry.get("why")]
