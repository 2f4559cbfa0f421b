"""`damocles-manager alerts`: list them, acknowledge and mute them."""

import time
from collections.abc import Callable
from typing import Annotated

from cyclopts import App, Parameter

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.text import units
from damocles.wire import alerts, codec

app = App(name="alerts", version_flags=[])  # its help is in `cli.manager`, which shows it without this module

_SEND_SECONDS = 30.0  # that receivers have to answer

Id = Annotated[int, Parameter(help="The alert's number in the list.")]
MaybeId = Annotated[int | None, Parameter(help="The alert's number in the list.")]
Rule = Annotated[str | None, options.Flag(name="--rule", help="All alerts of this rule.")]
Note = Annotated[
    str, options.Flag(name=["--reason", "--note"], help="Why; shown to others, and recorded in the audit.")
]
All = Annotated[bool, options.Flag(name="--all", help="Also pending and recently resolved ones.")]


@app.command(
    name="list",
    help_epilogue=options.examples("damocles-manager alerts list", "damocles-manager alerts list --all --full"),
)
@watching.watchable
def list_(
    *,
    all_: All = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List the firing alerts and the muted rules."""
    with at.call() as found:
        board = found.call(methods.alerts.board(all_))
    if json:
        exits.print_json(codec.to_builtins(board))
        return exits.OK
    now = time.time()
    tables.show(_table(now), board.alerts, full=full, nothing="no alerts" if all_ else "no alert is firing")
    for mute in board.mutes:
        what = f"{mute.rule} {mute.subject}".rstrip()
        note = f": {mute.note}" if mute.note else ""
        exits.hint(f"muted until {units.moment(mute.until)}: {what}, by {mute.by}{note}")
    if board.looked_at is None:
        exits.warning("the manager has not looked at its workers yet")
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-manager alerts ack 12 --reason 'fetching them'"))
def ack(
    alert_id: Id,
    /,
    *,
    note: Note = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Acknowledge an alert: it is not repeated, only reported once more when it is resolved."""
    with at.call() as found:
        alert = found.call(methods.alerts.acknowledge(alert_id, note))
    if json:
        exits.print_json(codec.to_builtins(alert))
    else:
        exits.print_line(f"#{alert.id} {alert.rule} {alert.subject}: acknowledged by {alert.acknowledged_by}")
    return exits.OK


@app.command(
    help_epilogue=options.examples(
        "damocles-manager alerts mute 13 --for 2h",
        "damocles-manager alerts mute --rule worker-late --for 8h --reason 'new switch'",
    )
)
def mute(
    alert_id: MaybeId = None,
    /,
    *,
    for_: Annotated[str, Parameter(name="--for", help="How long, like 2h.")],
    rule: Rule = None,
    note: Note = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Mute an alert, also if it recurs, or a whole rule: send no notifications about it."""
    return _mute(alert_id, rule, options.seconds(for_, "--for"), note, at, as_json=json)


@app.command(help_epilogue=options.examples("damocles-manager alerts unmute --rule worker-late"))
def unmute(
    alert_id: MaybeId = None,
    /,
    *,
    rule: Rule = None,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Send notifications again."""
    return _mute(alert_id, rule, 0.0, "", at, as_json=json)


@app.command(name="test", help_epilogue=options.examples("damocles-manager alerts test"))
def probe(*, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Send every receiver a message that says that nothing is wrong; exit code 1 if one does not get it."""
    with at.call(_SEND_SECONDS) as found:
        made = found.call(methods.alerts.probe())
    is_well = all(one.ok for one in made)
    if json:
        exits.print_json(codec.to_builtins(made))
    else:
        for one in made:
            exits.print_line(f"{one.receiver}: {'delivered' if one.ok else f'not delivered: {one.reason}'}")
    if not made:
        raise exits.Failed(
            "there is no receiver: add a [[webhook]] or [[apprise]] to alerts.toml, and restart the manager"
        )
    return exits.OK if is_well else exits.FAILED


def _mute(
    alert_id: int | None, rule: str | None, seconds: float, note: str, at: manager_at.At, *, as_json: bool
) -> int:
    of = alert_id if rule is None else rule
    if of is None or (alert_id is not None and rule is not None):
        raise exits.WrongUsage("pass either the number of an alert or --rule")
    with at.call() as found:
        made = found.call(methods.alerts.mute(of, seconds, note))
    if as_json:
        exits.print_json(codec.to_builtins(made))
    else:
        until = f"muted until {units.moment(made.until)}" if seconds else "no longer muted"
        exits.print_line(f"{made.rule} {made.subject}".rstrip() + f": {until}")
    return exits.OK


def _table(now: float) -> tables.Table[alerts.Alert]:
    return tables.Table(
        columns=("ID", "State", "Severity", "Rule", "Subject", "For", "Ack", "Text"),
        cells=lambda alert: _cells(alert, now, units.brief_duration),
        plain_cells=lambda alert: _cells(alert, now, units.human_duration),
    )


def _cells(alert: alerts.Alert, now: float, lasting: Callable[[float], str]) -> tuple[str, ...]:
    end = now if alert.resolved_at is None else alert.resolved_at
    state = alert.state if alert.muted_until is None else f"{alert.state}, muted"
    return (
        str(alert.id),
        state,
        alert.severity,
        alert.rule,
        alert.subject,
        lasting(max(0, int(end - alert.since))),
        " ".join(part for part in (alert.acknowledged_by, alert.note and f"({alert.note})") if part) or "-",
        alert.text,
    )
