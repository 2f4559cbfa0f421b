"""What the pages that look closer make of histories, reports, jobs and entries."""

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs
from tests.security.browsing import thread

from damocles.manager.alerts import durations
from damocles.manager.dashboard import drawing, looks
from damocles.manager.dashboard.views import others, pipeline, sector
from damocles.sealing import planner
from damocles.wire import control, wdpost
from damocles.wire.fleet import ThreadState
from damocles.wire.proving import FilesOf, Location
from damocles.wire.sectors import SectorID

SECTOR = SectorID(10000, 7)


def step(prev: str, state: str, seconds: float = 1.0, error: str | None = None) -> control.HistoryEntry:
    """Return a step of the history."""
    return control.HistoryEntry(
        at=1.0, worker="w1", plan="sealer", sector=str(SECTOR), attempt=1, prev=prev, state=state, event="e",
        seconds=seconds, error=error,
    )  # fmt: skip


def running(index: int, **fields: Any) -> control.ThreadDetail:
    """Return a thread that is not paused."""
    found = thread(index, **fields)
    return structs.replace(found, info=structs.replace(found.info, thread_state=ThreadState("Running", 5)))


def seen(*threads: control.ThreadDetail) -> looks.Seen:
    """Return a look that found these threads."""
    return looks.Seen(number=1, at=2.0, workers=[], threads=control.FleetThreads(threads=list(threads)))


def page(*steps: control.HistoryEntry, threads: list[control.ThreadDetail] | None = None) -> sector.View:
    """Return the page of the sector."""
    history = control.SectorHistory(entries=list(steps))
    return sector.view(seen(*(threads or [])), SECTOR, history, record=None, files=[], messages=[], log=[])


def test_a_plan_is_drawn_with_what_was_done_in_it():
    """Each state has its visits, its time over all of them, and its failures; the ways that were gone are marked."""
    steps = [
        step("Empty", "Allocated"),
        step("TicketAssigned", "PC1Done", 100.0),
        step("PC1Done", "PC1Done", 5.0, error="it broke"),
        step("PC1Done", "TicketAssigned", 2.0),
        step("TicketAssigned", "PC1Done", 50.0),
    ]
    view = page(*steps)
    assert view.graph is not None
    nodes = {node.state: node for node in view.graph.nodes}
    assert list(planner.PLANS["sealer"].steps) == list(nodes)
    assert (2, 7.0, 1, True) == (
        nodes["PC1Done"].visits,
        nodes["PC1Done"].seconds,
        nodes["PC1Done"].failures,
        nodes["PC1Done"].here,
    )
    assert (1, 150.0) == (nodes["TicketAssigned"].visits, nodes["TicketAssigned"].seconds)
    assert {("Empty", "Allocated"), ("TicketAssigned", "PC1Done")} == {
        (edge.source, edge.target) for edge in view.graph.edges if edge.taken
    }


def test_a_finished_sector_stays_finished():
    """The step that empties its thread leads the sector nowhere."""
    view = page(step("ProofSubmitted", "Finished"), step("Finished", "Empty"))
    assert view.graph is not None
    assert ("Finished", ["Finished"]) == (view.state, [node.state for node in view.graph.nodes if node.here])
    assert 2 == len(view.history)


def test_a_wait_counts_as_a_stay():
    """How long a sector was in a state is more than how long it worked there: from when it came until it went, over all visits."""
    times = {10.0: ("PC2Done", "PCSubmitted"), 70.0: ("PCSubmitted", "PCLanded"), 71.0: ("PCLanded", "PCSubmitted")}
    steps = [structs.replace(step(*states), at=at) for at, states in times.items()]
    steps.append(structs.replace(step("PCSubmitted", "PCLanded"), at=75.0))
    view = page(*steps)
    assert view.graph is not None
    nodes = {node.state: node for node in view.graph.nodes}
    assert (64.0, 2.0) == (nodes["PCSubmitted"].stayed_seconds, nodes["PCSubmitted"].seconds)
    assert (0.0, 1.0) == (nodes["PC2Done"].stayed_seconds, nodes["PC2Done"].seconds)


def test_every_plan_fits_into_its_drawing():
    """No state or arrow leaves the picture, no state lies on another, and every transition of the table is there."""
    for plan in planner.PLANS.values():
        graph = drawing.graph(plan, {}, [], None)
        assert len(list(plan.edges())) == len(graph.edges)
        bottoms = [node.y + drawing.NODE_HEIGHT for node in graph.nodes]
        assert all(bottom < node.y for bottom, node in zip(bottoms, graph.nodes[1:], strict=False))
        assert graph.height >= max(bottoms)
        for edge in graph.edges:
            numbers = [int(part) for part in edge.path.replace("M", " ").replace("V", " ").replace("C", " ").split()]
            assert all(0 <= number <= max(graph.width, graph.height) for number in numbers)


