"""What the command line reads from a chain node."""

import contextlib
import json
import re
from pathlib import Path

import pytest
from msgspec import structs
from tests.golden.chain import recordings

from damocles.cli.connecting import manager_at
from damocles.wire import records
from damocles.wire.sectors import SectorID

from .conftest import Command
from .scene import EPOCH, TIPSET, Scene

GOLDEN = Path(__file__).parents[2] / "golden" / "operations" / "reading.txt"
COMMANDS = (
    "miner info f01002",
    "sealer proving --miner f01002 info",
    "sealer proving --miner f01002 deadlines",
    "sealer proving --miner f01002 deadline 7",
    "sealer proving --miner f01002 deadline 7 --sector-nums",
    "sealer proving --miner f01002 faults",
    "sealer actor --miner f01002 balance",
    "sealer actor --miner f01002 control list",
    "sealer sectors on-chain --miner f01002",
    "sealer sectors check-expire --miner f01002 --cutoff 2000000",
    "sealer sectors state s-t01002-12",
)


async def test_what_is_shown_fits_a_terminal_of_80_columns(util: Command) -> None:
    """Every reading command, as it was looked at once; times of day are left out."""
    shown = []
    for command in COMMANDS:
        code, out, err = await util(*command.split())
        assert code == 0, err
        assert max(map(len, out.splitlines())) <= 80 or command.startswith(("miner", "sealer sectors state")), out
        shown.append(f"$ damocles-manager util {command}\n{re.sub(r'[0-9-]{5} [0-9:]{8}Z', 'MM-DD HH:MM:SSZ', out)}")
    text = "\n".join(shown)
    assert GOLDEN.read_text(encoding="utf-8") == text


async def test_one_answer_is_of_one_tipset(util: Command, scene: Scene) -> None:
    """The head moves on with each question, and all are about the first one."""
    scene.replay.answer("ChainHead", lambda _: _moved(scene))
    assert (await util("sealer", "proving", "--miner", "f01002", "info"))[0] == 0
    asked = [request for request, _ in scene.replay.requests if "StateMiner" in request["method"]]
    assert len(asked) > 48
    assert 1 == len({json.dumps(request["params"][-1]) for request in asked})
    assert [] != asked[0]["params"][-1]
    assert 1 == scene.replay.methods().count("ChainHead")


def _moved(scene: Scene) -> object:
    scene.epoch += 1
    return scene.tipset(scene.epoch)


async def test_json_has_what_the_tables_have(util: Command) -> None:
    """Numbers as numbers, amounts as decimal text of attoFIL."""
    _, out, _ = await util("sealer", "proving", "--miner", "1002", "deadlines", "--json")
    rows = {row["deadline"]: row for row in json.loads(out)}
    assert {0, 7} == set(rows)
    assert (2, 3, 0) == (rows[0]["partitions"], rows[0]["sectors"], rows[0]["faults"])
    assert (3, 2, 1) == (rows[7]["sectors"], rows[7]["faults"], rows[7]["recovering"])

    _, out, _ = await util("sealer", "proving", "--miner", "1002", "faults", "--json")
    assert [(11, False, 124557), (12, True, 124557)] == [
        (one["sector"], one["recovering"], one["ends_epoch"]) for one in json.loads(out)
    ]
    _, out, _ = await util("sealer", "actor", "--actor", "1002", "balance", "--json")
    assert "593718132" == json.loads(out)["available"]
    _, out, _ = await util("sealer", "sectors", "state", "s-t01002-2", "--json")
    assert "terminated" == json.loads(out)["on_chain"]["standing"]
    assert EPOCH == json.loads(out)["on_chain"]["epoch"]


async def test_deadlines_go_by_the_offset_of_the_miner(util: Command, scene: Scene) -> None:
    """A node answers a deadline far away for a miner whose sectors are all gone; the present one is shown."""
    far = {"CurrentEpoch": EPOCH, "PeriodStart": -1690 + 3 * 2880, "Index": 8, "Open": 7430, "Close": 7490}
    recorded = scene.replay._always["StateMinerProvingDeadline"]([])["result"]
    scene.replay.answer("StateMinerProvingDeadline", {**recorded, **far})
    _, out, _ = await util("sealer", "proving", "--miner", "1002", "info", "--json")
    shown = json.loads(out)
    assert (1190, 30) == (shown["period_start"], shown["deadline"])
    assert shown["open"] <= EPOCH < shown["close"]


async def test_what_is_wrong_is_one_line(util: Command, scene: Scene) -> None:
    """No miner, no sector, a node that is far behind, an address that is no miner, and no node at all."""
    code, _, err = await util("sealer", "proving", "info")
    assert (2, "error: no miner is named: pass --miner, like --miner f01000\n") == (code, err)
    code, _, err = await util("sealer", "sectors", "state", "s-t01002")
    assert 2 == code
    assert 1 == err.count("\n")
    scene.replay.refuse("StateMinerInfo", "failed to load miner actor: actor not found")
    code, _, err = await util("miner", "info", "f0999999")
    assert 1 == code
    assert "actor not found" in err
    assert 1 == err.count("\n")
    scene.replay.answer("ChainHead", {**scene.tipset(EPOCH), "Blocks": [scene.tipset(EPOCH - 100)["Blocks"][0]]})
    code, _, err = await util("miner", "info", "f01002")
    assert 8 == code
    assert "is it syncing?" in err
    scene.replay.faults += [(404, b"<html>")] * 10
    code, _, err = await util("miner", "info", "f01002")
    assert 8 == code
    assert 1 == err.count("\n")


