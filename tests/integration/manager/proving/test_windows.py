"""Deadlines of a miner on a devnode, proved with real proofs, whatever the chain, the disks and the process do meanwhile."""

import dataclasses
from pathlib import Path
from typing import Any

import damocles_proofs as native
import pytest

from damocles.chain import methods
from damocles.devnode import tipsets
from damocles.manager.chain.terms import Miner
from damocles.manager.proving.mind import Stage

from .farm import WINDOW, Farm, check, running

pytestmark = [pytest.mark.params, pytest.mark.timeout(300)]
CHALLENGE = WINDOW // 3


@pytest.fixture(autouse=True)
def with_parameters() -> None:
    """Skip without the parameters of window PoSts."""
    folder = Path(native.parameter_cache_dir())
    if not (folder / native.params_for("wdpost", 2048).params).is_file():
        pytest.skip(f"{folder} lacks the wdpost parameters of 2KiB: run `make params`")


def all_valid(farm: Farm) -> bool:
    """Return whether the window PoSts on the chain are valid, each for the challenge that the chain has now."""
    return all(check(farm, epoch, params) for epoch, params in farm.landed())


def of_post(miner: Miner, **keys: Any) -> Miner:
    """Return a miner with other keys in its table `PoSt`."""
    post = miner.config.po_st.model_copy(update=keys)
    return dataclasses.replace(miner, config=miner.config.model_copy(update={"po_st": post}))


async def test_partitions_are_proved_and_sent_once(tmp_path: Path) -> None:
    """Each partition of each deadline is in one valid window PoSt of its window; several share a message."""
    async with running(tmp_path, {3: [[1, 2], [3]], 4: [[4]]}) as farm:
        await farm.jump(farm.opens(3) - CHALLENGE)
        await farm.until(farm.opens(3))
        assert [] == farm.posted()
        await farm.until(farm.opens(4) + WINDOW)
        assert [(3, [0, 1], []), (4, [0], [])] == farm.posted()
        assert all_valid(farm)
        assert {} == dict(farm.proving.troubles())
        day = await farm.proving.days.day(1000)
        assert [(3, "proved"), (4, "proved")] == [(one.deadline, one.standing) for one in day.deadlines if one.sectors]
        ((post,), (_,)) = (one.posts for one in day.deadlines if one.posts)
        assert ([0, 1], "the manager's machine", 1) == (post.partitions, post.prover, post.sends)
        assert [] == await farm.proving.days.troubles()


async def test_one_message_for_each_partition(tmp_path: Path) -> None:
    """`MaxPartitionsPerPoStMessage` limits how many are proved together; a sector that is cut is skipped by name."""
    post = {"MaxPartitionsPerPoStMessage": 1}
    async with running(tmp_path, {3: [[1, 2], [3]]}, PoSt=post) as farm:
        farm.file(2).write_bytes(b"cut")
        await farm.jump(farm.opens(3) - CHALLENGE)
        await farm.until(farm.opens(3) + 4)
        assert [(3, [0], [2]), (3, [1], [])] == sorted(farm.posted())
        (first, _) = await farm.posts(3)
        assert {2} == first.skipped.keys()
        assert "2048" in first.skipped[2] or "too short" in first.skipped[2] or "bytes" in first.skipped[2]
        assert all_valid(farm)
        assert [2] == list(farm.miner.deadlines[3].partitions[0].faulty)


