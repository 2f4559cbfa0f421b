"""Check a block that is handed in, as a node does before it passes it on: in the order and words of Lotus where these are known.

Nothing of it is taken on trust: the signatures of election, ticket and block, the number of wins, the winning PoSt, the beacon, the time, and
what follows from the parent.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from damocles import bls
from damocles.chain.blocks import election
from damocles.chain.blocks.header import BlockMessage, Header, Template
from damocles.devnode.blocks import elections, making
from damocles.devnode.chain import Chain
from damocles.devnode.tipsets import TipSet
from damocles.wire import commitments, tasks
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SealProof

_DRIFT_SECONDS = 1


class Refused(Exception):
    """The block is not taken; the text is the node's."""


def refuse(text: str) -> NoReturn:
    """Refuse the block."""
    raise Refused(text)


def check(
    chain: Chain, message: BlockMessage, *, now: float, delay_seconds: int, verify: Callable[[Any], bool]
) -> None:
    """Return if a block is good.

    Raises:
        Refused: It is not.
        Unverifiable: Its proof cannot be checked here.
    """
    header = message.header
    parent = _parent(chain, header)
    _check_time(header, parent, now, delay_seconds)
    try:
        base = elections.base(chain, header.miner, header.height, parent)
    except (KeyError, ValueError) as error:
        raise Refused(f"block is not of this devnet any more: {error}") from error
    if base is None or not base.is_eligible:
        refuse("block's miner is ineligible to mine: block's miner is not valid")
    key = bytes(base.worker[1:])
    if header.signature is None or not bls.verify(key, header.signing_bytes, header.signature.data):
        refuse("failed to validate block signature: signature failed to verify")
    if tuple(header.beacon) != tuple(base.entries):
        refuse("failed to validate blocks random beacon values: beacon entries are not those of the epoch")
    _check_election(header, base, key)
    entry = base.entries[-1].data
    wanted = election.ticket_input(entry, header.height, header.miner, parent.ticket)
    if header.ticket is None or not bls.verify(key, wanted, bytes(header.ticket.proof)):
        refuse("validating block tickets failed: signature failed to verify")
    _check_content(chain, header, parent, message)
    _check_winning_post(header, base, verify)


def _parent(chain: Chain, header: Header) -> TipSet:
    parent = chain.known.get(header.parents[0]) if len(header.parents) == 1 else None
    if parent is None:
        refuse("loading parent block: ipld: could not find the parents")
    if header.height <= parent.height:
        refuse(f"block height not greater than parents height: {header.height} != {parent.height}")
    return parent


def _check_time(header: Header, parent: TipSet, now: float, delay_seconds: int) -> None:
    wanted = parent.timestamp + delay_seconds * (header.height - parent.height)
    if header.timestamp != wanted:
        refuse(f"block had wrong timestamp: {header.timestamp} != {wanted}")
    if header.timestamp > now + _DRIFT_SECONDS:
        refuse(f"block was from the future (now={now:.0f}, blk={header.timestamp}): temporal error")


def _check_election(header: Header, base: elections.Base, key: bytes) -> None:
    proof = header.election
    if proof is None or proof.wins < 1:
        refuse("block is not claiming to be a winner")
    wanted = election.proof_input(base.entries[-1].data, header.height, header.miner)
    if not bls.verify(key, wanted, bytes(proof.proof)):
        refuse("validating block election proof failed: signature failed to verify")
    wins = election.wins(bytes(proof.proof), base.power, base.network_power)
    if proof.wins != wins:
        refuse(f"miner claims wrong number of wins: miner: {proof.wins}, computed: {wins}")


def _check_content(chain: Chain, header: Header, parent: TipSet, message: BlockMessage) -> None:
    """Check what follows from the parent and the messages: weight, state, receipts, base fee, and what names the messages."""
    assert header.ticket is not None
    assert header.election is not None
    template = Template(
        miner=header.miner,
        parents=header.parents,
        ticket=header.ticket,
        election=header.election,
        beacon=header.beacon,
        messages=(),
        epoch=header.height,
        timestamp=header.timestamp,
        winning_post=header.winning_post,
    )
    own = making.header(chain, parent, template, [*message.bls_messages, *message.secp_messages])
    for name in ("parent_weight", "parent_state_root", "parent_receipts", "messages", "parent_base_fee"):
        if getattr(own, name) != getattr(header, name):
            refuse(f"{name.replace('_', ' ')} doesn't match: {getattr(header, name)} != {getattr(own, name)}")


def _check_winning_post(header: Header, base: elections.Base, verify: Callable[[Any], bool]) -> None:
    size = base.sector_size
    if len(header.winning_post) != 1:
        refuse("invalid winning post: one proof was expected")
    claim = tasks.VerifyWinningPoSt(
        base.number,
        SealProof.of(size).winning_name,
        [tasks.PublicReplica(one.number, commitments.commitment_of(one.sealed_cid)) for one in base.challenged],
        Bytes32(election.challenge(base.entries[-1].data, header.height, header.miner)),
        bytes(header.winning_post[0].proof),
    )
    if not verify(claim):
        refuse("invalid winning post: winning post was invalid")
