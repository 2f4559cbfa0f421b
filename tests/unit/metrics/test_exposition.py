"""The text that Prometheus reads, held against the library's own parser and writer."""

import math
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, core, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from damocles import exposition
from damocles.wire import control, fleet


def read(families: Iterable[core.Metric], labels: dict[str, str] | None = None) -> dict[tuple[str, str], float]:
    """Return samples by name and sorted labels, as the library reads them."""
    text = exposition.text(families, labels).decode()
    return {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("value", [0, 1, 2.5, 1e-9, 123456789012345678, math.inf, -math.inf])
@pytest.mark.parametrize("label", ["plain", 'a "quoted" \\ one\nand a line', "ü€", ""])
def test_values_and_labels_arrive_as_they_were(value: float, label: str) -> None:
    """Whatever a label holds and however large a number is, the reader gets it back."""
    ours = exposition.gauge("a_b", "One \\ two\nthree.", {(label,): value}, ("x",))
    assert {("a_b", f"x={label}"): value} == read([ours])


def test_the_text_is_the_librarys_but_for_the_names_of_counters() -> None:
    """Gauges and histograms are written like the library writes them."""
    histogram = exposition.Histogram("seconds", "Some.", ("stage",), (0.01, 1, 60))
    for value in (0.01, 0.011, 59, 61, 7200):
        histogram.observe(("pc1",), value)
    families: list[core.Metric] = [histogram.family(), exposition.gauge("g", "G.", {("a",): 1.5, ("b",): 2.0}, ("l",))]

    class Collector:
        def collect(self) -> list[core.Metric]:
            return families

    registry = CollectorRegistry()
    registry.register(Collector())
    assert read(families) == {
        (sample.name, ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_counters_keep_their_names() -> None:
    """A counter of the original is under its name, without `_total`, and declared as a counter."""
    text = exposition.text([exposition.counter("rpc_call", "Calls.", {("a",): 3}, ("method",))]).decode()
    assert '# HELP rpc_call Calls.\n# TYPE rpc_call counter\nrpc_call{method="a"} 3\n' == text


def test_common_labels_are_on_every_sample() -> None:
    """The labels of a worker come first, and with a metric's own."""
    plain = exposition.gauge("one", "One.", {(): 1}, ())
    labelled = exposition.gauge("two", "Two.", {("x",): 2}, ("l",))
    assert {("one", "w=a"): 1.0, ("two", "l=x,w=a"): 2.0} == read([plain, labelled], {"w": "a"})


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A value on a bound is below it; the last bucket, the count and the sum hold all."""
    histogram = exposition.Histogram("h", "H.", ("stage",), (1, 10))
    for value in (1, 1.5, 10, 11):
        histogram.observe(("x",), value)
    expected = {
        ("h_bucket", "le=1,stage=x"): 1.0,
        ("h_bucket", "le=10,stage=x"): 3.0,
        ("h_bucket", "le=+Inf,stage=x"): 4.0,
        ("h_count", "stage=x"): 4.0,
        ("h_sum", "stage=x"): 23.5,
    }
    assert expected == read([histogram.family()])


def test_quantiles_are_of_the_last_minute() -> None:
    """After a minute without calls the quantiles are 0, and count and sum stay, as in the original."""
    summary = exposition.Summary("t", "T.", "method")
    for number in range(1, 101):
        summary.observe("a", number / 10, now=number / 1000)
    early, later = read([summary.family(now=60)]), read([summary.family(now=61)])
    assert [0.1, 5.0, 9.0, 9.5, 9.9, 10.0, 10.0] == [
        early["t", f"method=a,quantile={quantile:g}"] for quantile in exposition.QUANTILES
    ]
    assert {0.0} == {later["t", f"method=a,quantile={quantile:g}"] for quantile in exposition.QUANTILES}
    assert 100.0 == later["t_count", "method=a"]
    assert pytest.approx(505.0) == later["t_sum", "method=a"]


def detail(
    state: str,
    *,
    waits: str | None = None,
    error: str | None = None,
    at: str = "C1Done",
    state_since: float | None = None,
) -> control.ThreadDetail:
    """Make a sealing thread."""
    info = fleet.ThreadInfo("/s", "sealer", "s-t010000-1", 0, fleet.ThreadState(state), at, "C2", error)
    waiting = control.Waiting(waits, 0.0) if waits else None
    return control.ThreadDetail(info=info, since=0.0, waiting=waiting, state_since=state_since)


def test_threads_are_grouped_by_state_and_reason() -> None:
    """What differs between threads that wait for the same (pids, limits, error texts) makes no groups."""
    listed = [
        detail("Running"),
        detail("Waiting", waits="slot of c2 (limit 1)"),
        detail("Waiting", waits="slot of c2 (limit 1)"),
        detail("Waiting", waits="lock gpu0"),
        detail("Idle", waits="another try (temporary: rpc error: AssignTicket: no route)"),
        detail("Paused", error="permanent: x"),
        detail("Paused", waits="resume"),
        detail("Idle"),
    ]
    samples = read(exposition.threads("p", exposition.grouped(listed), 1.0))
    assert {
        ("p_threads", "reason=C2,state=Running"): 1.0,
        ("p_threads", "reason=slot of c2,state=Waiting"): 2.0,
        ("p_threads", "reason=lock gpu0,state=Waiting"): 1.0,
        ("p_threads", "reason=another try,state=Idle"): 1.0,
        ("p_threads", "reason=error,state=Paused"): 1.0,
        ("p_threads", "reason=request,state=Paused"): 1.0,
        ("p_threads", "reason=-,state=Idle"): 1.0,
        ("p_sectors", "state=C1Done"): 8.0,
    } == samples


def test_of_each_state_the_oldest_sector_is_told() -> None:
    """Seconds of the one that has been in its state for longest; one that came in the future, by another clock, is new."""
    listed = [
        detail("Running", state_since=60.0),
        detail("Paused", state_since=10.0),
        detail("Running"),
        detail("Running", at="PC1Done", state_since=500.0),
    ]
    samples = read(exposition.threads("p", exposition.grouped(listed), 100.0))
    oldest = {name: value for name, value in samples.items() if name[0] == "p_sectors_oldest_seconds"}
    assert {
        ("p_sectors_oldest_seconds", "state=C1Done"): 90.0,
        ("p_sectors_oldest_seconds", "state=PC1Done"): 0.0,
    } == oldest


def test_workers_that_make_up_states_do_not_flood_the_metrics() -> None:
    """However many states and reasons are told, the most frequent two hundred are given."""
    listed = [detail("Running", at=f"State{number}") for number in range(1000)] + [detail("Running", at="Common")] * 2
    samples = read(exposition.threads("p", exposition.grouped(listed), 1.0))
    assert 201 == len(samples)
    assert 2.0 == samples["p_sectors", "state=Common"]


async def test_nothing_is_left_in_the_librarys_registry() -> None:
    """The process-wide registry has the library's own collectors only, and what we make is not in it."""
    await exposition.process()
    names = {family.name for family in core.REGISTRY.collect()}
    assert all(name.startswith(("python_", "process_")) for name in names)


async def test_the_loop_lag_is_small_when_nothing_blocks() -> None:
    """An idle loop turns to something new at once."""
    assert 0 <= await exposition.loop_lag_seconds() < 0.5
