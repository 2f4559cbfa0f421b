"""Parameters and return values of methods."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden.chain import recordings as golden

from damocles.chain import cbor, methods, sealing, tuples, upkeep, versions
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.wire import codec, commitments
from damocles.wire.codec import Blob, Rows

EXAMPLES = golden.rows("params")
KNOWN = [(case["case"], case) for case in EXAMPLES]


@pytest.mark.parametrize("case", [case for _, case in KNOWN], ids=[name for name, _ in KNOWN])
def test_an_example_has_the_recorded_bytes(case):
    """Go's JSON becomes the recorded CBOR, which is read as the same value; fields stand in the recorded order."""
    method = methods.OF_MINER[case["number"]]
    value = codec.from_builtins(case["json"], method.params)

    assert case["cbor"] == method.params_of(value).hex()
    assert value == method.read_params(bytes.fromhex(case["cbor"]))
    assert case["fields"] == [field.encode_name for field in msgspec.structs.fields(method.params)]


@pytest.mark.parametrize("case", [case for _, case in KNOWN], ids=[name for name, _ in KNOWN])
def test_our_json_is_read_as_the_same_value(case):
    """What is written as JSON, where nil and empty lists are one, is read back."""
    method = methods.OF_MINER[case["number"]]
    value = codec.from_builtins(case["json"], method.params)

    assert value == codec.decode(codec.encode(value), method.params)


def _sent() -> Iterator[tuple[Any, Any]]:
    """Every recorded message with its exit code and return value, if it ran."""
    for row in golden.rows("exchanges"):
        for found in golden.everywhere("MsgRct", row["answer"]):
            yield found["Msg"], found["MsgRct"]


def _known(message: Any) -> methods.Method | None:
    number = message["Method"]
    if message["To"] == "t04":
        return methods.CREATE_MINER if number == methods.CREATE_MINER.number else None
    return methods.OF_MINER.get(number) if message["To"].startswith("t01") else None


def test_every_recorded_message_is_read_and_written_alike():
    """Parameters of messages that the chain took are read by our types, and written byte for byte as they were."""
    seen = set()
    for message, receipt in _sent():
        method = _known(message)
        if method is None or receipt["ExitCode"] != 0:
            continue
        data = codec.from_builtins(message["Params"], Blob)
        value = method.read_params(data)
        assert data == method.params_of(value)
        method.read_return(codec.from_builtins(receipt["Return"], Blob))
        seen.add(method.name)

    assert len(seen) >= 14


def test_return_values_say_what_happened():
    """Those of the recorded messages, decoded by Lotus itself beside them."""
    for _, result in golden.results("StateWaitMsg"):
        decoded = result["ReturnDec"]
        data = codec.from_builtins(result["Receipt"]["Return"], Blob)
        for key, kind in (
            ("SuccessCount", sealing.BatchReturn),
            ("IDAddress", methods.CREATE_MINER.returns),
            ("Done", upkeep.TerminateSectorsReturn),
        ):
            if isinstance(decoded, dict) and key in decoded:
                assert codec.from_builtins(decoded, kind) == tuples.decode(data, kind)


def test_a_failure_in_a_batch_has_its_place():
    """Two proofs, of which the first is bad."""
    returned = methods.PROVE_COMMIT.read_return(bytes.fromhex("820181820010"))

    assert sealing.BatchReturn(1, Rows([sealing.Failure(0, 16)])) == returned
    assert returned.exit_codes() == [16, 0]


@pytest.mark.parametrize(("done", "failures"), [(1, [(2, 16)]), (1, [(0, 16), (0, 17)]), (2**60, [])])
def test_a_batch_that_does_not_add_up_is_no_batch(done, failures):
    """A place beyond its end, one that fails twice, more sectors than any batch has."""
    batch = sealing.BatchReturn(done, Rows(sealing.Failure(*failure) for failure in failures))

    with pytest.raises(ValueError, match="that is no batch"):
        batch.exit_codes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("81830300427494", r"DeclareFaults\.Faults\[0\]: expected an array of 3 fields, got int"),
        ("81818303f6427494", r"DeclareFaults\.Faults\[0\]\.Partition: expected a number"),
        ("8181830320427494", r"DeclareFaults\.Faults\[0\]\.Partition: expected a number from 0"),
        ("818183030042749400", "bytes after its end"),
        ("8181830300", "not CBOR"),
        ("81f6", r"DeclareFaults\.Faults: expected an array"),
        ("8181830300f6", r"DeclareFaults\.Faults\[0\]\.Sectors: expected RLE"),
        ("818183030041" + "00", r"Sectors: this is not the only spelling"),
        ("8281830300427494f6", "expected an array of 1 fields, got 2"),
        ("a0", "actors know no dict"),
    ],
)
def test_what_an_actor_would_refuse_is_refused_with_its_place(data, message):
    """The message names the field."""
    with pytest.raises(cbor.Malformed, match=message):
        methods.DECLARE_FAULTS.read_params(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (upkeep.DeclareFaults(Rows([upkeep.Declaration(-1, 0, Bitfield())])), r"Faults\[0\]\.Deadline"),
        (upkeep.DeclareFaults(Rows([upkeep.Declaration(True, 0, Bitfield())])), r"Faults\[0\]\.Deadline"),
        (upkeep.TerminateSectors(Rows()), "expected DeclareFaults, got TerminateSectors"),
        (None, "expected DeclareFaults"),
    ],
)
def test_what_does_not_fit_is_not_written(value, message):
    """Also parameters of another method."""
    with pytest.raises(cbor.Malformed, match=message):
        methods.DECLARE_FAULTS.params_of(value)