def recorded(method: str, note: str) -> tuple[str, object]:
    """Return the CID that a recorded request is about, and its result."""
    rows = recordings.rows("exchanges")
    row = next(r for r in rows if r["request"]["method"] == f"Filecoin.{method}" and note in r["note"])
    cid = next(one for one in row["request"]["params"] if isinstance(one, dict))
    return cid["/"], row["answer"]["result"]


async def test_a_message_is_looked_for_and_decoded(util: Command, scene: Scene) -> None:
    """One that landed with its cost and parameters, one that waits and why, and one that nobody has seen."""
    cid, landed = recorded("StateSearchMsg", "after it landed")
    message = next(result for _, result in recordings.results("ChainGetMessage"))
    _, replay = recorded("StateReplay", "of the proof")
    scene.replay.answer("ChainGetMessage", message)
    scene.replay.answer("StateSearchMsg", landed)
    scene.replay.answer("StateReplay", replay)
    code, out, _ = await util("message", "search", cid)
    assert 0 == code
    assert "State:" in out
    assert "OnChain" in out
    assert "ProveCommitSectors3 (34)" in out
    assert '"SectorActivations"' in out
    assert "0: done" in out
    assert "Cost:" in out
    code, out, _ = await util("message", "wait", cid, "--json")
    assert 0 == code
    shown = json.loads(out)
    assert ("OnChain", 89901555) == (shown["state"], shown["landed"]["Receipt"]["GasUsed"])

    scene.replay.answer("StateSearchMsg", None)
    scene.replay.answer("ChainGetMessage", {**message, "GasFeeCap": "99"})
    code, out, err = await util("message", "search", cid)
    assert (0, True) == (code, "Pending" in out)
    assert "its fee cap is below the base fee (100 attoFIL)" in err
    code, _, err = await util("message", "wait", cid, "--for", "1ms")
    assert 1 == code
    assert "Pending" in err

    scene.replay.refuse("StateSearchMsg", "failed to load message: ipld: could not find it")
    scene.replay.refuse("ChainGetMessage", "failed to load message: ipld: could not find it")
    code, out, _ = await util("message", "search", cid)
    assert (1, True) == (code, "Unknown" in out)
    code, _, err = await util("message", "search", "bafy1")
    assert 2 == code
    assert 1 == err.count("\n")


async def test_a_message_that_failed_is_a_failure_to_wait_for(util: Command, scene: Scene) -> None:
    """Exit code 16 ends with 1, and the actor's text is shown; one with another's CID was replaced."""
    cid, landed = recorded("StateSearchMsg", "after it landed")
    _, replay = recorded("StateReplay", "ticket expired")
    assert isinstance(landed, dict)
    failed = {**landed, "Receipt": {**landed["Receipt"], "ExitCode": 16}}
    scene.replay.answer("ChainGetMessage", next(result for _, result in recordings.results("ChainGetMessage")))
    scene.replay.answer("StateSearchMsg", failed)
    scene.replay.answer("StateReplay", replay)
    code, out, _ = await util("message", "wait", cid)
    assert 1 == code
    assert "16: the actor refuses a parameter" in out
    assert "seal challenge epoch" in out
    scene.replay.answer("StateSearchMsg", {**landed, "Message": {"/": TIPSET}})
    code, out, _ = await util("message", "wait", cid)
    assert 1 == code
    assert f"ReplacedBy:  {TIPSET}" in out


async def test_gas_says_what_messages_cost_now(util: Command, scene: Scene) -> None:
    """Base fee, premiums by patience, and what that makes of a proof."""
    scene.replay.answer("GasEstimateGasPremium", lambda params: str(100 * (11 - params[0])))
    code, out, _ = await util("message", "gas")
    assert 0 == code
    assert "100 attoFIL per unit of gas" in out
    assert "2 epochs   900 attoFIL" in out
    _, out, _ = await util("message", "gas", "--json")
    assert ["900", "600", "100"] == [one["premium"] for one in json.loads(out)["premiums"]]


async def test_sectors_that_the_chain_needs_no_more(
    util: Command, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished sectors of this miner that do not live 900 epochs ago; one that is pre-committed may still come."""
    kept = [
        structs.replace(records.SectorState.fresh(SectorID(miner, number), 5), finalized=True)
        for miner, number in ((1002, 2), (1002, 10), (1002, 20), (1002, 99), (1003, 2))
    ]

    class Known:
        def call(self, *_: object, **__: object) -> object:
            return kept

    monkeypatch.setattr(manager_at.At, "call", lambda *_: contextlib.nullcontext(Known()))
    _, out, _ = await util("sealer", "sectors", "expired", "--miner", "1002", "--json")
    assert {"epoch": EPOCH - 900, "sectors": ["s-t01002-2", "s-t01002-20"]} == json.loads(out)
    pre_committed = next(result for _, result in recordings.results("StateSectorPreCommitInfo") if result)
    scene.replay.answer("StateSectorPreCommitInfo", lambda params: pre_committed if params[1] == 20 else None)
    _, out, _ = await util("sealer", "sectors", "expired", "--miner", "1002", "--json")
    assert ["s-t01002-2"] == json.loads(out)["sectors"]
