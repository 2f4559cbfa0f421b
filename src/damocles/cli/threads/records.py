"""What a manager's record tells of a sector, as facts for people."""

from collections.abc import Sequence

from damocles.cli.terminal import tables
from damocles.methods import acts
from damocles.wire import records

_NAMES = {"pre-commit": "PreCommitMsg", "update": "UpdateMsg"}  # of what is handed in; all else is a proof


def facts(record: records.SectorState, messages: Sequence[acts.SectorMessage] = ()) -> list[tables.Fact]:
    """Return names and values; what there is not is `-`.

    With `messages`, which a manager on a real chain has, those of the chain stand where else there are the record's own ids.
    """
    latest = record.latest_state
    pieces = [str(piece.piece.cid) for piece in record.pieces or ()]
    lines = [
        ("State", latest.state_change.next if latest else "-"),
        ("Worker", f"{latest.worker.instance} @ {latest.worker.location}" if latest else "-"),
        ("Finalized", f"{record.finalized}, removed: {record.removed}, upgraded: {record.upgraded}"),
        ("Ticket", str(record.ticket.epoch) if record.ticket else "-"),
        ("Seed", str(record.seed.epoch) if record.seed else "-"),
        ("Pieces", ", ".join(pieces) or "-"),
    ]
    if record.pre_commit is not None:
        lines += [("CommD", str(record.pre_commit.comm_d)), ("CommR", str(record.pre_commit.comm_r))]
    sent = {str(one.id): _said(one) for one in messages}
    own = [("PreCommitMsg", record.messages.pre_commit_cid), ("ProofMsg", record.messages.commit_cid)]
    told = [(name, str(cid)) for name, cid in own if cid is not None and str(cid) not in sent]
    lines += sorted([*told, *((_NAMES.get(one.kind, "ProofMsg"), sent[one.id]) for one in messages)])
    if latest and latest.failure:
        lines.append(("LastErr", f"{latest.failure.level.lower()}: {latest.failure.desc}"))
    if record.abort_reason:
        lines.append(("AbortReason", record.abort_reason))
    return lines


def _said(one: acts.SectorMessage) -> str:
    """Return the CID of a message, if it is signed, with its number among the manager's, and how far it is."""
    order = one.order
    parts = [f"message {order.id}", one.state] if order is not None else [one.state]
    if order is not None and order.landed_epoch is not None:
        parts[-1] = f"{one.state} at {order.landed_epoch}"
    why = one.reason or (order.why if order is not None else "")
    text = ", ".join(filter(None, [*parts, why]))
    return f"{order.cid} ({text})" if order is not None and order.cid is not None else text
