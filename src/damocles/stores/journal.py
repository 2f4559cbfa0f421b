"""The journal of a sealing store: one SQLite file in `meta/`, append-only history beside the present sector.

Every change of a sector is one transaction, synced to the disk before the thread acts on it. Outputs of megabytes stand
in a table of their own, so that they are written once. The file can be read while a worker uses it.
"""

import contextlib
import sqlite3
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from damocles import failpoints, privacy
from damocles.sealing import events, planner, sectors
from damocles.stores import full
from damocles.wire import codec

FILE_NAME = "journal.db"
FORMAT = 1
_HOSTS = "hosts"  # in the detail of an entry, beside the fields of its event

_SCHEMA = """
CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,         -- unix seconds
    plan TEXT NOT NULL,
    sector TEXT,              -- s-t0<miner>-<number>
    attempt INTEGER NOT NULL, -- of the handler that the event ended, or that a resume or a restart began
    prev TEXT NOT NULL,
    state TEXT NOT NULL,
    event TEXT NOT NULL,
    seconds REAL,             -- the handler's run time
    error TEXT,
    detail TEXT               -- the event's fields as JSON, without outputs of megabytes; `hosts` where stages ran elsewhere
) STRICT;
CREATE TRIGGER history_is_never_changed BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER history_is_never_deleted BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE sector (id INTEGER PRIMARY KEY CHECK (id = 1), record BLOB NOT NULL) STRICT;
CREATE TABLE identity (id TEXT NOT NULL) STRICT; -- of the store, wherever it is moved
CREATE TABLE outputs (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""


class JournalError(Exception):
    """The journal cannot be read or written; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history; a field for each column."""

    at: float
    plan: str
    sector: str | None
    attempt: int
    prev: str
    state: str
    event: str
    seconds: float | None
    error: str | None
    detail: str | None

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON."""
        return asdict(self)

    @property
    def failure(self) -> str | None:
        """The error with its level, as threads show theirs: `permanent: no such file`."""
        level = self._told("level") if self.error else None
        return f"{level.lower()}: {self.error}" if level else self.error

    @property
    def hosts(self) -> tuple[str, ...]:
        """The other machines on which stages of the step ran."""
        return tuple(self._told(_HOSTS) or ())

    def _told(self, name: str) -> Any:
        return codec.decode(self.detail, dict[str, Any]).get(name) if self.detail and name in self.detail else None


_COLUMNS = ", ".join(field.name for field in fields(Entry))
_INSERT = f"INSERT INTO history ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(Entry)))})"  # noqa: S608, names of our own


