"""Pieces and the commitments to them."""

from collections.abc import Sequence

import damocles_proofs as native

from damocles.proofs import convert
from damocles.proofs.errors import translated
from damocles.wire import codec, tasks


def add_piece(
    registered_proof: str, source_fd: int | None, payload_bytes: int, piece_bytes: int, staged_file: str
) -> tasks.PieceInfo:
    """Append a piece to the staged file: payload from a descriptor, or zeros alone; sizes are unpadded bytes."""
    with translated():
        return convert.our_piece(native.add_piece(registered_proof, source_fd, payload_bytes, piece_bytes, staged_file))


def piece_commitment(
    registered_proof: str, source_fd: int | None, payload_bytes: int, piece_bytes: int
) -> tasks.PieceInfo:
    """Compute what `add_piece` returns, without writing."""
    with translated():
        return convert.our_piece(
            native.generate_piece_commitment(registered_proof, source_fd, payload_bytes, piece_bytes)
        )


def zero_piece(piece_bytes: int) -> tasks.PieceInfo:
    """Return the piece of that many unpadded zeros; reads no data."""
    with translated():
        return convert.our_piece(native.zero_piece(piece_bytes))


def data_commitment(registered_proof: str, pieces: Sequence[tasks.PieceInfo]) -> codec.Bytes32:
    """Compute CommD of a sector from its pieces; what is missing at the end counts as zeros."""
    with translated():
        return codec.Bytes32(native.compute_comm_d(registered_proof, convert.native_pieces(pieces)))
