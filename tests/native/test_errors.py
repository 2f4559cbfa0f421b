"""What goes wrong, and how it is said."""

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import damocles_proofs as proofs
import pytest

PROOF = "StackedDrg2KiBV1_1"
PROVER_ID = b"\xe8\x07".ljust(32, b"\0")
TICKET = bytes([1]) * 32


def test_unknown_proof_name(tmp_path: Path):
    """An unknown name is refused with the list of valid ones."""
    with pytest.raises(
        ValueError, match="registered_proof: unknown variant `StackedDrg3KiBV1`, expected one of"
    ) as caught:
        proofs.tree_d("StackedDrg3KiBV1", tmp_path, tmp_path)
    assert "`StackedDrg64GiBV1_2_Feat_NonInteractivePoRep`" in str(caught.value)


def test_update_and_post_names():
    """Each family of proofs has its own names."""
    with pytest.raises(ValueError, match="registered_proof: unknown variant `StackedDrg2KiBV1_1`"):
        proofs.update_verify(PROOF, b"", bytes(32), bytes(32), bytes(32))
    with pytest.raises(ValueError, match="registered_proof: unknown variant `StackedDrg2KiBV1_1`"):
        proofs.generate_fallback_sector_challenges(PROOF, bytes(32), [1], bytes(32))
    with pytest.raises(ValueError, match="registered_proof: StackedDrgWinning2KiBV1 is not a Window PoSt"):
        proofs.get_num_partition_for_fallback_post("StackedDrgWinning2KiBV1", 1)
    with pytest.raises(ValueError, match="aggregation: unknown variant `SnarkPackV3`"):
        proofs.aggregate_seal_proofs(PROOF, "SnarkPackV3", [], [], [])


def test_wrong_length(new_sector):
    """Bytes of a wrong length are refused by the name of the argument."""
    sector = new_sector()
    arguments = (PROOF, sector.cache, sector.staged, sector.sealed)

    with pytest.raises(ValueError, match=r"^prover_id: expected 32 bytes, got 2$"):
        proofs.pc1(*arguments, b"\xe8\x07", 1, bytes(32), sector.pieces)
    with pytest.raises(ValueError, match=r"^ticket: expected 32 bytes, got 0$"):
        proofs.pc1(*arguments, bytes(32), 1, b"", sector.pieces)
    with pytest.raises(ValueError, match=r"^commitment: expected 32 bytes, got 33$"):
        proofs.PieceInfo(bytes(33), 127)
    with pytest.raises(ValueError, match=r"^seeds\[1\]: expected 32 bytes, got 3$"):
        proofs.aggregate_seal_proofs(PROOF, "SnarkPackV2", [bytes(32)] * 2, [bytes(32), b"abc"], [b"", b""])
    with pytest.raises(ValueError, match=r"^seeds: expected 1 entries, as many as comm_rs, got 2$"):
        proofs.aggregate_seal_proofs(PROOF, "SnarkPackV2", [bytes(32)], [bytes(32)] * 2, [b""])


def test_missing_file(new_sector):
    """A missing input is named before the work starts."""
    sector = new_sector()
    sector.staged.unlink()

    with pytest.raises(proofs.FileError) as caught:
        sector.pc1()
    assert (caught.value.path, caught.value.problem) == (str(sector.staged), "is not found")
    assert str(caught.value) == f"{sector.staged}: is not found"


def test_dangling_link(new_sector):
    """A link without a target is not mistaken for a missing tree-d; the message has both ends."""
    sector = new_sector()
    target = sector.prepared / "sc-02-data-tree-d.dat"
    target.unlink()

    with pytest.raises(proofs.FileError, match=f"is a link to {target}, which is not found"):
        sector.pc1()


def test_wrong_kind(new_sector, tmp_path: Path):
    """A folder in place of a file, and a file in place of a folder, are named."""
    sector = new_sector()

    with pytest.raises(proofs.FileError, match="sector-1: is not a regular file"):
        proofs.tree_d(PROOF, sector.folder, tmp_path)
    with pytest.raises(proofs.FileError, match="staged: is not a folder"):
        proofs.tree_d(PROOF, sector.staged, sector.staged)
    with pytest.raises(proofs.FileError, match=f"^{tmp_path}/no: is not found$"):
        proofs.add_piece(PROOF, None, 0, 127, tmp_path / "no/staged")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(new_sector):
    """A file without permission is named."""
    sector = new_sector()
    sector.staged.chmod(0)

    with pytest.raises(proofs.FileError, match="staged: permission denied"):
        sector.pc1()


def test_missing_layer(new_sector):
    """PC2 and C1 name the layer that they miss."""
    sector = new_sector()
    pc1 = sector.pc1()
    pc2 = sector.pc2(pc1)
    layer = sector.cache / "sc-02-data-layer-2.dat"
    layer.unlink()

    with pytest.raises(proofs.FileError) as caught:
        sector.pc2(pc1)
    assert caught.value.path == str(layer)
    with pytest.raises(proofs.FileError) as caught:
        sector.c1(pc2)
    assert caught.value.path == str(layer)


