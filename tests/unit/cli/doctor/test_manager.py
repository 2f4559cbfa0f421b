"""`damocles-manager doctor` where no daemon runs."""

import json
import sqlite3

import pytest

from damocles.cli import manager
from damocles.rpc.calling import profiles

CHAIN = """\
[Daemon]
Listen = "127.0.0.1:0"

[[Chain.Nodes]]
API = "127.0.0.1:1"
TokenFile = "{base}/node-token"

[[Common.PersistStores]]
Path = "{base}/persist"

[[Miners]]
Actor = 1000
"""


@pytest.fixture
def told(tmp_path, capsys):
    """Return the exit code, and of each subject the levels and texts, for a home and perhaps its configuration."""

    def told(config: str | None = None) -> tuple[int, dict[str, list[tuple[str, str]]]]:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True, mode=0o700)
        if config is not None:
            (home / "manager.toml").write_text(config.format(base=tmp_path))
        capsys.readouterr()
        code = manager.main(["doctor", "--home", str(home), "--json"])
        found: dict[str, list[tuple[str, str]]] = {}
        for one in json.loads(capsys.readouterr().out)["findings"]:
            found.setdefault(one["about"], []).append((one["level"], one["text"]))
        return code, found

    return told


def test_an_empty_home_is_well_but_for_alerts(told):
    """A manager that has not run yet; nobody would hear of its alerts."""
    code, found = told()
    assert (0, {"look"}) == (code, {level for level, _ in found["alerts"]})
    assert "alerts.toml" in found["alerts"][0][1]
    assert [("ok", "does not run")] == [(level, text[:12]) for level, text in found["daemon"]]


def test_nodes_stores_and_secrets_are_looked_at(told, tmp_path):
    """A node that is away, a store that is not there, and a node's token that everybody can read."""
    (tmp_path / "node-token").write_text("eyJhbGciOiJIUzI1NiJ9.eyJBbGxvdyI6WyJyZWFkIl19.c2lnbmF0dXJl")
    (tmp_path / "node-token").chmod(0o644)
    code, found = told(CHAIN)
    assert 1 == code
    assert [("wrong", True)] == [(level, "persist is not a folder" in text) for level, text in found["stores"]]
    assert {"wrong"} == {level for level, _ in found["chain"]}
    assert [("wrong", True)] == [
        (level, "node-token: every user" in text) for level, text in found["secrets"] if level != "ok"
    ]
    (tmp_path / "node-token").chmod(0o600)
    (tmp_path / "persist").mkdir()
    code, found = told(CHAIN)
    assert (["ok"], ["ok"]) == ([level for level, _ in found["stores"]], [level for level, _ in found["secrets"]])
    assert ("wrong", True) == (found["chain"][0][0], "127.0.0.1:1" in found["chain"][0][1]), found["chain"]


def test_a_database_of_a_newer_release_or_of_none_is_wrong(told, tmp_path):
    """Its schema is read without a daemon."""
    told()
    file = tmp_path / "home" / "manager.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE schema_version (version INTEGER)")
        database.execute("INSERT INTO schema_version VALUES (9999)")
    database.close()
    file.chmod(0o600)
    code, found = told()
    assert (1, "wrong", True) == (code, found["database"][0][0], "schema 9999" in found["database"][0][1])
    file.write_bytes(b"no database at all, but long enough to be read as one" * 20)
    code, found = told()
    assert (1, "wrong", True) == (code, found["database"][0][0], "restore it" in found["database"][0][1])


def test_a_configuration_that_cannot_be_used_is_wrong(told):
    """With the text of `config check`, and the rest of the machine is looked at all the same."""
    code, found = told("[Chain]\nNodes = []\n")
    assert (1, {"wrong"}) == (code, {level for level, _ in found["configuration"]})
    assert "open files" in found


def test_what_the_daemon_would_refuse_hides_nothing_else(told):
    """The file can be read: its nodes, its stores and its port are looked at, beside what keeps the daemon from starting."""
    code, found = told(CHAIN.replace("[Daemon]\n", '[Daemon]\nAdmit = ["everybody"]\n'))
    assert [("wrong", True)] == [(level, "everybody" in text) for level, text in found["configuration"]]
    assert (1, {"wrong"}, {"wrong"}) == (
        code,
        {level for level, _ in found["stores"]},
        {level for level, _ in found["chain"]},
    )
    assert "127.0.0.1:0 is free for calls" == found["port"][0][1]


def test_the_configuration_is_that_of_the_last_start(told, tmp_path):
    """A manager that was started with a file outside its home is judged by that file."""
    assert "devnode of its own" in told()[1]["configuration"][0][1]
    file = tmp_path / "farm.toml"
    file.write_text(CHAIN.format(base=tmp_path))
    profiles.leave(tmp_path / "home", "http://127.0.0.1:1/rpc/v0", None, None, file)
    assert [("ok", f"{file} can be used")] == told()[1]["configuration"]
