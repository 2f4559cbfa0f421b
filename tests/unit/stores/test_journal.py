"""The journal of a sealing store, on a real file."""

import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles.sealing import events
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import journal, sealing
from damocles.testing import happenings
from damocles.wire import codec, seal, sectors

NOBODY = 65534

EMPTY = Sector(plan="sealer")
HELD = Sector(
    plan="sealer",
    state=State.C1Done,
    allocated=seal.AllocatedSector(sectors.SectorID(10000, 1), 5),
    ticket=seal.Ticket(b"t" * 32, 7),
    pc2out=happenings.sample(events.PC2).pc2out,  # type: ignore[attr-defined]
    c1out=msgspec.Raw(b'{"vanilla":[1,2,3]}'),
    path=(State.Allocated, State.C1Done),
    last_error="permanent: no parameters",
    paused_at=12.5,
)


@pytest.fixture
def store(tmp_path):
    """Return the folder of a fresh sealing store."""
    sealing.init(tmp_path / "store")
    return tmp_path / "store"


def test_a_recorded_sector_is_read_back_whole(store):
    """Every field survives, large outputs included."""
    with sealing.opened(store) as opened:
        assert opened.journal.load() is None
        opened.journal.record(EMPTY, happenings.sample(events.C1), HELD, at=1.0, seconds=0.5)
    with sealing.opened(store) as opened:
        loaded = opened.journal.load()
    assert loaded is not None
    assert bytes(HELD.c1out or b"") == bytes(loaded.c1out or b"")
    assert msgspec.structs.replace(HELD, c1out=None) == msgspec.structs.replace(loaded, c1out=None)


def test_a_record_of_a_later_release_is_read(store):
    """Fields that this release does not know are passed over: a store can go back to it."""
    with sealing.opened(store) as opened:
        opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        (record,) = opened.journal._db.execute("SELECT record FROM sector").fetchone()
        later = codec.encode({**codec.decode(record, dict[str, Any]), "wanted_by_then": {"what": "who knows"}})
        opened.journal._db.execute("UPDATE sector SET record = ?", (later,))
    with sealing.opened(store) as opened:
        loaded = opened.journal.load()
    assert loaded is not None
    assert (HELD.state, HELD.paused_at) == (loaded.state, loaded.paused_at)


def test_a_record_from_before_wishes_has_none(store):
    """What an earlier release has not written is as if nobody had wanted it."""
    with sealing.opened(store) as opened:
        opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        (record,) = opened.journal._db.execute("SELECT record FROM sector").fetchone()
        earlier = codec.decode(record, dict[str, Any])
        del earlier["pause_wanted"]
        opened.journal._db.execute("UPDATE sector SET record = ?", (codec.encode(earlier),))
    with sealing.opened(store) as opened:
        loaded = opened.journal.load()
    assert loaded is not None
    assert not loaded.pause_wanted


def test_large_outputs_are_written_once_and_dropped_with_the_sector(store):
    """A later record does not write the C1 output again, and clearing the sector deletes it."""
    with sealing.opened(store) as opened:
        opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        before = opened.journal._db.total_changes
        opened.journal.record(HELD, events.Pause(), msgspec.structs.replace(HELD, attempt=2), at=2.0)
        # One history row, one sector row: no output row.
        assert opened.journal._db.total_changes - before == 2
        opened.journal.record(HELD, events.Finalized(), EMPTY, at=3.0)
        assert opened.journal._db.execute("SELECT count(*) FROM outputs").fetchone() == (0,)
        assert opened.journal.load() == EMPTY


@pytest.mark.parametrize(
    ("event", "hosts"),
    [(events.Failed("Permanent", "boom"), ("gpu1", "gpu2")), (events.SubmitPC(), ("gpu1",)), (events.SubmitPC(), ())],
)
def test_a_step_names_the_other_machines_on_which_its_stages_ran(store, event, hosts):
    """Beside what the event itself has; a step whose stages all ran here names none."""
    with sealing.opened(store) as opened:
        opened.journal.record(HELD, event, msgspec.structs.replace(HELD, attempt=2), at=5.0, hosts=hosts)
        (entry,) = journal.read(store)
    assert entry.hosts == hosts
    assert entry.failure == ("permanent: boom" if event.failure else None)


