"""What `status` of both programs shows of threads and alerts. Values in, lines out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from damocles.cli.terminal import tables
from damocles.operating import words
from damocles.text import terminal, units
from damocles.wire import alerts, control, proving

_MOST = 8  # troubles, or states, that are told one by one
_NAME_WIDTH = 10


class Group(msgspec.Struct, frozen=True):
    """Paused threads that have the same reason."""

    why: str
    threads: list[str]


class Threads(msgspec.Struct, frozen=True, kw_only=True):
    """Threads, counted by what they do and by the states of their sectors, and why some are paused."""

    total: int
    doing: dict[str, int]
    states: dict[str, int]
    paused: list[Group]


def threads(found: Sequence[control.ThreadDetail], now: float) -> Threads:
    """Count threads; those of the state that most are in come first."""
    doing = Counter(thread.info.thread_state.state for thread in found)
    reasons: dict[str, list[str]] = {}
    for thread in found:
        if thread.info.thread_state.state == "Paused":
            name = f"{thread.worker} #{thread.info.index}".strip()
            reasons.setdefault(words.why(thread, now), []).append(name)
    return Threads(
        total=len(found),
        doing={state: doing[state] for state in sorted(doing, key=words.place)},
        states=dict(Counter(thread.info.job_state for thread in found if thread.info.job_id).most_common()),
        paused=sorted((Group(why, names) for why, names in reasons.items()), key=lambda group: -len(group.threads)),
    )


def urgent(found: Iterable[alerts.Alert]) -> list[alerts.Alert]:
    """Return the firing alerts that nobody takes care of, the worst first, and of those the oldest."""
    left = [
        alert
        for alert in found
        if alert.state == alerts.FIRING and alert.acknowledged_at is None and alert.muted_until is None
    ]
    return sorted(left, key=lambda alert: (alert.severity != "critical", alert.since))


def counted(counts: dict[str, int]) -> str:
    """Return counts in words: `3 PC1Done, 1 C2Done`."""
    shown = [f"{count} {name}" for name, count in list(counts.items())[:_MOST]]
    rest = sum(list(counts.values())[_MOST:])
    return ", ".join([*shown, *([f"{rest} in other states"] if rest else [])])


def facts_of_threads(found: Threads) -> Iterator[tables.Fact]:
    """Yield what is told of threads and of their sectors."""
    yield "threads", f"{found.total}: {counted(_lowered(found.doing))}" if found.total else "0"
    if found.states:
        yield "sectors", f"in progress: {counted(found.states)}"


def chain(seen: proving.ChainSeen) -> str:
    """Return in a line which node is asked, its height, and the next deadline of each miner."""
    parts = [f"height {seen.epoch} at {seen.node}"] if seen.node else []
    parts += [_next(one, seen) for one in seen.miners[:_MOST]]
    if len(seen.miners) > _MOST:
        parts.append(f"{len(seen.miners) - _MOST} more miners")
    return "; ".join([*parts, *([seen.problem] if seen.problem else [])])


def _next(one: proving.MinerSeen, seen: proving.ChainSeen) -> str:
    if (window := one.window) is None:
        return f"f0{one.miner}: no sectors to prove"
    is_open = window.opens <= seen.epoch
    epoch = window.close if is_open else window.opens
    lasts = units.brief_duration((epoch - seen.epoch) * seen.block_seconds)
    return f"f0{one.miner}: deadline {window.deadline} {'is open, closes' if is_open else 'opens'} in {lasts}"


def lines_of_paused(found: Threads) -> Iterator[str]:
    """Yield a line for each reason for which threads are paused."""
    for group in found.paused[:_MOST]:
        yield f"paused    {units.some(group.threads, 3)}: {group.why}"
    if len(found.paused) > _MOST:
        yield f"… and {len(found.paused) - _MOST} more reasons"


def lines_of_alerts(found: Sequence[alerts.Alert], now: float) -> Iterator[str]:
    """Yield a line for each alert, the first ones."""
    for alert in found[:_MOST]:
        age = units.brief_duration(max(0, int(now - alert.since)))
        yield f"{alert.severity:<9} #{alert.id} {alert.rule} {alert.subject}, for {age}: {alert.text}"
    if len(found) > _MOST:
        yield f"… and {len(found) - _MOST} more: damocles-manager alerts list"


def screen(facts: Iterable[tables.Fact], needs: Sequence[str], columns: int | None) -> Iterator[str]:
    """Yield the whole: what needs a person first, if something does, then the facts."""
    if needs:
        yield "needs a person:"
        yield from (_cut(f"  {line}", columns) for line in needs)
        yield ""
    for name, text in facts:
        yield _cut(f"{name:<{_NAME_WIDTH}}{text}", columns)


def _cut(line: str, columns: int | None) -> str:
    shown = terminal.shown(" ".join(line.splitlines()))
    return shown if columns is None else terminal.cut(shown, columns)


def _lowered(counts: dict[str, int]) -> dict[str, int]:
    return {name.lower(): count for name, count in counts.items()}