def incomplete(output: proofs.Pc1Output) -> proofs.Pc1Output:
    """Take a field from an output of PC1 that the library relies on."""
    record = json.loads(output.to_json())
    record["config"]["size"] = None
    return proofs.Pc1Output.from_json(json.dumps(record).encode())


def test_panic(new_sector, capfd: pytest.CaptureFixture[str]):
    """A panic inside the library is an ordinary exception with the panic's message and place."""
    sector = new_sector()
    output = incomplete(sector.pc1())

    with pytest.raises(proofs.PanicError, match=r"^disk store size not configured$") as caught:
        sector.pc2(output)
    assert isinstance(caught.value, proofs.ProofsError)
    assert caught.value.place is not None
    assert caught.value.place.startswith("filecoin-proofs-19.")
    assert "panicked" in capfd.readouterr().err


def test_panics_side_by_side(new_sector, capfd: pytest.CaptureFixture[str]):
    """Panicking calls on several threads each get their exception, and good calls among them their result."""
    outcomes = []

    def call(sector: Any, output: proofs.Pc1Output, name: str) -> None:
        try:
            outcomes.append((name, sector.pc2(output).comm_d))
        except proofs.PanicError as error:
            outcomes.append((name, error.message))

    threads = []
    for number in range(8):
        sector = new_sector(number=number)
        output = sector.pc1()
        name = "bad" if number % 2 else "good"
        arguments = (sector, incomplete(output) if number % 2 else output, name)
        threads.append(threading.Thread(target=call, args=arguments))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    capfd.readouterr()

    expected = {("good", proofs.zero_piece(2032).commitment), ("bad", "disk store size not configured")}
    assert set(outcomes) == expected
    assert len(outcomes) == 8


def test_panic_of_a_library_thread(new_sector):
    """A panic on a thread of the library's own pool brings that thread's message along.

    In a process of its own: the pool does not recover.
    """
    sector = new_sector()
    output = sector.pc1()
    (sector.folder / "pc1.json").write_bytes(output.to_json())
    layer = sector.cache / "sc-02-data-layer-1.dat"
    layer.write_bytes(b"\xff" * 2048)
    program = """
import sys
import damocles_proofs as proofs
output = proofs.Pc1Output.from_json(open("pc1.json", "rb").read())
try:
    proofs.pc2(output, "cache", "sealed")
except proofs.PanicError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=sector.folder, check=True, capture_output=True, text=True)

    assert done.stdout == "Worker Pool was poisoned, after: from_repr failure\n"


@pytest.mark.parametrize(
    "proof", [PROOF, f"{PROOF}_Feat_SyntheticPoRep", "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep"]
)
def test_c2_without_parameters(new_sector, tmp_path: Path, proof: str):
    """C2 without parameters fails at once, with the words that operators know, the same set for all three families."""
    sector = new_sector(proof=proof)
    pc2 = sector.pc2(sector.pc1())
    if proof.endswith("SyntheticPoRep"):
        arguments = (sector.cache, sector.sealed, PROVER_ID, sector.number, TICKET)
        proofs.generate_synth_proofs(*arguments, pc2, sector.pieces)
    (tmp_path / "c1.json").write_bytes(sector.c1(pc2).to_json())
    empty = tmp_path / "empty"
    empty.mkdir()
    program = """
import sys
import damocles_proofs as proofs
try:
    proofs.c2(proofs.C1Output.from_json(open(sys.argv[1], "rb").read()), bytes(32), 1)
except proofs.ProofsError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "c1.json")],
        env={**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(empty)},
        check=True,
        capture_output=True,
        text=True,
    )

    identifier = (
        "stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-"
        "032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f"
    )
    assert (
        done.stdout
        == f"No cached parameters found for {identifier} [failure finding {empty}/v28-{identifier}.params]\n"
    )


def test_causes_are_told():
    """A message has the whole chain of causes, the outermost first, and none of them twice."""
    with pytest.raises(proofs.ProofsError) as caught:
        proofs.update_verify_partition_proofs("StackedDrg2KiBV1", [b"nonsense"], *[bytes(32)] * 3)
    parts = str(caught.value).split(": ")
    assert len(parts) == len(set(parts))


@pytest.mark.parametrize(
    "error",
    [
        proofs.ProofsError("message"),
        proofs.FileError("/path", "is not found"),
        proofs.FaultySectorsError((1, 2), ("/p_aux: is not found",)),
        proofs.PanicError("message", "file.rs:1:2", ("another",)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_process_boundaries(error: proofs.ProofsError):
    """Each error survives pickling with its attributes and its text."""
    again = pickle.loads(pickle.dumps(error))

    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
