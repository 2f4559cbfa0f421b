"""Write a database's state at one moment into a file, beside a manager that goes on writing."""

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

from damocles import durable
from damocles.manager.db import engine


class BackupError(Exception):
    """There is no backup; the message says why and what to do."""


def write(source: Path | str, file: Path) -> int:
    """Write a backup, which appears once it is complete; return its size in bytes.

    Of a file it is another such file, by SQLite's own means, and checked; of a server what `pg_dump` writes, for `pg_restore`.

    Raises:
        BackupError: The source cannot be read, the file exists already or cannot be written.
    """
    if os.path.lexists(file):
        raise _exists(file)
    try:
        with _appearing(file) as part:
            if isinstance(source, Path):
                _of_sqlite(source, part)
            else:
                _of_postgresql(source, part)
        return file.stat().st_size
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror}") from error


def _exists(file: Path) -> BackupError:
    return BackupError(f"{file} exists already: name a new file")


@contextlib.contextmanager
def _appearing(file: Path) -> Iterator[Path]:
    """Yield a private file that gets its name, durably, once the block has succeeded."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.touch(mode=0o600, exist_ok=False)
    try:
        yield part
        durable.sync_entry(part)
        try:
            os.link(part, file)
        except FileExistsError:
            raise _exists(file) from None
        except OSError:  # a file system without links
            if os.path.lexists(file):
                raise _exists(file) from None
            part.replace(file)
        durable.sync_entry(file.parent)
    finally:
        part.unlink(missing_ok=True)


def _of_sqlite(source: Path, part: Path) -> None:
    if not source.is_file():
        raise BackupError(f"{source} is not there: name the database's file, or the folder that it is in")
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as running,
            contextlib.closing(sqlite3.connect(part)) as made,
        ):
            running.backup(made)  # in one step: between two, a manager that writes would have it begin again
            made.execute("PRAGMA journal_mode=DELETE")  # one file, with no other beside it
            (found,) = made.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        raise BackupError(f"{source}: {error}") from error
    if found != "ok":
        raise BackupError(f"{source} is damaged: {found}; restore an earlier backup")


def _of_postgresql(url: str, part: Path) -> None:
    from damocles.manager.db import postgresql  # noqa: PLC0415 (only by those who use it)

    try:
        place, password = postgresql.without_password(url, engine.shown(url))
    except ValueError as error:
        raise BackupError(str(error)) from error
    # Everybody on the machine can read arguments, and its user alone the environment.
    environment = os.environ | ({} if password is None else {"PGPASSWORD": password})
    command = ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--dbname={place}"]
    try:
        with part.open("wb") as written:
            done = subprocess.run(  # noqa: S603
                command, stdout=written, stderr=subprocess.PIPE, text=True, check=False, env=environment
            )
    except FileNotFoundError as error:
        raise BackupError("pg_dump is not there: install PostgreSQL's client (postgresql-client)") from error
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"pg_dump ended with {done.returncode}"
        raise BackupError(f"{engine.shown(url)}: {said}")
