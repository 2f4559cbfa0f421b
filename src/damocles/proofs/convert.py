"""Values that cross into the library and out of it, where several modules have the same ones."""

from collections.abc import Sequence

import damocles_proofs as native

from damocles.wire import codec, tasks


def native_pieces(pieces: Sequence[tasks.PieceInfo]) -> list[native.PieceInfo]:
    """Return pieces as the library takes them."""
    return [native.PieceInfo(piece.commitment, piece.size) for piece in pieces]


def our_piece(piece: native.PieceInfo) -> tasks.PieceInfo:
    """Return a piece of the library's as ours."""
    return tasks.PieceInfo(codec.Bytes32(piece.commitment), piece.size)


def native_pc2(out: tasks.PC2Output) -> native.Pc2Output:
    """Return an output of PC2 as the library takes it."""
    return native.Pc2Output(out.registered_proof, out.comm_r, out.comm_d)
