"""Messages, signatures and exit codes."""

import msgspec
import pytest
from tests.golden.chain import recordings as golden

from damocles.chain import cbor, cids, exits, messages, tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.wire import codec
from damocles.wire.codec import Blob

BLS = Address.parse("f3rbeb2fanu6qitbgfrckijcudsrxghrlfscfuj6wx7lgy7pmhezwokvoz7uljznwb22ou3pddxycbgbak5l7q")
SECP = Address.parse("f134buwikwmjplvsoy67d26ypp6q5ekhu7qap6hwq")


def test_every_recorded_message_has_the_recorded_id():
    """Read from JSON, the CID of our CBOR is the one that Lotus gives."""
    checked = 0
    for row in golden.rows("exchanges"):
        for found in golden.everywhere("GasFeeCap", row["answer"]):
            message = codec.from_builtins(found, messages.Message)
            assert found["CID"]["/"] == message.cid
            assert message == tuples.decode(tuples.encode(message), messages.Message)
            checked += 1

    assert checked > 100


def test_every_recorded_signed_message_has_the_recorded_id():
    """With a BLS key it is that of the message."""
    checked = 0
    for row in golden.rows("exchanges"):
        for found in golden.everywhere("Signature", row["answer"]):
            signed = codec.from_builtins(found, messages.SignedMessage)
            assert found["CID"]["/"] == signed.cid == signed.message.cid
            assert signed == tuples.decode(tuples.encode(signed), messages.SignedMessage)
            checked += 1

    assert checked > 20


def test_an_id_of_a_message_of_secp256k1_has_its_signature():
    """Two signatures are two messages."""
    message = messages.Message(to=BLS, sender=SECP, nonce=3)
    signed = [
        messages.SignedMessage(message, messages.Signature(messages.SignatureType.SECP256K1, bytes([byte]) * 65))
        for byte in (1, 2)
    ]

    assert len({message.cid, signed[0].cid, signed[1].cid}) == 3
    assert cids.of_object(tuples.encode(signed[0])) == signed[0].cid


def test_a_message_is_written_as_lotus_reads_it():
    """Go's names in Go's order, amounts as text, no parameters as null."""
    message = messages.Message(to=Address.of_id(1000), sender=BLS, value=Amount(5), method=21)

    assert (
        b'{"Version":0,"To":"f01000","From":"%b","Nonce":0,"Value":"5","GasLimit":0,"GasFeeCap":"0","GasPremium":"0",'
        b'"Method":21,"Params":null}' % BLS.text().encode()
    ) == codec.encode(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [("nonce", -1), ("nonce", 2**64), ("gas_limit", 2**63), ("method", -1), ("value", Amount(1 << 1100))],
)
def test_a_number_that_is_out_of_range_is_not_sent(field, value):
    """The message names the field."""
    message = msgspec.structs.replace(messages.Message(to=BLS, sender=BLS), **{field: value})

    with pytest.raises(cbor.Malformed, match=r"Message\.[A-Z]"):
        tuples.encode(message)


def test_what_keys_sign():
    """A BLS key signs the CID, a secp256k1 key the digest of it; others cannot sign."""
    message = messages.Message(to=BLS, sender=SECP)

    assert cids.to_bytes(message.cid) == messages.signing_bytes(message)
    assert len(messages.signing_digest(message)) == 32
    assert (messages.kind_of_signature(SECP), messages.kind_of_signature(BLS)) == (
        messages.SignatureType.SECP256K1,
        messages.SignatureType.BLS,
    )
    with pytest.raises(ValueError, match="no key that can sign"):
        messages.kind_of_signature(Address.of_id(100))


@pytest.mark.parametrize("raw", [b"", b"\3" + bytes(65), b"\1" + bytes(64), b"\2" + bytes(65), "x"])
def test_what_is_no_signature_is_refused(raw):
    """Another kind, or another length."""
    with pytest.raises(ValueError, match="signature"):
        messages.Signature.from_cbor(raw)


def test_most_that_a_message_can_burn():
    """Limit times fee cap, beside the value."""
    message = messages.Message(to=BLS, sender=BLS, gas_limit=10, gas_fee_cap=Amount(7), value=Amount(100))

    assert message.most_burnt == 70


def test_every_recorded_exit_code_has_words():
    """No message of an actor is left without an explanation, and the number is found in Lotus' texts."""
    for row in golden.rows("exchanges"):
        for found in golden.everywhere("MsgRct", row["answer"]):
            code = found["MsgRct"]["ExitCode"]
            assert "its text says more" not in exits.words(code)
            assert code == (exits.code_in(found["Error"]) or exits.OK)
        for found in golden.everywhere("error", row["answer"]):
            text = found["error"]["message"]
            if "exit=" in text:
                assert f"({exits.code_in(text)})" in text


def test_an_exit_code_that_nobody_knows_is_shown():
    """Actors may have codes of their own."""
    assert exits.words(77) == "exit code 77: the actor's own; its text says more"
    assert exits.code_in("no exit code here") is None


def test_params_are_part_of_the_id():
    """Other parameters, another message."""
    one, two = (messages.Message(to=BLS, sender=BLS, params=Blob(data)) for data in (b"\x80", b"\x81\x01"))

    assert one.cid != two.cid
