"""`damocles-manager mock-deals`: make deals for `mock` from files."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles import proofs
from damocles.cli.terminal import exits
from damocles.manager import errors
from damocles.manager.sectors import deals
from damocles.text import units
from damocles.wire import commitments
from damocles.wire.sectors import SealProof, SectorSize

# A piece has the same commitment in every sector; this proof's pieces may have any size.
_PROOF = SealProof.of(SectorSize.GIB64).proof_name


def make(
    folder: Path,
    /,
    *files: Path,
    ddo: Annotated[bool, Parameter(name="--ddo")] = False,
    sector_size: Annotated[str | None, Parameter(name="--sector-size")] = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Put files into the folder of `mock --deals`, as pieces with a deal each.

    The payload of a piece is the file as it is; its size is the next one that holds it.

    Args:
        folder: The folder; created if missing.
        files: The payloads, for example CAR files.
        ddo: Make direct onboardings, which have an allocation instead of a deal of the built-in market.
        sector_size: The manager's sector size, like 32GiB: a file that does not fit is refused.
        json: Print JSON.
    """
    if not files:
        raise exits.WrongUsage("no files: name those that become deals")
    _check_sizes(files, sector_size)
    made = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            number = 1 + max((offer.key[1] for offer in deals.read(folder)), default=0)
            made.append(_add(folder, file, number, is_direct=ddo))
    except OSError as error:
        raise exits.Failed(f"{error.filename}: {error.strerror}") from error
    except (errors.ManagerError, proofs.ProofsError) as error:
        raise exits.Failed(str(error)) from error
    if json:
        exits.print_json([{"kind": o.key[0], "number": o.key[1], "piece": o.cid, "size": o.size_bytes} for o in made])
    else:
        for offer in made:
            print(f"{offer.key[0]} {offer.key[1]}: {offer.cid}, a piece of {offer.size_bytes} bytes")
    return exits.OK


def _check_sizes(files: Sequence[Path], sector_size: str | None) -> None:
    """Refuse files that do not fit in a sector, before any becomes a deal."""
    if sector_size is None:
        return
    try:
        size = SectorSize.parse(sector_size)
    except ValueError as error:
        raise exits.WrongUsage(f"--sector-size: {error}") from error
    for file in files:
        try:
            piece_bytes = deals.fitting_bytes(file.stat().st_size)
        except OSError as error:
            raise exits.Failed(f"{file}: {error.strerror}") from error
        if piece_bytes > size:
            raise exits.Failed(
                f"{file} needs a piece of {units.human_size(piece_bytes)}, which fits in no sector of {size.label}"
            )


def _add(folder: Path, file: Path, number: int, *, is_direct: bool) -> deals.Offer:
    payload_bytes = file.stat().st_size
    size_bytes = deals.fitting_bytes(payload_bytes)
    with file.open("rb") as payload:
        info = proofs.piece_commitment(_PROOF, payload.fileno(), payload_bytes, size_bytes // 128 * 127)
    offer = deals.Offer(
        cid=str(commitments.unsealed_cid(info.commitment)),
        size_bytes=size_bytes,
        payload_bytes=payload_bytes,
        deal_id=0 if is_direct else number,
        allocation_id=number if is_direct else 0,
    )
    part = folder / f"{offer.cid}.part"
    shutil.copyfile(file, part)
    os.replace(part, folder / f"{offer.cid}.car")  # noqa: PTH105 - beside copyfile
    deals.add(folder, offer)
    return offer
