"""Passwords of databases: in URLs that are shown, refused or handed to other programs."""

import contextlib
import os
import stat
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from damocles.cli import manager
from damocles.manager.db import backup, engine, schema
from damocles.testing import postgres

SECRET = "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@db.lan/farm",
        f"postgresql://user:{SECRET}@x{SECRET}@db.lan/farm",  # an @ that was not escaped
        f"postgresql://user:a/{SECRET}@db.lan/farm",
        f"postgresql://user:{SECRET}@one,two:5433/farm?sslmode=require",
        f"postgresql://db.lan/farm?user=user&password={SECRET}&sslmode=require",
        f"postgresql://db.lan/farm?sslkey=k&sslpassword={SECRET}",
        f"postgresql://db.lan/farm?pass%77ord={SECRET}",
    ],
)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    """Wherever the password stands, and whatever it has in it; the rest is left for people."""
    shown = engine.shown(url)
    assert SECRET not in shown
    assert shown.startswith("postgresql://")
    assert "farm" in shown


@pytest.mark.parametrize(
    "url",
    [
        f"postgresq://user:{SECRET}@db.lan/farm",  # a slip of the pen
        f"mysql://user:{SECRET}@db.lan/farm",
        f"postgresql://user:%zz{SECRET}@db.lan/farm",  # no percent-encoding
        f"postgresql://user:{SECRET}@[db.lan/farm",
        f"postgresql://db.lan/farm?pasword={SECRET}",
    ],
)
@pytest.mark.parametrize(
    "words", [("db", "leases"), ("db", "backup", "FILE"), ("db", "copy", "FILE"), ("mock", "--database")]
)
def test_a_url_that_is_refused_is_not_shown_with_its_password(
    url: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by any command, in the line that says what is wrong with it."""
    names = [str(tmp_path / "file.db") if word == "FILE" else word for word in words]
    where = 2 if words[0] == "db" else len(names)
    home = (
        ("--home", str(tmp_path / "home"), "--miner", "1000", "--listen", "127.0.0.1:0") if words[0] == "mock" else ()
    )
    assert 0 != manager.main([*names[:where], url, *names[where:], *home])
    printed = capsys.readouterr()
    assert printed.err
    assert SECRET not in printed.out + printed.err


def test_a_password_does_not_stand_in_the_list_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody on a machine can read the arguments of pg_dump; it gets the password in its environment."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nopen({str(told)!r}, 'w').write("
        "' '.join(sys.argv) + '\\n' + os.environ.get('PGPASSWORD', ''))\nprint('a dump')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    made = tmp_path / "made.dump"
    backup.write(f"postgresql://user:{SECRET}@db.lan:5433/farm?sslmode=require", made)
    arguments, password = told.read_text().splitlines()
    assert SECRET not in arguments
    assert SECRET == password
    assert {"host=db.lan", "port=5433", "user=user", "dbname=farm", "sslmode=require"} <= set(
        arguments.partition("--dbname=")[2].split()
    )
    assert 0o600 == stat.S_IMODE(made.stat().st_mode)


def test_a_backup_replaces_nothing_that_has_come_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another backup of the same name, or a link to somebody's file, that was not there when it began."""
    source, theirs, file = tmp_path / "manager.db", tmp_path / "theirs", tmp_path / "backup.db"
    with engine.backend(source, claim=False).migrate():
        pass
    theirs.write_text("theirs")
    copied = backup._of_sqlite

    def slow(one: Path, part: Path) -> None:
        copied(one, part)
        file.symlink_to(theirs)

    monkeypatch.setattr(backup, "_of_sqlite", slow)
    with pytest.raises(backup.BackupError, match="exists already"):
        backup.write(source, file)
    assert ("theirs", True) == (theirs.read_text(), file.is_symlink())
    assert {"manager.db", "theirs", "backup.db"} == {
        path.name for path in tmp_path.iterdir() if not path.name.startswith("manager.db-")
    }


def test_a_copy_is_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The new home and the database in it: there are digests of tokens, and who did what."""
    source = tmp_path / "manager.db"
    with contextlib.closing(engine.backend(source, claim=False)) as backend:
        schema.upgrade(backend.migrate)
    target = tmp_path / "new-home"
    assert 0 == manager.main(["db", "copy", str(source), str(target)]), capsys.readouterr().err
    assert 0o700 == stat.S_IMODE(target.stat().st_mode)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in target.iterdir()}
    assert 0o600 == modes["manager.db"]


def test_a_copy_goes_through_no_link_to_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link in the place of the new database leads to a file of others, which is no database: it stays as it is."""
    source, theirs, target = tmp_path / "manager.db", tmp_path / "theirs", tmp_path / "link.db"
    with contextlib.closing(engine.backend(source, claim=False)) as backend:
        schema.upgrade(backend.migrate)
    theirs.write_text("of somebody else")
    target.symlink_to(theirs)
    assert 0 != manager.main(["db", "copy", str(source), str(target)])
    assert "of somebody else" == theirs.read_text()
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(not postgres.is_installed(), reason="no PostgreSQL")
def test_a_holder_of_a_lease_is_text_and_has_its_column(
    postgres_server: postgres.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever may write to the database chooses the name: it moves and colours nothing on a terminal, and is cut there."""
    url = postgres_server.url(postgres_server.new())
    odd = "\x1b[31mred\x1b]0;title\x07\r\nhost\u202e"
    with contextlib.closing(engine.backend(url, claim=False)) as backend:
        schema.upgrade(backend.migrate)
        with backend.migrate() as tx:
            for name, holder in (("odd", odd), (odd, "x" * 100_000)):
                tx.execute(
                    text("INSERT INTO leases (name, holder, token, ends) VALUES (:name, :holder, 1, 0)"),
                    {"name": name, "holder": holder},
                )
    for words in (("db", "leases", url), ("db", "leases", url, "--json")):
        assert 0 == manager.main(list(words))
        printed = capsys.readouterr().out
        assert "red" in printed
        assert not [char for char in printed if not (char.isprintable() or char == "\n")]