def test_where_a_sector_is_says_whoever_holds_it():
    """The thread that holds it knows better than a history, in which its last step may be missing; a plan that we do not
    have is drawn by nobody.
    """
    holding = thread(job_state="C1Done")
    assert "C1Done" == page(step("TicketAssigned", "PC1Done"), threads=[holding, thread(1, job_id="s-t010000-8")]).state
    assert "PC1Done" == page(step("TicketAssigned", "PC1Done")).state
    assert "Finished" == page(step("ProofSubmitted", "Finished"), step("Finished", "Empty")).state
    assert None is page(threads=[thread(plan="<b>")]).graph
    assert ("", None) == (page().state, page().graph)


def test_reports_without_a_plan_are_drawn_in_the_one_that_fits():
    """What is left of a sector whose worker is gone are reports, which name no plan."""
    steps = [
        structs.replace(step(*states, 4.0), plan="")
        for states in (("TreeDBuilt", "TicketAssigned"), ("TicketAssigned", "PC1Done"))
    ]
    view = page(*steps)
    assert view.graph is not None
    assert "sealer" == view.plan
    assert 4.0 == next(node.seconds for node in view.graph.nodes if node.state == "TicketAssigned")
    assert None is page(structs.replace(step("Odd", "Odder"), plan="")).graph


def test_a_long_history_is_cut_at_its_beginning():
    """The last steps are shown, and how many are not; what was done in the plan counts all."""
    view = page(*[step("PC1Done", "PC1Done", 1.0)] * 2500)
    assert (2000, 500) == (len(view.history), view.left_out)


def report(number: int, at: float, prev: str, following: str, failure: str | None = None) -> SimpleNamespace:
    """Return a report as the database has it."""
    return SimpleNamespace(
        id=int(at), miner=10000, number=number, at=at, prev=prev, next=following, event="e", failure_level=failure
    )


def test_stages_are_measured_by_what_was_reported():
    """The median and the p90 of a state are those of its runs, and ends are counted once each, by when they were."""
    known = durations.Durations()
    for number in range(1, 11):
        known.feed([report(number, number * 1000.0, "TicketAssigned", "PC1Done")])
        known.feed([report(number, number * 1000.0 + number, "PC1Done", "PC2Done")])
    known.feed([report(1, 20_000.0, "C2Done", "Finished"), report(2, 20_001.0, "PC2Done", "Aborted")])
    known.feed([report(1, 20_002.0, "Finished", "Finished")])
    assert (10, 5.5, 9.0) == known.spread("PC1Done", ["PC2Done"])
    waiting = thread(2, waiting=control.Waiting("slot of pc2 (limit 1)", 1.0), job_state="PC1Done", state_since=15.0)
    threads = [thread(0, job_state="PC1Done", state_since=10.0), waiting, thread(3, plan="odd", job_state="Odd")]
    view = pipeline.view(seen(*threads), known, 22_000.0)
    here = next(stage for stage in view.stages if stage.state == "PC1Done")
    assert (2, 2, 1, 10.0, 5.5, 9.0) == (
        here.threads,
        here.paused,
        here.waiting_for_slot,
        here.oldest_since,
        here.median_seconds,
        here.p90_seconds,
    )
    assert ("odd", "Odd", 1) == (view.stages[-1].plan, view.stages[-1].state, view.stages[-1].threads)
    assert (1, 1, 1, 1000.0) == (view.finished_hour, view.finished_day, view.aborted_day, view.counted_since)


def test_stages_are_shown_over_a_day():
    """How many were at a state follows from those that are there and from who came and left, and never falls below none."""
    known = durations.Durations()
    quarter = durations.PERIOD_SECONDS
    known.feed(
        [report(1, quarter * 200 + 1, "TicketAssigned", "PC1Done"), report(2, quarter * 200 + 2, "Empty", "Allocated")]
    )
    known.feed(
        [report(1, quarter * 203 + 1, "PC1Done", "PC2Done"), report(1, quarter * 203 + 2, "PC2Done", "Finished")]
    )
    here = thread(0, job_state="PC1Done")
    of_job = thread(1, plan="wdpost", job_state="Allocated")
    view = pipeline.view(seen(here, of_job), known, quarter * 204)
    days = {stage.state: stage.day for stage in view.stages if stage.plan == "sealer"}
    assert [1, *[2] * 3, 1, 1] == days["PC1Done"][-6:]
    assert "Allocated" not in days  # one is said to have come, and nobody is there
    assert {96} == {len(day) for day in days.values() if day}
    assert [] == next(stage.day for stage in view.stages if stage.plan == "wdpost")
    assert (1, 24) == (view.finished_hourly[-1], len(view.finished_hourly))


