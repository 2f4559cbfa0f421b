"""What the pages show of what was seen: filters, order, pages, errors counted, and what forms ask for."""

import dataclasses
import re

import pytest
from tests.security.browsing import thread

from damocles.manager.dashboard import looks
from damocles.manager.dashboard.views import acts, addresses, drains, fleet, threads
from damocles.manager.dashboard.views import alerts as shown_alerts
from damocles.testing.fleet import MISSING
from damocles.wire import alerts, control
from damocles.wire import fleet as wire

THREADS = [
    thread(0, worker="gpu-1", job_id="s-t010000-10", last_error=f"permanent: {MISSING}"),
    thread(1, worker="gpu-1", job_id="s-t010000-9", job_state="PC1Done", last_error=None),
    thread(0, worker="gpu-2", job_id=None, job_state="Empty", last_error=None),
    thread(1, worker="cpu-1", job_id="s-t010000-8", plan="snapup", last_error="permanent: it broke"),
    thread(2, worker="cpu-1", job_id="s-t010000-7", last_error=f"permanent: {MISSING}"),
]


def seen(*found: control.ThreadDetail) -> looks.Seen:
    """Return a look that found these threads."""
    return looks.Seen(number=1, at=2.0, workers=[], threads=control.FleetThreads(threads=list(found or THREADS)))


def shown(**query: str) -> list[tuple[str, int]]:
    """Return the threads that an address shows."""
    return [(one.worker, one.info.index) for one in threads.view(seen(), threads.read(query)).threads]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [("cpu-1", 1), ("cpu-1", 2), ("gpu-1", 0), ("gpu-1", 1), ("gpu-2", 0)]),
        ({"worker": "gpu"}, [("gpu-1", 0), ("gpu-1", 1), ("gpu-2", 0)]),
        ({"worker": "gpu-[12]", "state": "PC1Done"}, [("gpu-1", 1)]),
        ({"plan": "snapup"}, [("cpu-1", 1)]),
        ({"error": "NO CACHED"}, [("cpu-1", 2), ("gpu-1", 0)]),
        ({"sector": "s-t010000-9"}, [("gpu-1", 1)]),
        ({"paused": "no"}, []),
        ({"sort": "sector"}, [("cpu-1", 2), ("cpu-1", 1), ("gpu-1", 1), ("gpu-1", 0), ("gpu-2", 0)]),
        ({"sort": "-worker"}, [("gpu-2", 0), ("gpu-1", 1), ("gpu-1", 0), ("cpu-1", 2), ("cpu-1", 1)]),
        ({"sort": "state"}, [("gpu-2", 0), ("gpu-1", 1), ("cpu-1", 1), ("cpu-1", 2), ("gpu-1", 0)]),
    ],
)
def test_an_address_says_what_is_shown(query, expected):
    """Filters hold together, and numbers sort as numbers."""
    assert expected == shown(**query)


@pytest.mark.parametrize(
    ("name", "value", "may_be"),
    [
        ("paused", "maybe", "yes or no"),
        ("sort", "nonsense", "worker, sector, plan, state, doing, for, try, why"),
        ("sort", "--worker", "with - before it"),
        ("size", "7", "50, 100 or 200"),
        ("page", "-1", "a whole number from 1 on"),
        ("page", "9" * 5000, "a whole number from 1 on"),
    ],
)
def test_what_means_nothing_in_an_address_is_refused(name, value, may_be):
    """The message names the parameter and what it may be; a form with the same filter reaches no thread either."""
    with pytest.raises(addresses.Unfit, match=rf"^{name}=") as refused:
        threads.read({name: value})
    assert may_be in str(refused.value)
    with pytest.raises(addresses.Unfit, match=rf"^{name}="):
        acts.read(form(verb="pause", everything="yes", **{name: value}))


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([("rows", "abc")], "rows: this page has no such parameter; what may stand here is state, worker"),
        ([("state", "a"), ("state", "a")], "state is there 2 times"),
        ([("state", "c")], "state=c: state may be a or b"),
    ],
)
def test_an_address_says_only_what_its_page_knows(pairs, says):
    """Unknown parameters, those that are there twice and impossible values are refused; empty ones are as if not there."""
    known = {"state": addresses.one_of("ab"), "worker": addresses.TEXTS}
    addresses.check([("worker", "x"), ("worker", "y"), ("state", " ")], known)
    with pytest.raises(addresses.Unfit, match=re.escape(says)):
        addresses.check(pairs, known)


