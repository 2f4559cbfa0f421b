"""Encodings of the wire, against values recorded from damocles v0.13.1 and from the proofs crates."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.text import units
from damocles.wire import codec, commitments, fleet, seal, sectors, tasks

ZERO_2KIB = bytes.fromhex("fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833")


def test_sector_names_read_and_write():
    """A sector is named s-t0<miner>-<number> on every network."""
    assert str(sectors.SectorID(10000, 2)) == "s-t010000-2"
    assert sectors.SectorID(10000, 2) == sectors.SectorID.parse("s-f010000-2")
    with pytest.raises(ValueError, match="s-t010000-2"):
        sectors.SectorID.parse("10000-2")


@pytest.mark.parametrize(
    ("number", "name", "size"),
    [
        (0, "StackedDrg2KiBV1", 2 << 10),
        (5, "StackedDrg2KiBV1_1", 2 << 10),
        (8, "StackedDrg32GiBV1_1", 32 << 30),
        (14, "StackedDrg64GiBV1_1_Feat_SyntheticPoRep", 64 << 30),
        (15, "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep", 2 << 10),
    ],
)
def test_seal_proofs_have_the_names_of_the_proofs_crate(number, name, size):
    """Numbers are go-state-types', names filecoin-proofs-api's."""
    proof = sectors.SealProof(number)
    assert (name, size) == (proof.proof_name, proof.size)
    assert proof == sectors.SealProof.of(proof.size, proof.family)


def test_a_size_stands_for_three_proofs():
    """`allowed_sizes` asks for V1_1, synthetic and non-interactive of the size, in this order."""
    assert sectors.seal_proofs_of(sectors.SectorSize.GIB32) == (8, 13, 18)


def test_prover_ids_are_padded_varints():
    """Actor 10000 is 0x904e, padded with zeros to 32 bytes."""
    assert sectors.prover_id(10000) == bytes.fromhex("904e") + bytes(30)


def test_commitment_cids_have_the_field_s_prefixes():
    """The zero sector of 2KiB has the CID that chain explorers show."""
    cid = commitments.unsealed_cid(ZERO_2KIB)
    assert cid == "baga6ea4seaqpy7usqklokfx2vxuynmupslkeutzexe2uqurdg5vhtebhxqmpqmy"
    assert ZERO_2KIB == commitments.commitment_of(cid)
    assert commitments.sealed_cid(ZERO_2KIB).startswith("bagboea4b5abc")


@given(st.binary(min_size=32, max_size=32))
def test_commitments_survive_their_cid(raw):
    """Sealed and unsealed CIDs lead back to the same 32 bytes."""
    assert raw == commitments.commitment_of(commitments.sealed_cid(raw))
    assert raw == commitments.commitment_of(commitments.unsealed_cid(raw))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (seal.AllocatedSector(sectors.SectorID(10000, 1), 5), b'{"ID":{"Miner":10000,"Number":1},"ProofType":5}'),
        (
            seal.AllocateSectorSpec([10000], [5, 10, 15]),
            b'{"AllowedMiners":[10000],"AllowedProofTypes":[5,10,15]}',
        ),
        (seal.Ticket(bytes(32), 1100), b'{"Ticket":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Epoch":1100}'),
        (seal.Submitted(1), b'{"Res":1,"Desc":null}'),
        (seal.WaitSeedResp(should_wait=True, delay_seconds=30), b'{"ShouldWait":true,"Delay":30,"Seed":null}'),
        (
            seal.SectorStateResp(sectors.SectorID(10000, 1), finalized=False, abort_reason=""),
            b'{"Id":{"Miner":10000,"Number":1},"Finalized":false,"AbortReason":""}',
        ),
        (
            seal.ReportStateReq(
                seal.WorkerIdentifier("worker-1", "/store1"), seal.StateChange("Empty", "Allocated", "None")
            ),
            b'{"Worker":{"Instance":"worker-1","Location":"/store1"},'
            b'"StateChange":{"Prev":"Empty","Next":"Allocated","Event":"None"},"Failure":null}',
        ),
        (
            seal.SectorRebuildInfo(
                seal.AllocatedSector(sectors.SectorID(10000, 1), 5),
                seal.Ticket(bytes(32), 1),
                is_upgraded=True,
                upgrade_public=seal.SectorPublic(codec.Bytes32(bytes(32))),
            ),
            b'{"Sector":{"ID":{"Miner":10000,"Number":1},"ProofType":5},'
            b'"Ticket":{"Ticket":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Epoch":1},"Pieces":null,"PiecesV2":null,'
            b'"IsSnapUp":true,"UpgradePublic":{"CommR":[' + b",".join([b"0"] * 32) + b'],"SealedCID":null,"Activation":0,"Expiration":0}}',
        ),
        (
            seal.SectorUnsealInfo(
                seal.AllocatedSector(sectors.SectorID(10000, 1), 5), codec.CID("baga6"), 0, 127,
                seal.SectorPrivate("store"), seal.Ticket(bytes(32), 1), codec.Bytes32(bytes(32)), ["file:///x"],
            ),
            b'{"Sector":{"ID":{"Miner":10000,"Number":1},"ProofType":5},"PieceCid":{"/":"baga6"},"Offset":0,"Size":127,'
            b'"PrivateInfo":{"AccessInstance":"store"},'
            b'"Ticket":{"Ticket":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","Epoch":1},'
            b'"CommD":[' + b",".join([b"0"] * 32) + b'],"Dest":["file:///x"],"State":"set_up","ErrorInfo":""}',
        ),
        (seal.Proof(b"proof"), b'{"Proof":"cHJvb2Y="}'),
        (
            fleet.ThreadInfo(
                "/mnt/nvme1/store", "sealer", "s-t010000-1", 0,
                fleet.ThreadState("Running", 3725, "ext(pid: 4711)"), "TicketAssigned", "PC1", None,
            ),
            b'{"location":"/mnt/nvme1/store","plan":"sealer","job_id":"s-t010000-1","index":0,'
            b'"thread_state":{"state":"Running","elapsed":3725,"proc":"ext(pid: 4711)"},'
            b'"job_state":"TicketAssigned","job_stage":"PC1","last_error":null}',
        ),
        (
            fleet.WorkerInfo("w", "127.0.0.1:17890", "v0.13.1", fleet.Summary(3, 0, 3, 0, 0, 3)),
            b'{"Name":"w","Dest":"127.0.0.1:17890","Version":"v0.13.1",'
            b'"Summary":{"Threads":3,"Empty":0,"Paused":3,"Running":0,"Waiting":0,"Errors":3}}',
        ),
    ],
)  # fmt: skip
def test_structs_have_the_original_s_json(value, text):
    """Field names, their order and nulls are those of the original, and reading gives the same value."""
    assert text == codec.encode(value)
    assert value == codec.decode(text, type(value))


def test_commitments_are_arrays_of_numbers():
    """Go's [32]byte and Rust's [u8; 32] are arrays, and exactly 32 long."""
    out = tasks.PC2Output("StackedDrg2KiBV1_1", codec.Bytes32(ZERO_2KIB), codec.Bytes32(bytes(32)))
    text = codec.encode(out)
    assert text.startswith(b'{"registered_proof":"StackedDrg2KiBV1_1","comm_r":[252,126,146,')
    assert out == codec.decode(text, tasks.PC2Output)
    with pytest.raises(msgspec.ValidationError, match="expected 32 bytes, got 2"):
        codec.decode(b'{"registered_proof":"","comm_r":[1,2],"comm_d":[1,2]}', tasks.PC2Output)
    with pytest.raises(msgspec.ValidationError, match="expected an array of numbers"):
        codec.decode(b'{"registered_proof":"","comm_r":32,"comm_d":32}', tasks.PC2Output)


def test_negative_sector_numbers_are_refused():
    """An id that no chain has is not taken from a peer."""
    with pytest.raises(msgspec.ValidationError, match=">= 0"):
        codec.decode(b'{"Miner":10000,"Number":-1}', sectors.SectorID)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5min", 300), ("1h 30m", 5400), ("1h30m0.5s", 5400.5), ("500ms", 0.5), ("1day 2h", 93600)],
)
def test_durations_read_in_both_notations(text, seconds):
    """Humantime and Go durations are both understood."""
    assert seconds == units.parse_duration(text)


@pytest.mark.parametrize("text", ["", "  ", "5", "abc", "5 parsecs", "-3s"])
def test_nonsense_durations_are_refused(text):
    """What is no duration says how to write one."""
    with pytest.raises(ValueError, match="30s, 5min or 1h 30m"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.9, "42s"), (63, "1m 3s"), (3725, "1h 2m 5s"), (93600, "1day 2h"), (172800, "2days"), (1e308, "∞")],
)
def test_durations_print_as_humantime(seconds, text):
    """The worker prints whole seconds with humantime's units."""
    assert text == units.human_duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (2.756922465, "2.756922465s"),
        (822, "13m42s"),
        (3605, "1h0m5s"),
        (0.774134601, "774.134601ms"),
        (10**400, "∞"),
        (-1e308, "-∞"),
    ],
)
def test_durations_print_as_go_s(seconds, text):
    """The manager prints durations as Go's time.Duration."""
    assert text == units.go_duration(seconds)


@pytest.mark.parametrize(
    ("at", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1.79e9, "2026-09-21T14:13:20Z"), (-1e18, "@-1e+18"), (1e308, "@1e+308")],
)
def test_times_print_whatever_they_are(at, text):
    """A time is printed in UTC, and as it is where no calendar has it."""
    assert text == units.moment(at)


@pytest.mark.parametrize(("text", "size"), [("2KiB", 2048), ("32GiB", 32 << 30), ("1.5 MB", 1_500_000), ("2048", 2048)])
def test_sizes_read_binary_and_decimal_units(text, size):
    """KiB is 1024 bytes, kB is 1000."""
    assert size == units.parse_size(text)
