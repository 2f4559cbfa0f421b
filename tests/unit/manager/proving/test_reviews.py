"""What is said of stores in which no sector can be read."""

from typing import Any, cast

from damocles.manager.proving.reviews import Reviews
from damocles.wire import tasks, wdpost
from damocles.wire.codec import Bytes32


def sector(number: int) -> wdpost.Sector:
    """Return a sector in the one store."""
    return wdpost.Sector(number, Bytes32(bytes(32)), False, wdpost.Accesses("disk", "disk"))


def unread(number: int) -> tasks.Fault:
    """Return a sector that cannot be read."""
    return tasks.Fault(number, "no such file", was_read=False)


def test_a_lost_store_is_a_trouble_until_one_of_its_sectors_is_read() -> None:
    """A deadline with one sector there, which cannot be read either, does not make up for it."""
    reviews = Reviews(cast("Any", type("Means", (), {"database": None})))
    assert {1, 2} == reviews._lost_whole(1000, [sector(1), sector(2)], [unread(1), unread(2)]).keys()
    (said,) = reviews.troubles.items()
    assert {} == reviews._lost_whole(1000, [sector(3)], [unread(3)])
    assert [said] == list(reviews.troubles.items())
    assert {} == reviews._lost_whole(1000, [sector(3)], [])
    assert {} == reviews.troubles
