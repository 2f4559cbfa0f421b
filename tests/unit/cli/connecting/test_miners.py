"""Which miner a command is about that names none."""

import os
from pathlib import Path

import pytest

from damocles.cli import manager
from damocles.cli.connecting import manager_at, miners, node_at
from damocles.cli.terminal import exits
from damocles.rpc.calling import profiles

HERE, ELSEWHERE = "http://127.0.0.1:1789/rpc/v0", "127.0.0.1:1790"


def home_with(folder: Path, *actors: int) -> Path:
    """Return the home of a manager that was started with a file of these miners, which is elsewhere."""
    home, file = folder / "home", folder / "manager.toml"
    home.mkdir()
    tables = "".join(f"[[Miners]]\nActor = {actor}\n" for actor in actors)
    file.write_text(f'[[Chain.Nodes]]\nAPI = "127.0.0.1:1"\n{tables}')
    profiles.leave(home, HERE, None, None, file)
    return home


def test_the_only_miner_of_the_configuration_is_taken(tmp_path, monkeypatch):
    """By commands to the manager of this home, and by those to the node that its configuration names; a name wins."""
    home = home_with(tmp_path, 1002)
    monkeypatch.setitem(os.environ, "DAMOCLES_PATH", str(home))
    assert [1002, 1002, 1002, 7] == [
        miners.number(None, manager_at.At(home=home)),
        miners.number(None, manager_at.At(home=home, listen="127.0.0.1:1789")),
        miners.number(None, node_at.At()),
        miners.number(7, node_at.At()),
    ]


def test_another_place_s_miner_is_not_guessed(tmp_path, monkeypatch):
    """The configuration says nothing of a manager elsewhere, or of a node that it may not name."""
    home = home_with(tmp_path, 1002)
    monkeypatch.setitem(os.environ, "DAMOCLES_PATH", str(home))
    for at in (manager_at.At(home=home, listen=ELSEWHERE), node_at.At(node="127.0.0.1:1234")):
        with pytest.raises(exits.WrongUsage, match=r"no miner is named: pass --miner, like --miner f01000$"):
            miners.number(None, at)


@pytest.mark.parametrize(
    ("actors", "told"),
    [
        ((1002, 1003), "no miner is named: pass {}, one of f01002, f01003\n"),
        ((), "no miner is named: pass {}, like {}f01000\n"),
    ],
)
def test_several_miners_are_told(tmp_path, capsys, actors, told):
    """One has to be named, as an option or in its place; so it is where the file cannot be used."""
    home = home_with(tmp_path, *actors)
    for command, what, option in (
        (("sealer", "proving"), "--miner", "--miner "),
        (("sealer", "actor", "withdraw"), "--miner", "--miner "),
        (("sealer", "snap", "candidates"), "it", ""),
    ):
        assert 2 == manager.main(["util", *command, "--home", str(home)])
        assert f"error: {told.format(what, option)}" == capsys.readouterr().err
