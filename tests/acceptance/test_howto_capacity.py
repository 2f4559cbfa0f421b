"""The commands of the page about capacity, run in its order against a real farm."""

import json
import re
import shlex
from pathlib import Path

import pytest

from damocles.testing.farm import Farm, cli, stop, wait_until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "capacity.md"


def commands() -> list[list[str]]:
    """Return the commands of the page."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text().replace("\\\n", ""), re.DOTALL)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_the_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command does what the page says; the worker and the manager agree, and so does the worker that is stopped."""
    memory = '[processors.admission]\nmemory = "256GiB"\n'
    with Farm(tmp_path, threads=2, size="32GiB", name="gpu-1", max_sectors=0, processors=memory) as farm:
        farm.start_manager()
        farm.start_worker()
        monkeypatch.chdir(tmp_path)
        manager = ["--listen", f"127.0.0.1:{farm.manager_port}"]
        wait_until(lambda: "gpu-1" in cli("damocles-manager", "util", "worker", "list", *manager).stdout, "it is known")
        shown, untimed, planned, fleet, timed = commands()
        assert str(tmp_path / "store1") in cli(*shown).stdout
        done = cli(*untimed, check=False)
        assert (1, True) == (done.returncode, "no sector of sealer 32GiB is finished yet" in done.stderr)
        text = cli(*planned).stdout
        assert re.search(r"sealer +32GiB +8 +\d+\.\d\d", text)
        assert "bottleneck: memory" in text
        assert re.search(r"56GiB of memory +\+\d", text)
        done = cli(*fleet, *manager, check=False)
        assert "gpu-1: no times of stages" in done.stderr
        told = json.loads(cli(*timed, *manager, "--time", "pc1=4h").stdout)
        own = json.loads(cli(*untimed, "--json", "--time", "pc1=4h", "--time", "wait=2h").stdout)
        assert told["sectors_per_day"] == own["sectors_per_day"] > 0
        assert "gpu-1" == told["workers"][0]["worker"]
        assert farm.worker is not None
        stop(farm.worker)
        done = cli(*untimed, "--json", "--time", "pc1=4h", "--time", "wait=2h")
        assert "the worker does not answer" in done.stderr
        assert own["sectors_per_day"] == json.loads(done.stdout)["sectors_per_day"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--time", "pc1"], "write a stage and how long it takes, like pc1=4h"),
        (["--time", "pc1=long"], "--time pc1"),
        (["--time", "pc9=4h"], "the plan sealer has no stage pc9: use add_pieces"),
        (["--threads", "0"], "expected at least 1"),
        (["--sector-size", "3KiB"], "--sector-size: '3KiB' is not a sector size: use one of 2KiB"),
    ],
)
def test_what_cannot_be_planned_is_told_in_a_line(tmp_path: Path, words: list[str], told: str) -> None:
    """Wrong usage, with what to write instead."""
    with Farm(tmp_path, threads=1) as farm:
        done = cli("damocles-worker", "plan-capacity", "--config", str(farm.config), *words, check=False)
        assert 2 == done.returncode
        assert told in done.stderr.splitlines()[-1]


def test_sectors_of_a_size_that_no_thread_seals_are_told_how_to_forecast(tmp_path: Path) -> None:
    """A copy of the configuration that has them, and the times, make a forecast."""
    with Farm(tmp_path, threads=1) as farm:
        command = ["damocles-worker", "plan-capacity", "--sector-size", "8MiB", "--time", "pc1=1h", "--json"]
        done = cli(*command, "--config", str(farm.config), check=False)
        assert 1 == done.returncode
        assert "but of 2KiB" in done.stderr
        assert 'write allowed_sizes = ["8MiB"] under [sealing] of a copy of the configuration' in done.stderr
        other = farm.config.with_name("other.toml")
        other.write_text(farm.config.read_text().replace('"2KiB"', '"8MiB"'))
        (line,) = json.loads(cli(*command, "--config", str(other)).stdout)["lines"]
        assert "8MiB" == line["size"]
