"""`damocles-worker doctor` where no daemon runs."""

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest

from damocles.cli.access import authority
from damocles.stores import persist, sealing

CONFIG = """\
[worker]
home = "{base}/home"
rpc_server.port = {port}

[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1"
token_file = "{base}/token"

[sealing]
allowed_sizes = ["2KiB"]

[[sealing_thread]]
location = "{base}/store"

[[attached]]
location = "{base}/persist"
"""


@pytest.fixture
def port():
    """A port that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration with its stores, and parameters that are nowhere."""
    monkeypatch.setenv("FIL_PROOFS_PARAMETER_CACHE", str(tmp_path / "parameters"))
    sealing.init(tmp_path / "store")
    persist.init(tmp_path / "persist")
    (tmp_path / "token").write_text("dmc_token\n")
    (tmp_path / "token").chmod(0o600)
    file = tmp_path / "worker.toml"
    file.write_text(CONFIG.format(base=tmp_path, port=0))
    file.chmod(0o600)
    return file


@pytest.fixture
def told(run, config):
    """Return the exit code, and of each subject the levels and texts."""

    def told() -> tuple[int, dict[str, list[tuple[str, str]]]]:
        code, out, _ = run("doctor", "-c", config, "--json")
        found: dict[str, list[tuple[str, str]]] = {}
        for one in json.loads(out)["findings"]:
            found.setdefault(one["about"], []).append((one["level"], one["text"]))
        return code, found

    return told


def test_all_that_is_wrong_is_told_at_once(told, config, port):
    """Parameters, a port that is taken and a manager that is away; each with the next step, and exit code 1."""
    config.write_text(CONFIG.format(base=config.parent, port=port))
    code, found = told()
    assert 1 == code
    ((level, text),) = found["parameters"]
    assert ("wrong", True) == (level, "damocles-worker params fetch --sector-size 2KiB" in text), text
    assert [("wrong", f"127.0.0.1:{port}, for calls: address already in use; ")] == [
        (level, text[: len(f"127.0.0.1:{port}, for calls: address already in use; ")]) for level, text in found["port"]
    ]
    ((level, text),) = found["manager"]
    assert ("wrong", True) == (level, "cannot be reached" in text), text
    assert [("ok", "does not run")] == [(level, text[:12]) for level, text in found["daemon"]]


def test_a_configuration_that_cannot_be_used_is_all_there_is(told, config):
    """Its errors are those of `config check`, and nothing is guessed from it."""
    config.write_text(config.read_text().replace("2KiB", "3KiB").replace("[[attached]]", "[[atached]]"))
    code, found = told()
    assert (1, {"configuration"}) == (code, set(found))
    assert 2 <= len(found["configuration"])


def test_certificates_and_open_files_of_secrets_are_looked_at(told, config, monkeypatch, run):
    """A certificate that has ended, and a token that everybody can read."""
    now = datetime.now(UTC)
    monkeypatch.setattr(authority, "HOST_DAYS", 1)

    class Past(datetime):
        @classmethod
        def now(cls, tz=None):  # noqa: ARG003 - as the original takes it
            return now - timedelta(days=40)

    monkeypatch.setattr(authority, "datetime", Past)
    from damocles.cli import manager

    folder = config.parent / "tls"
    assert 0 == manager.main(["auth", "ca", "--dir", str(folder), "--host", "w1"])
    files = f'rpc_server.tls_cert = "{folder}/w1.pem"\nrpc_server.tls_key = "{folder}/w1.key"\n'
    config.write_text(config.read_text().replace("[worker]\n", f"[worker]\n{files}"))
    home = config.parent / "home"
    home.mkdir(mode=0o700)
    (home / "token").write_text("dmc_own\n")
    (home / "token").chmod(0o644)
    _, found = told()
    assert [("wrong", f"{folder}/w1.pem has ended on ")] == [
        (level, text[: len(f"{folder}/w1.pem has ended on ")]) for level, text in found["certificate"]
    ]
    assert [("wrong", f"{home}/token: every user of this machine can read it: chmod o= {home}/token")] == found[
        "secrets"
    ]


def test_parameters_that_are_empty_are_wrong(told, config, monkeypatch):
    """A file without content is as good as none."""
    from damocles.parameters import catalog
    from damocles.wire.sectors import SectorSize

    folder = config.parent / "parameters"
    folder.mkdir()
    (wanted,) = catalog.sets([SectorSize.KIB2], [catalog.Kind.POREP])
    for file in wanted.files:
        (folder / file.name).write_bytes(b"x")
    _, found = told()
    assert ["ok"] == [level for level, _ in found["parameters"]]
    (folder / wanted.files[0].name).write_bytes(b"")
    _, found = told()
    assert {"wrong"} == {level for level, _ in found["parameters"]}
    assert any(f"{wanted.files[0].name} is empty" in text for _, text in found["parameters"])