def test_a_sector_that_cannot_be_is_told():
    """The page says what is wrong with it, and shows nothing."""
    view = threads.view(seen(), threads.read({"sector": "7"}))
    assert "s-t0" in view.problem
    assert [] == view.threads


def test_pages_are_cut_and_counted():
    """The page after the last one is the last one; an address has only what is not as usual."""
    many = [thread(index, worker="w") for index in range(220)]
    view = threads.view(seen(*many), threads.read({"size": "100", "page": "9", "sort": "-worker"}))
    assert (3, 3, 220, 20) == (view.asked.page, view.pages, view.matching, len(view.threads))
    assert {"size": "100", "sort": "-worker", "page": "2"} == view.asked.query(page=2)
    assert {"size": "100"} == view.asked.query(sort="worker")


def test_the_same_errors_are_counted_together():
    """Each kind of error is there once, with how many have it, what finds them and what helps."""
    most, other = threads.troubles(THREADS)
    assert ("C2 parameters missing (2KiB)", 2, 2) == (most.text, most.threads, most.paused)
    assert ["damocles-worker params fetch", "damocles-worker params generate"] == [
        " ".join(line.split("damocles-")[1].split()[:3]).join(["damocles-", ""]) for line in most.commands
    ]
    assert [("cpu-1", 2), ("gpu-1", 0)] == shown(error=most.find)
    assert [("cpu-1", 1)] == shown(error=other.find)


def test_a_long_error_finds_its_threads():
    """What is cut for the page is still a part of what it is compared with."""
    (trouble,) = threads.troubles([thread(last_error="x" * 5000)])
    assert trouble.find in "x" * 5000
    assert len(trouble.find) < 300


def alert(
    number: int, severity: str, since: float, acknowledged_at: float | None = None, rule: str = "r"
) -> alerts.Alert:
    """Return an alert."""
    return alerts.Alert(
        id=number,
        severity=severity,
        since=since,
        rule=rule,
        subject="s",
        state="firing",
        text="t",
        acknowledged_at=acknowledged_at,
    )


def test_alerts_that_nobody_cares_for_come_first():
    """Critical before warnings, older before newer, and those that somebody takes care of at the end."""
    board = alerts.Board(
        alerts=[
            alert(1, "warning", 1.0),
            alert(2, "critical", 5.0, acknowledged_at=6.0),
            alert(3, "critical", 4.0),
            alert(4, "critical", 3.0),
            alert(5, "odd", 0.0),
        ]
    )
    assert [4, 3, 1, 5, 2] == [one.id for one in shown_alerts.view(board, 2.0).alerts]


def test_one_trouble_of_many_hides_no_other():
    """The first page has the worst alerts of each rule, and says how many others there are; the page of alerts has all."""
    many = [alert(number, "critical", float(number), rule="parameters-missing") for number in range(100, 0, -1)]
    board = alerts.Board(alerts=[*many, alert(200, "warning", 5.0, rule="worker-late")])
    view = fleet.view(seen(), board)
    assert [1, 2, 3, 200] == [one.id for one in view.alerts.alerts]
    assert (97, {"parameters-missing": 100, "worker-late": 1}) == (view.alerts.others, view.alerts.by_rule)
    assert [*range(1, 101), 200] == [one.id for one in shown_alerts.view(board, 2.0).alerts]


def test_workers_that_are_away_come_first():
    """Whoever looks at a long list sees first what is not as it should be; else they come by name."""
    workers = [
        control.WorkerStatus(
            info=wire.WorkerInfo(name, "d"), status=status, last_ping=1, age_seconds=1, interval_seconds=1
        )
        for name, status in (("a", "live"), ("b", "lost"), ("c", "live"), ("d", "late"))
    ]
    found = dataclasses.replace(seen(), workers=workers)
    assert ["b", "d", "a", "c"] == [one.info.name for one in fleet.view(found, alerts.Board()).workers]


def form(*marked: str, **texts: str) -> acts.Form:
    """Return what a browser sends."""
    return acts.Form(texts=texts, threads=marked)


