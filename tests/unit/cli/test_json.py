"""`--json` of all commands of both programs."""

import json

import pytest

from damocles.cli import manager, worker

# Daemons, and what speaks a protocol.
WITHOUT = {"damocles-worker daemon", "damocles-worker processor", "damocles-manager daemon", "damocles-manager mock"}


@pytest.mark.parametrize("program", [manager, worker])
def test_every_command_that_prints_prints_json(program, options_of):
    """A script need not read what is meant for people."""
    known = options_of(program)
    assert {name for name in WITHOUT if name.startswith(program.PROGRAM)} == {
        name for name, options in known.items() if "--json" not in options
    }


def test_init_and_ca_tell_what_they_made(capsys, tmp_path):
    """The files are listed, each with what belongs to it."""
    assert 0 == manager.main(["init", "--home", str(tmp_path / "home"), "--json"])
    home = tmp_path / "home"
    assert [str(home / "token"), str(home / "worker-token")] == json.loads(capsys.readouterr().out)
    assert 0 == manager.main(["auth", "ca", "--dir", str(tmp_path / "ca"), "--host", "gpu1", "--json"])
    made = json.loads(capsys.readouterr().out)
    files = [(str(tmp_path / "ca" / f"{name}.pem"), str(tmp_path / "ca" / f"{name}.key")) for name in ("ca", "gpu1")]
    assert files == [(one["certificate"], one["key"]) for one in made]
