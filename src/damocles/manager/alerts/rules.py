"""When something needs a person: rules as data, and the pure step from what is seen to alerts and notifications.

    alerts, notifications = evaluate(snapshot, previous, rules, now, numbers=itertools.count(1))

An alert is kept as it is while its subject cannot be seen: a worker that does not answer has not resumed its threads.
"""

import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from damocles.manager.alerts import posts as alerts_posts
from damocles.manager.alerts.seen import Snapshot
from damocles.operating import selection
from damocles.parameters import lacking
from damocles.sealing import planner
from damocles.text import units
from damocles.wire import alerts, control
from damocles.wire.proving import Standing

WARNING, CRITICAL = "warning", "critical"
REPEAT_SECONDS = 4 * 3600.0

_MINER_DIGITS = 20  # of 64 bits
_ERROR_CHARACTERS = 400  # a message about missing parameters has 350 and a path
_LIVE, _LATE, _LOST = "live", "late", "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a condition, named like its rule, becomes an alert. The last four are of single rules."""

    name: str
    severity: str = WARNING
    enabled: bool = True
    for_seconds: float = 0.0  # how long the condition must hold
    factor: float = 3.0  # stage-slow: times the median
    samples: int = 5  # stage-slow: fewer say nothing
    at_least_seconds: float = 60.0  # stage-slow: shorter runs are nobody's worry
    percent: float = 5.0  # store-full: of the store


DEFAULTS: tuple[Rule, ...] = (
    Rule(name="thread-paused", for_seconds=300.0),
    Rule(name="thread-erroring", for_seconds=600.0),
    Rule(name="parameters-missing", severity=CRITICAL),
    Rule(name="stage-slow"),
    Rule(name="worker-late"),
    Rule(name="worker-lost", severity=CRITICAL),
    Rule(name="worker-unreachable", for_seconds=120.0),
    Rule(name="worker-name-shared", severity=CRITICAL),
    Rule(name="store-full", severity=CRITICAL),
    Rule(name="store-missing", severity=CRITICAL),
    Rule(name="manager-disk", severity=CRITICAL),
    Rule(name="manager-silent", severity=CRITICAL),
    Rule(name="chain-messages", severity=CRITICAL, for_seconds=120.0),
    Rule(name="window-post-failed", severity=CRITICAL),
    Rule(name="window-post-late", severity=CRITICAL, for_seconds=900.0),  # half of the network's deadline
    Rule(name="window-post-at-risk", severity=CRITICAL),
    Rule(name="window-post-missed", severity=CRITICAL),
    Rule(name="window-post-faults", severity=CRITICAL),
    Rule(name="block-lost", severity=CRITICAL),
)

