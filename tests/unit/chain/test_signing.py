"""Signatures of messages."""

import base64
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden.chain import recordings

from damocles import bls, signing
from damocles.chain import secp256k1
from damocles.chain.addresses import TESTNET, Address
from damocles.chain.messages import Message, Signature, SignatureType, SignedMessage
from damocles.signing import PrivateKey
from damocles.wire import codec

# Published as an example by others, with its address.
SECRET = bytes.fromhex("f15716d3b003b304b8055d9cc62e6b9c869d56cc930c3858d4d7c31f5f53f14a")
SECP_KEY = PrivateKey(SignatureType.SECP256K1, SECRET)
BLS_KEY = PrivateKey(SignatureType.BLS, bls.new_key(bytes(range(32))))
# Made by go-crypto v0.1.0 with that key, of 32 bytes 01.
DIGEST = b"\1" * 32
OF_GO = bytes.fromhex(
    "3b48ee61d3f92bee98cce389beb93612072718a31591705dfcf78d65a4395bbb1dc78b5066fed4729f0480c1d7b95e2652687210a9d2dd1caadca1e43bad5ffc00"
)


def test_every_recorded_signature_is_valid():
    """Those of Lotus' wallet, with keys of BLS; with another nonce none is."""
    checked = 0
    for row in recordings.rows("exchanges"):
        for found in recordings.everywhere("Signature", row["answer"]):
            signed = codec.from_builtins(found, SignedMessage)
            other = msgspec.structs.replace(signed.message, nonce=signed.message.nonce + 1)
            if signed.message.sender.protocol == 3:
                assert signing.is_valid(signed)
                assert not signing.is_valid(SignedMessage(other, signed.signature))
                checked += 1

    assert checked > 20


def test_a_key_has_the_address_that_others_give_it():
    """And a signature of Go's library leads to its public key."""
    assert SECP_KEY.address.text(TESTNET) == "t1d2xrzcslx7xlbbylc5c3d5lvandqw4iwl6epxba"
    assert secp256k1.recover(DIGEST, OF_GO) == secp256k1.public_key(SECRET)


@pytest.mark.parametrize("key", [SECP_KEY, BLS_KEY], ids=lambda key: key.type.name)
def test_what_is_signed_is_valid_and_nothing_else(key):
    """Another message, another sender, another kind of signature and a flipped bit are not."""
    message = Message(to=Address.of_id(1000), sender=key.address, nonce=7)
    signed = signing.sign(key, message)
    data = signed.signature.data
    flipped = bytes([data[0] ^ 1]) + data[1:]
    kinds = {kind for kind in SignatureType if kind is not key.type}

    assert signing.is_valid(signed)
    assert signed == signing.sign(key, message)
    assert not signing.is_valid(SignedMessage(msgspec.structs.replace(message, nonce=8), signed.signature))
    assert not signing.is_valid(
        SignedMessage(msgspec.structs.replace(message, sender=Address.of_id(5)), signed.signature)
    )
    assert not signing.is_valid(SignedMessage(message, Signature(key.type, flipped)))
    assert not signing.is_valid(SignedMessage(message, Signature(key.type, data[:-1])))
    assert not any(signing.is_valid(SignedMessage(message, Signature(kind, data))) for kind in kinds)


def test_a_key_signs_for_nobody_else():
    """The message names both."""
    with pytest.raises(ValueError, match=f"the key of {SECP_KEY.address} does not sign messages of f01000"):
        signing.sign(SECP_KEY, Message(to=BLS_KEY.address, sender=Address.of_id(1000)))


@settings(max_examples=10)
@given(st.integers(1, 2**255), st.binary(min_size=32, max_size=32))
def test_any_key_is_recovered_from_its_signature(number, digest):
    """The smaller of the two possible s is taken, as nodes want it."""
    secret = number.to_bytes(32, "big")
    signature = secp256k1.sign(secret, digest)

    assert secp256k1.recover(digest, signature) == secp256k1.public_key(secret)
    assert int.from_bytes(signature[32:64], "big") <= 2**255


@settings(max_examples=20)
@given(st.binary(min_size=64, max_size=64), st.integers(0, 255))
def test_any_bytes_are_some_signature_or_none(rest, number):
    """Nothing is raised."""
    recovered = secp256k1.recover(DIGEST, rest + bytes([number]))

    assert recovered is None or len(recovered) == 65


@pytest.mark.parametrize("signature", [b"", bytes(65), b"\xff" * 65, OF_GO[:64], OF_GO[:64] + b"\4", OF_GO + b"\0"])
def test_what_is_no_signature_has_no_key(signature):
    """Zeros, numbers beyond the order of the curve, other lengths."""
    assert secp256k1.recover(DIGEST, signature) is None


def exported(kind: str, secret: bytes) -> str:
    """Return a key as Lotus exports it."""
    return json.dumps({"Type": kind, "PrivateKey": base64.b64encode(secret).decode()}).encode().hex()


def test_keys_are_read_as_lotus_exports_them():
    """And do not show themselves."""
    assert signing.read_key(exported("secp256k1", SECRET) + "\n") == SECP_KEY
    assert signing.read_key(exported("bls", BLS_KEY.secret)) == BLS_KEY
    assert SECRET.hex() not in repr(SECP_KEY)
    assert repr(SECRET) not in repr(SECP_KEY)


@pytest.mark.parametrize(
    "text",
    ["", "zz", "00", SECRET.hex(), exported("delegated", SECRET), exported("secp256k1", SECRET[1:]), exported("secp256k1", bytes(32)),
     exported("bls", b"\xff" * 32), b'{"Type":"bls"}'.hex(), b"[]".hex(), b'{"Type":"bls","PrivateKey":5}'.hex(), "ü"],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_not_shown(text):
    """One line that says what is expected."""
    with pytest.raises(ValueError, match="lotus wallet export") as caught:
        signing.read_key(text)
    assert len(str(caught.value)) < 200
