"""`hwinfo`: a table and JSON of what there is."""

import json

import pytest

from damocles.cli import worker
from damocles.stages.admission import machine

GIB = 1 << 30


@pytest.fixture
def there(monkeypatch):
    """Let there be a machine with everything."""
    found = machine.Machine(
        cores=tuple(range(32)),
        memory_bytes=512 * GIB,
        available_bytes=300 * GIB,
        nodes=(machine.Node(0, tuple(range(16)), 256 * GIB), machine.Node(1, (), None)),
        huge_pages=(machine.HugePages(GIB, 66, 2),),
        transparent_huge_pages="always",
        cgroup=machine.Cgroup(2, "/farm.slice", 256 * GIB, 100 * GIB, 16.0),
        gpus=(machine.Gpu("NVIDIA A10", 22 * GIB), machine.Gpu("NVIDIA X")),
        spaces=(machine.Space("scratch", "/tmp", 100 * GIB, 40 * GIB, 1), machine.Space("sealing", "/gone")),
    )
    monkeypatch.setattr(machine, "look", lambda **_: found)


def test_everything_has_its_line(there, capsys):
    """What limits what stands beside it; what nobody knows is unknown."""
    assert 0 == worker.main(["hwinfo"])
    rows = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    text = {name: " ".join(rest.split()) for name, rest in rows[1:] if name not in {"node", "GPU", "pages", "huge"}}
    assert "16 CPUs 0-31, a quota of 16" == text["cores"]
    assert "512GiB 300GiB available" == text["memory"]
    assert "memory 256GiB v2 /farm.slice, 100GiB used" == text["cgroup"]
    assert "100GiB 40GiB free in /tmp" == text["scratch"]
    assert "unknown unknown free in /gone" == text["sealing"]


def test_the_same_for_programs(there, capsys):
    """Names with units, and what is to be granted of it."""
    assert 0 == worker.main(["hwinfo", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {"cores": 16, "memory": 256 * GIB, "gpus": 2} == told["capacity"]
    assert [] == told["granted"]
    assert "always" == told["transparent_huge_pages"]
    assert 256 * GIB == told["cgroup"]["memory_bytes"]


def test_a_configuration_that_cannot_be_read_is_told(there, capsys, tmp_path):
    """One line, and exit code 1."""
    assert 1 == worker.main(["hwinfo", "-c", str(tmp_path / "no.toml")])
    (line,) = capsys.readouterr().err.splitlines()
    assert "no.toml" in line
