"""An act on the threads of a worker: what it answers, and what it waits for."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from damocles.testing import fleet
from damocles.wire import control as wire
from damocles.worker.serving import control


@asynccontextmanager
async def paused_threads(folder: Path, count: int) -> AsyncIterator[control.Control]:
    """Yield the control of a worker whose threads are paused at C1Done."""
    sectors = (fleet.made_up(0, number, 1000) for number in range(4 * count))
    held = [sector for sector in sectors if sector.id is not None and sector.paused_at is not None][:count]
    ours, everyone = fleet.sham_worker("w", held, folder, folder, "http://127.0.0.1")
    async with anyio.create_task_group() as tasks:
        for thread in everyone:
            tasks.start_soon(thread.run)
        while not all(thread.paused for thread in everyone):
            await anyio.sleep(0.01)
        yield ours
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("count", "after"),
    [(control.SETTLED_THREADS, "Running C1Done"), (control.SETTLED_THREADS + 1, "Paused C1Done, then goes on")],
)
async def test_few_threads_are_seen_to_go_on_and_many_are_told_to(tmp_path, count, after):
    """An answer for a few threads shows what came of it; one for many says what they will do, and they do it."""
    async with paused_threads(tmp_path, count) as ours:
        outcomes = await ours.act_on(wire.Selection(all=True), wire.Act(verb="resume"))
        assert [(True, "Paused C1Done", after)] * count == [(one.ok, one.before, one.after) for one in outcomes]
        with anyio.fail_after(20):
            while {info.thread_state.state for info in await ours.list_threads()} != {"Running"}:
                await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("act", "after"),
    [
        (wire.Act(verb="resume", dry_run=True), "Running C1Done"),
        (wire.Act(verb="pause", dry_run=True), "Paused C1Done"),
        (wire.Act(verb="abort", dry_run=True), "Idle Empty"),
        (wire.Act(verb="resume", state="Nonsense", dry_run=True), "Paused C1Done"),
    ],
)
async def test_a_dry_run_tells_how_a_thread_would_look(tmp_path, act, after):
    """`after` is what would be; of what would be refused it is as before. Nothing changes."""
    async with paused_threads(tmp_path, 1) as ours:
        (outcome,) = await ours.act_on(wire.Selection(all=True), act)
        assert ("Paused C1Done", after) == (outcome.before, outcome.after)
        assert ["Paused"] == [info.thread_state.state for info in await ours.list_threads()]


@pytest.mark.parametrize(
    "act",
    [
        wire.Act(verb="resume"),
        wire.Act(verb="resume", state="Aborted"),
        wire.Act(verb="resume", state="Nonsense"),
        wire.Act(verb="pause"),
        wire.Act(verb="pause", now=True),
    ],
)
async def test_a_dry_run_says_what_the_act_says(tmp_path, act):
    """The same words, and the same thread afterwards, of what can be done and of what cannot."""
    (tmp_path / "store00" / "data").mkdir(parents=True)
    async with paused_threads(tmp_path, 1) as ours:
        (would,) = await ours.act_on(wire.Selection(all=True), msgspec.structs.replace(act, dry_run=True))
        (did,) = await ours.act_on(wire.Selection(all=True), act)
        assert (did.ok, did.before, did.text) == (would.ok, would.before, would.text)
        with anyio.fail_after(20):
            while (
                would.after
                != (await ours.act_on(wire.Selection(all=True), wire.Act(verb="pause", dry_run=True)))[0].before
            ):
                await anyio.sleep(0.001)


async def test_a_pause_before_the_store_is_open_speaks_of_no_stage(tmp_path):
    """A thread whose journal has not been read yet pauses at its next boundary, whatever it will find there."""
    ours, _ = fleet.sham_worker("w", [fleet.made_up(0, 0, 1)], tmp_path, tmp_path, "http://127.0.0.1")
    (outcome,) = await ours.act_on(wire.Selection(all=True), wire.Act(verb="pause", dry_run=True))
    assert (True, "pauses at its next boundary") == (outcome.ok, outcome.text)


async def test_giving_up_a_paused_sector_speaks_of_no_process(tmp_path):
    """Where nothing runs, nothing is killed."""
    (tmp_path / "store00" / "data").mkdir(parents=True)
    async with paused_threads(tmp_path, 1) as ours:
        (outcome,) = await ours.act_on(wire.Selection(all=True), wire.Act(verb="abort", dry_run=True))
    assert re.fullmatch(r"aborts s-t\d+-\d+: its files go to .*/store00/trash", outcome.text)


@pytest.mark.parametrize("by", ["the original's call", "an act"])
async def test_a_state_is_heeded_as_soon_as_a_thread_is_shown_as_paused(tmp_path, by):
    """Right after a restart too, while that is still recorded: the sector is aborted, and does not go on where it was."""
    (tmp_path / "store00" / "data").mkdir(parents=True)
    sectors = (fleet.made_up(0, number, 1000) for number in range(8))
    held = next(sector for sector in sectors if sector.id is not None and sector.paused_at is not None)
    ours, (thread,) = fleet.sham_worker("w", [held], tmp_path, tmp_path, "http://127.0.0.1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run)
        with anyio.fail_after(20):
            while thread.info().thread_state.state != "Paused":
                await anyio.sleep(0)
        assert not thread.paused  # otherwise this tests nothing
        if by == "an act":
            (outcome,) = await ours.act_on(wire.Selection(all=True), wire.Act(verb="resume", state="Aborted"))
            assert outcome.ok, outcome.text
        else:
            assert await ours.resume(0, "Aborted")
        with anyio.fail_after(20):
            while thread.sector.job_id is not None:
                assert thread.activity.state != "Running" or thread.sector.state == "Aborted"
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()
