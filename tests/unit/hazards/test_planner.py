"""What an idle thread's record, a changed plan and odd answers cannot do to a sector."""

from dataclasses import replace

import pytest

from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.wire import seal

from .conftest import SECTOR, Scene, sector_in, until


async def test_an_idle_record_does_not_pin_the_plan_over_a_restart(scene: Scene) -> None:
    """A thread that was idle, or paused without a sector, follows the plan that its configuration has now."""
    scene.holds(Sector(plan="sealer", paused_at=1.0))
    scene.settings = replace(scene.settings, plan="snapup")
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        thread.resume(None)
        await until(lambda: scene.asked("AllocateSanpUpSector"))
    assert [] == scene.asked("AllocateSector")


@pytest.mark.parametrize("plan", ["snapup", "wdpost"])
async def test_another_plan_leaves_no_sector_dormant(scene: Scene, plan: str) -> None:
    """A sector in work is brought to its end by its own plan, whatever the thread is to do next."""
    scene.holds(sector_in(State.PC2Done))
    scene.settings = replace(scene.settings, plan=plan)
    async with scene.running() as thread:
        await until(lambda: scene.asked("PollPreCommitState"))
        assert ("sealer", State.PCSubmitted) == (thread.sector.plan, thread.sector.state)


@pytest.mark.parametrize("patience", [0, 1])
async def test_new_options_do_not_drop_a_sector_that_waits_for_deals(scene: Scene, patience: int) -> None:
    """It keeps waiting when the options change, asks with the new ones, and the manager need not be told anything."""
    scene.settings = replace(scene.settings, limits=replace(scene.settings.limits, request_task_max_retries=patience))
    scene.option(enable_deals=True, disable_cc=True)
    scene.caller.answers["AcquireDeals"] = [None]
    scene.holds(sector_in(State.Allocated, deals=None, pieces=None))
    async with scene.running() as thread:
        await until(lambda: len(scene.asked("AcquireDeals")) > 3)
        scene.option(max_deals=7)
        asked = len(scene.asked("AcquireDeals"))
        await until(lambda: len(scene.asked("AcquireDeals")) > asked + 3)
        assert (SECTOR, State.Allocated) == (thread.sector.id, thread.sector.state)
        later = scene.asked("AcquireDeals")[asked + 1 :]  # one question may have been on its way
        assert {7} == {spec.max_deals for _, spec in later}
    assert ([], []) == (scene.asked("AllocateSector"), scene.asked("ReportAborted"))


async def test_a_sector_that_waits_for_deals_goes_on_without_when_it_may(scene: Scene) -> None:
    """That `disable_cc` is switched off is heard without a resume: waiting for deals has no other end."""
    scene.option(disable_cc=True)
    scene.holds(sector_in(State.Allocated, deals=None, pieces=None))
    async with scene.running() as thread:
        await until(lambda: "disable_cc" in (thread.activity.what or ""))
        assert State.Allocated is thread.sector.state
        scene.option(disable_cc=False)
        await until(lambda: State.DealsAcquired in thread.sector.path)


async def test_a_record_that_lacks_something_says_what_and_is_not_given_up(scene: Scene) -> None:
    """The field that is missing is named; the thread pauses, and the sector and its files stay."""
    scene.holds(sector_in(State.PC1Done, pc1out=None))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert (SECTOR, State.PC1Done) == (thread.sector.id, thread.sector.state)
        assert "critical: s-t010000-1 lacks its pc1out, which PC1Done needs: resume from an earlier state" == (
            thread.info().last_error
        )
    assert [] == scene.asked("ReportAborted")


async def test_an_unknown_state_is_refused_before_anything_happens(scene: Scene) -> None:
    """`resume --state` with a wrong name changes nothing: no event, no report, and the thread stays paused."""
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        for wrong in ("Nonsense", "Unsealed", "Empty", "Finished"):
            with pytest.raises(Exception, match=f"cannot resume at {wrong}: .*possible: "):
                await thread.check_target(wrong)
        assert thread.paused
    assert State.PCSubmitted is scene.recorded().state
    assert [] == scene.asked("ReportAborted") + scene.asked("ReportFinalized") + scene.asked("ReportState")


async def test_resuming_at_the_present_state_runs_it_again(scene: Scene) -> None:
    """The state that the sector is in is a target like any other."""
    scene.holds(sector_in(State.PCSubmitted, paused_at=1.0))
    async with scene.running() as thread:
        await until(lambda: thread.paused)
        assert thread.resume(await thread.check_target("PCSubmitted"))
        await until(lambda: scene.asked("PollPreCommitState"))


async def test_temporary_failures_far_apart_do_not_add_up(scene: Scene) -> None:
    """Each state has the whole budget of retries, over restarts too."""
    away = seal.Submitted(seal.SubmitResult.UNKNOWN, "busy")
    scene.caller.answers["SubmitPreCommit"] = [away, away, seal.Submitted(seal.SubmitResult.ACCEPTED)]
    odd = seal.Polled(seal.OnChainState.UNKNOWN)
    landed = seal.Polled(seal.OnChainState.LANDED)
    scene.caller.answers["PollPreCommitState"] = [odd, odd, landed]
    scene.holds(sector_in(State.PC2Done))
    async with scene.running() as thread:
        await until(lambda: thread.sector.state is State.PCLanded)
        assert 0 == thread.sector.retries
