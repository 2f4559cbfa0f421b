"""The commands of a how-to, run in its order against a real farm."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from damocles.testing.farm import Farm, program, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "paused-threads.md"


def commands() -> list[list[str]]:
    """Return the commands of the page."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@contextmanager
def stuck_farm(base: Path) -> Iterator[Farm]:
    """Run the farm that the page is about: three threads paused for want of parameters."""
    folder = base / "parameters"
    folder.mkdir()
    with Farm(base, parameters=folder, max_sectors=3, seal_interval="1h", name="gpu-1") as farm:
        farm.start_manager()
        farm.start_worker()
        wait_until(lambda: all(t.last_error for t in farm.all_threads()), "all threads pause")
        yield farm


def run(farm: Farm, command: list[str]) -> str:
    """Run a command of the page and return what it prints."""
    here = ["--listen", f"127.0.0.1:{farm.manager_port}"] if command[0] == "damocles-manager" else []
    done = subprocess.run(
        [program(command[0]), *command[1:], *here],
        capture_output=True,
        text=True,
        timeout=60,
        env=farm.env,
        check=False,
    )
    # `params list` says by its exit code that something is missing.
    assert done.returncode == (1 if "list" in command and "params" in command else 0), (command, done.stderr)
    return done.stdout


def test_the_page_tells_what_is_printed(tmp_path):
    """Each command but the one that makes parameters works as printed, and shows what the page says."""
    with stuck_farm(tmp_path) as farm:
        said = [run(farm, command) for command in commands() if "generate" not in command]
    text = "\n".join(said)
    assert "gpu-1  127.0.0.1" in text
    assert text.count("permanent: No cached parameters found") >= 3
    assert text.count("goes on from C1Done") == 6
    audit, abort = said[-2:]
    assert "parameters are in place" in audit
    assert "; the manager knows, its files are in" in abort


@pytest.mark.params
@pytest.mark.timeout(400)
def test_the_page_brings_paused_threads_on(tmp_path, porep_parameters):
    """With the parameters of the page the threads prove after its last command."""
    with stuck_farm(tmp_path) as farm:
        for command in commands():
            if "generate" in command:
                # Made before, by the same command: it takes a quarter of an hour.
                for path in [*porep_parameters, *porep_parameters[0].parent.glob("*generated*.json")]:
                    (farm.parameters / path.name).symlink_to(path)  # a gigabyte
            run(farm, command)
        wait_until(lambda: any(t.thread_state.state == "Running" for t in farm.all_threads()), "a thread proves")
