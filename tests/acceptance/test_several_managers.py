"""Several managers on one PostgreSQL, with real processes: what one is killed, frozen or cut off from, the others go on with."""

import itertools
import os
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from damocles.chain import methods
from damocles.testing import postgres
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.farm import wait_until
from damocles.testing.several_managers import Several

NONCES = "nonces of "
GOES_ON_SECONDS = 60.0  # at most 15 for the lease, and what a busy machine takes
HARM = ("killed", "frozen", "cut")


def harm(several: Several, number: int, how: str) -> None:
    """Let something happen to a manager."""
    if how == "killed":
        several.end(number, kill=True)
    elif how == "frozen":
        several.freeze(number)
    else:
        several.members[number].link.is_cut = True


def heal(several: Several, number: int, how: str) -> None:
    """Undo it."""
    if how == "killed":
        several.start(number)
    elif how == "frozen":
        several.thaw(number)
    else:
        several.members[number].link.is_cut = False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_managers_side_by_side_of_which_one_is_killed_frozen_and_cut_off(
    tmp_path: Path, postgres_server: postgres.Server, no_parameters: Path
) -> None:
    """Workers of both seal, both take orders; whichever has the nonces is harmed, and the other one goes on. Nothing is sent twice, and no nonce is left out."""
    ordered: dict[int, bool] = {}
    amounts = itertools.count(1)
    with ChainFarm(tmp_path, threads=1, max_sectors=2, parameters=no_parameters, block_delay="500ms") as f:
        f.start_devnode()
        with Several(f, postgres_server, postgres_server.new()) as several:

            def order(number: int, *, timeout_seconds: float = 30.0) -> bool:
                amount = next(amounts)
                ordered[amount] = several.order(number, amount, timeout_seconds)
                return ordered[amount]

            for number in range(2):
                several.start_worker(number, threads=1)
                assert order(number), several.logs()
            for how in HARM:
                assert order(0), (how, several.logs())
                victim = wait_until(lambda: several.holders(NONCES), "one of them sends it", 120)[0]
                harm(several, victim, how)
                assert order(1 - victim), (how, several.logs())
                wait_until(lambda: several.unfinished() == 0, f"{how}: the other one goes on", GOES_ON_SECONDS)
                heal(several, victim, how)
                wait_until(partial(order, victim), f"{how}: it takes orders again", 120, every=1.0)
                wait_until(lambda: several.unfinished() == 0, f"{how}: all is sent", GOES_ON_SECONDS)
            wait_until(lambda: pre_committed(several) == 2, "the sectors of both workers are pre-committed", 120)
            assert 2 == len(several.query("SELECT name FROM managers"))
            executed = several.check(ordered)
    assert 2 == len([one for one in executed if one.message.method == methods.PRE_COMMIT.number])


@pytest.mark.whole
@pytest.mark.timeout(3 * 3600)
def test_three_managers_of_which_one_after_the_other_is_harmed(
    tmp_path: Path, postgres_server: postgres.Server, no_parameters: Path
) -> None:
    """Again and again, for DAMOCLES_SEVERAL_SECONDS (an hour): the one that has the nonces, or any, is killed, frozen or cut off, while orders come in at all."""
    dice, ordered, amounts = random.Random(), dict[int, bool](), itertools.count(1)
    harmed, slowest = Counter[str](), 0.0
    ends = time.monotonic() + float(os.environ.get("DAMOCLES_SEVERAL_SECONDS", "3600"))
    with ChainFarm(tmp_path, threads=1, max_sectors=3, parameters=no_parameters, block_delay="500ms") as f:
        f.start_devnode()
        with Several(f, postgres_server, postgres_server.new(), count=3) as several:

            def order(number: int, timeout_seconds: float = 30.0) -> bool:
                amount = next(amounts)
                ordered[amount] = several.order(number, amount, timeout_seconds)
                return ordered[amount]

            for number in range(3):
                several.start_worker(number, threads=1)
            while time.monotonic() < ends:
                assert order(dice.randrange(3)), several.logs()
                sending = wait_until(lambda: several.holders(NONCES), "one of them sends it", 120)[0]
                victim, how = dice.choice([sending, sending, dice.randrange(3)]), dice.choice(HARM)
                harm(several, victim, how)
                began = time.monotonic()
                order(victim, 1.0)  # which may come to something later
                for other in {0, 1, 2} - {victim}:
                    assert order(other), (how, several.logs())
                wait_until(lambda: several.unfinished() == 0, f"{how}: the others go on", GOES_ON_SECONDS)
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(dice.uniform(0, 20))  # it wakes before and after its leases have ended
                heal(several, victim, how)
                wait_until(partial(order, victim), f"{how}: it takes orders again", 120, every=1.0)
                harmed[how] += 1
                told = (
                    f"{sum(harmed.values())} strikes {dict(harmed)}, {len(ordered)} orders, slowest {slowest:.1f} s\n"
                )
                (tmp_path / "strikes").write_text(told)
            wait_until(lambda: several.unfinished() == 0, "all is sent", GOES_ON_SECONDS)
            wait_until(lambda: pre_committed(several) == 3, "the sectors of all workers are pre-committed", 120)
            executed = several.check(ordered)
    assert 3 == len([one for one in executed if one.message.method == methods.PRE_COMMIT.number])


def pre_committed(several: Several) -> int:
    """Return how many pre-commits have landed."""
    return int(several.query("SELECT count(*) FROM submissions WHERE kind = 'pre-commit' AND state = 'landed'")[0][0])
