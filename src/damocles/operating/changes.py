"""Words for people about what was changed, by whom, and what came of it: the same in a terminal and in a browser."""

import json
from collections import Counter
from collections.abc import Collection
from typing import Any

from msgspec import structs

from damocles import methods
from damocles.wire import control

_CELL_CHARACTERS = 200
_ACTS = {methods.fleet.act.name, methods.worker.act_on.name}
_DRAINS = {methods.fleet.drain.name, methods.worker.drain.name}
_COMMANDS = {
    **dict.fromkeys(_DRAINS, "drain"),
    methods.alerts.acknowledge.name: "alerts ack",
    methods.alerts.mute.name: "alerts mute",
    methods.access.create_token.name: "auth create",
    methods.access.revoke_tokens.name: "auth revoke",
    methods.wdpost.make_jobs.name: "wdpost make",
    methods.claims.abort.name: "sectors abort",
    methods.records.take_over.name: "import",
    methods.proven.set_for_rebuild.name: "sectors rebuild",
    methods.proven.fetch_candidates.name: "snap fetch",
    methods.proven.unseal_piece.name: "sectors unseal",
    methods.wdpost.remove_job.name: "wdpost remove",
    methods.wdpost.reset_job.name: "wdpost reset",
    methods.fleet.remove_ping.name: "worker remove",
    methods.worker.pause.name: "pause",
    methods.worker.resume.name: "resume",
}
_OMITTED = {"reason", "asked_by", "timeout_seconds"}


def is_called(entry: control.AuditEntry, what: str | None) -> bool:
    """Return whether an entry is about a command or method with these letters in its name."""
    return what is None or any(what.lower() in name.lower() for name in (entry.what, called(entry)))


def called(entry: control.AuditEntry) -> str:
    """Return the command by which people know what was done; without one the method's name."""
    params = entry.params if isinstance(entry.params, list) else []
    if entry.what in _ACTS:
        act = next((one for one in params if isinstance(one, dict) and "verb" in one), {"verb": "act"})
        return str(act["verb"])
    if entry.what in _DRAINS and any(one is False for one in params[:2]):
        return "undrain"
    return _COMMANDS.get(entry.what) or entry.what.partition(".")[2] or entry.what


def asked(entry: control.AuditEntry, omitted: Collection[str] = _OMITTED) -> str:
    """Return the parameters by their names, without empty ones and those that have a column of their own."""
    if not isinstance(entry.params, list) or len(entry.names) != len(entry.params):
        params = entry.params if isinstance(entry.params, list) else [entry.params]
        return ", ".join(_brief(one, omitted) for one in params)
    named = [(name, value) for name, value in zip(entry.names, entry.params, strict=True) if name not in omitted]
    texts = (
        _brief(value, omitted) if isinstance(value, dict) else f"{name}={_brief(value, omitted)}"
        for name, value in named
        if value not in (None, "", [])
    )
    return ", ".join(text for text in texts if text)


def brief(entry: control.AuditEntry) -> str:
    """Return the parameters in short: an act on threads has its verb elsewhere already."""
    if entry.what not in _ACTS:
        return asked(entry)
    return asked(structs.replace(entry, params=_spoken(entry.params)), omitted={*_OMITTED, "verb"})


def outcome(entry: control.AuditEntry) -> str:
    """Return the outcome; acts on many threads are counted."""
    if not entry.ended:
        return "unknown: it still runs, or its daemon was stopped meanwhile"
    if not entry.ok:
        return f"failed: {_brief(entry.outcome)}"
    match entry.outcome:
        case False:
            return "nothing was changed"
        case {"ok": bool(ok), "text": str(text)}:
            return text if ok else f"refused: {text}"
        case [{"ok": _}, *_]:
            counts = Counter(
                "done" if one.get("ok") else "unanswered" if one.get("silent") else "refused" for one in entry.outcome
            )
            return ", ".join(f"{count} {how}" for how, count in counts.items())
        case [] if entry.what in _ACTS:
            return "no thread matched; nothing was changed"
    return "done"


def has_failed(entry: control.AuditEntry) -> bool:
    """Return whether something failed or was refused, wholly or in part."""
    outcomes = entry.outcome if isinstance(entry.outcome, list) else [entry.outcome]
    return not entry.ok or any(one is False or (isinstance(one, dict) and one.get("ok") is False) for one in outcomes)


def _brief(value: Any, omitted: Collection[str] = _OMITTED) -> str:
    if isinstance(value, dict):
        shown = ((name, item) for name, item in value.items() if name not in omitted)
        inner = (f"{name}={_brief(item, omitted)}" for name, item in shown if item not in (None, [], "", False))
        text = " ".join(inner)
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _spoken(value: Any) -> Any:
    """Return JSON with its lists of words and numbers as people write them: `w1,w2`."""
    if isinstance(value, dict):
        return {name: _spoken(item) for name, item in value.items()}
    if isinstance(value, list):
        are_plain = all(isinstance(item, str | int) for item in value)
        return ",".join(map(str, value)) if value and are_plain else [_spoken(item) for item in value]
    return value
