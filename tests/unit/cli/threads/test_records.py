"""What a sector's record is told as."""

from msgspec import structs

from damocles.cli.threads import records as told
from damocles.methods import acts
from damocles.wire import records
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID

OWN, PROOFS_OWN = CID("bafk2bzaceown"), CID("bafk2bzaceproof")
ON_CHAIN = CID("bafy2bzacechain")
RECORD = structs.replace(
    records.SectorState.fresh(SectorID(1000, 1), 5),
    messages=records.MessageInfo(pre_commit_cid=OWN, commit_cid=PROOFS_OWN),
)
ORDER = acts.OrderSeen(id=5, miner=1000, kind="pre-commit", state="landed", cid=ON_CHAIN, landed_epoch=77)


def messages_of(*sent: acts.SectorMessage) -> list[tuple[str, str]]:
    """Return the lines about messages."""
    return [(name, text) for name, text in told.facts(RECORD, sent) if name.endswith("Msg")]


def test_messages_have_the_chain_s_cids():
    """The record's own ids, by which nobody finds anything on a chain, stand only where nothing else is known."""
    landed = acts.SectorMessage(kind="pre-commit", id=str(OWN), state="landed", order=ORDER)
    waits = acts.SectorMessage(kind="proof", id=str(PROOFS_OWN), state="waiting", reason="for a lower base fee")
    assert [
        ("PreCommitMsg", f"{ON_CHAIN} (message 5, landed at 77)"),
        ("ProofMsg", "waiting, for a lower base fee"),
    ] == messages_of(landed, waits)
    assert [("PreCommitMsg", str(OWN)), ("ProofMsg", str(PROOFS_OWN))] == messages_of()
    assert ["PreCommitMsg", "ProofMsg"] == [name for name, _ in messages_of(landed)], "in this order"


def test_a_message_that_is_not_signed_has_no_cid():
    """Its number stands there, and what it waits for."""
    order = structs.replace(ORDER, state="ordered", cid=None, landed_epoch=None, why="for money")
    sent = acts.SectorMessage(kind="update", id="another", state="ordered", order=order)
    assert ("UpdateMsg", "message 5, ordered, for money") == messages_of(sent)[-1]
