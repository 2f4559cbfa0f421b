"""Make the header of a block: what follows from its parent, and what its miner brings."""

from collections.abc import Sequence

from damocles.chain import cbor, cids
from damocles.chain.amounts import Amount
from damocles.chain.blocks.header import Header, Template
from damocles.chain.messages import Signature, SignatureType, SignedMessage
from damocles.devnode import rules, tipsets
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.chain import Chain
from damocles.devnode.state import State
from damocles.devnode.tipsets import TipSet
from damocles.wire.codec import CID, Rows

# What the signatures of no messages come to; a devnode aggregates none.
_NO_SIGNATURES = Signature(SignatureType.BLS, bytes([0xC0]) + bytes(95))


def executed(chain: Chain, parent: TipSet, epoch: int) -> tuple[State, list[Outcome]]:
    """Return what a block at an epoch finds: the state after its parent, and what became of the parent's messages."""
    return chain.executor.executed(parent, epoch)


def header(chain: Chain, parent: TipSet, template: Template, messages: Sequence[CID]) -> Header:
    """Return the header of a block, without a signature. May take a while: the parent is executed."""
    state, outcomes = executed(chain, parent, template.epoch)
    limits = sum(signed.message.gas_limit for signed in parent.messages)
    return Header(
        miner=template.miner,
        ticket=template.ticket,
        election=template.election,
        beacon=template.beacon,
        winning_post=template.winning_post,
        parents=Rows([parent.key]),
        parent_weight=Amount(parent.height),
        height=template.epoch,
        parent_state_root=parent.state_root if state is parent.state else tipsets.root_of(state),
        parent_receipts=cids.of_object(cbor.encode([str(parent.key), [one.exit_code for one in outcomes]])),
        messages=cids.of_object(cbor.encode([str(cid) for cid in messages])),
        bls_aggregate=_NO_SIGNATURES,
        timestamp=template.timestamp,
        signature=None,
        fork_signaling=0,
        parent_base_fee=Amount(rules.next_base_fee(parent.base_fee, limits)),
    )


def in_order(messages: Sequence[SignedMessage]) -> list[SignedMessage]:
    """Return messages as a block has them: those with BLS signatures first."""
    return sorted(messages, key=lambda signed: signed.signature.type is not SignatureType.BLS)
