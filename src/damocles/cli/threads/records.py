"""What a manager's record tells of a sector, as facts for people."""

from damocles.cli.terminal import tables
from damocles.wire import records


def facts(record: records.SectorState) -> list[tables.Fact]:
    """Return names and values; what there is not is `-`."""
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
    if (cid := record.messages.pre_commit_cid) is not None:
        lines.append(("PreCommitMsg", str(cid)))
    if (cid := record.messages.commit_cid) is not None:
        lines.append(("ProofMsg", str(cid)))
    if latest and latest.failure:
        lines.append(("LastErr", f"{latest.failure.level.lower()}: {latest.failure.desc}"))
    if record.abort_reason:
        lines.append(("AbortReason", record.abort_reason))
    return lines
