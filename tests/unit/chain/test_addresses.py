"""Addresses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden.chain import recordings as golden

from damocles.chain.addresses import TESTNET, Address, MaybeAddress, Protocol

# Text and bytes as go-address and Lotus have them.
KNOWN = [
    ("f01000", "00e807"),
    ("f00", "0000"),
    ("f09223372036854775807", "00ffffffffffffffff7f"),
    ("f134buwikwmjplvsoy67d26ypp6q5ekhu7qap6hwq", "01df034b2156625ebac9d8f7c7af61eff43a451e9f"),
    ("t22bccs64kecwn7utdglf4vwh2l7kksv3w6jc6i3y", "02d044297b8a20acdfd26332cbcad8fa5fd4a95776"),
    (
        "t3rbeb2fanu6qitbgfrckijcudsrxghrlfscfuj6wx7lgy7pmhezwokvoz7uljznwb22ou3pddxycbgbak5l7q",
        "0388481d140da7a08984c58894848a83946e63c565908b44fad7facd8fbd87266ce555d9fd169cb6c1d69d4dbc63be0413",
    ),
]


@pytest.mark.parametrize(("text", "raw"), KNOWN)
def test_an_address_has_the_bytes_that_the_chain_has(text, raw):
    """Text becomes protocol and payload, and these become the text again, with the letter of the network."""
    address = Address.parse(text)

    assert raw == address.hex()
    assert text == Address(bytes.fromhex(raw)).text(text[0])


def test_every_recorded_address_survives():
    """What Lotus writes is what is written back."""
    texts = {
        text
        for row in golden.rows("exchanges")
        for key in ("To", "From", "Owner", "Worker", "Beneficiary", "RobustAddress", "IDAddress")
        for found in golden.everywhere(key, row["answer"])
        if isinstance(text := found[key], str)
    }

    assert len(texts) > 10
    assert [Address.parse(text).text(TESTNET) for text in texts] == list(texts)


payloads = st.one_of(
    st.integers(0, 2**63 - 1).map(Address.of_id),
    st.builds(
        lambda kind, data: Address(bytes([kind]) + data), st.sampled_from([1, 2]), st.binary(min_size=20, max_size=20)
    ),
    st.binary(min_size=48, max_size=48).map(lambda data: Address(b"\3" + data)),
    st.builds(lambda ns, data: Address(b"\4" + bytes([ns]) + data), st.integers(0, 127), st.binary(max_size=54)),
)


@given(payloads)
def test_any_address_survives(address):
    """Text and bytes both lead back to the address, of which both networks have the same bytes."""
    assert Address.parse(address.text()) == Address.parse(address.text(TESTNET)) == address
    assert Address.from_cbor(address.to_cbor()) == address


@given(payloads.filter(lambda address: address.protocol is not Protocol.ID), st.data())
def test_a_wrong_character_is_noticed(address, data):
    """One character that is another is found by the checksum."""
    text = address.text()
    place = data.draw(st.integers(3, len(text) - 1))
    other = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567").filter(lambda letter: letter != text[place]))

    with pytest.raises(ValueError, match="is no address"):
        Address.parse(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize(
    "text",
    ["", "f0", "x01000", "f51000", "f0-1", "f0²", "f09223372036854775808", "f099999999999999999999999999999999",
     "<empty>", "f1", "f4", "f410f", "F134BUWIKWMJPLVSOY67D26YPP6Q5EKHU7QAP6HWQ",
     "f134BUWIKWMJPLVSOY67D26YPP6Q5EKHU7QAP6HWQ", "f134buwikwmjplvsoy67d26ypp6q5ekhu7qap6hwr", "f1" + "a" * 500],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_one_line(text):
    """The refusal names what was written, and not all of it if it is long."""
    with pytest.raises(ValueError, match="is no address: ") as caught:
        Address.parse(text)

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "raw", ["", "00", "0080", "008000", "00ffffffffffffffffff01", "0100", "03" + "00" * 47, "04", "0480", "050000"]
)
def test_bytes_that_are_no_address_are_refused(raw):
    """A wrong length, another kind, and a number that could be shorter are no addresses."""
    with pytest.raises(ValueError, match=r".+"):
        Address.from_cbor(bytes.fromhex(raw))


def test_an_address_that_is_not_there_is_false():
    """Lotus writes `<empty>` where no worker is pending."""
    assert not MaybeAddress.from_json("<empty>")
    assert MaybeAddress.from_json("t01000") == Address.of_id(1000)
    assert MaybeAddress(b"").to_json() == "<empty>"
