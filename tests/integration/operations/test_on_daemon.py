"""The commands against the daemon itself, on a devnode: who may do what, what the audit has, and what is found by itself."""

import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
import pytest
from tests.integration.devnode.helpers import MINER, WORKER, proved, view
from tests.integration.manager.chain.provider import configuration

from damocles.cli.of_chain import acting
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus import node
from damocles.lotus.places import Place
from damocles.manager import chains, daemon
from damocles.manager.config import load
from damocles.rpc import address, errors
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.testing.believing import Believing
from damocles.worker.config import report

from .conftest import commands

REALLY = "--really-do-it"
OF = ("--miner", str(MINER))


@dataclass
class Daemon:
    """A daemon's command line and home."""

    run: Callable[..., Awaitable[tuple[int, str, str]]]
    home: Path
    devnode: Devnode
    listen: str


@pytest.fixture
async def running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, _quiet: None
) -> AsyncIterator[Daemon]:
    """Yield a daemon on a devnode by the clock, whose deadlines are long; the configuration lies in its home."""
    monkeypatch.setattr(acting, "_LOOK_SECONDS", 0.02)
    async with serving.serving(Rules(window_epochs=2000), block_seconds=0.05, accepts_any_proof=True) as devnode:
        home = tmp_path / "manager"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("DAMOCLES_PATH", str(home))
        tables = configuration(devnode, tmp_path)
        (home / load.FILE_NAME).write_text("\n".join(report.toml_lines(tables)))
        settings = daemon.Settings(
            home=home,
            listen=address.host_port("127.0.0.1:0", 0),
            chain=chains.Lotus(config=load.load(home / load.FILE_NAME)),
        )
        async with daemon.serve(settings, Believing()) as bound:

            async def run(*words: str, at: bool = True) -> tuple[int, str, str]:
                return await commands(capsys)(*words, *(("--listen", str(bound)) if at else ()))

            yield Daemon(run, home, devnode, str(bound))


async def test_an_act_is_sent_audited_and_told(running: Daemon) -> None:
    """A dry run leaves no row in the audit, the act has one; the node is found in the manager's configuration."""
    act = ("util", "sealer", "actor", "withdraw", "0.25", *OF)
    code, out, err = await running.run(*act, "--dry-run")
    assert 0 == code, err
    assert "WithdrawBalance (16)" in out
    code, out, err = await running.run(*act, REALLY)
    assert 0 == code, err
    assert "0.25 FIL were paid out" in out
    code, out, err = await running.run("audit", "list", "--json")
    assert 0 == code, err
    assert ["Damocles.ChainAdminister"] == [
        row["what"] for row in json.loads(out) if row["what"].startswith("Damocles.Chain")
    ]
    code, out, err = await running.run("util", "miner", "info", str(MINER), "--json", at=False)
    assert 0 == code, err
    assert int(json.loads(out)["money"]["available"]) % 10**18 == 75 * 10**16


async def test_the_chain_is_seen_at_a_glance(running: Daemon) -> None:
    """The node, its height, and the miner with its next deadline that has live sectors, as `proving deadlines` lists them."""
    code, out, err = await running.run("status", "--json")
    assert 0 == code, err
    chain = json.loads(out)["chain"]
    assert ("", True) == (chain["problem"], chain["epoch"] > 0)
    code, out, err = await running.run("util", "sealer", "proving", "deadlines", *OF, "--json", at=False)
    assert 0 == code, err
    listed = {row["deadline"] for row in json.loads(out)}
    (miner,) = chain["miners"]
    assert MINER.id == miner["miner"]
    assert miner["window"]["deadline"] in listed if listed else miner["window"] is None
    code, out, err = await running.run("status")
    assert 0 == code, err
    (line,) = [line for line in out.splitlines() if line.startswith("chain ")]
    assert chain["node"] in line
    assert f"{MINER}: " in line


async def test_an_operator_keeps_sectors_up_and_takes_no_money(running: Daemon, tmp_path: Path) -> None:
    """With scope operate recoveries are declared; what costs money wants admin."""
    code, out, err = await running.run("auth", "create", "operator", "--scope", "operate", "--json")
    assert 0 == code, err
    token = tmp_path / "operator-token"
    token.write_text(json.loads(out)["text"])
    token.chmod(0o600)
    code, out, err = await running.run("util", "sealer", "proving", "recover-faults", *OF, "--token-file", str(token))
    assert (0, "nothing to send\n") == (code, out), err
    code, _, err = await running.run("util", "sealer", "actor", "withdraw", *OF, REALLY, "--token-file", str(token))
    assert 7 == code
    assert 1 == err.count("\n")


async def test_a_miner_is_made_and_orders_of_no_miner_end(running: Daemon) -> None:
    """A message that is none of a configured miner goes its way as well, beside the manager's own."""
    code, out, err = await running.run(
        "util", "miner", "create", "--from", str(WORKER), "--sector-size", "2KiB", REALLY
    )
    assert 0 == code, err
    assert "miner actor: f0" in out


