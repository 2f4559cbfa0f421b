"""The decisions about leases, with clocks that go wrong and holders that are frozen."""

from dataclasses import dataclass, field

import hypothesis
import pytest
from hypothesis import strategies as st

from damocles.manager.db import leases
from damocles.manager.db.leases import Lease

NAME = "nonces of t3a"
MANAGERS = 3


@dataclass
class Mind:
    """What decides; a plant changes one of it."""

    taken = staticmethod(leases.taken)
    renewed = staticmethod(leases.renewed)
    stops = staticmethod(leases.stops)


class StaleIsAccepted(Mind):
    """A plant: whoever has ever held the lease may write."""

    @staticmethod
    def renewed(row, _token, now):
        """Decide wrongly."""
        return leases.renewed(row, row.token, now) if row is not None else None


class WritesWithoutToken(Mind):
    """A plant: a holder that believes to be one writes without a look at the row."""

    @staticmethod
    def renewed(row, _token, _now):
        """Decide wrongly."""
        return row


class SameToken(Mind):
    """A plant: who takes over a lease has the token of the one before."""

    @staticmethod
    def taken(row, name, holder, now):
        """Decide wrongly."""
        after = leases.taken(row, name, holder, now)
        return (
            after if after is None or row is None else Lease(name=name, holder=holder, token=row.token, ends=after.ends)
        )


class TakenTooEarly(Mind):
    """A plant: a lease is taken although it is another's."""

    @staticmethod
    def taken(row, name, holder, now):
        """Decide wrongly."""
        return leases.taken(row, name, holder, now + leases.SECONDS / 2)


class StopsAtTheEnd(Mind):
    """A plant: a holder trusts its own clock to go as the database's does."""

    @staticmethod
    def stops(asked_at):
        """Decide wrongly."""
        return asked_at + leases.SECONDS


@dataclass
class Manager:
    """One that may hold the lease, with a clock of its own: it goes `rate` seconds in a second."""

    name: str
    rate: float
    token: int | None = None
    stops: float = 0.0


@dataclass
class World:
    """Managers around one row, and what must not be."""

    mind: Mind
    managers: list[Manager]
    rate: float  # of the database's clock
    time: float = 0.0
    row: Lease | None = None
    wrong: list[str] = field(default_factory=list)

    def passes(self, seconds: float) -> None:
        """Let time pass, and look who believes to hold the lease meanwhile: nothing happens, so the beginning will do."""
        believing = [one.name for one in self.managers if one.token is not None and self.time * one.rate < one.stops]
        if len(believing) > 1:
            self.wrong.append(f"{believing} hold it")
        self.time += seconds

    def take(self, one: Manager, latency: float) -> None:
        """Ask for the lease; the database decides later."""
        asked_at = self.time * one.rate
        self.passes(latency)
        row = self.mind.taken(self.row, NAME, one.name, self.time * self.rate)
        if row is not None:
            self.row, one.token, one.stops = row, row.token, self.mind.stops(asked_at)

    def write(self, one: Manager, latency: float) -> None:
        """Write what is under way, maybe after a sleep; it must be accepted from the last one alone that took the lease."""
        if one.token is None:
            return
        asked_at = self.time * one.rate
        self.passes(latency)
        row = self.mind.renewed(self.row, one.token, self.time * self.rate)
        if row is None:
            one.token = None
            return
        assert self.row is not None
        if self.row.holder != one.name:
            self.wrong.append(f"{one.name} has written, and {self.row.holder} has the lease")
        self.row, one.stops = row, max(one.stops, self.mind.stops(asked_at))


RATES = st.floats(0.85, 1.15)
# Short of each end, and beyond it: a holder's own, two thirds of the lease, and that of the lease.
SECONDS = st.sampled_from([leases.SECONDS * share for share in (0.0, 0.01, 0.07, 0.27, 0.6, 0.73, 0.93, 1.07, 2.7)])
STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "write"]), st.integers(0, MANAGERS - 1), SECONDS, SECONDS), max_size=14
)
CASES = st.tuples(st.tuples(*[RATES] * MANAGERS), RATES, STEPS)


def wrong(case, mind: Mind) -> list[str]:
    """Return what goes wrong in a history."""
    rates, rate, steps = case
    world = World(mind, [Manager(f"m{index}", of) for index, of in enumerate(rates)], rate)
    for what, index, seconds, latency in steps:
        world.passes(seconds)
        getattr(world, what)(world.managers[index], latency)
    world.passes(0)
    return world.wrong


@hypothesis.settings(max_examples=500)
@hypothesis.given(CASES)
def test_one_alone_holds_it_and_nobody_else_writes(case) -> None:
    """Whatever the clocks do, within an eighth of the truth, and however long one sleeps before it writes."""
    assert [] == wrong(case, Mind())


@pytest.mark.parametrize("plant", [StaleIsAccepted, WritesWithoutToken, SameToken, TakenTooEarly, StopsAtTheEnd])
def test_planted_bugs_are_found(plant: type[Mind]) -> None:
    """The histories are such that each mistake shows."""
    settings = hypothesis.settings(max_examples=5_000, phases=[hypothesis.Phase.generate], database=None)
    assert hypothesis.find(CASES, lambda case: bool(wrong(case, plant())), settings=settings)


def test_one_that_ended_and_was_not_taken_goes_on() -> None:
    """A holder that was late, and whom nobody has replaced, has lost nothing."""
    lease = leases.taken(None, NAME, "a", 100.0)
    assert lease == Lease(name=NAME, holder="a", token=1, ends=108.0)
    assert Lease(name=NAME, holder="a", token=1, ends=508.0) == leases.renewed(lease, 1, 500.0)
    assert leases.taken(lease, NAME, "b", 107.9) is None
    assert Lease(name=NAME, holder="b", token=2, ends=116.0) == leases.taken(lease, NAME, "b", 108.0)