def test_a_link_that_looks_like_an_address_stays_bytes():
    """One f1 address in sixteen can be read as a CID; it is written as bytes all the same."""
    looks_like_a_cid = Address(bytes.fromhex("0155001200") + bytes(16))
    data = methods.CHANGE_OWNER.params_of(looks_like_a_cid)

    assert data == b"\x55" + looks_like_a_cid
    assert methods.CHANGE_OWNER.read_params(data) == looks_like_a_cid


def test_methods_without_parameters_take_none():
    """A confirmation has no parameters, and returns nothing."""
    assert methods.CONFIRM_WORKER.params_of(None) == b""
    with pytest.raises(cbor.Malformed, match="takes no parameters"):
        methods.CONFIRM_WORKER.params_of(Amount(1))
    with pytest.raises(cbor.Malformed, match="nothing to say"):
        methods.CONFIRM_WORKER.read_return(b"\x80")


def test_a_method_is_there_on_the_networks_that_have_it():
    """A new method is not sent to actors that do not know it."""
    assert methods.of(29, methods.UPGRADE_QUALITY) is methods.UPGRADE_QUALITY
    assert methods.of(28, methods.PROVE_COMMIT) is methods.PROVE_COMMIT
    with pytest.raises(methods.Unavailable, match=r"comes with actors v19; network 28 \(FireHorse\) has v18"):
        methods.of(28, methods.UPGRADE_QUALITY)


@pytest.mark.parametrize(("version", "what"), [(30, "newer than this damocles knows"), (27, "too old")])
def test_nothing_is_guessed_about_other_networks(version, what):
    """Not even for methods that are as old as the chain."""
    with pytest.raises(versions.UnknownNetwork, match=what) as caught:
        methods.of(version, methods.WITHDRAW)
    assert version == caught.value.version


_uints = st.integers(0, 2**64 - 1)
_ints = st.integers(-(2**63), 2**63 - 1)
_cids = st.binary(min_size=32, max_size=32).map(commitments.sealed_cid)
_addresses = st.integers(0, 2**63 - 1).map(Address.of_id)


_pieces = st.builds(
    sealing.Piece,
    cid=_cids,
    size_bytes=_uints,
    allocation=st.none() | st.builds(sealing.AllocationKey, _uints, _uints),
    notify=st.lists(st.builds(sealing.Notification, _addresses, st.binary(max_size=9).map(Blob)), max_size=2).map(Rows),
)
_proofs = st.builds(
    sealing.ProveCommitSectors3,
    activations=st.lists(
        st.builds(sealing.Activation, _uints, st.lists(_pieces, max_size=2).map(Rows)), max_size=3
    ).map(Rows),
    sector_proofs=st.lists(st.binary(max_size=200).map(Blob), max_size=3).map(Rows),
    aggregate_proof=st.binary(max_size=9).map(Blob),
    aggregate_proof_type=st.none() | _ints,
    require_activation_success=st.booleans(),
    require_notification_success=st.booleans(),
)


@given(_proofs)
def test_any_proof_survives_in_both_notations(value):
    """CBOR and JSON both give back what was written, canonically."""
    data = methods.PROVE_COMMIT.params_of(value)

    assert value == methods.PROVE_COMMIT.read_params(data) == codec.decode(codec.encode(value), type(value))
    assert data == cbor.encode(cbor.decode(data))


@pytest.mark.parametrize("case", EXAMPLES, ids=lambda case: case["case"])
@settings(max_examples=80)
@given(data=st.data())
def test_damaged_parameters_are_refused_or_have_one_spelling(case: Any, data: st.DataObject) -> None:
    """Bytes that are exchanged, left out or put in give another value, which is written with these bytes, or an error."""
    method = methods.OF_MINER[case["number"]]
    whole = bytes.fromhex(case["cbor"])
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, min(len(whole), start + 3)))
    damaged = whole[:start] + data.draw(st.binary(max_size=3)) + whole[end:]

    try:
        value = method.read_params(damaged)
    except cbor.Malformed:
        return
    assert damaged == method.params_of(value)


def test_a_status_is_a_byte():
    """As go-state-types reads it; 255 is read, 256 is not."""
    assert 255 == tuples.decode(bytes.fromhex("8218ff40"), upkeep.SectorLocation).status
    with pytest.raises(cbor.Malformed, match="Status: expected a number from 0 to 255"):
        tuples.decode(bytes.fromhex("8219010040"), upkeep.SectorLocation)
