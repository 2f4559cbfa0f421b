"""The commands of `docs/how-to/two-managers.md`, typed into one shell, beside a first manager on a devnode."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from damocles.testing import farm, postgres
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import program, wait_until
from damocles.testing.several_managers import Several

PAGE = Path(__file__).parents[2] / "docs/how-to/two-managers.md"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_page_starts_a_second_manager_and_ends_it(tmp_path: Path, postgres_server: postgres.Server) -> None:
    """It begins beside the first one, both are listed, and it ends in good order."""
    commands = [
        line[2:]
        for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    begins, lists, ends = commands
    with ChainFarm(tmp_path, threads=0) as f:
        f.start_devnode()
        with Several(f, postgres_server, postgres_server.new(), count=1) as several:
            port = farm.free_port()
            env = {**f.env, "PATH": f"{Path(program('x')).parent}:{os.environ['PATH']}"}
            with (
                (tmp_path / "second.log").open("ab") as log,
                subprocess.Popen(
                    ["bash", "-m"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=tmp_path,
                    env=env,
                ) as shell,
            ):
                typed, shown = shell.stdin, shell.stdout
                assert typed is not None
                assert shown is not None

                def run(text: str) -> None:
                    text = text.replace("postgresql://damocles@db.lan/damocles", several.url())
                    print(text.replace("127.0.0.1:1790", f"127.0.0.1:{port}"), file=typed, flush=True)

                run(begins)
                wait_until(lambda: f.listens(port), "the second one listens")
                run(lists)
                listed = [shown.readline() for _ in range(3)]
                found = [any(name in line for line in listed) for name in ("manager-1", "second-home")]
                assert [True, True] == found, listed
                run(ends)
                run("wait; echo ended with $?")
                typed.close()
                assert "ended with 0" in shown.read()
            assert 0 == shell.returncode
            assert 1 == len(several.query("SELECT name FROM managers"))
