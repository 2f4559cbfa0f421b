"""Blocks as nodes exchange them, in CBOR and in Lotus' JSON.

The id of a block is the CID of its header's CBOR; its miner's worker key signs the same without the signature.
"""

from typing import Any

import msgspec
from msgspec import field

from damocles.chain import cids, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Signature
from damocles.chain.sealing import PoStProof
from damocles.chain.tuples import Int, Tuple, Uint
from damocles.wire.codec import CID, Blob, Rows


class Ticket(Tuple, frozen=True):
    """What the next tickets are drawn from: a signature."""

    proof: Blob = field(name="VRFProof")


class ElectionProof(Tuple, frozen=True):
    """A signature that has won, and how many times."""

    wins: Int = field(name="WinCount")
    proof: Blob = field(name="VRFProof")


class BeaconEntry(Tuple, frozen=True):
    """What the beacon said in one of its rounds."""

    round: Uint = field(name="Round")
    data: Blob = field(name="Data")


class Header(Tuple, frozen=True, kw_only=True):
    """A block without its messages. State root, receipts and weight are those of its parents, executed.

    Winning PoSts are numbered 0 to 4 by sector size.
    """

    miner: Address = field(name="Miner")
    ticket: Ticket | None = field(name="Ticket")
    election: ElectionProof | None = field(name="ElectionProof")
    beacon: Rows[BeaconEntry] = field(name="BeaconEntries")
    winning_post: Rows[PoStProof] = field(name="WinPoStProof")
    parents: Rows[CID] = field(name="Parents")
    parent_weight: Amount = field(name="ParentWeight")
    height: Int = field(name="Height")
    parent_state_root: CID = field(name="ParentStateRoot")
    parent_receipts: CID = field(name="ParentMessageReceipts")
    messages: CID = field(name="Messages")
    bls_aggregate: Signature | None = field(name="BLSAggregate")
    timestamp: Uint = field(name="Timestamp")
    signature: Signature | None = field(name="BlockSig")
    fork_signaling: Uint = field(name="ForkSignaling")
    parent_base_fee: Amount = field(name="ParentBaseFee")

    @property
    def cid(self) -> CID:
        """The id of the block."""
        return cids.of_object(tuples.encode(self))

    @property
    def signing_bytes(self) -> bytes:
        """What the worker key signs."""
        return tuples.encode(msgspec.structs.replace(self, signature=None))


class BlockMessage(msgspec.Struct, frozen=True):
    """A block as it is handed in: with the ids of its messages, by the kind of their signatures."""

    header: Header = field(name="Header")
    bls_messages: Rows[CID] = field(name="BlsMessages")
    secp_messages: Rows[CID] = field(name="SecpkMessages")


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """What a block is made of, for `MinerCreateBlock`. `messages` are as the node's pool has them, unread."""

    miner: Address = field(name="Miner")
    parents: Rows[CID] = field(name="Parents")
    ticket: Ticket | None = field(name="Ticket")
    election: ElectionProof | None = field(name="Eproof")
    beacon: Rows[BeaconEntry] = field(name="BeaconValues")
    messages: tuple[Any, ...] = field(name="Messages")
    epoch: int = field(name="Epoch")
    timestamp: int = field(name="Timestamp")
    winning_post: Rows[PoStProof] = field(name="WinningPoStProof")

    def fits(self, header: Header) -> bool:
        """Return whether a block is made of this."""
        wanted = (self.miner, self.parents, self.ticket, self.election, self.beacon, self.epoch, self.timestamp)
        got = (
            header.miner,
            header.parents,
            header.ticket,
            header.election,
            header.beacon,
            header.height,
            header.timestamp,
        )
        return (*wanted, self.winning_post) == (*got, header.winning_post)