def test_the_bottleneck_is_where_sectors_wait():
    """Where sectors are paused or wait for a slot, or else where a sector spends most of its time; window PoSts hold up no sector."""
    known = durations.Durations()
    for number, seconds in enumerate([5.0, 40.0, 5.0]):
        known.feed(
            [report(number, 0.0, "DealsAcquired", "PieceAdded"), report(number, 9.0, "PieceAdded", "TreeDBuilt")]
        )
        known.feed([report(number, 9.0 + seconds, "TreeDBuilt", "TicketAssigned")])
    slow = pipeline.view(seen(running(0, job_state="PC1Done")), known, 100.0).bottleneck
    assert slow is not None
    assert ("PieceAdded", 0, 9 / 14) == (slow.state, slow.waiting_for_slot, slow.share)
    waiting = running(0, job_state="C1Done", waiting=control.Waiting("slot of c2 (limit 1)", 1.0))
    full = pipeline.view(seen(waiting, thread(1, plan="wdpost", job_state="Allocated")), known, 100.0).bottleneck
    assert full is not None
    assert ("C1Done", "C2", 1) == (full.state, full.stage, full.waiting_for_slot)
    stuck = [thread(number, job_state="PC1Done", waiting=control.Waiting("resume", 1.0)) for number in (2, 3)]
    held = pipeline.view(seen(waiting, *stuck), known, 100.0).bottleneck
    assert held is not None
    assert ("PC1Done", 2, 0) == (held.state, held.paused, held.waiting_for_slot)
    assert None is pipeline.view(seen(), durations.Durations(), 1.0).bottleneck


def test_plans_that_nobody_runs_are_not_there():
    """What sectors of one plan took is not shown as that of others with states of the same names, and is no bottleneck
    of them; idle threads have a plan, too.
    """
    known = durations.Durations()
    known.feed([report(1, 1.0, "Empty", "Allocated"), report(1, 2.0, "Allocated", "DealsAcquired")])
    idle = pipeline.view(seen(thread(0, job_id=None, job_state="Empty")), known, 100.0)
    assert [("sealer", "Allocated", 1)] == [(stage.plan, stage.state, stage.runs) for stage in idle.stages]
    away = pipeline.view(seen(), known, 100.0)
    assert {"sealer", "niporep"} == {stage.plan for stage in away.stages if stage.runs}


def test_stores_that_nobody_declared_are_told_too():
    """Where workers name their stores, what is in them is known all the same."""
    view = others.stores([], {"b": {"normal": 2}, "a": {"normal": 1, "upgrade": 3}}, 1.0)
    assert [("a", 1, 3), ("b", 2, 0)] == [(one.store, one.normal, one.upgrade) for one in view.held]


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"sector": "7"}])
def test_an_audit_that_cannot_be_asked_for_is_refused(query):
    """With what is wrong, before the database is asked."""
    with pytest.raises(ValueError, match=r"7|yesterday"):
        others.audit_query(others.audit_asked(query), 1.0)


def test_the_audit_is_asked_for_what_the_address_says():
    """Times are counted back from now; words that people use are looked for in more entries than are shown at once."""
    asked = others.audit_asked(
        {"who": "alice", "since": "1h", "sector": "s-t010000-7", "before": "9", "what": "resume"}
    )
    query = others.audit_query(asked, 5000.0)
    assert ("alice", 1400.0, "s-t010000-7", 1000) == (query.who, query.since, query.sector, query.limit)
    assert 9 == asked.before


def test_files_are_told_with_where_they_lie():
    """Working files at the worker that holds the sector; the replica and its trees in their stores, as far as paths are known."""
    found: dict[FilesOf, Location] = {
        "normal": location("near", "far"),
        "upgrade": location("", ""),
    }
    files = sector.persisted(SECTOR, found, {"near": "/mnt/near"})
    assert [("replica", "near", "/mnt/near/sealed/s-t010000-7"), ("trees", "far", "cache/s-t010000-7")] == [
        (one.what, one.store, one.path) for one in files
    ]
    upgraded = sector.persisted(SECTOR, {"upgrade": location("near", "near")}, {"near": "/mnt/near"})
    assert ["/mnt/near/update/s-t010000-7", "/mnt/near/update-cache/s-t010000-7"] == [one.path for one in upgraded]
    (working,) = sector.working([thread(worker="w1", location="/nvme/0")])
    assert ("w1", "/nvme/0/data") == (working.worker, working.path)


def location(sealed: str, cache: str) -> Location:
    """Return where files are."""
    return Location(found=bool(sealed), instance=wdpost.Accesses(sealed, cache))