async def test_files_that_are_not_there_are_told(running: Daemon, tmp_path: Path) -> None:
    """A check names each sector of a deadline that could not be proved; nothing is proved on trial without files."""
    place = Place(url=running.devnode.url, token_file=tmp_path / "node-token")
    async with node.connect(place, pauses_seconds=()) as lotus:
        await proved(running.devnode, lotus, 1)
        deadline = str((await (await view(lotus)).location(MINER, 1)).deadline)
    proving = ("util", "sealer", "proving")
    code, out, err = await running.run(*proving, "check", deadline, *OF, "--json")
    assert 1 == code, err
    (row,) = json.loads(out)
    assert (1, False) == (row["sector"], row["good"])
    assert "object not found" in row["reason"]
    code, _, err = await running.run(*proving, "simulate-wdpost", "--ddl-idx", deadline, "--partition-idx", "0", *OF)
    assert (1, True) == (code, "sector 1: no store is known to have its files" in err)
    code, _, err = await running.run("util", "sealer", "sectors", "remove", "s-t01000-1")
    assert (2, "error: s-t01000-1 would be removed: say --really-do-it\n") == (code, err)
    for what in ("remove", "finalize", "restore"):
        code, _, err = await running.run("util", "sealer", "sectors", what, "s-t01000-1", REALLY)
        assert 1 == code
        assert 1 == err.count("\n")


async def test_the_doctor_looks_at_nodes_and_workers(running: Daemon) -> None:
    """What the daemon's start checks is said of a running one, too: nodes, senders' money, database, secrets."""
    code, out, err = await running.run("doctor", "--json")
    assert (0, "") == (code, err), out
    told = {(one["about"], one["level"]) for one in json.loads(out)["findings"]}
    assert {("chain", "ok"), ("senders", "ok"), ("database", "ok"), ("daemon", "ok"), ("secrets", "ok")} <= told
    await anyio.to_thread.run_sync(_spoil, running.home)
    code, out, err = await running.run("doctor", "--json")
    assert (1, "") == (code, err), out
    wrong = {one["about"]: one["text"] for one in json.loads(out)["findings"] if one["level"] == "wrong"}
    assert {"chain", "secrets"} == set(wrong), wrong
    assert "elsewhere" in wrong["chain"]


def _spoil(home: Path) -> None:
    """Name another network, and let everybody read the manager's token."""
    file = home / load.FILE_NAME
    tables = report.read(file).data
    tables["Chain"]["Network"] = "elsewhere"
    file.write_text("\n".join(report.toml_lines(tables)))
    (home / "token").chmod(0o644)


async def test_the_configuration_of_a_miner_is_answered_as_the_originals(running: Daemon) -> None:
    """Each key of its table, also those that were left out: durations as Go writes them, amounts in attoFIL."""
    url = address.host_port(running.listen, 0).url(address.MANAGER_PATH)
    async with client.connect(url, token=tokens.read_file(running.home / "token")) as manager:
        told = await manager.call("Venus.GetMinerConfig", [MINER.id], returns=dict)
        with pytest.raises(errors.RpcError, match="config for miner actor 10001 not found"):
            await manager.call("Venus.GetMinerConfig", [10001])
    assert ["Actor", "Sector", "SnapUp", "Commitment", "PoSt", "Proof", "Sealing"] == list(told)
    pre = told["Commitment"]["Pre"]
    assert (2, 1, "1h0m0s", 5 * 10**9) == (
        *(told["Commitment"]["Confidence"], pre["Batch"]["Threshold"]),
        *(pre["Batch"]["MaxWait"], pre["GasFeeCap"]),
    )
    assert ("<empty>", None, 1.2, 540) == (
        *(pre["Sender"], pre["Senders"]),
        *(pre["GasOverEstimation"], told["Sector"]["LifetimeDays"]),
    )
    assert "3m0s" == told["SnapUp"]["Retry"]["APIFailureWait"]


PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "from-lotus-miner.md"


async def test_the_page_takes_sectors_over_from_lotus_miner(running: Daemon, tmp_path: Path) -> None:
    """Sectors that somebody else has proved become the manager's, by the page's commands; dead ones stay out."""
    place = Place(url=running.devnode.url, token_file=tmp_path / "node-token")
    async with node.connect(place, pauses_seconds=()) as lotus:
        await proved(running.devnode, lotus, 1, 2, 3)
        deadline = str((await (await view(lotus)).location(MINER, 3)).deadline)
    code, _, err = await running.run("util", "sealer", "sectors", "terminate", "2", *OF, REALLY)
    assert 0 == code, err
    section = next(text for text in PAGE.read_text().split("\n## ")[1:] if text.startswith("3. "))
    commands = re.findall(r"^\$ damocles-manager (.*)$", section, re.MULTILINE)
    assert 5 == len(commands)
    seen = []
    for line in commands:
        words = [word.replace("sectors.jsonl", str(tmp_path / "sectors.jsonl")) for word in shlex.split(line)]
        words = [deadline if word == "12" else word for word in words]
        code, out, err = await running.run(*words, at="from-chain" not in words)
        assert (code == 1) == ("check" in words), (line, out, err)  # there are no files in this test
        seen.append(out)
    written, predicted, imported, listed, checked = seen
    assert "2 sectors in" in written
    assert ("2 would be added" in predicted, "2 added" in imported) == (True, True)
    assert ("s-t01000-1" in listed, "s-t01000-2" in listed, "s-t01000-3" in listed) == (True, False, True)
    assert "persist" in checked
    # Numbers go on above those of the chain.
    spec = {"AllowedMiners": [MINER.id], "AllowedProofTypes": None}
    url = address.host_port(running.listen, 0).url(address.MANAGER_PATH)
    async with client.connect(url, token=tokens.read_file(running.home / "token")) as manager:
        assert 4 == (await manager.call("Venus.AllocateSector", [spec], returns=dict))["ID"]["Number"]
