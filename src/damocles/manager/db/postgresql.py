"""PostgreSQL, for several managers on one database. Nobody who does not use it imports this.

Transactions are serializable, as they are on SQLite by there being one writer: of two that collide, one is told so and is
run again, alone this time. Without that, whoever is slower could lose each time. Each connection has a limit for every statement, lock and pause, which the server keeps; for a server that
does not keep it (frozen, or behind a cut link), the errand's end shuts the connection's socket.

The URL is libpq's, with all that it may say: several hosts, `passfile`, `sslmode`.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import conninfo
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy import exc as sql_errors

from damocles.manager import errors
from damocles.manager.db import tables
from damocles.manager.db.errands import Errand
from damocles.rpc.errors import Code, DatabaseAway, RpcError

_WRITERS = 2  # one for leases, which must not wait behind a queue
_MIGRATING = 0x64616D6F  # the advisory lock of whoever changes tables
_MANAGING = 0x64616D70  # …and, shared, of managers
_KEPT = (
    "SET statement_timeout = 10000; SET lock_timeout = 8000; SET idle_in_transaction_session_timeout = 5000;"
    " SET client_connection_check_interval = 2000"
)
# Without sequential scans a small table is not locked as a whole against others' transactions.
_WRITING = "SET enable_seqscan = off"
_READING = "SET default_transaction_read_only = on"
# The server frees what a dead machine held within seconds, not after the two hours of most systems.
_CLAIMING = (
    "SET idle_in_transaction_session_timeout = 0;"
    " SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3"
)
# A dead peer is noticed within seconds, also by a wait for its answer.
_CONNECTING = {
    "connect_timeout": "3",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "application_name": "damocles-manager",
}
# Serialization failure, deadlock, no lock in time.
_BUSY = frozenset({"40001", "40P01", "55P03"})
_COLLISIONS = _BUSY | {"23505"}  # …or a row that somebody else has just added
# Read-only (a standby), statement cancelled, paused for too long.
_AWAY = frozenset({"25006", "57014", "25P03", "25P04"})
# Connection, authorisation, catalog, resources, operator's intervention, system.
_AWAY_CLASSES = ("08", "28", "3D", "53", "57", "58", "F0", "XX")


def without_password(url: str, where: str) -> tuple[str, str | None]:
    """Return what a URL says in libpq's other form, `host=db.lan dbname=farm`, and apart from it the password.

    Raises:
        ValueError: This is no URL of PostgreSQL.
    """
    given = _read(url, where)
    password = given.pop("password", None)
    return conninfo.make_conninfo(**given), password


def _read(url: str, where: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        # libpq quotes what it does not understand, which may be the password.
        problem = str(error).partition('"')[0].strip(" :\n")
        raise ValueError(f"the database {where} is no URL of PostgreSQL: {problem}") from None


class PostgreSQL:
    """A database on a server."""

    is_shared = True
    patience_seconds: float | None = 25.0  # for a transaction with its repetitions
    told = ("the database does not answer", "the database answers again")
    well_again_seconds = 0.0

    def __init__(self, url: str, where: str, readers: int) -> None:
        """Connect to nothing yet; `where` is the URL for people.

        Raises:
            ValueError: This is no URL of PostgreSQL.
        """
        self.where = where
        self._connecting = _CONNECTING | _read(url, where)
        self._writer = self._engine(_WRITERS, "SERIALIZABLE", _WRITING)
        self._reader = self._engine(readers, "REPEATABLE READ", _READING)
        self._claim: psycopg.Connection | None = None

    def claim(self, *, alone: bool) -> None:
        """Keep off those who want the database alone, until the end; with `alone`, all managers.

        It is for mistakes and no lease: who loses the connection goes on.

        Raises:
            errors.StartError: There is a manager, or somebody has the database alone.
            DatabaseAway: The server does not answer.
        """
        try:
            made = self._connect(_CLAIMING)
            if (other := _other_user(made, alone=alone)) is None:
                self._claim = made
                return
            made.close()
        except psycopg.Error as error:
            raise DatabaseAway(self.where, _line(error)) from error
        if alone:
            raise errors.StartError(f"a manager uses {self.where}, {other}: stop all that do first")
        raise errors.StartError(
            f"another program has {self.where} for itself, {other}: it is being copied, or a manager of an earlier release uses"
            " it; stop that one first"
        )

    def _connect(self, settings: str) -> psycopg.Connection:
        # Not prepared on the server, where a pooler may give the next transaction another connection.
        made = psycopg.connect(conninfo.make_conninfo(**self._connecting), prepare_threshold=None, autocommit=True)
        made.execute(f"{_KEPT}; {settings}".encode())
        return made

    def _engine(self, size: int, isolation: Any, settings: str) -> Engine:
        def connect() -> psycopg.Connection:
            made = self._connect(settings)
            made.autocommit = False
            return made

        return create_engine(
            "postgresql+psycopg://",
            creator=connect,
            isolation_level=isolation,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self.patience_seconds or 0,
            hide_parameters=True,
        )

    @contextmanager
    def begin(self, errand: Errand, *, durable: bool, alone: bool) -> Iterator[Connection]:
        """Open a writing transaction; it waits for all others if it is to be alone."""
        # Unlike an advisory lock this one takes no snapshot, which would be older than what those have done.
        first = (
            f"SET LOCAL synchronous_commit = {'on' if durable else 'off'};"
            f" LOCK TABLE {tables.schema_version.name} IN {'EXCLUSIVE' if alone else 'ROW SHARE'} MODE"
        )
        with _on(errand, self._writer, first) as connection:
            yield connection

    @contextmanager
    def view(self, errand: Errand) -> Iterator[Connection]:
        """Open a reading one."""
        with _on(errand, self._reader, "SELECT 1") as connection:
            yield connection

    @contextmanager
    def migrate(self) -> Iterator[Connection]:
        """Open one that may change tables; others that want to wait for it, and see then what it has done."""
        with self._writer.connect() as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")  # noqa: PLW2901
            with connection.begin():
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                connection.execute(text("SET LOCAL statement_timeout = 0"))
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATING})"))
                yield connection

    def refusal(self, error: sql_errors.DBAPIError, *, writing: bool) -> RpcError | None:
        """Return what a caller is told of a server that is away, or of a value that it does not take."""
        said, state = error.orig, _state(error)
        if isinstance(said, psycopg.DataError):
            return errors.ManagerError(f"the database does not take a value: {_line(said)}", Code.INVALID_PARAMS)
        is_lost = state is None and isinstance(said, psycopg.OperationalError | psycopg.InterfaceError)
        is_away = state is not None and (state in _AWAY or state.startswith(_AWAY_CLASSES))
        if state == "25006" and not writing:
            return None  # a query that writes, which is a defect
        if is_lost or is_away or state in _BUSY or isinstance(said, OSError):
            return DatabaseAway(self.where, _line(said))
        return None

    def collides(self, error: sql_errors.DBAPIError) -> bool:
        """Return whether somebody else's transaction was in the way, so that running it again may do."""
        return _state(error) in _COLLISIONS

    def close(self) -> None:
        """End all connections."""
        if self._claim is not None:
            self._claim.close()
        self._reader.dispose()
        self._writer.dispose()


