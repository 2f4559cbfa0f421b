"""A devnet on the disk: one SQLite file with its rules, keys, tipsets, states and waiting messages.

Everything that was told to anybody is there before, so that a devnode may be killed at any time. Blocking; call from
threads.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from damocles.chain.messages import SignatureType, SignedMessage
from damocles.devnode.rules import FINALITY, Rules
from damocles.devnode.state import State
from damocles.devnode.tipsets import TipSet, with_state, without_state
from damocles.signing import PrivateKey
from damocles.wire import codec
from damocles.wire.codec import CID

FILE_NAME = "devnet.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tipsets (key TEXT PRIMARY KEY, height INTEGER NOT NULL, root TEXT NOT NULL, content BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_height ON tipsets (height);
CREATE TABLE IF NOT EXISTS states (root TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pool (cid TEXT PRIMARY KEY, content BLOB NOT NULL);
"""
_PRUNE_EVERY = 200
_KEPT = 5 * FINALITY


class Unusable(Exception):
    """The file of a devnet cannot be used; the message says why."""


class Full(Exception):
    """Nothing can be written now; the message says why. What was to be kept has not happened."""


class Store:
    """The file; one at a time uses it."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = home / FILE_NAME
        path.touch(mode=0o600)
        os.chmod(path, 0o600)  # noqa: PTH101 (there are keys in it)
        self._path = path
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=0, check_same_thread=False, isolation_level=None)
        try:
            self._database.executescript(
                f"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}"
            )
        except sqlite3.Error as exc:
            self._database.close()
            raise Unusable(f"{path} cannot be used: {exc}; does another devnode run there?") from exc
        self._last_root: CID | None = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def get(self, name: str) -> bytes | None:
        """Return something that was kept by name."""
        with self._lock:
            row = self._database.execute("SELECT content FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, content: bytes) -> None:
        """Keep something by name."""
        with self._lock:
            self._put(name, content)

    def _put(self, name: str, content: bytes) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, content))

    @contextlib.contextmanager
    def _transaction(self, *, is_synced: bool = False) -> Iterator[None]:
        """Let the block be done as a whole, or not at all.

        Raises:
            Full: It is not, since the disk takes nothing.
        """
        with self._lock:
            try:
                self._database.execute(f"PRAGMA synchronous={'FULL' if is_synced else 'NORMAL'}")
                self._database.execute("BEGIN IMMEDIATE")
                yield
                self._database.execute("COMMIT")
            except sqlite3.Error as exc:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                self._last_root = None
                raise Full(f"nothing can be written to {self._path}: {exc}") from exc

    def keys(self) -> list[PrivateKey]:
        """Return the keys that were added to the wallet."""
        content = self.get("keys")
        kept = [] if content is None else codec.decode(content, list[tuple[int, bytes]])
        return [PrivateKey(SignatureType(kind), secret) for kind, secret in kept]

    def add_key(self, key: PrivateKey) -> None:
        """Keep a key."""
        rows = [(int(one.type), one.secret) for one in (*self.keys(), key)]
        self.put("keys", codec.encode(rows))

    def rules(self) -> Rules | None:
        """Return the rules of the devnet in the file, if there is one."""
        content = self.get("rules")
        return None if content is None else codec.decode(content, Rules)

    def keep(self, tipset: TipSet) -> None:
        """Keep a tipset as the head; its messages wait no more."""
        assert tipset.state is not None
        # What has happened on the chain outlives a power cut too; a block without anything need not.
        with self._transaction(is_synced=bool(tipset.messages or tipset.outcomes)):
            if tipset.state_root != self._last_root:
                row = (str(tipset.state_root), codec.encode(tipset.state))
                self._database.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", row)
                self._last_root = tipset.state_root
            content = codec.encode(without_state(tipset))
            described = (str(tipset.key), tipset.height, str(tipset.state_root), content)
            self._database.execute("INSERT OR REPLACE INTO tipsets VALUES (?, ?, ?, ?)", described)
            self._put("head", str(tipset.key).encode())
            cids = [(str(signed.cid),) for signed in tipset.messages]
            self._database.executemany("DELETE FROM pool WHERE cid = ?", cids)
            if tipset.height % _PRUNE_EVERY == 0:
                oldest = (tipset.height - _KEPT,)
                self._database.execute("DELETE FROM tipsets WHERE height > 0 AND height < ?", oldest)
                self._database.execute("DELETE FROM states WHERE root NOT IN (SELECT root FROM tipsets)")

    def keep_head(self, key: CID) -> None:
        """Keep which tipset is the head."""
        self.put("head", str(key).encode())

    def keep_pool(self, waiting: Iterable[SignedMessage]) -> None:
        """Keep the messages that wait."""
        rows = [(str(signed.cid), codec.encode(signed)) for signed in waiting]
        with self._transaction():
            self._database.execute("DELETE FROM pool")
            self._database.executemany("INSERT INTO pool VALUES (?, ?)", rows)

    def add_message(self, signed: SignedMessage, replaced: CID | None) -> None:
        """Keep one more message that waits, in place of another one if it replaces it."""
        with self._transaction():
            if replaced is not None:
                self._database.execute("DELETE FROM pool WHERE cid = ?", (str(replaced),))
            row = (str(signed.cid), codec.encode(signed))
            self._database.execute("INSERT OR REPLACE INTO pool VALUES (?, ?)", row)

    def pool(self) -> list[SignedMessage]:
        """Return the messages that waited."""
        with self._lock:
            rows = self._database.execute("SELECT content FROM pool").fetchall()
        return [codec.decode(content, SignedMessage) for (content,) in rows]

    def tipsets(self) -> list[TipSet]:
        """Return all tipsets that are kept, with their states as far as these are."""
        with self._lock:
            states = dict(self._database.execute("SELECT root, content FROM states").fetchall())
            rows = self._database.execute("SELECT content FROM tipsets ORDER BY height").fetchall()
        read = {root: codec.decode(content, State) for root, content in states.items()}
        found = [codec.decode(content, TipSet) for (content,) in rows]
        return [with_state(tipset, read.get(str(tipset.state_root))) for tipset in found]
