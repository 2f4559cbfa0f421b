"""What aggregates claim; the other claims are tasks of the line protocol (`damocles.wire.tasks`)."""

import msgspec

from damocles.wire.codec import Bytes32


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A sector in an aggregate: its commitments and what its proof was made for."""

    comm_r: Bytes32
    comm_d: Bytes32
    prover_id: Bytes32
    number: int
    ticket: Bytes32
    seed: Bytes32


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """A claim that an aggregate proves all these sectors, in this order."""

    registered_proof: str
    members: tuple[Member, ...]
    proof: bytes
