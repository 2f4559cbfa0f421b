"""Standard streams that are closed or full, and users without a home: a line and an exit code, whatever the command."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(sys.executable).parent
COMMANDS = [
    "damocles-worker --version",
    "damocles-worker worker list --help",
    "damocles-worker config show -c CONFIG",
    "damocles-manager --version",
    "damocles-manager init --home HOME",
]


@pytest.fixture
def shell(tmp_path: Path):
    """Return what runs a line in a shell; CONFIG is a configuration file, HOME a folder."""
    store, persist = tmp_path / "store", tmp_path / "persist"
    persist.mkdir()
    (tmp_path / "worker.toml").write_text(
        f'[sector_manager]\nrpc_client.addr = "/ip4/127.0.0.1/tcp/1"\n[[sealing_thread]]\nlocation = "{store}"\n'
        f'[[attached]]\nlocation = "{persist}"\n[worker]\nhome = "{tmp_path}/home"\n'
    )

    def run(line: str, **env: str | None) -> subprocess.CompletedProcess[str]:
        text = line.replace("CONFIG", shlex.quote(f"{tmp_path}/worker.toml")).replace("HOME", f"{tmp_path}/home")
        surroundings = {**os.environ, **env, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        return subprocess.run(
            ["/bin/sh", "-c", text],
            env={name: value for name, value in surroundings.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("redirected", "reason"), [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")]
)
def test_an_output_that_cannot_be_written_is_a_line(shell, command, redirected, reason):
    """Scripts see by the exit code that what was asked for went nowhere."""
    done = shell(f"{command} {redirected}")
    assert (1, f"error: the standard output cannot be written: {reason}\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", ["damocles-worker config check -c nowhere", "damocles-manager util worker no"])
def test_a_closed_stderr_does_not_spill_into_the_output(shell, command):
    """What belongs to stderr is not printed on stdout in its place; the exit code says the same."""
    told, done = shell(command), shell(f"{command} 2>&-")
    assert "error: " in told.stderr
    assert ("", told.returncode) == (done.stdout, done.returncode)


def test_a_closed_input_is_an_empty_one(shell):
    """A command that reads its input meets the end of it."""
    done = shell("damocles-manager util sealer import - --listen 127.0.0.1:1 <&-")
    assert "Traceback" not in done.stderr
    assert 1 <= done.returncode <= 4


@pytest.mark.parametrize("command", ["damocles-manager util worker list", "damocles-manager auth list"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user without a home")
def test_a_user_without_a_home_is_told(shell, command):
    """Neither HOME nor the list of users names a folder: the message says what to give."""
    done = shell(f"setpriv --reuid 12345 --clear-groups {command}", HOME=None, DAMOCLES_PATH=None)
    assert "Permission denied" in done.stderr or (
        (1, "error: this user has no home directory: set HOME, or name the folders (--home, worker.home) in full\n")
        == (done.returncode, done.stderr)
    ), done.stderr


@pytest.mark.parametrize("program", ["manager", "worker"])
def test_an_interrupt_before_there_is_a_parser_is_an_exit_code(program: str):
    """Ctrl-C in the first moment of a command prints no traceback."""
    code = f"""
import sys
from damocles.cli import {program}

class Interrupts:
    def find_spec(self, name, *_):
        if name == "cyclopts":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupts())
sys.exit({program}.main(["status"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (130, "") == (done.returncode, done.stderr)
