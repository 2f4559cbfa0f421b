"""`damocles-manager devnode` as a process: what it prints, and that it goes on after it was killed."""

import json
import signal
import stat
import subprocess
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from damocles.cli import manager
from damocles.lotus import node
from damocles.lotus.answers import Lookup
from damocles.lotus.places import Place

from .helpers import send


def start(home: Path, *options: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """Start a devnode on a free port; return it with what it printed."""
    command = [sys.executable, "-m", "damocles.cli.manager", "devnode", f"--home={home}", "--listen=127.0.0.1:0"]
    program = "from damocles.cli.manager import main; import sys; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command[3:], "--block-delay=20ms", "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def connected(said: dict[str, str]) -> AbstractAsyncContextManager[node.Node]:
    """Connect to a devnode."""
    return node.connect(Place(url=said["url"], token_file=Path(said["token_file"])))


async def test_a_devnet_goes_on_after_its_devnode_was_killed(tmp_path: Path):
    """The chain has the same beginning, keys and token, and a higher head; every message that was taken lands."""
    process, said = start(tmp_path / "devnet")
    try:
        async with connected(said) as lotus:
            assert (await lotus.version()).text.startswith("damocles-devnode-")
            assert await lotus.network_name() == said["network"]
            before = (await lotus.head()).height
            sent = [await send(lotus, None, value=1) for _ in range(3)]
    finally:
        process.kill()
        process.communicate()
    again, told = start(tmp_path / "devnet")
    try:
        assert {name: value for name, value in told.items() if name != "url"} == {
            name: value for name, value in said.items() if name != "url"
        }
        async with connected(told) as lotus:
            assert (await lotus.head()).height >= before
            for cid in sent:
                assert (await lotus.call(Lookup, "StateWaitMsg", cid, 0, -1, True)).receipt.exit_code == 0
        assert stat.S_IMODE(Path(told["token_file"]).stat().st_mode) == 0o600
        again.send_signal(signal.SIGTERM)
        assert again.wait(20) == 0
    finally:
        again.kill()
        again.communicate()


def test_wrong_usage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """What is wrong, and what to write instead."""
    for options, words in (
        (["--network=mainnet"], "begins with devnet-"),
        (["--listen=0.0.0.0:1234"], "can be reached from other machines"),
        (["--sector-size=3KiB"], "is not a sector size"),
    ):
        assert manager.main(["devnode", f"--home={tmp_path}", *options]) == 2
        assert words in capsys.readouterr().err
