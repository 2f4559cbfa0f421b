"""Ranges of a sector's data, compared with the whole of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from damocles.wire import tasks

from .sealed import PROOF, PROVER, TICKET, Sector, run_here, upgrade

DATA_BYTES = 2032
WRONG_IN_THE_LIBRARY = ((1, 126), (31, 1), (126, 2), (1024, 127), (32, 600), (1, 2031), (2000, 32), (2031, 1))


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sector whose data may be asked for."""

    stage: str
    task: Any
    data: bytes

    def at(self, offset: int, size: int) -> tuple[int, bytes]:
        """Return what the stage says that it has written, and what it has."""
        task = msgspec.structs.replace(self.task, offset=offset, num_bytes=size)
        return run_here(self.stage, task), Path(self.task.unsealed_output).read_bytes()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """Seal a sector with pieces of several sizes."""
    folder = tmp_path_factory.mktemp("sealed")
    data = b""
    sources = []
    for index, unpadded in enumerate((254, 254, 508, 1016)):
        piece = bytes((37 * i + i * i // 7 + index) % 256 for i in range(unpadded))
        (folder / f"{index}.car").write_bytes(piece)
        sources.append(tasks.PieceSource({"local": str(folder / f"{index}.car")}, unpadded, unpadded))
        data += piece
    sector = Sector(folder).seal(sources)
    out = str(folder / "out")
    comm_d = sector.pc2out.comm_d
    task = tasks.Unseal(PROOF, PROVER, sector.number, comm_d, TICKET, "unused", sector.sealed, out, 0, 0)
    return Sealed("unseal", task, data)


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """Seal a sector without data, and upgrade it."""
    folder = tmp_path_factory.mktemp("upgraded")
    proof = upgrade(folder)
    task = tasks.SnapDecode(
        proof.registered_proof,
        str(folder / "new" / "update"),
        str(folder / "sealed"),
        str(folder / "cache"),
        proof.comm_d_new,
        str(folder / "out"),
        0,
        0,
    )
    return Sealed("snap_decode", task, (folder / "a.car").read_bytes())


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    """Return an offset and a size within the sector; borders of elements and of pieces come often."""
    near = st.sampled_from([0, 31, 32, 63, 127, 254, 508, 1016, 1905, DATA_BYTES])
    offset = draw(st.one_of(near, st.integers(0, DATA_BYTES), st.builds(lambda a, b: abs(a - b), near, near)))
    return offset, draw(st.integers(0, DATA_BYTES - offset))


@given(span=ranges())
@example(span=(0, DATA_BYTES))
@pytest.mark.parametrize("kind", ["sealed", "upgraded"])
def test_any_range_is_exact(request, kind, span):
    """What comes out is that part of the data, wherever it begins and ends."""
    offset, size = span
    sector = request.getfixturevalue(kind)
    assert (size, sector.data[offset : offset + size]) == sector.at(offset, size)


@pytest.mark.parametrize("span", WRONG_IN_THE_LIBRARY)
@pytest.mark.parametrize("kind", ["sealed", "upgraded"])
def test_ranges_that_the_library_gets_wrong_are_exact(request, kind, span):
    """A range that begins within an element of the data, or ends with the sector, has the bytes that were sealed."""
    offset, size = span
    sector = request.getfixturevalue(kind)
    assert (size, sector.data[offset : offset + size]) == sector.at(offset, size)


@pytest.mark.parametrize("span", [(0, 2033), (2032, 1), (5000, 1), (-1, 5), (5, -1)])
@pytest.mark.parametrize("kind", ["sealed", "upgraded"])
def test_what_is_not_in_the_sector_is_refused(request, kind, span):
    """A range that does not lie in the sector is refused before hours of work, and what lies at the output stays."""
    offset, size = span
    sector = request.getfixturevalue(kind)
    output = Path(sector.task.unsealed_output)
    output.write_bytes(b"there before")
    with pytest.raises(ValueError, match=rf"unseal {size} bytes from {offset} on: the sector has 2032$"):
        sector.at(offset, size)
    assert b"there before" == output.read_bytes()