class Journal:
    """The open journal of one store. One thread at a time may use it; calls block on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.suppress(OSError):  # sqlite3 says it better
            path.touch(mode=privacy.GROUP_READS)
            privacy.close(path)
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            _prepare(self._db, path)
            self.identity = str(self._db.execute("SELECT id FROM identity").fetchone()[0])
            self._last_id = int(self._db.execute("SELECT coalesce(max(id), 0) FROM history").fetchone()[0])
        except sqlite3.Error as error:
            raise JournalError(f"cannot open the journal {path}: {error}") from error
        self._written: dict[str, msgspec.Raw | None] = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def load(self) -> sectors.Sector | None:
        """Return the sector as last recorded, or `None` if the store has never held one."""
        try:
            row = self._db.execute("SELECT record FROM sector").fetchone()
            outputs = {
                name: msgspec.Raw(body)
                for name, body in self._db.execute("SELECT name, body FROM outputs")
                if name in sectors.LARGE_FIELDS
            }
        except sqlite3.Error as error:
            raise JournalError(f"cannot read the journal {self.path}: {error}") from error
        if row is None:
            return None
        try:
            record = codec.decode(row[0], sectors.Sector)
        except msgspec.MsgspecError as error:
            raise JournalError(
                f"the sector record in {self.path} is damaged ({error}); restore the file from a backup"
            ) from error
        if record.plan not in planner.PLANS:
            unknown = f"of the plan {record.plan}, which this release does not know"
            raise JournalError(f"the sector record in {self.path} is {unknown}: use the release that wrote it")
        self._written = {name: outputs.get(name) for name in sectors.LARGE_FIELDS}
        return msgspec.structs.replace(record, **outputs)

    def record(
        self,
        before: sectors.Sector,
        event: events.Event,
        after: sectors.Sector,
        *,
        at: float,
        seconds: float | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        """Append `event` to the history and make `after` the present sector, in one durable transaction.

        `seconds` is how long the handler ran that the event ended, `hosts` names other machines on which stages of it ran. After an error the same event may be given again:
        where the disk failed after it had taken the transaction, the history gets no second line.
        """
        small = dict.fromkeys(sectors.LARGE_FIELDS)
        changed = {
            name: getattr(after, name)
            for name in sectors.LARGE_FIELDS
            if getattr(after, name) is not self._written.get(name)
        }
        who = after if after.id else before
        entry = Entry(
            at=at,
            plan=before.plan,
            sector=str(who.id) if who.id else None,
            attempt=(after if event.begins_attempt else before).attempt,
            prev=before.state,
            state=after.state,
            event=event.name,
            seconds=seconds,
            error=event.failure,
            detail=_detail(event, hosts),
        )
        try:
            failpoints.reach(f"journal.before:{after.state}")
            self._db.execute("BEGIN IMMEDIATE")
            if not self._is_recorded(entry):
                self._db.execute(_INSERT, astuple(entry))
            (last_id,) = self._db.execute("SELECT max(id) FROM history").fetchone()
            self._db.execute(
                "INSERT INTO sector VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                (codec.encode(msgspec.structs.replace(after, **small)),),
            )
            for name, body in changed.items():
                if body is None:
                    self._db.execute("DELETE FROM outputs WHERE name = ?", (name,))
                else:
                    self._db.execute(
                        "INSERT INTO outputs VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
                        (name, bytes(body)),
                    )
            failpoints.reach(f"journal.commit:{after.state}")
            self._db.execute("COMMIT")
            failpoints.reach(f"journal.after:{after.state}")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if not isinstance(error, sqlite3.Error | OSError):
                raise
            is_full = full.is_full(error)
            mended = "it is written once there is room" if is_full else "check the disk, then resume the thread"
            raise JournalError(f"cannot write the journal {self.path}: {error}; {mended}") from error
        self._written.update(changed)
        self._last_id = last_id

    def _is_recorded(self, entry: Entry) -> bool:
        """Return whether the last line is this one, written by a transaction that was reported as failed."""
        newest = "SELECT attempt, prev, state, event FROM history WHERE id > ? ORDER BY id DESC LIMIT 1"
        found = self._db.execute(newest, (self._last_id,)).fetchone()
        return bool(found == (entry.attempt, entry.prev, entry.state, entry.event))


def read(location: Path, *, sector: str | None = None) -> Iterator[Entry]:
    """Yield the history of the store at `location`, oldest first, without a daemon or beside one.

    With `sector` (its name) only what happened to that one.
    """
    with _reading(location) as db:
        yield from _entries(db, sector)


def create(path: Path) -> None:
    """Make an empty journal, or finish one that a killed `create` has begun.

    Raises:
        JournalError: There is a journal that holds a sector, or it cannot be written.
    """
    with closing(Journal(path)) as book:
        if book.load() is not None:
            raise JournalError(f"{path} holds a sector: choose a new folder for a sealing store")


@contextlib.contextmanager
def _reading(location: Path) -> Iterator[sqlite3.Connection]:
    """Yield the journal of a store to read from; an error while it is read is one of the journal."""
    path = location / "meta" / FILE_NAME
    if not path.is_file():
        raise JournalError(
            f"{location} is not a sealing store (no meta/{FILE_NAME}): create one with `store sealing-init`"
        )
    try:
        with closing(_reader(path)) as db:
            yield db
    except sqlite3.Error as error:
        raise JournalError(f"cannot read the journal {path}: {error}") from error


def _entries(db: sqlite3.Connection, sector: str | None = None) -> Iterator[Entry]:
    """Yield the history, oldest first, of one sector or of all."""
    for row in db.execute(f"SELECT {_COLUMNS} FROM history WHERE ?1 IS NULL OR sector = ?1 ORDER BY id", (sector,)):  # noqa: S608
        yield Entry(*row)


def _reader(path: Path) -> sqlite3.Connection:
    """Open a journal that is only to be read."""
    place = f"file:{urllib.parse.quote(str(path))}?mode=ro"
    db = sqlite3.connect(place, uri=True, timeout=5, isolation_level=None)
    try:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        db.close()
        # Even a reader makes the files of the write-ahead log, which a read-only place does not let it. Without a log
        # nobody writes, and everything is in the one file.
        refused = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
        if not refused or path.with_name(f"{path.name}-wal").exists():
            raise
        db = sqlite3.connect(f"{place}&immutable=1", uri=True, isolation_level=None)
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        identity = f"INSERT INTO identity VALUES ('{uuid.uuid4()}');"  # noqa: S608, a value of our own
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {identity} PRAGMA user_version = {FORMAT}; COMMIT;")
    elif found != FORMAT:
        raise JournalError(f"{path} has format {found}, this release reads {FORMAT}: use the release that wrote it")


def _detail(event: events.Event, hosts: Sequence[str] = ()) -> str | None:
    fields: dict[str, Any] = {
        name: codec.to_builtins(getattr(event, name))
        for name in event.__struct_fields__
        if name not in sectors.LARGE_FIELDS and name != "error"
    }
    if hosts:
        fields[_HOSTS] = list(hosts)
    return codec.encode(fields).decode() if fields else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a journal holds beside its history: `record` as `Sector` JSON, and outputs of megabytes by their names."""

    identity: str
    record: bytes | None
    outputs: tuple[tuple[str, bytes], ...]


def contents(location: Path) -> Iterator[Head | Entry]:
    """Yield the head, then the history, of the store at `location` as they are at one moment; a worker may be running.

    Raises:
        JournalError: It is not a store, or cannot be read.
    """
    with _reading(location) as db:
        db.execute("BEGIN")
        row = db.execute("SELECT record FROM sector").fetchone()
        yield Head(
            identity=str(db.execute("SELECT id FROM identity").fetchone()[0]),
            record=row[0] if row is not None else None,
            outputs=tuple(db.execute("SELECT name, body FROM outputs ORDER BY name")),
        )
        yield from _entries(db)


def fill(path: Path, head: Head, entries: Iterable[Entry]) -> None:
    """Put the contents of another journal into one that has never held anything, in one durable transaction.

    The identity goes with them: a manager takes the store for the one that they came from. The store must be locked.

    Raises:
        JournalError: The journal is not empty, or cannot be written; it is as it was.
    """
    try:
        with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            if db.execute("SELECT EXISTS (SELECT 1 FROM history) OR EXISTS (SELECT 1 FROM sector)").fetchone()[0]:
                raise JournalError(f"{path} is not empty: import into a new store, created with `store sealing-init`")
            db.execute("UPDATE identity SET id = ?", (head.identity,))
            if head.record is not None:
                db.execute("INSERT INTO sector VALUES (1, ?)", (head.record,))
            db.executemany("INSERT INTO outputs VALUES (?, ?)", head.outputs)
            db.executemany(_INSERT, map(astuple, entries))
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise JournalError(f"cannot write the journal {path}: {error}") from error
