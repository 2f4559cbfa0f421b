"""The commands of `docs/how-to/from-damocles.md`: an original worker and manager that play their recordings, and ours."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from damocles.testing.farm import Farm, program, wait_until
from damocles.worker.config import load

from . import fleet_peers

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-damocles.md"

# What the page's reader has: the defaults of the original's examples, and what only the original takes.
CHANGES = {
    "rpc_server.port": 'rpc_server.host = "0.0.0.0"\nrpc_server.port',
    "/tcp/{port}": "/tcp/{port}/ws",
    "c2 = 1\n": 'c2 = 1\n[processors.limitation.staggered]\npc1 = "100ms"\n[[processors.pc2]]\nlocks = ["gpu0"]\n',
}


def commands(part: str) -> Iterator[list[str]]:
    """Yield the commands of a numbered section."""
    section = next(text for text in PAGE.read_text().split("\n## ")[1:] if text.startswith(part))
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        yield from (shlex.split(line[2:]) for line in block.splitlines() if line.startswith("$ "))


@pytest.mark.timeout(300)
def test_the_page_changes_a_machine_over(tmp_path: Path) -> None:
    """The old worker is watched, its file becomes one that starts, and ours works under the old manager's command line."""
    with (
        Farm(tmp_path, threads=2, max_sectors=0, name="gpu-1") as farm,
        fleet_peers.original_worker() as rust,
        fleet_peers.original_manager([("rust-1", rust.dest), ("gpu-1", f"127.0.0.1:{farm.worker_port}")]) as manager,
    ):
        text = farm.config.read_text()
        for old, new in CHANGES.items():
            here = old.replace("{port}", str(farm.manager_port))
            assert here in text
            text = text.replace(here, new.replace("{port}", str(farm.manager_port)), 1)
        (tmp_path / "original.toml").write_text(text)
        farm.config.unlink()
        for store in farm.stores:
            shutil.rmtree(store)
            (store / "meta").mkdir(parents=True)
            (store / "meta" / "CURRENT").touch()  # as the original's database has it
        for folder in ("nvme1", "nvme2"):
            (tmp_path / folder).mkdir()

        def run(command: list[str], code: int = 0) -> str:
            name, *arguments = (word.replace("10.0.0.7:17890", rust.dest) for word in command)
            listen = ["--listen", f"127.0.0.1:{manager}"] if name == "damocles-manager" else []
            done = subprocess.run(
                [program(name), *arguments, *listen],
                cwd=tmp_path,
                env=farm.env,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert code == done.returncode, (command, done.stdout, done.stderr)
            return done.stdout + done.stderr

        said = [run(command) for command in commands("1.")]
        assert "sector_id=Some(s-t010000-1)" in said[0]
        assert ["rust-1", "s-t010000-2"] == [word for word in ("rust-1", "s-t010000-2") if word in said[1] + said[2]]

        checked, written, _, good = [run(command) for command in commands("2.")]
        for key in ("worker.rpc_server.host", "processors.limitation.staggered.pc1", "processors.pc2[0].locks", "/ws"):
            assert key in checked
        assert 2 == checked.count("is a sealing store of the original")
        assert "worker.toml: written, a worker can use it" in written
        assert "worker.toml: ok" in good
        assert 2 == good.count("is a sealing store of the original")
        changed = farm.config.read_text()
        for store, new in zip(farm.stores, ("nvme1/new", "nvme2/new"), strict=True):
            changed = changed.replace(str(store), str(tmp_path / new))
        farm.config.write_text(changed)
        assert ("127.0.0.1",) == load.load(farm.config).config.worker.rpc_server.admit

        farm.start_manager()
        start, *others = commands("3.")
        assert ["daemon", "-c", "worker.toml"] == start[1:]
        farm.start_worker()
        wait_until(lambda: farm.all_threads()[0].thread_state.state == "Idle", "the worker asks for sectors")
        listed, fleet, info, paused, resumed, drained, undrained = [run(command) for command in others]
        assert "nvme1/new" in listed
        assert "gpu-1" in fleet
        assert "nvme2/new" in info
        assert ["pause call done, ok = true", "resume call done, ok = true"] == [
            re.findall(r"\w+ call done, ok = true", text)[0] for text in (paused, resumed)
        ]
        assert ("draining", "takes new sectors") == (drained[:8], undrained[:17])
