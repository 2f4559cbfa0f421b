"""`damocles-manager daemon`: what keeps it from starting is a line, and an exit code that scripts can use."""

from pathlib import Path

from damocles.testing import farm

NODE = '[Chain]\n[[Chain.Nodes]]\nAPI = "127.0.0.1:{port}"\n[[Miners]]\nActor = 1000\n'


def _told(folder: Path, text: str, code: int) -> str:
    file = folder / "manager.toml"
    file.write_text(text)
    listen = f"127.0.0.1:{farm.free_port()}"
    done = farm.cli("damocles-manager", "daemon", "--home", str(folder), "--listen", listen, check=False)
    assert code == done.returncode, done.stderr
    return done.stderr.splitlines()[-1]


def test_a_file_with_a_mistake(tmp_path: Path) -> None:
    """Wrong usage: the key, and what was meant."""
    told = _told(tmp_path, NODE.format(port=1) + "[Miners.Sealling]\n", 2)
    assert told.endswith('Miners[0].Sealling: there is no such key; did you mean "Sealing"?')


def test_nobody_at_the_nodes_address(tmp_path: Path) -> None:
    """A failure: the node, and that it refuses connections."""
    port = farm.free_port()
    told = _told(tmp_path, NODE.format(port=port), 1)
    assert f"http://127.0.0.1:{port}/rpc/v1" in told


def test_no_file(tmp_path: Path) -> None:
    """Wrong usage: which file."""
    done = farm.cli("damocles-manager", "daemon", "--home", str(tmp_path), check=False)
    assert (2, True) == (done.returncode, "manager.toml" in done.stderr)
