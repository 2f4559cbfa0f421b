"""Backups of a database in use."""

import contextlib
import sqlite3
import stat
import subprocess
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import Connection, insert, select, update

from damocles.manager.db import backup, engine, tables
from damocles.testing import postgres

from .test_copying import content, make

numbers = tables.numbers
POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.skipif(not postgres.is_installed(), reason="no PostgreSQL"))


def restored(file: Path, server: postgres.Server | None) -> Path | str:
    """Return a database made of a backup, as the documentation says."""
    if server is None:
        return file
    url = server.url(server.new())
    command = [str(postgres.BIN / "pg_restore"), "--exit-on-error", "--no-owner", f"--dbname={url}", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return url


@pytest.fixture
def server(request: pytest.FixtureRequest, database_url: str | None) -> postgres.Server | None:
    """Return the server that the database is on, if it is on one."""
    return None if database_url is None else request.getfixturevalue("postgres_server")


@pytest.mark.parametrize("database_url", ["sqlite", POSTGRESQL], indirect=True)
async def test_a_backup_is_the_state_of_one_moment(
    tmp_path: Path, database_url: str | None, server: postgres.Server | None
) -> None:
    """While a manager writes all the time, what belongs together is together in the backup, and the manager goes on."""
    place = database_url or tmp_path / "manager.db"

    def count(tx: Connection, number: int) -> None:
        for miner in range(50):
            tx.execute(update(numbers).where(numbers.c.miner == miner).values(last_number=number))

    async with engine.open_at(place) as database:
        await database.write(
            lambda tx: tx.execute(insert(numbers), [{"miner": miner, "last_number": 0} for miner in range(50)])
        )
        done = anyio.Event()
        written = 0

        async def write() -> None:
            nonlocal written
            while not done.is_set():
                written += 1
                await database.write(partial(count, number=written), durable=False)

        files = [tmp_path / f"backup-{index}" for index in range(3)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for file in files:
                size_bytes = await anyio.to_thread.run_sync(backup.write, place, file)
                assert size_bytes == file.stat().st_size > 1000
            done.set()
    for file in files:
        found = {number for _, number in content(await anyio.to_thread.run_sync(restored, file, server))["numbers"]}
        assert 1 == len(found)


@pytest.mark.parametrize("database_url", ["sqlite", POSTGRESQL], indirect=True)
async def test_a_manager_goes_on_from_a_backup(
    tmp_path: Path, database_url: str | None, server: postgres.Server | None
) -> None:
    """It has every row, ids go on, and the audit can still only be added to."""
    place = make(database_url or tmp_path / "manager.db")
    backup.write(place, tmp_path / "backup")
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    again = restored(tmp_path / "backup", server)
    assert content(place) == content(again)
    async with engine.open_at(again) as database:
        made = await database.write(
            lambda tx: (
                tx.execute(
                    insert(tables.audit).values(at=1.0, who="", what="", sectors="", entry="{}")
                ).inserted_primary_key
            )
        )
        assert made is not None
        assert 1 + max(row[0] for row in content(place)["audit"]) == made[0]
        with pytest.raises(Exception, match="can only be added to"):
            await database.write(lambda tx: tx.execute(update(tables.audit).values(who="nobody")))
        assert 6 == len(await database.read(lambda tx: tx.execute(select(tables.audit.c.id)).all()))
    assert {"backup", "manager.db"} >= {path.name for path in tmp_path.iterdir() if path.suffix != ".db"}


def test_what_cannot_be_backed_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is overwritten, and none is left where there is no backup."""
    make(tmp_path / "manager.db", rows=1)
    (tmp_path / "there").touch()
    with pytest.raises(backup.BackupError, match="exists already"):
        backup.write(tmp_path / "manager.db", tmp_path / "there")
    with pytest.raises(backup.BackupError, match="is not there"):
        backup.write(tmp_path / "none.db", tmp_path / "new")
    with pytest.raises(backup.BackupError, match="cannot be written: No such file"):
        backup.write(tmp_path / "manager.db", tmp_path / "none/new")
    (tmp_path / "text.db").write_text("no database\n" * 1000)
    with pytest.raises(backup.BackupError, match="not a database"):
        backup.write(tmp_path / "text.db", tmp_path / "new")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(backup.BackupError, match="install PostgreSQL's client"):
        backup.write("postgresql://u@127.0.0.1:1/d", tmp_path / "new")
    assert ["manager.db", "text.db", "there"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.skipif(not postgres.is_installed(), reason="no PostgreSQL")
def test_a_server_that_is_away_is_told_without_the_password(tmp_path: Path) -> None:
    """What `pg_dump` says is passed on, in one line."""
    with pytest.raises(backup.BackupError, match=r"^postgresql://u:…@127\.0\.0\.1:1/d: pg_dump: .*refused"):
        backup.write("postgresql://u:secret@127.0.0.1:1/d", tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_makes_no_backup(tmp_path: Path) -> None:
    """A page that is broken is found before the backup gets its name."""
    file = make(tmp_path / "manager.db", rows=0)
    assert isinstance(file, Path)
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.executemany("INSERT INTO numbers VALUES (?, ?)", [(n, n) for n in range(20_000)])
        db.commit()
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'numbers'").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content_ = bytearray(file.read_bytes())
    content_[(page - 1) * size + 100 : page * size - 100] = b"\xff" * (size - 200)
    file.write_bytes(content_)
    with pytest.raises(backup.BackupError, match=r"is damaged|malformed"):
        backup.write(file, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