def test_marked_threads_are_named_by_what_they_hold():
    """Those with a sector are meant as long as they hold it, in one call; others by their worker and index."""
    marked = [threads.pinned(one) for one in THREADS[:4]]
    with_sectors, empty = acts.read(form(*marked, verb="pause", error="ignored")).selections()
    assert {"s-t010000-10", "s-t010000-9", "s-t010000-8"} == set(with_sectors.sectors)
    assert (["cpu-1", "gpu-1"], []) == (with_sectors.workers, with_sectors.indexes)
    assert (["gpu-2"], [0]) == (empty.workers, empty.indexes)


def test_all_that_the_filters_show_are_meant_by_the_filters():
    """Whatever is marked besides does not count; without a filter it is all threads."""
    (chosen,) = acts.read(form("[]", verb="abort", everything="yes", worker="gpu", paused="yes")).selections()
    assert (["*gpu*"], True, False) == (chosen.workers, chosen.paused, chosen.all)
    (chosen,) = acts.read(form(verb="abort", everything="yes")).selections()
    assert chosen.all


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (form(verb="explode", everything="yes"), "say what to do"),
        (form(verb="pause"), "no thread is chosen"),
        (form("x", verb="pause"), "load the page again"),
        (form('["w",-1]', verb="pause"), "load the page again"),
        (form(verb="resume", everything="yes", **{"from": "Nowhere"}), "no state to resume from"),
        (form(verb="pause", everything="yes", **{"from": "C1Done"}), "no state to resume from"),
    ],
)
def test_a_form_that_asks_for_nothing_is_told_so(sent, words):
    """In one line that says what to do."""
    with pytest.raises(ValueError, match=words):
        acts.read(sent)


def test_what_moved_on_is_not_passed_over():
    """A marked thread of which no worker tells anything has another sector by now, and the page says that nothing was done."""
    wanted = acts.read(form(*[threads.pinned(one) for one in THREADS[:2]], verb="pause"))
    told = [control.Outcome(worker="gpu-1", index=0, sector="s-t010000-10", ok=True, text="paused")]
    view = acts.view(wanted, told, dry_run=False)
    assert [("s-t010000-9", False), ("s-t010000-10", True)] == [(one.sector, one.ok) for one in view.outcomes]
    assert (1, 1, 0) == (view.done, view.refused, view.silent)


def test_a_silent_worker_s_threads_are_not_told_twice():
    """Where no answer came, nobody knows what its threads hold."""
    wanted = acts.read(form(threads.pinned(THREADS[0]), verb="pause"))
    view = acts.view(wanted, [control.Outcome(worker="gpu-1", ok=False, silent=True, text="away")], dry_run=False)
    assert (0, 0, 1) == (view.done, view.refused, view.silent)


def test_the_states_that_all_can_be_resumed_from_are_common():
    """What one refuses is not offered, nor what is no state of ours, nor giving up, which is another act."""

    def refusal(listed: str) -> control.Outcome:
        return control.Outcome(
            ok=False, text=f"cannot resume at ?: ? is not a state of plan sealer; possible: {listed}"
        )

    assert ["PC1Done", "C1Done"] == acts.states([refusal("PC1Done, C1Done, <b>, Aborted"), refusal("C1Done, PC1Done")])
    assert ["C1Done"] == acts.states([refusal("PC1Done, C1Done"), refusal("C1Done, Aborted")])
    assert [] == acts.states([refusal("C1Done"), control.Outcome(ok=False, text="is not paused")])
    assert [] == acts.states([])


def test_workers_of_marked_threads_are_drained():
    """A drain is of workers: of those whose threads are marked, each once, or of all that the filters show."""
    marked = [threads.pinned(one) for one in THREADS]
    assert ["cpu-1", "gpu-1", "gpu-2"] == drains.of_threads(form(*marked, verb="drain"), seen())
    assert ["gpu-1", "gpu-2"] == drains.of_threads(form(verb="drain", everything="yes", worker="gpu"), seen())
    for nothing in (form(verb="drain"), form(verb="drain", everything="yes", worker="none")):
        with pytest.raises(ValueError, match=r"no thread is chosen|say which workers"):
            drains.of_threads(nothing, seen())
    with pytest.raises(ValueError, match="at most"):
        drains.named([f"w{number}" for number in range(251)])


def test_a_cut_error_says_that_it_goes_on():
    """What is shown of an error is all of it, or says that it is not."""
    cut, whole = threads.troubles([thread(last_error="x" * 5000), thread(1, last_error="short")])
    assert (True, False) == (cut.is_cut, whole.is_cut)
