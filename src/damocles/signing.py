"""Sign messages with a key of our own, and verify what others have signed.

    key = signing.read_key(path.read_text())       # as `lotus wallet export` writes it
    signed = signing.sign(key, message)

Both kinds of keys take milliseconds of computing, secp256k1 some dozen of them: call from a thread.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from damocles import bls
from damocles.chain import messages, secp256k1
from damocles.chain.addresses import Address, Protocol
from damocles.chain.messages import Message, Signature, SignatureType, SignedMessage

_TYPES = {"secp256k1": SignatureType.SECP256K1, "bls": SignatureType.BLS}


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private key of 32 bytes, which is never shown."""

    type: SignatureType
    secret: bytes = field(repr=False)

    @property
    def address(self) -> Address:
        """The address whose messages it signs."""
        if self.type is SignatureType.BLS:
            return Address(bytes([Protocol.BLS]) + bls.public_key(self.secret))
        public = secp256k1.public_key(self.secret)
        return Address(bytes([Protocol.SECP256K1]) + secp256k1.address_payload(public))


def read_key(text: str) -> PrivateKey:
    """Read a key as `lotus wallet export` writes it: JSON with type and base64, in hexadecimal digits.

    Raises:
        ValueError: It is none; the message does not show what was read.
    """
    try:
        content: Any = json.loads(bytes.fromhex(text.strip()))
        key = PrivateKey(_TYPES[content["Type"]], base64.b64decode(content["PrivateKey"], validate=True))
        key.address  # noqa: B018, refuses what is no key
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ValueError(
            "this is no key that can sign messages: expected the one line that `lotus wallet export` prints for an"
            " address of f1 or f3"
        ) from None
    return key


def sign(key: PrivateKey, message: Message) -> SignedMessage:
    """Sign a message.

    Raises:
        ValueError: It is a message of another sender.
    """
    if message.sender != key.address:
        raise ValueError(f"the key of {key.address} does not sign messages of {message.sender}")
    return SignedMessage(message, sign_bytes(key, messages.signing_bytes(message)))


def sign_bytes(key: PrivateKey, data: bytes) -> Signature:
    """Sign bytes as a wallet does: a BLS key signs them as they are, a secp256k1 key their BLAKE2b-256."""
    if key.type is SignatureType.BLS:
        return Signature(key.type, bls.sign(key.secret, data))
    digest = hashlib.blake2b(data, digest_size=32).digest()
    return Signature(key.type, secp256k1.sign(key.secret, digest))


def is_valid(signed: SignedMessage) -> bool:
    """Return whether a message is signed by its sender. One whose sender is an id has to get its key first."""
    sender, signature = signed.message.sender, signed.signature
    if sender.protocol is Protocol.BLS and signature.type is SignatureType.BLS:
        return bls.verify(bytes(sender[1:]), messages.signing_bytes(signed.message), signature.data)
    if sender.protocol is Protocol.SECP256K1 and signature.type is SignatureType.SECP256K1:
        public = secp256k1.recover(messages.signing_digest(signed.message), signature.data)
        return public is not None and secp256k1.address_payload(public) == sender[1:]
    return False
