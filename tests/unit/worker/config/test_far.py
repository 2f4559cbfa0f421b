"""Groups that send their tasks to a Ray cluster: what is wrong with them is said before a worker starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from damocles.stages.admission import machine
from damocles.stages.far import settings
from damocles.wire import sectors
from damocles.worker import capacity, processors
from damocles.worker.config import load

WELL = 'executor = "ray"\naddress = "10.0.0.1:6379"\ntoken_file = "token"\n'


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that reads a configuration with this group of a stage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # whether Ray is installed or not
    for name in ("store1", "persist"):
        Path(name).mkdir()
    Path("token").write_text("secret")

    def loaded(text: str, stage: str = "c2") -> load.Loaded:
        Path("worker.toml").write_text(
            '[sector_manager]\nrpc_client.addr = "/ip4/127.0.0.1/tcp/1789"\n[[sealing_thread]]\nlocation = "store1"\n'
            f'[[attached]]\nlocation = "persist"\n[[processors.{stage}]]\n{text}'
        )
        return load.load("worker.toml")

    return loaded


@pytest.mark.parametrize(
    ("stage", "text", "told"),
    [
        ("c2", 'executor = "dask"', "executor = \"dask\": Input should be 'local' or 'ray'"),
        ("c2", 'executor = "ray"\ntoken_file = "token"', "address: missing; expected the address of a Ray head"),
        (
            "c2",
            WELL.replace("10.0.0.1:6379", "http://gpu1"),
            'expected the address of a Ray head, like "10.0.0.1:6379"',
        ),
        ("c2", WELL + "resources = { GPU = 0 }", "resources.GPU = 0: expected a number above 0"),
        ("c2", WELL + "resources = { gpu = 1 }", "resources.gpu = 1: Ray's own name for that is GPU"),
        ("c2", WELL + 'lease = "1s"', 'expected from "3s" to "10min"'),
        ("c2", WELL + 'away = "never"', "Input should be 'wait' or 'local'"),
        ("c2", WELL.replace('"token"', '"/nowhere"'), "the cluster's token cannot be read: /nowhere: No such file"),
        ("transfer", WELL, "transfer cannot be sent to other machines: it moves files between stores that are here"),
        ("pc2", WELL, "shared: missing; pc2 works on files of the sector: expected the folders"),
        ("c1", WELL, "shared: missing; c1 works on files of the sector: expected the folders"),
        ("c1", WELL + 'shared = ["/nowhere"]', 'shared = "/nowhere": does not exist; is the disk mounted?'),
    ],
)
def test_what_cannot_work_is_named(read, stage, text, told):
    """Each mistake is one line that says what to do."""
    with pytest.raises(load.ConfigError) as failure:
        read(text, stage)
    assert told in str(failure.value)


def test_ray_that_is_not_installed_is_named(read, monkeypatch):
    """Whoever has not installed the extra hears how to."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        load.ConfigError, match=r"needs Ray, which is not installed here: pip install 'damocles\[ray\]'"
    ):
        read(WELL)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('address = "10.0.0.1:6379"', 'address: has no effect without executor = "ray"'),
        (WELL + "numa_preferred = 0", 'numa_preferred: has no effect with executor = "ray"'),
        (WELL + "insecure = true", "insecure = true: whoever reaches the Ray cluster can run anything"),
    ],
)
def test_what_has_no_effect_or_is_dangerous_is_named(read, text, told):
    """Keys of one executor beside the other, and a cluster that lets in anybody."""
    (warning,) = read(text).warnings
    assert told in str(warning)


def test_the_helper_gets_what_the_group_says(read):
    """The keys arrive at the process that carries the tasks; one place is the default."""
    loaded = read(WELL + 'resources = { GPU = 1 }\nenvs = { A = "b" }\nlease = "20s"\nbin = "/opt/prover"\n')
    assert () == loaded.warnings
    assert [
        (
            "processors.c2[0]",
            settings.Group(
                stage="c2",
                address="10.0.0.1:6379",
                resources={"GPU": 1},
                argv=("/opt/prover", "processor", "c2"),
                envs={"A": "b"},
                lease_seconds=20.0,
                token_file="token",
            ),
        )
    ] == list(processors.far_groups(loaded.config))


@pytest.mark.parametrize(("concurrent", "slots"), [("", 1), ("concurrent = 3", 3)])
def test_a_forecast_counts_the_places_of_a_group(read, concurrent, slots):
    """What a worker says about its capacity knows the places on the cluster, also the one without the key."""
    assert slots == capacity.slots(read(WELL + concurrent).config)["c2"]


@pytest.mark.parametrize(("away", "needs"), [("wait", False), ("local", True)])
def test_a_stage_that_runs_elsewhere_takes_nothing_here(read, away, needs):
    """Unless it may run here while the cluster is away: then it is admitted as a stage of this machine."""
    config = read(WELL + f'away = "{away}"\n').config
    has = machine.Machine(cores=(0,), memory_bytes=8 << 30, available_bytes=8 << 30)
    assert needs == ("memory" in processors.admission(config, has).needs("c2", sectors.SectorSize.GIB32))


def test_a_worker_imports_nothing_of_ray():
    """A daemon, with its configuration, its stages and its command line, has no module of Ray, with or without such a group."""
    code = (
        "import sys\nimport damocles.worker.daemon, damocles.worker.processors, damocles.cli.worker, damocles.cli.of_worker.ray\n"
        "print([name for name in sys.modules if name == 'ray' or name.startswith('ray.')])"
    )
    assert "[]\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
