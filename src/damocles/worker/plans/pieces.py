"""From a sector's deals to the task that stages their pieces, and the check of what was staged. No I/O.

The manager delivers pieces that fill the sector, in their order, zeros between them included (fillers); they are staged
as they come. What does not fit is refused before hours are spent on it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from damocles.sealing import failures
from damocles.stores.pieces import PieceStores
from damocles.wire import commitments, seal, tasks
from damocles.wire.sectors import SealProof, SectorID, SectorSize

Find = Callable[[str], dict[str, str]]


def add_pieces(
    sector: SectorID, proof: SealProof, deals: Sequence[seal.SectorPiece], stores: PieceStores, staged_file: Path
) -> tasks.AddPieces:
    """Return the task that stages `deals`; without any, the whole sector is zeros. Asks the stores where pieces are.

    Raises:
        failures.Permanent: The deals do not fill the sector, or one of them contradicts itself.
        OSError: A folder with pieces cannot be read.
    """
    if deals:
        check(sector, proof.size, deals)
    sources = [_source(piece, stores.find) for piece in deals]
    from_manager = any(isinstance(s.piece_file, dict) and "url" in s.piece_file for s in sources)
    tokens = stores.tokens() if from_manager else {}
    authorities = {stores.origin: str(stores.authority)} if stores.authority is not None and from_manager else {}
    must_know = [stores.origin] if stores.must_know and stores.origin in tokens else []
    return tasks.AddPieces(proof.proof_name, sources, str(staged_file), tokens, authorities, must_know)


def check(sector: SectorID, size: SectorSize, deals: Sequence[seal.SectorPiece]) -> None:
    """Check that pieces fill a sector and that each can be staged.

    Raises:
        failures.Permanent: They do not; the text names the piece.
    """
    for number, piece in enumerate(deals):
        try:
            _check_piece(piece)
        except ValueError as error:
            raise failures.Permanent(f"deals of {sector}: piece {number} ({_name(piece)}): {error}") from error
    try:
        commitments.comm_d([(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in deals], int(size))
    except ValueError as error:
        raise failures.Permanent(
            f"deals of {sector}: {error}; the manager has to deliver pieces, fillers included, that fill the sector"
        ) from error


def check_staged(sector: SectorID, deals: Sequence[seal.SectorPiece], staged: Sequence[tasks.PieceInfo]) -> None:
    """Compare the staged pieces with their deals.

    Raises:
        failures.Permanent: A piece has another commitment or size than its deal; the text has both.
    """
    if len(staged) != len(deals):
        raise failures.Permanent(
            f"{sector}: {len(deals)} pieces were to be staged, the processor of add_pieces reported {len(staged)}"
        )
    for number, (piece, info) in enumerate(zip(deals, staged, strict=True)):
        found = commitments.unsealed_cid(info.commitment)
        if found != piece.piece.cid:
            raise failures.Permanent(
                f"{sector}: piece {number} ({_name(piece)}) has the commitment {found}, its deal says"
                f" {piece.piece.cid}: the payload is not that of the deal, replace the file and resume"
            )
        if info.size != _unpadded(piece.piece.size_bytes):
            sizes = f"{info.size} unpadded bytes, its deal says {_unpadded(piece.piece.size_bytes)}"
            raise failures.Permanent(f"{sector}: piece {number} ({_name(piece)}) was staged with {sizes}")


def _check_piece(piece: seal.SectorPiece) -> None:
    size, payload_bytes = piece.piece.size_bytes, piece.deal.payload_bytes
    commitments.check_size(size)
    commitments.commitment_of(piece.piece.cid)
    if piece.is_filler:
        zeros = commitments.unsealed_cid(commitments.zero_comm_d(size))
        if piece.piece.cid != zeros:
            raise ValueError(f"a filler of {size} bytes has the commitment {zeros}")
    elif payload_bytes > _unpadded(size):
        raise ValueError(f"its payload of {payload_bytes} bytes does not fit in {_unpadded(size)} unpadded bytes")


def _source(piece: seal.SectorPiece, find: Find) -> tasks.PieceSource:
    size = _unpadded(piece.piece.size_bytes)
    if piece.is_filler:
        return tasks.PieceSource("pledge", 0, size)
    return tasks.PieceSource(find(piece.piece.cid), piece.deal.payload_bytes, size)


def _name(piece: seal.SectorPiece) -> str:
    deal = piece.deal
    if piece.is_filler:
        return f"filler {piece.piece.cid}"
    return f"deal {deal.deal_id}" if deal.is_builtin_market else f"allocation {deal.allocation_id}"


def _unpadded(size_bytes: int) -> int:
    return size_bytes // 128 * 127
