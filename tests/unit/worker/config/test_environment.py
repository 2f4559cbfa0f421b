"""Settings of the library of proofs in the environments of stages."""

import json
import os
from pathlib import Path

import anyio
import pytest

from damocles.cli import worker
from damocles.rpc import errors
from damocles.worker import daemon
from damocles.worker.config import load
from damocles.worker.serving import environment

BASE = """\
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"

[[sealing_thread]]
location = "store"

[[attached]]
location = "persist"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration that is fit for use."""
    monkeypatch.chdir(tmp_path)
    Path("persist").mkdir()
    made = Path("worker.toml")
    made.write_text(BASE)
    return made


def complaints(file: Path, groups: str) -> list[str]:
    """Return what is wrong with a file that has these processors."""
    file.write_text(BASE + groups)
    try:
        load.load(file)
    except load.ConfigError as error:
        return list(map(str, error.errors))
    return []


@pytest.mark.parametrize("name", ["pc1", "window_post", "c2"])
def test_a_variable_of_a_processor_is_named_with_its_line(file, name):
    """As with any other key: where, what, and what it may be."""
    groups = f'\n[[processors.{name}]]\nenvs = {{ FIL_PROOFS_USE_MULTICORE_SDR = "" }}\n'
    assert [
        f'worker.toml:11: processors.{name}[0].envs.FIL_PROOFS_USE_MULTICORE_SDR = "": expected true or false; leave it'
        " out for the default"
    ] == complaints(file, groups)


def test_a_variable_of_a_processor_is_judged_beside_those_that_it_inherits(file, monkeypatch):
    """The settings have to fit each other, and each group has them as it gets them."""
    groups = '\n[[processors.pc1]]\nenvs = { FIL_PROOFS_MULTICORE_SDR_LOOKAHEAD = "200" }\n'
    assert [] == complaints(file, groups)
    monkeypatch.setenv("FIL_PROOFS_MULTICORE_SDR_PRODUCER_STRIDE", "300")
    (told,) = complaints(file, groups)
    assert told.startswith("worker.toml:11: processors.pc1[0].envs.FIL_PROOFS_MULTICORE_SDR_LOOKAHEAD")
    assert "FIL_PROOFS_MULTICORE_SDR_PRODUCER_STRIDE, here 200 and 300" in told
    assert [] == complaints(file, groups + "inherit_envs = false\n")


def test_what_a_processor_inherits_is_not_told_of_it(file, monkeypatch):
    """It is told once, of the worker; the file is in order."""
    monkeypatch.setenv("FIL_PROOFS_VERIFY_CACHE", "")
    assert [] == complaints(file, "\n[[processors.pc1]]\n")


@pytest.mark.parametrize("stage", ["pc2", "snap_encode", "check_replicas", "window_post"])
def test_sectors_are_proved_with_what_they_were_sealed_with(file, monkeypatch, stage):
    """A processor with another number of discarded rows is refused, unless all have it."""
    groups = f'\n[[processors.{stage}]]\nenvs = {{ FIL_PROOFS_ROWS_TO_DISCARD = "1" }}\n'
    assert [
        f'worker.toml:11: processors.{stage}[0].envs.FIL_PROOFS_ROWS_TO_DISCARD = "1": expected 2, as the other stages'
        " have it: sectors are proved with what they were sealed with; set it for the whole worker instead"
    ] == complaints(file, groups)
    monkeypatch.setenv("FIL_PROOFS_ROWS_TO_DISCARD", "1")
    assert [] == complaints(file, groups)


def test_all_processors_may_have_another_number_of_rows(file):
    """What counts is that they agree."""
    groups = "".join(
        f'\n[[processors.{stage}]]\nenvs = {{ FIL_PROOFS_ROWS_TO_DISCARD = "3" }}\n'
        for stage in ("pc2", "snap_encode", "check_replicas", "window_post")
    )
    assert [] == complaints(file, groups)


def test_rows_of_other_stages_do_not_matter(file):
    """C2 reads no tree."""
    assert [] == complaints(file, '\n[[processors.c2]]\nenvs = { FIL_PROOFS_ROWS_TO_DISCARD = "1" }\n')


def test_config_check_names_what_is_wrong_with_the_environment(file, monkeypatch, capsys):
    """It is an error there, in JSON as well."""
    assert 0 == worker.main(["config", "check", "-c", "worker.toml"])
    monkeypatch.setenv("FIL_PROOFS_USE_MULTICORE_SDR", "")
    told = "environment: FIL_PROOFS_USE_MULTICORE_SDR=: expected true or false; leave it out for the default"
    capsys.readouterr()
    assert 1 == worker.main(["config", "check", "-c", "worker.toml"])
    assert f"error: worker.toml: {told}\n" == capsys.readouterr().err
    assert 1 == worker.main(["config", "check", "-c", "worker.toml", "--json"])
    assert [told] == [error["message"] for error in json.loads(capsys.readouterr().out)["errors"]]


def test_a_worker_does_not_start_where_its_stages_would_panic(file, monkeypatch):
    """Before a sector is begun, with the variable's name."""
    monkeypatch.setenv("FIL_PROOFS_ROWS_TO_DISCARD", "many")
    with pytest.raises(
        daemon.StartError, match="environment: FIL_PROOFS_ROWS_TO_DISCARD=many: expected a whole number"
    ):
        anyio.run(daemon.run, load.load(file))


async def test_a_variable_that_is_set_from_outside_is_judged_too(monkeypatch):
    """Children that are started from then on would inherit it."""
    monkeypatch.delenv("FIL_PROOFS_VERIFY_CACHE", raising=False)
    allowed = environment.Environment(["FIL_PROOFS_*"])
    with pytest.raises(errors.RpcError, match="FIL_PROOFS_VERIFY_CACHE=perhaps: expected true or false"):
        await allowed.set("FIL_PROOFS_VERIFY_CACHE", "perhaps")
    assert "FIL_PROOFS_VERIFY_CACHE" not in os.environ
    await allowed.set("FIL_PROOFS_VERIFY_CACHE", "yes")
    assert "yes" == os.environ["FIL_PROOFS_VERIFY_CACHE"]
    await allowed.remove("FIL_PROOFS_VERIFY_CACHE")
