"""Commands about parameters look where the running worker does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm

PARAMETERS, PARENTS = "FIL_PROOFS_PARAMETER_CACHE", "FIL_PROOFS_PARENT_CACHE"


def ask(*arguments: object, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Run a command in a shell with this environment; return exit code, what it prints, and what it says besides."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("FIL_PROOFS_", "DAMOCLES_"))}
    command = [farm.program("damocles-worker"), "params", *map(str, arguments), "--json"]
    done = subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_the_folders_are_those_of_the_running_worker(tmp_path: Path) -> None:
    """A shell has other folders: with the worker's configuration both are told, and the worker's counts."""
    theirs, parents = tmp_path / "theirs", tmp_path / "parents"
    with Farm(tmp_path, threads=1, parameters=theirs, max_sectors=0) as f:
        f.config.write_text(f.config.read_text() + f'\n[[processors.c2]]\nenvs = {{ {PARAMETERS} = "/srv/c2" }}\n')
        f.start_manager()
        f.start_worker(FIL_PROOFS_PARENT_CACHE=str(parents))
        given = ("--sector-size", "2KiB", "-c", f.config)

        code, told, said = ask("list", *given, **{PARAMETERS: "/here"})
        assert (1, str(theirs)) == (code, told["folder"])
        assert f"parameters: the running worker uses {theirs}; this shell's environment names /here\n" in said
        assert f"parent caches: the running worker uses {parents}; this shell's environment names /var/tmp" in said
        assert f"processors.c2[0] has its own {PARAMETERS}: /srv/c2\n" in said

        _, told, said = ask("list", *given, **{PARAMETERS: str(theirs), PARENTS: str(parents)})
        assert str(theirs) == told["folder"]
        assert "this shell" not in said
        _, told, _ = ask("parents", *given)
        assert str(parents) == told["folder"]
        _, told, said = ask("list", "--sector-size", "2KiB", DAMOCLES_WORKER_CONFIG=str(f.config))
        assert str(theirs) == told["folder"]
        _, told, _ = ask("list", "--sector-size", "2KiB", **{PARAMETERS: "/here"})
        assert "/here" == told["folder"]

        assert f.worker is not None
        farm.stop(f.worker)
        _, told, said = ask("list", *given, **{PARAMETERS: "/here"})
        assert "/here" == told["folder"]
        assert "; using the folders that this shell's environment names\n" in said


@pytest.mark.parametrize("command", ["list", "check", "fetch", "generate", "parents"])
def test_a_configuration_that_cannot_be_read_is_no_worker_that_is_away(tmp_path: Path, command: str) -> None:
    """Nothing is looked at, fetched or made in a folder that nobody meant."""
    code, told, said = ask(command, "--sector-size", "2KiB", "-c", tmp_path / "none.toml")
    assert (1, {}) == (code, told)
    assert f"error: {tmp_path}/none.toml: cannot be read: No such file or directory\n" == said
