"""Several managers on one PostgreSQL, with real processes: what one is killed, frozen or cut off from, the others go on with.

They send messages, and prove the deadlines of a miner and make its blocks, with real proofs.
"""

import contextlib
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from damocles.chain import methods
from damocles.testing import farm, postgres
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import wait_until
from damocles.testing.several_managers import Several

from .proved_sectors import Found, Proved, link_parameters

LEASES = ("nonces of ", "deadlines of ", "blocks of ")
GOES_ON_SECONDS = (
    90.0  # at most eight for the lease, the epochs until a message is deep enough, and what a busy machine takes
)
HARM = ("killed", "frozen", "cut")
# Whether something is in the making for which a lease is needed: a message, a window PoSt, a block.
IN_THE_MAKING = {
    "nonces of ": "SELECT count(*) > 0 FROM outbox WHERE state IN ('wanted', 'signed')",
    "deadlines of ": "SELECT count(*) > 0 FROM proving_posts WHERE stage IN ('proving', 'proved')",
    "blocks of ": "SELECT count(*) > 0 FROM mined_blocks WHERE stage IN ('won', 'signing', 'signed')",
}


@dataclass
class Story:
    """What happens to managers, and what is ordered of them meanwhile."""

    several: Several
    proved: Proved
    ordered: dict[int, bool] = field(default_factory=dict)
    taken_over: dict[str, list[float]] = field(default_factory=dict)  # seconds, by the kind of lease
    harmed: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds from a strike until all that was ordered has landed
    _amounts: Iterator[int] = field(default_factory=partial(itertools.count, 1))

    def order(self, number: int, timeout_seconds: float = 30.0) -> bool:
        """Order something that is ordered once; return whether the manager says that it is."""
        amount = next(self._amounts)
        self.ordered[amount] = self.several.order(number, amount, timeout_seconds)
        return self.ordered[amount]

    def strike(self, number: int, lease: str, how: str, others: set[int]) -> None:
        """Let something happen to a manager, and wait until the others have gone on with its leases of a kind, and with all orders."""
        had = [name for name, holder in self.several.holders(lease).items() if holder == number]
        self.harm(number, how)
        began = time.monotonic()
        self.order(number, 1.0)  # which may come to something later
        for other in others:
            assert self.order(other), (how, self.several.logs())

        def others_have_it() -> bool:
            now = self.several.holders(lease)
            return any(now.get(name, number) != number for name in had)

        if had:
            wait_until(others_have_it, f"{how}: another one has {had}", GOES_ON_SECONDS)
            self.taken_over.setdefault(lease, []).append(time.monotonic() - began)
        wait_until(lambda: self.several.unfinished() == 0, f"{how}: the others go on", GOES_ON_SECONDS)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.harmed[how] += 1

    def wait_for_work(self, lease: str) -> None:
        """Wait until something is in the making under leases of a kind."""
        wait_until(lambda: self.several.query(IN_THE_MAKING[lease]) == [["t"]], f"something needs {lease}", 300)

    def harm(self, number: int, how: str) -> None:
        """Let something happen to a manager."""
        if how == "killed":
            self.several.end(number, kill=True)
        elif how == "frozen":
            self.several.freeze(number)
        else:
            self.several.members[number].link.is_cut = True

    def heal(self, number: int, how: str) -> None:
        """Undo it, and wait until the manager takes orders."""
        if how == "killed":
            self.several.start(number)
        elif how == "frozen":
            self.several.thaw(number)
        else:
            self.several.members[number].link.is_cut = False
        wait_until(partial(self.order, number), f"{how}: it takes orders again", 120, every=1.0)

    def end(self, sectors: int) -> None:
        """Wait until all is done, and check the messages of the chain."""
        wait_until(lambda: self.several.unfinished() == 0, "all is sent", GOES_ON_SECONDS)
        landed = "SELECT count(*) FROM submissions WHERE kind = 'pre-commit' AND state = 'landed'"
        wait_until(
            lambda: self.several.query(landed) == [[str(sectors)]], "all sectors of the workers are pre-committed", 120
        )
        executed = self.several.check(self.ordered)
        batches = [
            methods.PRE_COMMIT.read_params(bytes(one.message.params)).sectors
            for one in executed
            if one.message.method == methods.PRE_COMMIT.number
        ]
        assert list(range(1, sectors + 1)) == sorted(sector.sector_number for batch in batches for sector in batch)

    def told(self) -> str:
        """Return how it went."""
        longest = {lease.split(" ")[0]: round(max(some), 1) for lease, some in self.taken_over.items()}
        return (
            f"{sum(self.harmed.values())} strikes {dict(self.harmed)}, {len(self.ordered)} orders; a lease was another one's after"
            f" at most {longest} s, all had landed after at most {self.slowest:.1f} s\n"
        )