def test_the_history_can_be_read_beside_the_worker_and_is_never_changed(store):
    """Anybody may read the history of a store in use; no statement can change it."""
    failed = events.Failed("Permanent", "boom")
    with sealing.opened(store) as opened:
        opened.journal.record(HELD, failed, msgspec.structs.replace(HELD, attempt=2), at=5.0, seconds=1.25)
        (entry,) = journal.read(store)
        for statement in ("UPDATE history SET error = NULL", "DELETE FROM history"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                opened.journal._db.execute(statement)
    assert (
        journal.Entry(
            at=5.0,
            plan="sealer",
            sector="s-t010000-1",
            attempt=1,
            prev="C1Done",
            state="C1Done",
            event="Failed",
            seconds=1.25,
            error="boom",
            detail='{"level":"Permanent","away":false}',
        )
        == entry
    )


def test_what_is_recorded_survives_a_power_cut(store):
    """A record is synced before anything follows from it, whatever the library's default is."""
    with sealing.opened(store) as opened:
        ((level,),) = opened.journal._db.execute("PRAGMA synchronous")
    assert 2 == level, "FULL"


def test_a_full_disk_changes_nothing_and_says_so(store):
    """When the journal cannot be written, the record stays as it was and the error names the file."""
    with sealing.opened(store) as opened:
        opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        opened.journal._db.execute(f"PRAGMA max_page_count = {1}")
        big = msgspec.structs.replace(HELD, last_error="x" * 1_000_000)
        with pytest.raises(journal.JournalError, match=r"journal\.db.*full"):
            opened.journal.record(HELD, events.Pause(), big, at=2.0)
        loaded = opened.journal.load()
        assert loaded is not None
        assert HELD.last_error == loaded.last_error


def test_a_resume_belongs_to_the_attempt_that_it_begins(store):
    """A failure ends its attempt, a resume begins the next one: what follows has the same number."""
    failed = msgspec.structs.replace(HELD, attempt=2)
    again = msgspec.structs.replace(HELD, state=State.PC1Done, attempt=1)
    with sealing.opened(store) as opened:
        opened.journal.record(HELD, events.Failed("Permanent", "no parameters"), failed, at=1.0)
        opened.journal.record(failed, events.Resume(State.PC1Done), again, at=2.0)
        opened.journal.record(again, events.Restart(), msgspec.structs.replace(again, attempt=2), at=3.0)
    assert [("Failed", 1, "permanent: no parameters"), ("Resume", 1, None), ("Restart", 2, None)] == [
        (entry.event, entry.attempt, entry.failure) for entry in journal.read(store)
    ]


def test_a_store_has_one_user_at_a_time(store):
    """A second worker is refused while the first one has the store open."""
    with (
        sealing.opened(store),
        pytest.raises(sealing.StoreError, match="in use by another worker"),
        sealing.opened(store),
    ):
        pass
    with sealing.opened(store):
        pass


def test_init_refuses_a_store_and_a_folder_with_other_things(store, tmp_path):
    """Making a store never touches what is there."""
    with pytest.raises(sealing.StoreError, match="is already a sealing store"):
        sealing.init(store)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(sealing.StoreError, match="not empty"):
        sealing.init(tmp_path / "other")


def test_init_takes_what_a_fresh_disk_and_its_owner_put_there(tmp_path):
    """A new file system's own folder and the options of the thread may be there before the store."""
    location = tmp_path / "disk"
    (location / "lost+found").mkdir(parents=True)
    (location / "config.toml").write_text("sealing.max_retries = 9\n")
    sealing.init(location)
    with sealing.opened(location) as opened:
        assert opened.journal.load() is None
    assert "sealing.max_retries = 9\n" == (location / "config.toml").read_text()


@pytest.mark.parametrize("made", ["data", "meta", "journal"])
def test_init_goes_on_where_a_killed_one_stopped(tmp_path, made):
    """The folders and the empty journal of a half-made store are taken up."""
    location = tmp_path / "store"
    (location / "data").mkdir(parents=True)
    if made != "data":
        (location / "meta").mkdir()
    if made == "journal":
        journal.create(location / "meta" / journal.FILE_NAME)
    sealing.init(location)
    with sealing.opened(location) as opened:
        assert opened.journal.load() is None


@pytest.mark.parametrize("lost", ["file", "sector", "strange"])
def test_init_does_not_take_a_used_folder_for_a_half_made_one(store, lost):
    """With a file in `data`, a sector in the journal or another file in `meta`, a folder without `.holder` is left."""
    with sealing.opened(store) as opened:
        if lost == "sector":
            opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
    if lost != "sector":
        (store / ("data" if lost == "file" else "meta") / "file").touch()
    (store / sealing.HOLDER).unlink()
    with pytest.raises(sealing.StoreError, match="choose a new folder"):
        sealing.init(store)
    assert not (store / sealing.HOLDER).exists()


@pytest.fixture
def read_only():
    """Return the folder of a store with one entry, in a place where nobody may write, not even root."""
    with tempfile.TemporaryDirectory(prefix="read-only") as name:
        folder, user = Path(name), os.geteuid()
        location = folder / "store"
        sealing.init(location)
        with sealing.opened(location) as opened:
            opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        folder.chmod(0o755)
        (location / "meta").chmod(0o555)
        if user == 0:
            os.seteuid(NOBODY)
        try:
            yield location
        finally:
            os.seteuid(user)
            (location / "meta").chmod(0o755)


def test_a_journal_is_read_from_a_place_where_nothing_can_be_written(read_only):
    """The history of a store on a read-only disk is shown, and can be exported."""
    with pytest.raises(OSError, match="denied"):
        (read_only / "meta" / "new").touch()
    assert ["Restart"] == [entry.event for entry in journal.read(read_only)]
    head, entry = journal.contents(read_only)
    assert isinstance(head, journal.Head)
    assert next(journal.read(read_only)) == entry


def test_a_journal_of_another_format_is_refused(store):
    """A journal that a later release wrote is not touched."""
    with sealing.opened(store) as opened:
        opened.journal._db.execute("PRAGMA user_version = 99")
    with pytest.raises(sealing.StoreError, match="format 99"), sealing.opened(store):
        pass


def test_discard_moves_the_files_to_the_trash(store):
    """Giving a sector up keeps its files, until the trash is emptied."""
    (store / "data" / "sealed").mkdir()
    (store / "data" / "sealed" / "s-t010000-1").write_text("replica")
    with sealing.opened(store) as opened:
        folder = opened.discard("s-t010000-1")
        assert folder is not None
        assert (folder / "sealed" / "s-t010000-1").read_text() == "replica"
        assert list((store / "data").iterdir()) == []
        assert opened.discard("s-t010000-1") is None
        assert opened.empty_trash(3600) == []
        assert opened.empty_trash(-1) == [folder]


class Failing:
    """A database whose disk takes the next transaction and says that it has not."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.fails = True

    def __getattr__(self, name):
        return getattr(self._db, name)

    def execute(self, statement, *arguments):
        """Run a statement."""
        result = self._db.execute(statement, *arguments)
        if self.fails and statement == "COMMIT":
            self.fails = False
            raise sqlite3.OperationalError("disk I/O error")
        return result


def test_what_was_recorded_in_spite_of_an_error_is_not_recorded_twice(store):
    """An error while a record is committed does not tell whether it was; the repetition finds out."""
    with sealing.opened(store) as opened:
        opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        opened.journal._db = Failing(opened.journal._db)  # type: ignore[assignment]
        later = msgspec.structs.replace(HELD, attempt=2)
        with pytest.raises(journal.JournalError, match="disk I/O error"):
            opened.journal.record(HELD, events.Pause(), later, at=2.0)
        opened.journal.record(HELD, events.Pause(), msgspec.structs.replace(later, paused_at=3.0), at=3.0)
        opened.journal.record(later, events.Resume(), HELD, at=4.0)
        opened.journal.record(HELD, events.Pause(), later, at=5.0)
    assert ["Restart", "Pause", "Resume", "Pause"] == [entry.event for entry in journal.read(store)]


@pytest.mark.parametrize("error", [ValueError("a defect"), KeyboardInterrupt()])
def test_a_record_that_breaks_leaves_no_transaction(store, monkeypatch, error):
    """Whatever ends it, nothing of the record stays, and the next one is taken."""

    def breaks(*_):
        raise error

    with sealing.opened(store) as opened:
        with monkeypatch.context() as patch:
            patch.setattr("damocles.wire.codec.encode", breaks)
            with pytest.raises(type(error)):
                opened.journal.record(EMPTY, events.Restart(), HELD, at=1.0)
        opened.journal.record(EMPTY, events.Restart(), HELD, at=2.0)
    assert [2.0] == [entry.at for entry in journal.read(store)]


def test_a_journal_without_a_table_is_named(tmp_path: Path) -> None:
    """A file that has lost a part of what makes it a journal is an error that names it, and nothing is made in it."""
    sealing.init(tmp_path / "store")
    file = tmp_path / "store" / "meta" / journal.FILE_NAME
    database = sqlite3.connect(file)
    database.execute("DROP TABLE identity")
    database.close()
    with pytest.raises(journal.JournalError, match=f"cannot open the journal {file}: no such table"):
        journal.Journal(file)
