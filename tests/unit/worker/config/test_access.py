"""What the worker's configuration says about access, and the tables that the manager keeps for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, exc, insert, inspect, text
from sqlalchemy.pool import StaticPool

from damocles.manager.db import schema, tables
from damocles.worker.config import load, report, rpc

Begin = Callable[[], AbstractContextManager[Connection]]

REST = """
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
{manager}

[[sealing_thread]]
location = "/no/such/store"

[[attached]]
location = "{folder}"
"""


@pytest.fixture
def problems(tmp_path: Path) -> Callable[..., list[str]]:
    """Return what says what is wrong with a configuration, without the file's name."""

    def problems(worker: str = "", manager: str = "") -> list[str]:
        file = tmp_path / "worker.toml"
        file.write_text(worker + REST.format(folder=tmp_path, manager=manager))
        try:
            load.load(file)
        except load.ConfigError as failure:
            return [str(problem).removeprefix(f"{file}:") for problem in failure.errors]
        return []

    return problems


class TestListening:
    @pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7", "::"])
    def test_off_loopback_without_tls_is_refused(self, problems: Callable[..., list[str]], host: str) -> None:
        """A control API that other machines reach needs a certificate, or the word insecure."""
        server = f'[worker.rpc_server]\nhost = "{host}"\n'
        (problem,) = problems(server)
        assert (
            f'2: worker.rpc_server.host = "{host}": can be reached from other machines, and tokens would go there'
            " unencrypted: add tls_cert and tls_key, or insecure = true" == problem
        )
        assert [] == problems(server + "insecure = true\n")

    def test_with_tls_it_is_not(self, problems: Callable[..., list[str]], tmp_path: Path) -> None:
        """With a certificate and its key it may listen anywhere; both must be there."""
        (tmp_path / "a.pem").touch()
        (tmp_path / "a.key").touch()
        server = f'[worker.rpc_server]\nhost = "0.0.0.0"\ntls_cert = "{tmp_path}/a.pem"\n'
        both = server + f'tls_key = "{tmp_path}/a.key"\n'
        assert [] == problems(both)
        assert "expected tls_key beside it" in problems(server)[-1]
        (tmp_path / "a.key").unlink()
        assert problems(both)[0].endswith("there is no such file; create one with: damocles-manager auth ca")

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    def test_loopback_needs_nothing(self, problems: Callable[..., list[str]], host: str) -> None:
        """What only this machine reaches is as it always was."""
        assert [] == problems(f'[worker.rpc_server]\nhost = "{host}"\n')

    def test_metrics_for_everybody_have_to_be_asked_for(self, problems: Callable[..., list[str]]) -> None:
        """Metrics off loopback are open to all, and only if that is said; what is not enabled is not judged."""
        listen = '[metrics]\nhttp_listen = "0.0.0.0:9000"\n'
        assert [] == problems(listen)
        (problem,) = problems(listen + "enable = true\n")
        assert problem.endswith("add open = true to let anybody read the metrics")
        assert [] == problems(listen + "enable = true\nopen = true\n")

    def test_who_is_admitted_is_checked(self, problems: Callable[..., list[str]]) -> None:
        """An address list with a typing error does not let the wrong ones in, or nobody."""
        (problem,) = problems('[worker.rpc_server]\nadmit = ["10.0.0.2", "10.0.0.300"]\n')
        assert "worker.rpc_server.admit[1]" in problem
        assert "is neither an address nor a network, like 10.0.0.2 or 10.0.0.0/24" in problem
        (problem,) = problems('[worker.rpc_server]\nadmit = ["10.0.0.2", "10.0.0.2=read"]\n')
        assert "10.0.0.2/32 is admitted twice" in problem


def test_paths_of_secrets_are_shown_and_secrets_are_not(problems: Callable[..., list[str]]) -> None:
    """Where a token lies is no secret; what it is would be."""
    (problem,) = problems(manager="token_file = 3")
    assert "sector_manager.token_file = 3" in problem
    assert report.is_secret(("sector_manager", "piece_token"))
    assert not report.is_secret(("sector_manager", "token_file"))


def test_commands_find_the_worker_by_its_configuration(tmp_path: Path) -> None:
    """A worker with a certificate is called by TLS; its home and its authority are those of the file."""
    file = tmp_path / "worker.toml"
    file.write_text('[worker]\nhome = "/srv/w"\nrpc_server = { port = 5, tls_cert = "a", tls_key = "b" }\n')
    assert rpc.Place("https://127.0.0.1:5/", Path("/srv/w"), None) == rpc.place_in(file)
    file.write_text('[sector_manager]\nca_file = "/etc/ca.pem"\n')
    expected = rpc.Place("http://127.0.0.1:17890/", rpc.DEFAULT_HOME, Path("/etc/ca.pem"))
    assert expected == rpc.place_in(file)
    file.write_text("[worker]\nhome = 3\n")
    with pytest.raises(load.ConfigError, match=r"2: worker\.home = 3: expected a path in quotes"):
        rpc.place_in(file)


class TestDatabase:
    @pytest.fixture
    def begin(self) -> Iterator[Begin]:
        """Return a function that opens transactions on an empty database in memory."""
        engine = create_engine("sqlite://", poolclass=StaticPool)
        yield engine.begin
        engine.dispose()

    @staticmethod
    def shape(begin: Begin, names: tuple[str, ...]) -> dict[str, list[tuple[str, str, bool]]]:
        """Return the columns of tables: name, type, whether they may be empty."""
        with begin() as tx:
            return {
                name: [
                    (
                        column["name"],
                        str(column["type"]).replace("DOUBLE PRECISION", "REAL").replace("DOUBLE", "REAL"),
                        column["nullable"],
                    )
                    for column in inspect(tx).get_columns(name)
                ]
                for name in names
            }

    def test_an_old_database_becomes_like_a_new_one(self, begin: Begin) -> None:
        """A database from before tokens gets the tables that a new one has."""
        names = ("workers", "tokens", "audit")
        schema.upgrade(begin, {})
        new = self.shape(begin, names)
        with begin() as tx:
            for statement in ("DROP TABLE tokens", "DROP TABLE audit", "ALTER TABLE workers DROP COLUMN token"):
                tx.execute(text(statement))
        later = [step for step in schema.STEPS[11] if "TABLE tokens" in step]
        assert 1 == schema.upgrade(begin, {2: [*schema.STEPS[2], *later]})
        assert new == self.shape(begin, names)
        self.check_audit(begin)

    def test_the_audit_can_only_be_added_to(self, begin: Begin) -> None:
        """Not even SQL changes or deletes an entry."""
        schema.upgrade(begin)
        self.check_audit(begin)

    @staticmethod
    def check_audit(begin: Begin) -> None:
        """Try to change the audit."""
        values = {"at": 1.0, "who": "alice", "what": "X", "sectors": "", "entry": "{}"}
        with begin() as tx:
            tx.execute(insert(tables.audit).values(values))
            tx.execute(insert(tables.audit).values(values))
        for statement in (
            "UPDATE audit SET who = 'bob'",
            "DELETE FROM audit",
            "REPLACE INTO audit SELECT * FROM audit",
        ):
            with pytest.raises(exc.IntegrityError, match="the audit can only be added to"), begin() as tx:
                tx.execute(text(statement))
        with begin() as tx:
            assert [(1, "alice"), (2, "alice")] == [tuple(row) for row in tx.execute(text("SELECT id, who FROM audit"))]
