"""Pieces and CommD."""

import os
import threading
from pathlib import Path

import damocles_proofs as proofs
import pytest

PROOF = "StackedDrg2KiBV1_1"
ZERO_2KIB = bytes.fromhex("fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833")


def test_zero_sector():
    """CommD of the 2KiB sector of zeros is the known one, with and without a piece that says so."""
    assert proofs.zero_piece(2032) == proofs.PieceInfo(ZERO_2KIB, 2032)
    assert proofs.compute_comm_d(PROOF, [proofs.zero_piece(2032)]) == ZERO_2KIB
    assert proofs.compute_comm_d(PROOF, []) == ZERO_2KIB


def test_zero_piece_of_a_large_sector():
    """The zero commitment of 64GiB comes from a table of hashes, not from 64GiB of zeros."""
    piece = proofs.zero_piece((64 << 30) // 128 * 127)

    assert proofs.compute_comm_d("StackedDrg64GiBV1_1", []) == piece.commitment


def test_staged_zeros_have_the_zero_commitment(tmp_path: Path):
    """A piece without a source is written as zeros."""
    piece = proofs.add_piece(PROOF, None, 0, 2032, tmp_path / "staged")

    assert piece == proofs.zero_piece(2032)
    assert (tmp_path / "staged").read_bytes() == bytes(2048)


def test_pieces_are_appended(tmp_path: Path):
    """Pieces follow each other in the staged file, and CommD of the file is CommD of the pieces."""
    staged = tmp_path / "staged"
    (tmp_path / "data").write_bytes(os.urandom(1000))
    with (tmp_path / "data").open("rb") as source:
        first = proofs.add_piece(PROOF, source.fileno(), 600, 1016, staged)
        second = proofs.add_piece(PROOF, source.fileno(), 400, 508, staged)
    third = proofs.add_piece(PROOF, None, 0, 508, staged)

    assert staged.stat().st_size == 2048
    assert proofs.tree_d(PROOF, staged, tmp_path) == proofs.compute_comm_d(PROOF, [first, second, third])


def test_payload_is_padded_with_zeros(tmp_path: Path):
    """A payload shorter than its piece commits like the payload followed by zeros."""
    payload = os.urandom(300)
    (tmp_path / "short").write_bytes(payload)
    (tmp_path / "long").write_bytes(payload.ljust(1016, b"\0"))

    with (tmp_path / "short").open("rb") as short, (tmp_path / "long").open("rb") as long:
        added = proofs.add_piece(PROOF, short.fileno(), 300, 1016, tmp_path / "staged")
        computed = proofs.generate_piece_commitment(PROOF, long.fileno(), 1016, 1016)

    assert added == computed


def test_source_stays_open(tmp_path: Path):
    """The descriptor belongs to the caller and stands behind the payload afterwards."""
    (tmp_path / "data").write_bytes(bytes(range(200)))
    with (tmp_path / "data").open("rb", buffering=0) as source:
        proofs.add_piece(PROOF, source.fileno(), 100, 127, tmp_path / "staged")
        assert source.read() == bytes(range(100, 200))


def test_short_source(tmp_path: Path):
    """A source that ends early is an error, and leaves the staged file as it was."""
    staged = tmp_path / "staged"
    proofs.add_piece(PROOF, None, 0, 1016, staged)
    (tmp_path / "data").write_bytes(bytes(100))

    with (tmp_path / "data").open("rb") as source, pytest.raises(proofs.ProofsError, match="ends 20 bytes before"):
        proofs.add_piece(PROOF, source.fileno(), 120, 127, staged)

    assert staged.stat().st_size == 1024


def test_wrong_sizes(tmp_path: Path):
    """Sizes that no piece can have are refused."""
    with pytest.raises(ValueError, match="payload_size: 128 bytes do not fit into a piece of 127"):
        proofs.add_piece(PROOF, None, 128, 127, tmp_path / "staged")
    with pytest.raises(ValueError, match="payload_size: must be 0 without a source"):
        proofs.add_piece(PROOF, None, 1, 127, tmp_path / "staged")
    with pytest.raises(ValueError, match="source_fd: 1000000: Bad file descriptor"):
        proofs.add_piece(PROOF, 1_000_000, 1, 127, tmp_path / "staged")
    with pytest.raises(ValueError, match="piece_size: 128 is not 127 times a power of two"):
        proofs.zero_piece(128)
    with pytest.raises(proofs.ProofsError, match="must be a power of 2"):
        proofs.add_piece(PROOF, None, 0, 381, tmp_path / "staged")


@pytest.mark.parametrize("function", ["add_piece", "generate_piece_commitment"])
def test_other_threads_feed_the_source(tmp_path: Path, function: str):
    """A call that waits for a pipe lets the thread run that fills it."""
    reader, writer = os.pipe()

    def feed() -> None:
        for _ in range(8):
            os.write(writer, bytes(127))
        os.close(writer)

    thread = threading.Thread(target=feed)
    thread.start()
    arguments = [tmp_path / "staged"] if function == "add_piece" else []
    piece = getattr(proofs, function)(PROOF, reader, 1016, 1016, *arguments)
    thread.join()
    os.close(reader)

    assert piece == proofs.zero_piece(1016)