@contextlib.contextmanager
def telling(
    folder: Path, server: postgres.Server, *, managers: int, sectors: int, block_delay: str, window_epochs: int
) -> Iterator[Story]:
    """Yield a story of some managers and a worker of each; at its end what was proved and made is checked by `check`.

    A window has to leave time for a lease to change hands, for the job of a prover that has gone to be lent anew after 15 s, for its
    proof and the message; an epoch for a winning PoSt beside all that.
    """
    f = ChainFarm(
        folder,
        threads=1,
        max_sectors=managers,
        parameters=link_parameters(folder / "parameters"),
        block_delay=block_delay,
        confidence=2,
        makes_blocks=True,
    )
    with f:
        proved = Proved(f, window_epochs=window_epochs, count=sectors, rivals=sectors)
        f.devnode_options = proved.options
        proved.seal()
        several = Several(f, server, server.new(), count=managers)
        proved.remember(several.url())
        proved.begin()
        f.start_devnode()
        with several:
            for number in range(managers):
                several.start_worker(number, threads=1)
            yield Story(several, proved)
        assert f.devnode is not None
        farm.stop(f.devnode)


def check(story: Story) -> Found:
    """Check the deadlines and the blocks of the chain, after the end."""
    found = story.proved.check()
    (story.several.farm.base / "found").write_text(f"{found} {story.told()}")
    return found


@pytest.mark.slow
@pytest.mark.params
@pytest.mark.timeout(900)
def test_two_managers_side_by_side_of_which_one_is_killed_frozen_and_cut_off(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    """Workers of both seal, both take orders; whichever has a lease is harmed, and the other one goes on with it.

    How many blocks they make depends on what else the machine does: those that there are hold what blocks have to.
    """
    with telling(tmp_path, postgres_server, managers=2, sectors=4, block_delay="4s", window_epochs=16) as story:
        for lease, how in zip(LEASES, HARM, strict=True):
            assert story.order(0), story.several.logs()
            holders = wait_until(partial(story.several.holders, lease), f"one of them has {lease}", 120)
            victim = next(iter(holders.values()))
            story.strike(victim, lease, how, {1 - victim})
            story.heal(victim, how)
        assert 2 == len(story.several.query("SELECT name FROM managers"))
        story.proved.until_over(deadline=1)
        story.end(sectors=2)
    assert check(story).windows > 0


@pytest.mark.whole
@pytest.mark.params
@pytest.mark.timeout(3 * 3600)
def test_three_managers_of_which_one_after_the_other_is_harmed(
    tmp_path: Path, postgres_server: postgres.Server
) -> None:
    """Again and again, for DAMOCLES_SEVERAL_SECONDS (an hour): one that has a lease, or any, is killed, frozen or cut off.

    Every second time that happens in the middle of a message, a window PoSt or a block.
    """
    dice = random.Random()
    ends = time.monotonic() + float(os.environ.get("DAMOCLES_SEVERAL_SECONDS", "3600"))
    with telling(tmp_path, postgres_server, managers=3, sectors=47, block_delay="5s", window_epochs=12) as story:
        while time.monotonic() < ends:
            lease, how = dice.choice(LEASES), dice.choice(HARM)
            assert story.order(dice.randrange(3)), story.several.logs()
            if dice.choice([True, False]):
                story.wait_for_work(lease)
            holders = wait_until(partial(story.several.holders, lease), f"one of them has {lease}", 120)
            victim = dice.choice([*holders.values(), *holders.values(), dice.randrange(3)])
            story.strike(victim, lease, how, {0, 1, 2} - {victim})
            time.sleep(dice.uniform(0, 20))  # it wakes before and after what it had begun has another one's end
            story.heal(victim, how)
            (tmp_path / "strikes").write_text(story.told())
        story.end(sectors=3)
    found = check(story)
    assert found.windows > 0
    assert found.blocks > 0
