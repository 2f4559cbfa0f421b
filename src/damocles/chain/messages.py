"""Messages, the only way to change anything on the chain, and their signatures.

The id of a message is the CID of its CBOR. A signed message has the same id if its key is BLS, whose signatures are
aggregated in a block; for a secp256k1 key it is the CID of both together. What such a key signs is `signing_digest`.
"""

import hashlib
from enum import IntEnum
from typing import Any

import msgspec
from msgspec import field

from damocles.chain import cids, tuples
from damocles.chain.addresses import Address, Protocol
from damocles.chain.amounts import Amount
from damocles.chain.tuples import Int, Tuple, Uint
from damocles.wire.codec import CID, Blob

SEND = 0  # the method that only moves value


class Message(Tuple, frozen=True, kw_only=True):
    """A message: what `sender` wants of `to`, what it brings along, and what it may cost; amounts in attoFIL.

    Without a gas limit and with zeros for fees it is one to be estimated. `params` are CBOR, or nothing.
    """

    version: Uint = field(name="Version", default=0)
    to: Address = field(name="To")
    sender: Address = field(name="From")
    nonce: Uint = field(name="Nonce", default=0)
    value: Amount = field(name="Value", default=Amount(0))
    gas_limit: Int = field(name="GasLimit", default=0)
    gas_fee_cap: Amount = field(name="GasFeeCap", default=Amount(0))
    gas_premium: Amount = field(name="GasPremium", default=Amount(0))
    method: Uint = field(name="Method", default=SEND)
    params: Blob = field(name="Params", default=Blob())

    @property
    def cid(self) -> CID:
        """Its id, before it is signed."""
        return cids.of_object(tuples.encode(self))

    @property
    def most_burnt(self) -> Amount:
        """What it costs at most beside its value."""
        return Amount(self.gas_limit * self.gas_fee_cap)


class SignatureType(IntEnum):
    """Kinds of signatures that a sealing manager meets."""

    SECP256K1 = 1
    BLS = 2


_KIND_OF_KEY = {Protocol.SECP256K1: SignatureType.SECP256K1, Protocol.BLS: SignatureType.BLS}
_SIGNATURE_BYTES = {SignatureType.SECP256K1: 65, SignatureType.BLS: 96}


class Signature(msgspec.Struct, frozen=True):
    """A signature; in CBOR bytes, the first of which is its kind."""

    type: SignatureType = field(name="Type")
    data: bytes = field(name="Data")

    def to_cbor(self) -> bytes:
        """Return kind and signature."""
        return bytes([self.type]) + self.data

    @classmethod
    def from_cbor(cls, value: Any) -> "Signature":
        """Read kind and signature."""
        if not isinstance(value, bytes) or not value or value[0] not in set(SignatureType):
            raise ValueError("expected a signature of secp256k1 or BLS")
        made = cls(SignatureType(value[0]), value[1:])
        if len(made.data) != _SIGNATURE_BYTES[made.type]:
            raise ValueError(
                f"a signature of {made.type.name} has {_SIGNATURE_BYTES[made.type]} bytes, not {len(made.data)}"
            )
        return made


class SignedMessage(Tuple, frozen=True):
    """A message as it is pushed."""

    message: Message = field(name="Message")
    signature: Signature = field(name="Signature")

    @property
    def cid(self) -> CID:
        """Its id, by which a node finds it."""
        return self.message.cid if self.signature.type is SignatureType.BLS else cids.of_object(tuples.encode(self))


def kind_of_signature(key: Address) -> SignatureType:
    """Return how a key signs.

    Raises:
        ValueError: It is no key; ask the chain for the key of an actor (`StateAccountKey`).
    """
    try:
        return _KIND_OF_KEY[key.protocol]
    except KeyError:
        raise ValueError(f"{key} is no key that can sign: expected an address of f1 or f3") from None


def signing_bytes(message: Message) -> bytes:
    """Return what a BLS key signs: the binary CID of the message."""
    return cids.to_bytes(message.cid)


def signing_digest(message: Message) -> bytes:
    """Return what a secp256k1 key signs: 32 bytes, the BLAKE2b-256 of the binary CID."""
    return hashlib.blake2b(signing_bytes(message), digest_size=32).digest()
