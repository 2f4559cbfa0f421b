"""The section `[processors]`: what of the original's has another effect here, admission, and costs."""

from pathlib import Path

import pytest

from damocles.stages import host
from damocles.stages.admission import machine
from damocles.wire import sectors
from damocles.worker import processors
from damocles.worker.config import load

GIB = 1 << 30


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that reads a configuration with this `[processors]`."""
    monkeypatch.chdir(tmp_path)
    for name in ("store1", "persist"):
        Path(name).mkdir()

    def loaded(text: str) -> load.Loaded:
        Path("worker.toml").write_text(
            '[sector_manager]\nrpc_client.addr = "/ip4/127.0.0.1/tcp/1789"\n[[sealing_thread]]\nlocation = "store1"\n'
            f'[[attached]]\nlocation = "persist"\n{text}'
        )
        return load.load("worker.toml")

    return loaded


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("weight = 2", "weight: unknown key, it has no effect; a worker's processors have none"),
        ('hugepage_files_path = "/h"', "hugepage_files_path: unknown key, it has no effect; PC1 takes its memory"),
        ('envs = { HUGEPAGE_FILES_PATH = "/h" }', "envs.HUGEPAGE_FILES_PATH: has no effect: PC1 takes its memory"),
        ('args = ["processor", "pc1", "--hugepage_files_path=/h"]', "has no effect: PC1 takes its memory"),
        ('cgroup.group_name = "farm"', 'cgroup.group_name = "farm": has no effect without cpuset beside it'),
    ],
)
def test_what_has_no_effect_is_named_with_the_reason(read, text, told):
    """Whoever comes from the original, or from its manager's processors, hears why."""
    (warning,) = read(f"[[processors.pc1]]\n{text}\n").warnings
    assert told in str(warning)


def test_everything_of_the_original_is_read(read):
    """The keys of a group in its manual, all at once."""
    cpu = min(host.cores())
    group = read(
        '[[processors.pc1]]\nargs = ["processor", "pc1"]\nstable_wait = "30s"\nnuma_preferred = 0\nconcurrent = 2\n'
        f'locks = ["gpu"]\nauto_restart = false\ninherit_envs = false\ncgroup = {{ group_name = "g", cpuset = "{cpu}" }}\n'
        'envs = { A = "b" }\n[processors.ext_locks]\ngpu = 1\n'
    )
    assert () == group.warnings
    (read_group,) = group.config.processors.groups("pc1")
    assert (30.0, 0, 2, str(cpu)) == (
        read_group.stable_wait,
        read_group.numa_preferred,
        read_group.concurrent,
        read_group.cgroup.cpuset,
    )


def test_the_configuration_wins_over_the_machine(read):
    """Amounts and costs that it names; the rest is what there is."""
    config = read(
        '[processors.admission]\nmode = "full"\nmemory = "100GiB"\ngpus = 2\n[processors.costs.c2."32GiB"]\ngpus = 1\n'
        '[processors.costs.c2."64GiB"]\nmemory = "1GiB"\n'
    ).config
    admitted_by = processors.admission(config, machine.Machine(cores=(0, 1, 2), memory_bytes=GIB, available_bytes=GIB))
    assert (100 * GIB, 3, 2) == tuple(admitted_by.limits[name] for name in ("memory", "cores", "gpus"))
    assert {"memory": 30 * GIB, "cores": 2, "gpus": 1} == admitted_by.needs("c2", sectors.SectorSize.GIB32)
    assert {"memory": GIB, "cores": 2} == admitted_by.needs("c2", sectors.SectorSize.GIB64)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[processors.admission]\nmode = "cpu"\n', "mode"),
        ('[processors.admission]\nmemory = "much"\n', "expected a size in quotes"),
        ('[processors.costs.pc3."32GiB"]\nmemory = "1GiB"\n', "no stage has this name"),
        ('[processors.costs.pc1."33GiB"]\nmemory = "1GiB"\n', "expected a sector size"),
        ('[processors.costs.pc1."32GiB"]\ncores = 0\n', "expected a whole number from 1 on"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(read, text, told):
    """With the key."""
    with pytest.raises(load.ConfigError) as refused:
        read(text)
    (line,) = str(refused.value).splitlines()
    assert told in line
    assert "processors." in line


def test_unknown_resource_of_a_cost_is_named(read):
    """It has no effect, and says so."""
    (warning,) = read('[processors.costs.pc1."32GiB"]\nmemroy = "1GiB"\n').warnings
    assert 'did you mean "memory"?' in str(warning)
