"""The same commands on a devnode, whose actors decide: what they read, and what they do."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.devnode.helpers import MINER, WORKER, done, proved, view

from damocles.cli.of_chain import acting
from damocles.cli.terminal import tables
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus.node import Node
from damocles.lotus.places import Place

from .conftest import Farm, farming

REALLY = "--really-do-it"
OF = ("--miner", str(MINER))


@pytest.fixture
async def devnode() -> AsyncIterator[Devnode]:
    """Yield a devnode that takes any proof; its deadlines are long enough for none to open while a test runs."""
    async with serving.serving(Rules(window_epochs=2000), accepts_any_proof=True) as made:
        await made.step(30)
        yield made


@pytest.fixture
async def farm_there(  # noqa: PLR0917, what it runs on
    devnode: Devnode,
    lotus: Node,
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    _quiet: None,
) -> AsyncIterator[Farm]:
    """Yield a manager that sends there by the worker's key, with three sectors that are proved."""
    monkeypatch.setattr(acting, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(tables, "on_terminal", lambda: True)
    await proved(devnode, lotus, 1, 2, 3)
    key = await (await view(lotus)).key_of(WORKER)
    async with farming(place, key, tmp_path, capsys, devnode.step) as made:
        yield made


async def standing(farm: Farm, place: Place) -> dict[int, str]:
    """Return how the sectors stand, as the command says."""
    code, out, err = await farm.run("sealer", "sectors", "on-chain", *OF, "--json", "--node", place.url)
    assert 0 == code, err
    return {row["number"]: row["standing"] for row in json.loads(out)}


async def test_sectors_are_declared_recovered_and_terminated(farm_there: Farm, place: Place) -> None:
    """Each step is what the actors make of it, and the commands that read say the same."""
    assert {1: "unproven", 2: "unproven", 3: "unproven"} == await standing(farm_there, place)
    code, out, err = await farm_there.run("sealer", "proving", "declare-faults", "1-2", *OF, REALLY)
    assert 0 == code, err
    assert "2 of 2 sectors are faulty" in out
    code, out, err = await farm_there.run("sealer", "proving", "recover-faults", "2", *OF)
    assert 0 == code, err
    assert {1: "faulty", 2: "recovering", 3: "unproven"} == await standing(farm_there, place)
    code, out, err = await farm_there.run("sealer", "sectors", "terminate", "1", "3", *OF, REALLY)
    assert 0 == code, err
    assert "the fee is " in out
    assert "2 of 2 sectors are terminated" in out
    assert {1: "terminated", 2: "recovering", 3: "terminated"} == await standing(farm_there, place)
    code, out, err = await farm_there.run("sealer", "sectors", "terminate", "1", *OF, REALLY)
    assert (0, True) == (code, "sectors 1: not alive (any more)" in out)
    code, out, _ = await farm_there.run("sealer", "sectors", "extend", "1-3", *OF, REALLY)
    assert "sector 2: recovering: only active sectors can be extended" in out
    code, out, err = await farm_there.run("sealer", "sectors", "state", f"s-t0{MINER.id}-1", "--node", place.url)
    assert 0 == code, err
    assert "terminated" in out


async def test_what_is_read_is_what_the_node_says(farm_there: Farm, place: Place) -> None:
    """Every reading command takes the devnode's answers."""
    for command in (
        ("miner", "info", str(MINER)),
        ("sealer", "proving", "info", *OF),
        ("sealer", "proving", "deadlines", *OF),
        ("sealer", "proving", "deadline", "0", *OF),
        ("sealer", "proving", "faults", *OF),
        ("sealer", "actor", "balance", *OF),
        ("sealer", "actor", "control", "list", *OF),
        ("sealer", "sectors", "check-expire", *OF),
        ("message", "gas"),
    ):
        code, out, err = await farm_there.run(*command, "--node", place.url)
        assert 0 == code, (command, err)
        assert out, command


async def test_money_and_roles(farm_there: Farm, place: Place, devnode: Devnode, lotus: Node) -> None:
    """Withdrawals, control addresses, worker and owner, by the keys in the node's wallet."""
    await done(devnode, lotus, None, value=10**18)
    actor = ("sealer", "actor", *OF)
    code, out, err = await farm_there.run(*actor, "withdraw", "0.5", REALLY)
    assert 0 == code, err
    assert "0.5 FIL were paid out" in out
    code, out, err = await farm_there.run(*actor, "control", "set", str(WORKER), REALLY)
    assert 0 == code, err
    assert f"control addresses: {WORKER}" in out
    found = await (await view(lotus)).info(MINER)
    assert [WORKER] == list(found.control_addresses)
    code, out, err = await farm_there.run(*actor, "set-owner", str(WORKER), REALLY)
    assert 0 == code, err
    code, out, err = await farm_there.run(*actor, "confirm-owner", str(WORKER), REALLY)
    assert 0 == code, err
    assert f"the owner is {WORKER}" in out
    code, out, err = await farm_there.run(
        "miner", "create", "--from", str(found.owner), "--worker", str(found.worker), "--sector-size", "2KiB", REALLY
    )
    assert 0 == code, err
    assert "miner actor: f0" in out


FEES = Path(__file__).parents[3] / "docs" / "how-to" / "fees.md"
# Of messages that there are none of on a devnet that has just begun.
UNKNOWN = ("search", "wait", "replace")


async def test_the_commands_on_fees_work(
    farm_there: Farm, place: Place, monkeypatch: pytest.MonkeyPatch, devnode: Devnode, lotus: Node
) -> None:
    """Each as it stands on the page; what it names and is not there is said in a line."""
    monkeypatch.setenv("DAMOCLES_NODE", place.url)
    await done(devnode, lotus, None, value=10**19)
    found = re.findall(r"^\$ damocles-manager util (.*)$", FEES.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) > 10
    for line in found:
        words = line.split()
        asks_manager = words[:2] in (["message", "list"], ["message", "replace"]) or "--dry-run" in words
        run = farm_there.run if asks_manager else farm_there.run_alone
        code, out, err = await run(*words)
        if words[1] in UNKNOWN:
            assert code == 1, line
            assert err.count("\n") == 1, line
        else:
            assert (code, bool(out)) == (0, True), (line, err)
