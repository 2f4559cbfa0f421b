"""The parent cache that PC1 reads: what is wrong with it is found, and made right."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles.stages import errors
from damocles.stages.files import parents
from damocles.stages.supervision import executor
from damocles.wire import tasks

from ..sealed import PROOF, SYNTHETIC, Sector, run_here

NON_INTERACTIVE = "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep"
SIZE = 3584

Seal = Callable[..., Awaitable[Sector]]


@pytest.fixture
async def stages(tmp_path: Path) -> AsyncIterator[executor.Stages]:
    """Run stages whose parent caches are in a folder of their own."""
    async with executor.Stages(envs={"FIL_PROOFS_PARENT_CACHE": str(tmp_path / "parents")}) as running:
        yield running


@pytest.fixture
def seal(stages: executor.Stages, tmp_path: Path) -> Seal:
    """Return what seals a sector with these parents."""

    async def run(stage: str, task: Any) -> Any:
        return await stages.run(stage, task, lane=0, on_status=lambda _: None)

    async def make(proof: str = PROOF) -> Sector:
        count = len(list(tmp_path.iterdir()))
        sector = Sector(tmp_path / f"sector-{count}", proof=proof)
        sector.folder.mkdir()
        sector.pieces = run_here("add_pieces", tasks.AddPieces(proof, [], sector.staged))
        Path(sector.prepared).mkdir()
        run_here("tree_d", tasks.TreeD(proof, sector.staged, sector.prepared))
        sector.prepare()
        sector.pc1out = await run("pc1", sector.pc1())
        sector.pc2out = await run("pc2", tasks.PC2(sector.pc1out, sector.cache, sector.sealed))
        return sector

    return make


def cache_in(folder: Path, proof: str = PROOF) -> parents.Cache:
    """Return the cache of a proof."""
    return parents.of(proof, folder / "parents")


@pytest.mark.parametrize("proof", [PROOF, SYNTHETIC, NON_INTERACTIVE])
async def test_the_file_is_the_library_s(tmp_path: Path, seal: Seal, proof: str) -> None:
    """Name, length and digest are those of the file that the library makes."""
    await seal(proof)
    cache = cache_in(tmp_path, proof)
    assert [cache.path] == list((tmp_path / "parents").glob("*.cache"))
    assert (SIZE, SIZE) == (cache.size_bytes, cache.path.stat().st_size)
    assert parents.verify(cache) is None
    assert cache.marker.read_bytes() == b""


async def test_a_cut_cache_is_made_anew(tmp_path: Path, seal: Seal) -> None:
    """Wherever it was cut, the next PC1 seals the sector that it should, and so do those that follow."""
    good = (await seal()).pc2out.comm_r
    cache = cache_in(tmp_path)
    whole = cache.path.read_bytes()
    for length in (0, 1, 100, 3583):
        cache.path.write_bytes(whole[:length])
        assert good == (await seal()).pc2out.comm_r
        assert whole == cache.path.read_bytes()


async def test_a_cut_cache_is_made_anew_to_unseal(tmp_path: Path, seal: Seal, stages: executor.Stages) -> None:
    """Unsealing computes the layers again, and reads the parents as well."""
    sector = await seal()
    cache_in(tmp_path).path.write_bytes(b"cut")
    task = tasks.Unseal(
        PROOF,
        sector.pc1().prover_id,
        sector.number,
        sector.pc2out.comm_d,
        sector.pc1().ticket,
        "",
        sector.sealed,
        str(tmp_path / "out"),
        0,
        2032,
    )
    assert 2032 == await stages.run("unseal", task, lane=0, on_status=lambda _: None)
    assert bytes(2032) == (tmp_path / "out").read_bytes()


async def test_a_damaged_cache_is_made_anew_once_c1_refuses(
    tmp_path: Path, seal: Seal, stages: executor.Stages
) -> None:
    """Its length says nothing, so that one sector is sealed wrong; C1 refuses it, and the next one is right."""
    good = (await seal()).pc2out.comm_r
    cache = cache_in(tmp_path)
    whole = cache.path.read_bytes()
    cache.path.write_bytes(bytes(SIZE))
    wrong = await seal()
    assert good != wrong.pc2out.comm_r
    told = f"the sector has to be sealed again: before the next PC1 here, {cache.path} is verified"
    with pytest.raises(errors.StageFailed, match=told):
        await stages.run("c1", wrong.c1(), lane=0, on_status=lambda _: None)
    assert cache.marker.read_text().startswith("C1 of sector 1: ")
    again = await seal()
    assert (good, whole, b"") == (again.pc2out.comm_r, cache.path.read_bytes(), cache.marker.read_bytes())
    await stages.run("c1", again.c1(), lane=0, on_status=lambda _: None)


async def test_a_whole_cache_outlives_a_refusal_that_was_not_its_fault(
    tmp_path: Path, seal: Seal, stages: executor.Stages
) -> None:
    """It is read once, and not made anew."""
    sector = await seal()
    cache = cache_in(tmp_path)
    made = cache.path.stat().st_ino
    other = msgspec.structs.replace(sector.c1(), sector_id=sector.number + 1)
    with pytest.raises(errors.StageFailed, match="is verified"):
        await stages.run("c1", other, lane=0, on_status=lambda _: None)
    await seal()
    assert (made, b"") == (cache.path.stat().st_ino, cache.marker.read_bytes())


@pytest.mark.parametrize("proof", [PROOF, SYNTHETIC])
async def test_a_cache_of_the_right_length_is_not_trusted_after_a_kill(tmp_path: Path, seal: Seal, proof: str) -> None:
    """The library gives it its length first; whether there is a digest to compare or not, no sector is sealed wrong."""
    good = (await seal(proof)).pc2out.comm_r
    cache = cache_in(tmp_path, proof)
    whole = cache.path.read_bytes()
    cache.path.write_bytes(whole[:2000].ljust(SIZE, b"\0"))
    cache.marker.write_text("unfinished\n")
    assert good == (await seal(proof)).pc2out.comm_r
    assert (whole, b"") == (cache.path.read_bytes(), cache.marker.read_bytes())
