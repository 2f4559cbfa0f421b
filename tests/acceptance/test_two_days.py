"""Two days of deadlines of two miners, with real processes and real proofs, and with what goes wrong in days.

    DAMOCLES_PROVING_EPOCHS=5760 uv run pytest -n 0 -m whole tests/acceptance/test_two_days.py

An epoch is as short as two cores can take where a deadline is near, and shorter elsewhere. Fewer epochs are a slice: from 400 on the first
miner's deadlines of the first day are in it.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from damocles import methods
from damocles.testing.chain_farm import WITH_POSTS

from . import chain_scenarios, two_miners
from .once import made_once
from .two_miners import DAY, SHORT, AfterLanding, Cut, Days, Name

EPOCHS = int(os.environ.get("DAMOCLES_PROVING_EPOCHS", "5760"))
BLOCK_DELAY = os.environ.get("DAMOCLES_PROVING_EPOCH", "600ms")
MINED_EPOCHS = 36
UNREVIEWED = 40  # epochs before a deadline opens, when its sectors are not read any more

# By miner, place of the deadline, and day, each counted from 0.
STRIKES = (
    ((0, 0, 0), Cut(2, ahead=UNREVIEWED)),
    ((0, 1, 0), Cut(3)),
    ((0, 1, 0), two_miners.at_the_challenge),
    ((0, 2, 0), two_miners.at_the_submission),
    ((1, 0, 0), AfterLanding()),
    ((1, 1, 0), two_miners.manager_dies),
    ((1, 2, 0), Cut(5)),  # the only one of its partition
    ((0, 1, 1), two_miners.prover_dies),
    ((0, 2, 1), AfterLanding()),
    ((1, 0, 1), two_miners.at_the_challenge),
    ((1, 1, 1), two_miners.at_the_submission),
)
DECLARED = {(0, 1, 0): 3, (1, 2, 0): 5}
SKIPPED = {(0, 0, 0): 2}


@pytest.fixture(scope="session")
def two_old_miners(tmp_path_factory: pytest.TempPathFactory, porep_parameters: list[Path]) -> Path:
    """Return a farm's folder with two miners, each with sectors in three deadlines, one of which is about to expire."""
    return made_once(tmp_path_factory, "two-old-miners", two_miners.fill)


@pytest.mark.params
@pytest.mark.whole
@pytest.mark.timeout(3 * 3600)
def test_two_days_of_deadlines_of_two_miners(tmp_path: Path, two_old_miners: Path) -> None:
    """None is missed; what is damaged is declared or skipped, and recovers the next day; what expires is gone; blocks are taken."""
    fields = {
        "plans": ("wdpost",),
        "block_delay": BLOCK_DELAY,
        "max_sectors": two_miners.SECTORS,
        "devnode_options": WITH_POSTS,
    }
    with chain_scenarios.going_on(two_old_miners, tmp_path, others=[two_miners.second(two_old_miners)], **fields) as f:
        f.start_worker()
        days = Days(f, EPOCHS)
        ends = {miner: f.ask_node("StateSectorGetInfo", f"t0{miner}", SHORT, None)["Expiration"] for miner in f.miners}
        days.run(STRIKES)
        check(days, ends, declared=DECLARED, skipped=SKIPPED)
        blocks(days)


def check(days: Days, ends: dict[int, int], *, declared: dict[Name, int], skipped: dict[Name, int]) -> None:
    """Compare what the chain has of each window with what has gone wrong: which sectors were damaged, and which end when."""
    for window in days.windows:
        seen, name = days.seen[window.name], window.name
        yesterday = (*name[:2], name[2] - 1)
        known, found = ({of[name]} if name in of else set() for of in (declared, skipped))
        recovering = {of[yesterday] for of in (declared, skipped) if yesterday in of}
        assert union(seen.opened, "faulty") == known | recovering, window
        assert union(seen.opened, "recovering") == recovering, window
        assert union(seen.closing, "faulty") == union(seen.closed, "faulty") == known | found, window
        missed = [part for part in seen.closing if part.live - part.faulty and not part.is_posted]
        assert not missed, window
        end = ends[days.farm.miners[window.who]]
        is_its_last = window.place == 0 and window.close - 1 - DAY < end < window.close
        assert union(seen.opened, "live") - union(seen.closed, "live") == ({SHORT} if is_its_last else set()), window


def union(parts: list[two_miners.Part], which: str) -> set[int]:
    """Return the sectors of partitions that stand so."""
    return {number for part in parts for number in getattr(part, which)}


def blocks(days: Days) -> None:
    """Let both miners make blocks, after whole days while the first deadline of the next one is proved."""
    f, first = days.farm, days.windows[0]
    opens = f.height + (first.opens - f.height) % DAY
    is_proving = EPOCHS % DAY == 0
    if is_proving:
        two_miners.pass_quickly(f, opens - two_miners.CHALLENGE)
    mined = two_miners.mine(f, MINED_EPOCHS)
    with f.manager_client() as manager:
        listed = manager.call(methods.wdpost.blocks(None, 1000))
    ours = Counter(one.stage for one in listed.blocks)
    print(f"\n{len(days.windows)} deadlines with sectors of {2 * EPOCHS // two_miners.WINDOW} in {EPOCHS} epochs")  # noqa: T201 (for people)
    print(f"of {MINED_EPOCHS} epochs {len(mined)} have a block of ours; rounds that were won: {dict(ours)}")  # noqa: T201
    included = {(one.epoch, f"t0{one.miner}") for one in listed.blocks if one.stage == "included"}
    assert included <= set(mined)
    assert mined, (
        listed
    )  # how many depends on what else the machine does: a winning PoSt has to be made within an epoch
    assert not [one for one in listed.blocks if "fault" in one.why]
    if is_proving:
        assert all(part.is_posted for part in days.parts(first) if part.live), "a deadline is proved meanwhile"
