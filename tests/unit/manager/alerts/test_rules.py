"""When alerts come, stay, are told and go."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import structs

from damocles.manager.alerts import posts
from damocles.manager.alerts import rules as alerts_rules
from damocles.manager.alerts.seen import Snapshot, Store, Typical
from damocles.parameters import catalog
from damocles.parameters.catalog import Kind
from damocles.wire import alerts, control, fleet, wdpost
from damocles.wire.proving import Standing
from damocles.wire.sectors import SectorSize

NOW = 1_790_000_000.0
MINUTE = 60.0
HOUR = 3600.0
NO_PARAMETERS = "permanent: No cached parameters found for stacked-proof-of-replication [failure finding /p/v28.params]"


def thread(
    state: str = "Running",
    *,
    worker: str = "gpu-1",
    index: int = 0,
    since: float = NOW,
    error: str | None = None,
    at: str = "C1Done",
    sector: str | None = "s-t010000-7",
    paused_at: float | None = None,
) -> control.ThreadDetail:
    """Make a sealing thread as a worker tells it."""
    info = fleet.ThreadInfo(
        location=f"/store{index}",
        plan="sealer",
        job_id=sector,
        index=index,
        thread_state=fleet.ThreadState(state),
        job_state=at,
        job_stage="C2",
        last_error=error,
    )
    return control.ThreadDetail(info=info, worker=worker, sector=sector, since=since, paused_at=paused_at)


def worker(status: str = "live", *, name: str = "gpu-1", pinged: float = 0) -> control.WorkerStatus:
    """Make a worker of the registry; `pinged` in minutes after the start."""
    return control.WorkerStatus(
        info=fleet.WorkerInfo(name, "10.0.0.1:17890"),
        status=status,
        last_ping=NOW + pinged * MINUTE,
        age_seconds=1.0,
        interval_seconds=30,
    )


class Story:
    """Evaluates one snapshot after the other, as a manager does."""

    def __init__(self, rules: Sequence[alerts_rules.Rule] = alerts_rules.DEFAULTS) -> None:
        self.rules = rules
        self.numbers = itertools.count(1)
        self.open: dict[int, alerts.Alert] = {}
        self.mutes: list[alerts.Mute] = []

    def look(self, snapshot: Snapshot, minutes: float = 0.0) -> list[str]:
        """Evaluate at some minutes after the start; return what people are told."""
        result, notifications = alerts_rules.evaluate(
            snapshot,
            self.open.values(),
            self.rules,
            NOW + minutes * MINUTE,
            numbers=self.numbers,
            mutes=self.mutes,
        )
        assert len(result) == len({(alert.rule, alert.subject) for alert in result})
        self.open = {alert.id: alert for alert in result if alert.state != alerts.RESOLVED}
        return [f"{told.event} {told.alert.rule} {told.alert.subject}" for told in notifications]

    def states(self) -> list[str]:
        """Return what is open."""
        return [f"{alert.state} {alert.rule} {alert.subject}" for alert in self.open.values()]

    def acknowledge(self) -> None:
        """Let somebody take care of all that is open."""
        self.open = {n: structs.replace(alert, acknowledged_at=NOW) for n, alert in self.open.items()}


PAUSED = Snapshot(threads=[thread("Paused", paused_at=NOW)])


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        ({"threads": [thread("Paused", paused_at=NOW - 299)]}, []),
        ({"threads": [thread("Paused", paused_at=NOW - 300)]}, ["thread-paused gpu-1 #0"]),
        # A worker of the original tells only for how long.
        ({"threads": [thread("Paused", since=NOW - 300)]}, ["thread-paused gpu-1 #0"]),
        ({"threads": [thread("Idle", since=NOW - HOUR), thread("Waiting", since=NOW - HOUR)]}, []),
        (
            {"threads": [thread("Paused", index=i, paused_at=NOW, error=NO_PARAMETERS) for i in range(3)]},
            ["parameters-missing gpu-1"],
        ),
        (
            {"threads": [thread("Paused", worker=w, paused_at=NOW, error=NO_PARAMETERS) for w in ("a", "b")]},
            ["parameters-missing a", "parameters-missing b"],
        ),
        ({"workers": [worker("live")]}, []),
        ({"workers": [worker("late")]}, ["worker-late gpu-1"]),
        ({"workers": [worker("lost")]}, ["worker-lost gpu-1"]),
        # It got another name, and pings under that.
        ({"workers": [worker("lost"), worker("live", name="gpu-1b", pinged=1)]}, []),
        ({"stores": [Store(name="s", total_bytes=1000, free_bytes=50, sector_bytes=50)]}, []),
        ({"stores": [Store(name="s", total_bytes=1000, free_bytes=49, sector_bytes=10)]}, ["store-full s"]),
        ({"stores": [Store(name="s", total_bytes=1000, free_bytes=500, sector_bytes=501)]}, ["store-full s"]),
        ({"stores": [Store(name="s", total_bytes=0, free_bytes=0, sector_bytes=1)]}, ["store-full s"]),
        ({"missing_stores": {"s": "is the disk mounted?"}, "silent_stores": frozenset({"s"})}, ["store-missing s"]),
    ],
)
def test_what_fires_at_once(snapshot: dict[str, Any], expected: list[str]) -> None:
    """Each condition with nothing known before: what people are told at the first look."""
    assert [f"firing {what}" for what in expected] == Story().look(Snapshot(**snapshot))


@pytest.mark.parametrize(
    ("runs_minutes", "median_minutes", "samples", "state", "expected"),
    [
        (29, 10, 5, "Running", []),
        (31, 10, 5, "Running", ["firing stage-slow gpu-1 #0"]),
        (31, 10, 4, "Running", []),  # too few to know what is usual
        (31, 10, 5, "Waiting", []),
        (0.9, 0.1, 5, "Running", []),  # nothing that short is anybody's worry
        (1.1, 0.1, 5, "Running", ["firing stage-slow gpu-1 #0"]),
    ],
)
def test_a_stage_is_slow_by_its_own_median(
    runs_minutes: float, median_minutes: float, samples: int, state: str, expected: list[str]
) -> None:
    """A stage that runs three times as long as usual is told, where five runs have shown what is usual."""
    typical = {(10000, "C1Done", "C2Done"): Typical(median_minutes * MINUTE, samples)}
    running = thread(state, since=NOW - runs_minutes * MINUTE)
    assert expected == Story().look(Snapshot(threads=[running], typical=typical))


def test_medians_are_of_the_same_miner_and_state() -> None:
    """What is usual for another miner, whose sectors may have another size, for another stage, or for another plan with a
    state of this name, says nothing.
    """
    running = thread(since=NOW - HOUR)
    for key in ((10001, "C1Done", "C2Done"), (10000, "PC1Done", "PC2Done"), (10000, "C1Done", "SnapDone")):
        assert [] == Story().look(Snapshot(threads=[running], typical={key: Typical(1.0, 50)}))


def test_a_pause_becomes_an_alert_is_told_once_and_resolved() -> None:
    """Pending until five minutes have passed, then told once, and told again when the thread goes on."""
    story = Story()
    assert [] == story.look(PAUSED)
    assert ["pending thread-paused gpu-1 #0"] == story.states()
    assert [] == story.look(PAUSED, 4.9)
    assert ["firing thread-paused gpu-1 #0"] == story.look(PAUSED, 5)
    assert [] == story.look(PAUSED, 5.5)
    assert ["firing thread-paused gpu-1 #0"] == story.states()
    assert ["resolved thread-paused gpu-1 #0"] == story.look(Snapshot(threads=[thread()]), 6)
    assert [] == story.states()
    assert [] == story.look(Snapshot(threads=[thread()]), 6.5)


def test_a_pause_that_ends_in_time_is_never_told() -> None:
    """A pending alert whose cause has gone leaves nothing behind, and the next one begins anew."""
    story = Story()
    story.look(PAUSED)
    assert [] == story.look(Snapshot(threads=[thread()]), 4)
    assert [] == story.states()
    assert [] == story.look(Snapshot(threads=[thread("Paused", paused_at=NOW + 4.5 * MINUTE)]), 6)


def test_the_time_of_a_condition_without_one_counts_from_the_first_look() -> None:
    """A thread that fails again and again is told after ten minutes of being seen so."""
    story = Story()
    failing = Snapshot(threads=[thread("Idle", error="temporary: rpc error")])
    assert [[], [], ["firing thread-erroring gpu-1 #0"]] == [story.look(failing, minutes) for minutes in (0, 9, 10)]


def test_a_thread_that_lacks_parameters_is_not_told_as_failing_too() -> None:
    """Missing parameters are one alert, whatever the thread does about them."""
    story = Story()
    trying = Snapshot(threads=[thread("Idle", error=f"temporary: {NO_PARAMETERS}")])
    assert ["firing parameters-missing gpu-1"] == story.look(trying)
    assert [] == story.look(trying, 20)


def test_a_reminder_comes_every_four_hours_until_somebody_acknowledges() -> None:
    """What fires for hours is told again, and not any more once somebody takes care of it, but for its end."""
    story = Story()
    late = Snapshot(workers=[worker("late")])
    assert ["firing worker-late gpu-1"] == story.look(late)
    assert [] == story.look(late, 239)
    assert ["reminder worker-late gpu-1"] == story.look(late, 240)
    assert [] == story.look(late, 470)
    story.acknowledge()
    assert [] == story.look(late, 1000)
    assert ["resolved worker-late gpu-1"] == story.look(Snapshot(workers=[worker(pinged=1001)]), 1001)


@pytest.mark.parametrize("subject", ["", "gpu-1"])
def test_what_is_muted_is_not_told_and_is_told_afterwards(subject: str) -> None:
    """A mute of the rule or of the subject silences the alert; if it still fires at the end, it is told then."""
    story = Story()
    story.mutes = [alerts.Mute(rule="worker-late", subject=subject, until=NOW + HOUR, at=NOW)]
    late = Snapshot(workers=[worker("late")])
    assert [] == story.look(late)
    (alert,) = story.open.values()
    assert (alerts.FIRING, NOW + HOUR) == (alert.state, alert.muted_until)
    assert ["firing worker-late gpu-1"] == story.look(late, 60)


def test_the_end_of_what_was_never_told_is_not_told() -> None:
    """An alert that came and went under a mute leaves people in peace."""
    story = Story()
    story.mutes = [alerts.Mute(rule="worker-late", until=NOW + HOUR, at=NOW)]
    story.look(Snapshot(workers=[worker("late")]))
    assert [] == story.look(Snapshot(workers=[worker(pinged=61)]), 61)


def test_a_mute_of_another_subject_changes_nothing() -> None:
    """Mutes go by rule and subject."""
    story = Story()
    story.mutes = [
        alerts.Mute(rule="worker-late", subject="gpu-2", until=NOW + HOUR, at=NOW),
        alerts.Mute(rule="worker-lost", until=NOW + HOUR, at=NOW),
    ]
    assert ["firing worker-late gpu-1"] == story.look(Snapshot(workers=[worker("late")]))


def test_a_late_worker_that_is_lost_is_told_as_lost_only() -> None:
    """From unreachable to late to lost, each is told once, and none as resolved but the last."""
    story = Story()
    silent = {"gpu-1": "gives no answer"}
    unreachable = Snapshot(workers=[worker("live")], silent=silent)
    assert [] == story.look(unreachable)
    assert ["firing worker-unreachable gpu-1"] == story.look(unreachable, 2)
    assert ["firing worker-late gpu-1"] == story.look(Snapshot(workers=[worker("late")], silent=silent), 3)
    assert ["firing worker-lost gpu-1"] == story.look(Snapshot(workers=[worker("lost")], silent=silent), 4)
    assert ["firing worker-lost gpu-1"] == story.states()
    assert ["resolved worker-lost gpu-1"] == story.look(Snapshot(workers=[worker("live", pinged=5)]), 5)


def test_a_restarted_manager_does_not_take_a_lost_worker_for_found() -> None:
    """A worker that counts as live or late again only because the manager is new is not told as resolved."""
    story = Story()
    assert ["firing worker-lost gpu-1"] == story.look(Snapshot(workers=[worker("lost")]))
    for minutes, status in enumerate(["live", "late", "lost"], start=1):
        assert [] == story.look(Snapshot(workers=[worker(status)]), minutes)
    assert ["resolved worker-lost gpu-1"] == story.look(Snapshot(workers=[worker(pinged=4)]), 5)


def test_a_worker_with_another_name_is_found() -> None:
    """A late worker that pings again under a new name is resolved, although its old name stays in the registry."""
    story = Story()
    story.look(Snapshot(workers=[worker("late")]))
    renamed = Snapshot(workers=[worker("late"), worker(name="gpu-1b", pinged=2)])
    assert ["resolved worker-late gpu-1"] == story.look(renamed, 2)


def test_what_cannot_be_seen_stays_as_it_was() -> None:
    """While a worker does not answer, its paused threads are neither resolved nor told again."""
    story = Story()
    story.look(PAUSED)
    story.look(PAUSED, 5)
    for minutes in (6, 500):
        hidden = Snapshot(workers=[worker("late")], silent={"gpu-1": "hangs"})
        assert "resolved thread-paused gpu-1 #0" not in story.look(hidden, minutes)
        assert "firing thread-paused gpu-1 #0" in story.states()
    assert ["reminder thread-paused gpu-1 #0"] == [told for told in story.look(PAUSED, 501) if "thread-paused" in told]


def test_a_removed_worker_takes_its_alerts_along() -> None:
    """A worker that is in the registry no more has no threads to alert of."""
    story = Story()
    story.look(PAUSED, 5)
    assert ["resolved thread-paused gpu-1 #0"] == story.look(Snapshot(), 6)


def test_a_store_that_hangs_stays_as_it_was() -> None:
    """A full store whose disk does not answer is not taken for one with room."""
    story = Story()
    full = Store(name="s", total_bytes=1000, free_bytes=1, sector_bytes=10)
    assert ["firing store-full s"] == story.look(Snapshot(stores=[full]))
    assert [] == story.look(Snapshot(silent_stores=frozenset({"s"})), 1)
    assert ["firing store-full s"] == story.states()


def test_a_store_that_is_missing_and_then_hangs_is_missing_until_it_is_seen() -> None:
    """What was seen last holds while the disk does not answer."""
    story, missing = Story(), {"s": "is the disk mounted?"}
    assert ["firing store-missing s"] == story.look(Snapshot(missing_stores=missing, silent_stores=frozenset({"s"})))
    assert [] == story.look(Snapshot(missing_stores=missing, silent_stores=frozenset({"s"})), 1)
    assert ["resolved store-missing s"] == story.look(Snapshot(), 2)


def test_a_rule_that_is_off_finds_nothing_and_ends_what_it_found() -> None:
    """After a rule was switched off its alerts are resolved at the next look."""
    story = Story()
    late = Snapshot(workers=[worker("late")])
    story.look(late)
    story.rules = [without_late(rule) for rule in alerts_rules.DEFAULTS]
    assert ["resolved worker-late gpu-1"] == story.look(late, 1)


def without_late(rule: alerts_rules.Rule) -> alerts_rules.Rule:
    """Return the rule, switched off if it is about late workers."""
    return alerts_rules.Rule(name=rule.name, enabled=rule.name != "worker-late")


def test_texts_say_what_to_do_next() -> None:
    """Each alert names its sector, the cause and a command."""
    story = Story()
    story.look(Snapshot(threads=[thread("Paused", paused_at=NOW - HOUR, error=NO_PARAMETERS + "x" * 1000)]))
    texts = {alert.rule: alert.text for alert in story.open.values()}
    assert texts["thread-paused"].startswith("s-t010000-7: paused at C1Done since 2026-09-21T13:13:20Z: permanent: No")
    assert texts["thread-paused"].endswith("…; go on: damocles-manager util worker resume gpu-1 0")
    assert max(map(len, texts.values())) < 700


def missing(kind: Kind, folder: str, size: SectorSize = SectorSize.KIB2) -> str:
    """Return what the library says of parameters that it does not find."""
    (found,) = catalog.sets([size], [kind])
    name = found.identifier.removeprefix("v28-")
    return f"permanent: No cached parameters found for {name} [failure finding {folder}/{found.identifier}.params]"


def test_missing_parameters_come_with_commands_that_can_be_pasted() -> None:
    """Size, kind and folder are those of the worker, and all that its threads lack is named."""
    default, other = "/var/tmp/filecoin-proof-parameters", "/srv/proof params"
    errors = [missing(Kind.POREP, default), missing(Kind.POREP, default), missing(Kind.UPDATE, other, SectorSize.GIB32)]
    errors.append("permanent: No cached srs key found for x [failure finding /p/v28-fil-inner-product-v1.srs]")
    story = Story()
    story.look(Snapshot(threads=[thread("Paused", index=i, paused_at=NOW, error=e) for i, e in enumerate(errors)]))
    (text,) = [alert.text for alert in story.open.values() if alert.rule == "parameters-missing"]
    assert text.startswith("proof parameters are missing, so that #0-#3 cannot go on: permanent: No cached")
    assert text.endswith(
        "; on the machine of gpu-1: damocles-worker params fetch --sector-size 2KiB --for porep"
        "; or for a test network: damocles-worker params generate --sector-size 2KiB --for porep"
        "; on the machine of gpu-1: FIL_PROOFS_PARAMETER_CACHE='/srv/proof params' damocles-worker params fetch"
        " --sector-size 32GiB --for update"
        "; on the machine of gpu-1: FIL_PROOFS_PARAMETER_CACHE=/p damocles-worker params fetch --sector-size 32GiB --for srs"
        "; then: damocles-manager util worker resume gpu-1 --error 'No cached parameters'"
        "; then: damocles-manager util worker resume gpu-1 --error 'No cached srs key found'"
    )


def test_unknown_parameters_are_told_without_a_command() -> None:
    """A release of tomorrow has other files."""
    story = Story()
    story.look(Snapshot(threads=[thread("Idle", error=NO_PARAMETERS)]))
    (text,) = [alert.text for alert in story.open.values() if alert.rule == "parameters-missing"]
    assert text.endswith(f"#0 cannot go on: {NO_PARAMETERS}")


def post(
    state: wdpost.State = wdpost.State.FINISHED, *, made: float = 0, error: str = "", faults: Sequence[int] = ()
) -> posts.Outline:
    """Make a window PoSt job; `made` in minutes after the start."""
    return posts.Outline(
        id=f"job-{made}",
        state=state,
        deadline=7,
        partitions=[0],
        output=wdpost.Output([], list(faults), {str(n): f"{n} is gone" for n in faults}) if faults else None,
        error=error,
        worker="gpu-1" if state is not wdpost.State.READY else "",
        finished_at=int(NOW + made * MINUTE),
        created_at=int(NOW + made * MINUTE),
    )


def test_a_window_post_that_failed_is_told_until_it_is_proved() -> None:
    """It fires at once, names the job to reset, and is over when the partition of that deadline is proved."""
    story = Story()
    assert [] == story.look(Snapshot(posts=[post()]))
    failed = Snapshot(posts=[post(), post(made=1, error="no GPU " + "x" * 1000)])
    assert ["firing window-post-failed deadline 7 partition 0"] == story.look(failed, 1)
    (alert,) = story.open.values()
    assert "last on gpu-1: no GPU" in alert.text
    assert alert.text.endswith("damocles-manager util worker wdpost reset job-1")
    proved = Snapshot(posts=[post(made=1, error="no GPU"), post(made=2)])
    assert ["resolved window-post-failed deadline 7 partition 0"] == story.look(proved, 2)


@pytest.mark.parametrize(
    ("state", "who"),
    [(wdpost.State.READY, "no worker has it; the last try: e"), (wdpost.State.RUNNING, "gpu-1 works on it")],
)
def test_a_window_post_that_is_late_is_told(state: wdpost.State, who: str) -> None:
    """What is not proved a quarter of an hour after its deadline opened needs a person while there is time."""
    story = Story()
    waiting = Snapshot(posts=[post(state, error="e" if state is wdpost.State.READY else "")])
    assert [] == story.look(waiting, 14.9)
    assert ["firing window-post-late deadline 7 partition 0"] == story.look(waiting, 15)
    assert who in next(iter(story.open.values())).text
    assert ["resolved window-post-late deadline 7 partition 0"] == story.look(Snapshot(posts=[post()]), 16)


def test_faults_are_told_although_the_rest_is_proved() -> None:
    """The sectors that a window PoSt left out are named, also when the job without them is proved."""
    story = Story()
    met = Snapshot(posts=[post(faults=[3, 4, 5, 6]), post(made=1)])
    assert ["firing window-post-faults deadline 7 partition 0"] == story.look(met, 1)
    (alert,) = story.open.values()
    assert (
        "4 sectors could not be proved by gpu-1: 3 (3 is gone), 4 (4 is gone), 5 (5 is gone) and 1 more" in alert.text
    )


def test_every_default_rule_has_a_condition() -> None:
    """No rule is a name without a meaning."""
    assert {rule.name for rule in alerts_rules.DEFAULTS} == set(alerts_rules._CONDITIONS)


def test_a_deadline_on_a_chain_gets_worse_alerts() -> None:
    """Late, then at risk, then missed: each takes the place of the one before, and jobs are no second alert."""
    job = posts.Outline(id="a", state=wdpost.State.READY, deadline=3, partitions=[0], created_at=0)
    found: list[alerts.Alert] = []
    numbers = itertools.count(1)
    told = []
    for standing, now in ((Standing.LATE, 1000.0), (Standing.AT_RISK, 1500.0), (Standing.MISSED, 1900.0)):
        late = posts.Late(standing=standing, subject="t01000 deadline 3", text="partitions 0 are not proved", since=0.0)
        snapshot = Snapshot(posts=[job], deadlines=[late])
        found, sent = alerts_rules.evaluate(snapshot, found, alerts_rules.DEFAULTS, now, numbers=numbers)
        told += [(one.event, one.alert.rule) for one in sent]
        found = [alert for alert in found if alert.state != alerts.RESOLVED]
    assert [("firing", "window-post-late"), ("firing", "window-post-at-risk"), ("firing", "window-post-missed")] == told
    assert ["window-post-missed"] == [alert.rule for alert in found]
    assert (
        []
        == alerts_rules.evaluate(
            Snapshot(posts=[job], deadlines=[]), [], alerts_rules.DEFAULTS, 5000.0, numbers=numbers
        )[0]
    )
