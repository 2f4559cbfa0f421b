"""`damocles-manager config reload` and SIGHUP against the daemon itself, on a devnode: the page of the how-to, followed."""

import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from tests.integration.manager.chain.others import OF_2KIB, made
from tests.integration.manager.chain.provider import MINER, configuration

from damocles.chain.addresses import Address
from damocles.cli.of_manager import starting
from damocles.devnode import serving
from damocles.devnode.rules import Rules
from damocles.lotus import node
from damocles.lotus.places import Place
from damocles.manager import daemon
from damocles.manager.config import load
from damocles.manager.reloading import renewal
from damocles.rpc.serving.reloading import Reloads
from damocles.testing.believing import Believing
from damocles.worker.config import report

from .conftest import commands

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "miners.md"


@dataclass
class Daemon:
    """A daemon's command line, what SIGHUP runs, its configuration, its address, and a miner that it does not have yet."""

    run: Callable[..., Awaitable[tuple[int, str, str]]]
    reloads: Reloads
    write: Callable[..., None]
    listen: str
    other: int


@pytest.fixture
async def running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, _quiet: None
) -> AsyncIterator[Daemon]:
    """Yield a daemon on a devnode, started from the file in its home."""
    async with serving.serving(Rules(window_epochs=2000), accepts_any_proof=True) as devnode:
        await devnode.step(10)
        home = tmp_path / "manager"
        home.mkdir(mode=0o700)
        monkeypatch.setenv("DAMOCLES_PATH", str(home))
        tables = configuration(devnode, tmp_path)
        file = home / load.FILE_NAME

        def write(*others: dict[str, Any], **parts: Any) -> None:
            said = {**tables, **parts, "Miners": [*tables["Miners"], *others]}
            file.write_text("\n".join(report.toml_lines(said)))

        async with node.connect(Place(url=devnode.url, token_file=tmp_path / "node-token")) as lotus:
            other = await made(devnode, lotus, OF_2KIB)
        write()
        given = {"listen": "127.0.0.1:0", "open_metrics": True}
        settings, _ = starting.read(file, given, home)
        reloads = Reloads()
        async with daemon.serve(settings, Believing(), reloads=reloads) as bound:

            async def run(*words: str, at: bool = True) -> tuple[int, str, str]:
                return await commands(capsys)(*words, *(("--listen", str(bound)) if at else ()))

            yield Daemon(run, reloads, write, str(bound), other)


async def test_the_page_adds_a_miner_to_a_running_manager(running: Daemon) -> None:
    """The dry run changes nothing and has no row in the audit; then status, deadlines, configuration and metrics have the miner."""
    other = running.other
    running.write({"Actor": other}, Daemon={"Dashboard": True})
    check, dry, really = re.findall(r"^\$ damocles-manager (.*)$", PAGE.read_text(), re.MULTILINE)
    code, out, err = await running.run(*shlex.split(check), at=False)
    assert (0, True) == (code, "ok" in out), err
    expected = f"added: f0{other}\ntakes a restart: Daemon.Dashboard\n"
    code, out, err = await running.run(*shlex.split(dry))
    assert (0, True) == (code, out.endswith(f"would be read again\n{expected}")), err
    code, out, err = await running.run("util", "sealer", "proving", "--miner", f"f0{other}")
    assert (1, True) == (code, f"f0{other} is none of this manager's miners" in err)
    code, out, err = await running.run(*shlex.split(really))
    assert (0, True) == (code, out.endswith(f"manager.toml: read again\n{expected}")), err

    code, out, err = await running.run("audit", "list", "--json")
    (row,) = [row for row in json.loads(out) if row["what"] == "Damocles.ConfigReload"]
    assert (True, "f01001 joins", [other]) == (row["ok"], row["reason"], row["outcome"]["added"])
    shown: list[int] = []
    with anyio.fail_after(60):  # a look that takes too long shows the first alone, and the next goes on from there
        while shown != [MINER, other]:
            _, out, _ = await running.run("status", "--json")
            shown = [one["miner"] for one in json.loads(out)["chain"]["miners"]]
    code, out, err = await running.run("util", "sealer", "proving", "--miner", f"f0{other}", "--json")
    assert (0, other) == (code, json.loads(out)["miner"]), err
    async with httpx.AsyncClient(trust_env=False) as browser:
        metrics = (await browser.get(f"http://{running.listen}/metrics")).text
    assert f'sectors_ended_total{{miner="{other}",outcome="finished"}} 0' in metrics


async def test_the_command_says_what_is_wrong(running: Daemon) -> None:
    """A line for each thing, and the exit code of a failure; `--json` has what a change did."""
    running.write({"Actor": running.other, "PoSt": {"Enabld": True}, "Sector": {"MinNumber": -1}})
    code, _, err = await running.run("config", "reload")
    assert 1 == code
    assert 'Miners[1].PoSt.Enabld: there is no such key; did you mean "Enabled"?' in err
    assert "Miners[1].Sector.MinNumber" in err
    running.write({"Actor": 99})
    code, _, err = await running.run("config", "reload")
    assert (1, True) == (code, f"{Address.of_id(99)} is no miner on this network" in err)
    running.write({"Actor": running.other})
    code, out, err = await running.run("config", "reload", "--json")
    told = json.loads(out)
    assert (0, [running.other], [], []) == (code, told["added"], told["changed"], told["removed"]), err
    code, out, err = await running.run("config", "reload")
    assert (0, True) == (code, out.endswith("read again\nnothing is different\n")), err


async def test_the_command_waits_for_a_node_that_takes_long(running: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would fail, and the miner would be there all the same."""
    renewed = renewal.renewed

    async def slowly(*arguments: Any) -> renewal.Renewal:
        await anyio.sleep(0.5)
        return await renewed(*arguments)

    monkeypatch.setattr(renewal, "renewed", slowly)
    running.write({"Actor": running.other})
    code, out, err = await running.run("config", "reload", "--timeout", "100ms")
    assert (0, True) == (code, f"added: f0{running.other}" in out), err


async def test_sighup_does_the_same(running: Daemon) -> None:
    """The audit has it as SIGHUP's, also when it is refused, which changes nothing and ends nobody."""
    running.write({"Actor": running.other, "PoSt": {"Confidence": 7}})
    await running.reloads.run()
    running.write({"Actor": 99})
    await running.reloads.run()
    running.write({"Actor": running.other, "PoSt": {"Confidence": 8}})
    await running.reloads.run()
    _, out, err = await running.run("audit", "list", "--json")
    rows = [row for row in json.loads(out) if row["what"] == "Damocles.ConfigReload"]
    assert [("SIGHUP", True), ("SIGHUP", False), ("SIGHUP", True)] == [(row["who"], row["ok"]) for row in rows], err
    assert "is no miner on this network" in rows[1]["outcome"]
    assert [{"miner": running.other, "keys": ["PoSt.Confidence"]}] == rows[2]["outcome"]["changed"]