async def test_a_cut_file_is_declared_and_recovered(tmp_path: Path) -> None:
    """A lost sector is declared before its deadline, so that the proof is about the others; once it is back, it recovers."""
    async with running(tmp_path, {4: [[1, 2]]}) as farm:
        good = farm.file(2).read_bytes()
        farm.file(2).write_bytes(good[:1000])
        opens = farm.opens(4)
        await farm.jump(opens - WINDOW * 7 // 6 - WINDOW)
        await farm.until(opens - WINDOW * 7 // 6)
        ((_, declared),) = farm.landed(methods.DECLARE_FAULTS)
        assert [(4, 0, [2])] == [(one.deadline, one.partition, list(one.sectors)) for one in declared.faults]
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens + 4)
        assert [(4, [0], [])] == farm.posted()
        assert [1] == list(farm.miner.deadlines[4].partitions[0].active)

        farm.file(2).write_bytes(good)
        opens += 48 * WINDOW
        await farm.jump(opens - WINDOW * 7 // 6 - WINDOW)
        await farm.until(opens - WINDOW * 7 // 6)
        ((_, declared),) = farm.landed(methods.DECLARE_RECOVERED)
        assert [(4, 0, [2])] == [(one.deadline, one.partition, list(one.sectors)) for one in declared.recoveries]
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens + 4)
        assert [1, 2] == list(farm.miner.deadlines[4].partitions[0].active), "the chain has verified this one itself"


async def test_reorganisations(tmp_path: Path) -> None:
    """At the challenge, at the submission and after landing: in the end one valid message is on the chain."""
    async with running(tmp_path, {3: [[1, 2]]}) as farm:
        opens = farm.opens(3)
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens - 1)
        assert [Stage.PROVED] == [post.stage for post in await farm.posts(3)]
        await farm.devnode.reorganise(CHALLENGE + 2)  # the challenge's tickets are others, its beacon is not
        await farm.until(opens + 1)
        assert [Stage.SENT] == [post.stage for post in await farm.posts(3)]
        await farm.devnode.reorganise(1, drop=True)  # nobody has the message any more
        await farm.until(opens + 4)
        assert [(3, [0], [])] == farm.posted()
        await farm.devnode.reorganise(4, drop=True)
        assert [] == farm.posted()
        await farm.until(opens + 8)
        assert [(3, [0], [])] == farm.posted()
        assert all_valid(farm)


async def test_a_proof_for_an_abandoned_challenge_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a reorganisation has another challenge, the proof is made anew; the old one, and its message, go nowhere."""
    async with running(tmp_path, {3: [[1, 2]]}) as farm:
        opens = farm.opens(3)
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens + 1)
        (old,) = await farm.posts(3)
        assert Stage.SENT is old.stage
        await farm.devnode.reorganise(CHALLENGE + 3)
        beacon = tipsets.beacon_entry
        monkeypatch.setattr(tipsets, "beacon_entry", lambda secret, epoch: beacon(secret, epoch + 1_000_000))
        await farm.until(opens + 6)
        before, after = await farm.posts(3)
        assert (old.id, Stage.DROPPED, Stage.SENT) == (before.id, before.stage, after.stage)
        ((_, params),) = farm.landed()
        assert (after.proof, True) == (params.proofs[0].proof, after.proof != old.proof)
        assert all_valid(farm)


async def test_a_restart_in_the_middle_of_a_window(tmp_path: Path) -> None:
    """A manager that is started again goes on with what is recorded: one proof, one message, nothing twice."""
    async with running(tmp_path, {3: [[1, 2]]}) as farm:
        opens = farm.opens(3)
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens - 1)
        (proved,) = await farm.posts(3)
        again = running(tmp_path, {}, devnode=farm.devnode, comm_rs=farm.comm_rs)
        async with again as second:
            await second.until(opens)
            await second.devnode.step()
            await second.proving.once()  # it is recorded, and has not left
            third = running(tmp_path, {}, devnode=farm.devnode, comm_rs=farm.comm_rs)
            async with third as last:
                await last.until(opens + 5)
                (post,) = await last.posts(3)
                assert (proved.proof, 1, Stage.SENT) == (post.proof, post.sends, post.stage)
                assert [(3, [0], [])] == last.posted()
                assert all_valid(last)


async def test_a_message_that_fails_is_sent_again(tmp_path: Path) -> None:
    """One that is executed with an error, and one that the node refuses, do not cost the deadline."""
    async with running(tmp_path, {3: [[1, 2]]}) as farm:
        opens = farm.opens(3)
        farm.devnode.doom(methods.SUBMIT_WINDOW_POST.number)
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens + 7)
        assert [(3, [0], [])] == farm.posted()
        (post,) = await farm.posts(3)
        assert (2, 1) == (post.sends, post.failures)


async def test_a_miner_that_is_not_to_be_proved(tmp_path: Path) -> None:
    """With `PoSt.Enabled = false` nothing is proved: somebody else does it."""
    async with running(tmp_path, {3: [[1]]}, PoSt={"Enabled": False}) as farm:
        await farm.jump(farm.opens(3) - CHALLENGE)
        await farm.until(farm.opens(3) + 3)
        assert [] == farm.posted()
        assert [] == (await farm.jobs.all_jobs()).jobs


async def test_miners_that_change_in_the_middle_of_a_window(tmp_path: Path) -> None:
    """One that comes, or is to be proved from now on, is proved while the window is open; other terms send no second message."""
    async with running(tmp_path, {3: [[1]], 4: [[2]]}) as farm:
        (miner,) = farm.miners
        other = of_post(miner, confidence=7)
        farm.miners.replace([])
        opens = farm.opens(3)
        await farm.jump(opens - CHALLENGE)
        await farm.until(opens + 2)
        assert [] == farm.posted()
        farm.miners.replace([miner])
        await farm.until(opens + 4)
        farm.miners.replace([other])
        await farm.until(opens + WINDOW)
        assert [(3, [0], [])] == farm.posted()
        farm.miners.replace([of_post(miner, enabled=False)])
        await farm.until(farm.opens(4) + 2)
        farm.miners.replace([other])
        await farm.until(farm.opens(4) + WINDOW)
        assert [(3, [0], []), (4, [0], [])] == farm.posted()
        assert all_valid(farm)


async def test_a_missed_deadline(tmp_path: Path) -> None:
    """Without a prover it is late, at risk, and missed in the end, which the day and the troubles say, with the reason."""
    async with running(tmp_path, {3: [[1]]}, prove_here=0) as farm:
        opens = farm.opens(3)
        await farm.jump(opens - CHALLENGE)
        found = []
        while farm.head <= opens + WINDOW:
            await farm.devnode.step()
            await farm.proving.once()
            farm.chain.rounds.epoch = farm.head
            found += [one.standing for one in await farm.proving.days.troubles()]
        assert ["late", "at risk", "missed"] == list(dict.fromkeys(found))
        (one,) = await farm.proving.days.troubles()
        assert "partitions 0 are not proved, and the deadline is closed" in one.text
        assert [1] == list(farm.miner.deadlines[3].partitions[0].faulty)
