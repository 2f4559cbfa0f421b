"""What sectors keep of a disk that several stores share."""

from pathlib import Path

import pytest

from damocles.sealing import events
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stages.admission import costs
from damocles.stores import sealing
from damocles.wire import seal, sectors
from damocles.worker.thread import reservations

SIZE = sectors.SectorSize.MIB8
WHOLE = costs.disk_bytes("sealer", SIZE)


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    """Return three stores on one disk."""
    made = [tmp_path / name for name in ("a", "b", "c")]
    for location in made:
        sealing.init(location)
    return made


def sector(number: int = 1, plan: str = "sealer") -> Sector:
    """Return a sector of 8MiB in work."""
    proof = int(sectors.SealProof.of(SIZE))
    return Sector(
        plan=plan, state=State.Allocated, allocated=seal.AllocatedSector(sectors.SectorID(10000, number), proof)
    )


def opened(stores: list[Path]) -> reservations.Reservations:
    """Return reservations that know three stores without sectors."""
    room = reservations.Reservations(stores)
    for location in stores:
        room.opened(location, None)
    return room


def test_what_others_keep_is_not_free(stores):
    """Each thread that looks for room counts those that were before it, and not itself."""
    room = opened(stores)
    assert 0 == room.missing_bytes(stores[0])
    room.keep(stores[0], "sealer", SIZE)
    room.keep(stores[1], "sealer", SIZE)
    assert [0, WHOLE, 2 * WHOLE] == [room.missing_bytes(location) for location in stores]
    room.drop(stores[0])
    assert [WHOLE, 0, WHOLE] == [room.missing_bytes(location) for location in (stores[0], stores[1], stores[2])]


def test_of_two_that_look_at_once_one_begins(stores):
    """Both keep before they look: the second sees the first, and not the other way round."""
    room = opened(stores)
    room.keep(stores[1], "sealer", SIZE)
    room.keep(stores[0], "sealer", SIZE)
    assert (WHOLE, 0) == (room.missing_bytes(stores[0]), room.missing_bytes(stores[1]))


def test_what_is_written_is_kept_no_longer(stores):
    """The disk counts it as used; links are elsewhere, and a sector that took more than expected keeps nothing."""
    room = opened(stores)
    room.begin(stores[0], sector())
    data = stores[0] / "data"
    (data / "cache").mkdir()
    (data / "cache" / "layer").write_bytes(b"x" * (1 << 20))
    (data / "link").symlink_to("/proc/kcore")
    written = (data / "cache" / "layer").stat().st_blocks * 512
    assert abs(WHOLE - written - room.missing_bytes(stores[1])) <= 8192
    (data / "large").write_bytes(b"x" * WHOLE)
    assert 0 == room.missing_bytes(stores[1])


def test_a_restart_forgets_nothing(stores):
    """The journals hold the sectors: whoever looks before a store is open reads its journal."""
    with sealing.opened(stores[0]) as store:
        store.journal.record(Sector(plan="sealer"), events.Restart(), sector(), at=0.0)
    room = reservations.Reservations(stores)
    room.opened(stores[1], None)
    assert WHOLE == room.missing_bytes(stores[1])
    room.opened(stores[0], sector())
    assert WHOLE == room.missing_bytes(stores[1])
    room.drop(stores[0])
    assert 0 == room.missing_bytes(stores[1])


def test_another_disk_is_another_matter(stores, monkeypatch):
    """Only stores on the same device share its room; a store that is not there is on none."""
    monkeypatch.setattr(reservations, "_device", lambda location: ord(location.name) % 2)
    room = opened(stores)
    for location in stores:
        room.keep(location, "sealer", SIZE)
    assert [0, 0, WHOLE] == [room.missing_bytes(location) for location in stores]
    assert 0 == room.missing_bytes(Path("/nowhere"))


def test_the_sector_that_comes_counts(stores):
    """A thread looks for room for the smallest, and keeps what the one takes that it gets; what ends up unread is nothing."""
    room = opened(stores)
    room.keep(stores[0], "sealer", sectors.SectorSize.KIB2)
    room.begin(stores[0], sector())
    assert WHOLE == room.missing_bytes(stores[1])
    room.begin(stores[0], Sector(plan="sealer"))
    assert WHOLE == room.missing_bytes(stores[1])
    (stores[2] / "meta/journal.db").write_bytes(b"no journal")
    assert 0 == reservations.Reservations(stores).missing_bytes(stores[1])