# An alert that ends because it became a worse one of the same subject is not told as resolved.
_SUPERSEDED_BY: Mapping[str, tuple[str, ...]] = {
    "worker-unreachable": ("worker-late", "worker-lost"),
    "worker-late": ("worker-lost",),
    "window-post-late": ("window-post-at-risk", "window-post-missed"),
    "window-post-at-risk": ("window-post-missed",),
}
_OF_THREADS = frozenset({"thread-paused", "thread-erroring", "parameters-missing", "stage-slow"})
_SEE_BLOCKS = "; see: damocles-manager util sealer proving blocks"
_OF_STORES = frozenset({"store-full"})
_OF_PINGS = frozenset({"worker-late", "worker-lost"})  # since the last ping


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A condition that holds now; `since` when, if that is known."""

    subject: str
    text: str
    since: float | None = None
    worker: str = ""
    index: int | None = None
    sector: str | None = None


def evaluate(
    snapshot: Snapshot,
    previous: Iterable[alerts.Alert],
    rules: Iterable[Rule],
    now: float,
    *,
    numbers: Iterator[int],
    mutes: Sequence[alerts.Mute] = (),
    repeat_seconds: float = REPEAT_SECONDS,
) -> tuple[list[alerts.Alert], list[alerts.Notification]]:
    """Take one step from the alerts that were not resolved.

    A pending alert whose condition has passed is not returned. `numbers` gives new alerts their ids.

    Returns:
        Every alert as it is now, including those resolved by this step; and the notifications to send.
    """
    rules = [rule for rule in rules if rule.enabled]
    enabled = {rule.name for rule in rules}
    before = {(alert.rule, alert.subject): alert for alert in previous}
    worse = {key for key, alert in before.items() if alert.state == alerts.FIRING}
    found = {
        (rule.name, finding.subject): (rule, finding)
        for rule in rules
        for finding in _CONDITIONS[rule.name](rule, snapshot, now)
        if not _is_superseded(rule.name, finding.subject, worse)
    }
    result: list[alerts.Alert] = []
    notifications: list[alerts.Notification] = []
    for key, (rule, finding) in found.items():
        held = before.get(key)
        alert = muted(_updated(held, rule, finding, now, numbers), mutes, now)
        event = _due(alert, now, repeat_seconds)
        if event is not None:
            alert = structs.replace(alert, notified_at=now)
            notifications.append(alerts.Notification(event, alert))
        result.append(alert)
    for key, alert in before.items():
        if key in found:
            continue
        superseded = _is_superseded(alert.rule, alert.subject, found)
        if not superseded and alert.rule in enabled and _is_out_of_sight(alert, snapshot):
            result.append(alert)
        elif alert.state == alerts.FIRING:
            resolved = structs.replace(muted(alert, mutes, now), state=alerts.RESOLVED, resolved_at=now)
            if alert.notified_at is not None and resolved.muted_until is None and not superseded:
                notifications.append(alerts.Notification(alerts.RESOLVED, resolved))
            result.append(resolved)
    return sorted(result, key=lambda alert: alert.id), notifications


def _muted_until(rule: str, subject: str, mutes: Iterable[alerts.Mute], now: float) -> float | None:
    """Return until when there are no notifications, `None` if there are."""
    untils = [mute.until for mute in mutes if mute.rule == rule and mute.subject in {"", subject}]
    return max((until for until in untils if until > now), default=None)


def _updated(
    held: alerts.Alert | None, rule: Rule, finding: Finding, now: float, numbers: Iterator[int]
) -> alerts.Alert:
    if held is not None and held.state == alerts.FIRING:
        alert = structs.replace(held, text=finding.text, sector=finding.sector, severity=rule.severity)
    else:
        since = finding.since if finding.since is not None else now if held is None else held.since
        new = alerts.Alert(
            id=next(numbers) if held is None else held.id,
            rule=rule.name,
            subject=finding.subject,
            severity=rule.severity,
            state=alerts.PENDING,
            text=finding.text,
            worker=finding.worker,
            index=finding.index,
            sector=finding.sector,
            since=since,
        )
        alert = new if held is None else structs.replace(held, text=new.text, sector=new.sector, since=since)
        if now - since >= rule.for_seconds:
            alert = structs.replace(alert, state=alerts.FIRING, fired_at=now)
    return alert


def muted(alert: alerts.Alert, mutes: Sequence[alerts.Mute], now: float) -> alerts.Alert:
    """Return an alert with what mutes say of it now."""
    until = _muted_until(alert.rule, alert.subject, mutes, now)
    return alert if until == alert.muted_until else structs.replace(alert, muted_until=until)


def _due(alert: alerts.Alert, now: float, repeat_seconds: float) -> str | None:
    if alert.state != alerts.FIRING or alert.muted_until is not None or alert.acknowledged_at is not None:
        return None
    if alert.notified_at is None:
        return alerts.FIRING
    return alerts.REMINDER if now - alert.notified_at >= repeat_seconds else None


def _is_superseded(rule: str, subject: str, others: Container[tuple[str, str]]) -> bool:
    return any((worse, subject) in others for worse in _SUPERSEDED_BY.get(rule, ()))


def _is_out_of_sight(alert: alerts.Alert, snapshot: Snapshot) -> bool:
    if alert.rule in _OF_PINGS:
        # A manager that was started again gives every worker time; what was lost before has not come back by that.
        return any(
            worker.info.name == alert.subject and worker.last_ping <= alert.since for worker in _still_there(snapshot)
        )
    if alert.rule in _OF_STORES:
        return alert.subject in snapshot.silent_stores
    return alert.rule in _OF_THREADS and alert.worker in snapshot.silent


Condition = Callable[[Rule, Snapshot, float], Iterator[Finding]]

# Conditions ----------------------------------------------------------------------------------------------------------


def _thread_paused(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for thread in snapshot.threads:
        if thread.info.thread_state.state == "Paused":
            since = thread.paused_at if thread.paused_at is not None else thread.since
            why = _excerpt(thread.info.last_error) or "by an operator or a drain"
            resume = f"damocles-manager util worker resume {thread.worker} {thread.info.index}"
            yield _of(thread, f"paused at {_state(thread)} since {units.moment(since)}: {why}; go on: {resume}", since)


def _thread_erroring(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for thread in snapshot.threads:
        error = thread.info.last_error
        if error is not None and thread.info.thread_state.state != "Paused" and lacking.found(error) is None:
            logs = f"damocles-manager util worker logs {thread.worker} {thread.info.index}"
            yield _of(thread, f"keeps failing at {_state(thread)}: {_excerpt(error)}; see: {logs}")


def _parameters_missing(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    # One finding for a worker: what is missing on a machine is fetched in one go.
    stopped: dict[str, list[tuple[control.ThreadDetail, lacking.Lack]]] = {}
    for thread in snapshot.threads:
        if (lack := lacking.found(thread.info.last_error or "")) is not None:
            stopped.setdefault(thread.worker, []).append((thread, lack))
    for worker, lacks in stopped.items():
        indexes = selection.runs(thread.info.index for thread, _ in lacks)
        text = f"proof parameters are missing, so that {indexes} cannot go on: {_excerpt(lacks[0][0].info.last_error)}"
        ways = (f"on the machine of {worker}", "or for a test network")
        errors = dict.fromkeys(thread.info.last_error or "" for thread, _ in lacks)  # of most threads the same
        for commands in dict.fromkeys(tuple(lacking.commands(error)) for error in errors):
            text += "".join(f"; {way}: {command}" for way, command in zip(ways, commands, strict=False))
        paused = [lack for thread, lack in lacks if thread.info.thread_state.state == "Paused"]
        for words in dict.fromkeys(lack.words for lack in paused):
            text += f"; then: damocles-manager util worker resume {worker} --error '{words}'"
        yield Finding(subject=worker, text=text, worker=worker)


def _stage_slow(rule: Rule, snapshot: Snapshot, now: float) -> Iterator[Finding]:
    for thread in snapshot.threads:
        if thread.info.thread_state.state != "Running":
            continue
        plan, state = planner.PLANS.get(thread.info.plan), thread.info.job_state
        ways = plan.next_states(state) if plan is not None else ()
        known = [snapshot.typical[key] for way in ways if (key := (_miner(thread), state, way)) in snapshot.typical]
        typical = max(known, key=lambda one: one.samples, default=None)
        if typical is None or typical.samples < rule.samples:
            continue
        limit_seconds = max(rule.factor * typical.median_seconds, rule.at_least_seconds)
        if now - thread.since > limit_seconds:
            usual = units.brief_duration(typical.median_seconds)
            text = (
                f"{thread.info.job_stage or thread.info.job_state} runs since {units.moment(thread.since)}, usual is {usual}"
                f" (median of {typical.samples}); see: damocles-manager util worker logs {thread.worker}"
                f" {thread.info.index}"
            )
            yield _of(thread, text, thread.since + limit_seconds)


def _worker_late(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for worker in _still_there(snapshot, _LATE):
        text = f"two pings are missing, the last one came at {units.moment(worker.last_ping)} from {worker.info.dest}"
        yield Finding(subject=worker.info.name, text=text, since=worker.last_ping, worker=worker.info.name)


def _worker_lost(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for worker in _still_there(snapshot, _LOST):
        name = worker.info.name
        text = (
            f"no ping since {units.moment(worker.last_ping)} from {worker.info.dest}; if it will not come back:"
            f" damocles-manager util worker remove {name}"
        )
        yield Finding(subject=name, text=text, since=worker.last_ping, worker=name)


def _worker_unreachable(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for worker in snapshot.workers:
        name, dest = worker.info.name, worker.info.dest
        if worker.status == _LIVE and name in snapshot.silent:
            text = f"pings, but does not list its threads at {dest}: {snapshot.silent[name]}"
            yield Finding(subject=name, text=text, worker=name)


def _worker_name_shared(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for worker in snapshot.workers:
        if worker.sharing:
            dests = " and ".join(worker.sharing)
            text = f"{len(worker.sharing)} workers ping under this name, from {dests}; give each its own (worker.name)"
            yield Finding(subject=worker.info.name, text=text, worker=worker.info.name)


def _store_full(rule: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
    for store in snapshot.stores:
        share = 100 * store.free_bytes / (store.total_bytes or 1)
        if share < rule.percent or store.free_bytes < store.sector_bytes:
            # Said of the limit and not of the free bytes, which change all the time.
            limit = f"less than {rule.percent:g} %" if share < rule.percent else "less than a sector"
            yield Finding(
                subject=store.name,
                text=f"{limit} of {units.human_size(store.total_bytes)} is free; make room, or add a store",
            )


def _of_texts(texts: Callable[[Snapshot], Mapping[str, str]], before: str = "", behind: str = "") -> Condition:
    return lambda _, snapshot, __: iter(
        [Finding(subject=name, text=before + text + behind) for name, text in texts(snapshot).items()]
    )


def _of_posts(find: Callable[[Sequence[alerts_posts.Outline]], alerts_posts.Found]) -> Condition:
    def condition(_: Rule, snapshot: Snapshot, __: float) -> Iterator[Finding]:
        for post, text, since in find(snapshot.posts):
            yield Finding(subject=post.subject, text=text, since=since, worker=post.worker)

    return condition


def _of_deadlines(standing: Standing, before: Condition | None = None) -> Condition:
    """Return what finds deadlines of a real chain that stand so; where there is none, what `before` finds."""

    def condition(rule: Rule, snapshot: Snapshot, now: float) -> Iterator[Finding]:
        if snapshot.deadlines is None:
            yield from before(rule, snapshot, now) if before is not None else ()
            return
        for one in snapshot.deadlines:
            if one.standing == standing:
                yield Finding(subject=one.subject, text=one.text, since=one.since)

    return condition


_CONDITIONS: Mapping[str, Condition] = {
    "thread-paused": _thread_paused,
    "thread-erroring": _thread_erroring,
    "parameters-missing": _parameters_missing,
    "stage-slow": _stage_slow,
    "worker-late": _worker_late,
    "worker-lost": _worker_lost,
    "worker-unreachable": _worker_unreachable,
    "worker-name-shared": _worker_name_shared,
    "store-full": _store_full,
    "store-missing": _of_texts(lambda seen: seen.missing_stores, "nothing is reserved, and no file looked at: "),
    "manager-disk": _of_texts(
        lambda seen: {**seen.disks, **({"manager": seen.disk} if seen.disk else {})},
        behind="; free space, repair the disk, or bring the database back: until then workers ask again, and nothing is lost",
    ),
    "manager-silent": _of_texts(lambda seen: seen.silent_managers),
    "chain-messages": _of_texts(lambda seen: seen.chain),
    "window-post-failed": _of_posts(alerts_posts.failed),
    # On a real chain it counts what is proved there, and not what workers have brought.
    "window-post-late": _of_deadlines(Standing.LATE, _of_posts(alerts_posts.late)),
    "window-post-at-risk": _of_deadlines(Standing.AT_RISK),
    "window-post-missed": _of_deadlines(Standing.MISSED),
    "window-post-faults": _of_posts(alerts_posts.faulty),
    "block-lost": _of_texts(lambda seen: seen.blocks, "a block was won and is lost: ", _SEE_BLOCKS),
}


def _still_there(snapshot: Snapshot, status: str | None = None) -> Iterator[control.WorkerStatus]:
    """Yield the workers (of one status) without those that ping under another name by now."""
    last_pings: dict[str, float] = {}
    for worker in snapshot.workers:
        dest = worker.info.dest
        last_pings[dest] = max(worker.last_ping, last_pings.get(dest, worker.last_ping))
    for worker in snapshot.workers:
        if worker.last_ping == last_pings[worker.info.dest] and status in {None, worker.status}:
            yield worker


def _of(thread: control.ThreadDetail, text: str, since: float | None = None) -> Finding:
    return Finding(
        subject=f"{thread.worker} #{thread.info.index}",
        text=f"{thread.sector or 'no sector'}: {text}",
        since=since,
        worker=thread.worker,
        index=thread.info.index,
        sector=thread.sector,
    )


def _state(thread: control.ThreadDetail) -> str:
    return thread.info.job_state or "-"


@functools.lru_cache(maxsize=1024)
def _excerpt(error: str | None) -> str:
    line = " ".join((error or "").split())
    return line if len(line) <= _ERROR_CHARACTERS else line[: _ERROR_CHARACTERS - 1] + "…"


def _miner(thread: control.ThreadDetail) -> int:
    """Return the miner of the thread's sector, -1 without one."""
    miner, _, _ = (thread.sector or "").removeprefix("s-t0").removeprefix("s-f0").partition("-")
    return int(miner) if miner.isdecimal() and len(miner) <= _MINER_DIGITS else -1
