"""`damocles-manager devnode` as a process: what it prints, and that it goes on after it was killed."""

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from damocles.cli import manager
from damocles.lotus import node
from damocles.lotus.places import Place


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


async def height(said: dict[str, str]) -> int:
    """Return the height of a devnode's head."""
    place = Place(url=said["url"], token_file=Path(said["token_file"]))
    async with node.connect(place) as lotus:
        assert (await lotus.version()).text.startswith("damocles-devnode-")
        assert await lotus.network_name() == said["network"]
        return (await lotus.head()).height


async def test_a_devnet_goes_on_after_its_devnode_was_killed(tmp_path: Path):
    """The chain has the same beginning, keys and token, and a higher head."""
    process, said = start(tmp_path / "devnet")
    try:
        before = await height(said)
    finally:
        process.kill()
        process.communicate()
    again, told = start(tmp_path / "devnet")
    try:
        assert {name: value for name, value in told.items() if name != "url"} == {
            name: value for name, value in said.items() if name != "url"
        }
        assert await height(told) >= before
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
