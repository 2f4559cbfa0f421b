"""How much a running daemon logs."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import pytest
import structlog

from damocles import logs
from damocles.cli import manager
from damocles.manager import daemon
from damocles.manager.sectors.ledger import Miner
from damocles.rpc import address
from damocles.testing import simulated_chain
from damocles.testing.believing import Believing
from damocles.wire.sectors import SealProof, SectorSize


@pytest.fixture(autouse=True)
def kept(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Begin with the level of a daemon, and log afterwards as before."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.set_level("info")
    yield
    structlog.configure(**before)
    root.handlers = handlers
    root.setLevel(level)


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Log at each level by a logger that was made before, and return what came."""
    for name in ("debug", "info", "warning", "error"):
        getattr(LOG, name)(f"a line of {name}")
    lines = capsys.readouterr().err.splitlines()
    return [line.rpartition("a line of ")[2].split()[0] for line in lines if "a line of" in line]


LOG = structlog.get_logger(__name__)


def test_loggers_follow_though_they_are_made_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What is less than the level is dropped, from the next line on; libraries' lines too."""
    logs.configure()
    assert ["info", "warning", "error"] == told(capsys)
    logs.set_level("error")
    assert ["error"] == told(capsys)
    logs.set_level("debug")
    assert (["debug", "info", "warning", "error"], "debug") == (told(capsys), logs.level())
    logs.set_level("warning")
    logging.getLogger("a library").info("a line of a library")
    assert "" == capsys.readouterr().err


async def test_an_operator_changes_it_and_the_audit_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is the level before; a level that is none is wrong usage."""
    home = tmp_path / "home"
    settings = daemon.Settings(
        home=home,
        listen=address.host_port("127.0.0.1:0", 0),
        chain=simulated_chain.Source(miner=Miner(id=1000, proof=SealProof.of(SectorSize.KIB2))),
    )

    async def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = await anyio.to_thread.run_sync(manager.main, [*words, "--home", str(home)])
        return code, capsys.readouterr().out

    with logs.silent():
        async with daemon.serve(settings, Believing()):
            code, out = await run("log-level", "debug", "--json")
            assert (0, {"before": "info", "level": "debug"}) == (code, json.loads(out))
            assert "debug" == logs.level()
            code, out = await run("log-level", "info", "--json")
            assert (0, {"before": "debug", "level": "info"}) == (code, json.loads(out))
            assert 2 == (await run("log-level", "loud"))[0]
            code, out = await run("audit", "list", "--json")
            assert ["Damocles.LogLevel", "Damocles.LogLevel"] == [entry["what"] for entry in json.loads(out)]
