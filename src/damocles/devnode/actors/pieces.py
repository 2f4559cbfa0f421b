"""Data in sectors: whether pieces make CommD, which allocations they claim, and who is told of them."""

from collections.abc import Sequence

import msgspec

from damocles.chain import exits
from damocles.chain.sealing import Piece
from damocles.devnode.actors.draft import Draft, refuse
from damocles.devnode.state import Claim
from damocles.wire import commitments
from damocles.wire.codec import CID

_NO_RETURN, _REJECTED = 1003, 1004
_SINGLETON_LIMIT = 100


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A sector whose data is to be activated; `declared` is its CommD, null for zeros."""

    number: int
    expiration: int
    pieces: Sequence[Piece]
    declared: CID | None


class Data(msgspec.Struct, frozen=True):
    """Bytes with and without an allocation."""

    plain_bytes: int = 0
    verified_bytes: int = 0


def padded(pieces: Sequence[Piece], sector_bytes: int) -> list[tuple[int, bytes]]:
    """Return size and commitment of pieces with those of zeros between and after them, as the chain fills sectors."""
    made: list[tuple[int, bytes]] = []
    end = 0
    for piece in pieces:
        try:
            commitments.check_size(piece.size_bytes)
            commitment = commitments.commitment_of(piece.cid)
        except ValueError as exc:
            refuse(f"failed to compute unsealed sector CID: {exc}")
        end = _fill(made, end, -(-end // piece.size_bytes) * piece.size_bytes)
        made.append((piece.size_bytes, commitment))
        end += piece.size_bytes
    if end > sector_bytes:
        refuse(
            "failed to compute unsealed sector CID: failed to compute unsealed sector CID; exit code: illegal argument"
            " (16)\n--> caused by: crypto::compute_unsealed_sector_cid -- Piece is larger than sector. (1: illegal argument)"
        )
    _fill(made, end, sector_bytes)
    return made


def _fill(made: list[tuple[int, bytes]], start: int, end: int) -> int:
    """Put the fewest pieces of zeros between two offsets."""
    while start < end:
        size = min(start & -start or end, 1 << ((end - start).bit_length() - 1))
        made.append((size, commitments.zero_comm_d(size)))
        start += size
    return end


def comm_d(pieces: Sequence[Piece], sector_bytes: int) -> CID | None:
    """Return the CID of CommD that pieces make, `None` for none."""
    if not pieces:
        return None
    return commitments.unsealed_cid(commitments.comm_d(padded(pieces, sector_bytes), sector_bytes))


def check(draft: Draft, wanted: Wanted) -> None:
    """Refuse pieces that do not make the CommD which was pre-committed."""
    computed = comm_d(wanted.pieces, draft.miner.sector_bytes)
    if computed != wanted.declared:
        shown = "None" if wanted.declared is None else f"Some(Cid({wanted.declared}))"
        of = computed or commitments.unsealed_cid(commitments.zero_comm_d(draft.miner.sector_bytes))
        refuse(
            f"unsealed CID does not match pieces for sector {wanted.number}, computed Cid({of}) declared"
            f" CompactCommD({shown})"
        )


def activate(draft: Draft, batch: Sequence[Wanted], *, required: bool) -> list[Data | int]:
    """Claim the allocations of sectors; return for each its data, or the exit code of its failure.

    With `required` the first failure is that of all.
    """
    for wanted in batch:
        check(draft, wanted)
    made: list[Data | int] = []
    for at, wanted in enumerate(batch):
        code = _claim(draft, wanted)
        if code and required:
            refuse(
                "error claiming allocations on batch: send aborted with code 16 (16)\n01: f06 (method 9) -- claim failed"
                f" with all-or-nothing: Batch successes {at} / {len(batch)}, Batch failing: [code={code} at idx={at}]"
            )
        verified = sum(piece.size_bytes for piece in wanted.pieces if piece.allocation is not None)
        made.append(code or Data(sum(piece.size_bytes for piece in wanted.pieces) - verified, verified))
    if all(isinstance(one, int) for one in made):
        refuse("all data activations failed")
    return made


def _claim(draft: Draft, wanted: Wanted) -> int:
    """Turn the allocations of a sector into claims, all or none; return 0 or the exit code."""
    allocations, claims = dict(draft.registry.allocations), dict(draft.registry.claims)
    for piece in wanted.pieces:
        key = piece.allocation
        if key is None:
            continue
        found = allocations.pop(key.id, None)
        if found is None or found.client != key.client:
            return exits.NOT_FOUND
        life = wanted.expiration - draft.epoch
        if (
            (found.provider, found.data, found.size_bytes) != (draft.receiver, piece.cid, piece.size_bytes)
            or draft.epoch > found.expiration
            or not found.term_min <= life <= found.term_max
        ):
            return exits.FORBIDDEN
        claims[key.id] = Claim(
            provider=found.provider,
            client=found.client,
            data=found.data,
            size_bytes=found.size_bytes,
            term_min=found.term_min,
            term_max=found.term_max,
            term_start=draft.epoch,
            sector=wanted.number,
        )
    if len(claims) != len(draft.registry.claims):
        draft.change_registry(allocations=allocations, claims=claims)
    return exits.OK


def notify(draft: Draft, batch: Sequence[Wanted], *, required: bool) -> None:
    """Let the actors know that are named with pieces: none of a devnet accepts, which counts only if it is required."""
    for wanted in batch:
        for piece in wanted.pieces:
            for asked in piece.notify:
                who = draft.state.id_of(asked.address)
                if not required:
                    continue
                if who is None or who >= _SINGLETON_LIMIT:
                    refuse("no return data", _NO_RETURN)
                refuse(
                    f"sector change rejected by {asked.address} for sector {wanted.number} piece {piece.cid} payload"
                    f" RawBytes {{ {asked.payload.hex(' ')} }}",
                    _REJECTED,
                )