def _other_user(claiming: psycopg.Connection, *, alone: bool) -> str | None:
    """Return from where somebody uses the database who keeps us off, or claim it.

    The lock is that of a transaction which stays open: behind a pooler, one of a session would belong to nobody.
    """
    claiming.autocommit = False
    lock = "pg_try_advisory_xact_lock" if alone else "pg_try_advisory_xact_lock_shared"
    row = claiming.execute(f"SELECT {lock}(%s)".encode(), [_MANAGING]).fetchone()
    if row is not None and row[0]:
        return None
    holder = claiming.execute(
        "SELECT host(client_addr), to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ') FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = %s"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        [_MANAGING],
    ).fetchone()
    host, since = holder if holder is not None else (None, None)
    return f"from {host or 'the machine of the server'} since {since}" if since is not None else "which has just ended"


@contextmanager
def _on(errand: Errand, engine: Engine, first: str) -> Iterator[Connection]:
    with contextlib.ExitStack() as stack:
        try:
            connection = _begun(errand, engine, first, stack)
        except sql_errors.DBAPIError as error:
            if not error.connection_invalidated or errand.is_over:
                raise
            # It had waited in the pool for too long, as all others there, which are gone with it.
            connection = _begun(errand, engine, first, stack)
        yield connection


def _begun(errand: Errand, engine: Engine, first: str, stack: contextlib.ExitStack) -> Connection:
    """Return a connection with a transaction in which the first statement has been executed."""
    with contextlib.ExitStack() as own:
        connection = own.enter_context(engine.connect())
        held = connection.connection.dbapi_connection
        own.callback(errand.done)
        if not errand.begin(lambda: _shut(held)):
            raise sql_errors.OperationalError("BEGIN", None, TimeoutError("no answer in time"))
        own.enter_context(connection.begin())
        connection.exec_driver_sql(first)
        stack.push(own.pop_all())
    return connection


def _shut(connection: Any) -> None:
    """End what waits for an answer on a connection; the thread that does so learns that it is lost."""
    try:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as ours:
            ours.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        pass  # it is closed already


def _state(error: sql_errors.DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _line(said: object) -> str:
    return " ".join(str(said).split()) or type(said).__name__
