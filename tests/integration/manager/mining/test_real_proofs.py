"""A block with a real winning PoSt of 2KiB is taken by a devnode that verifies all of it."""

from pathlib import Path

import damocles_proofs as native
import pytest

from damocles.manager.mining.mind import Stage

from . import farm


@pytest.mark.slow
@pytest.mark.params
@pytest.mark.timeout(900)
async def test_a_block_with_a_real_winning_post_is_taken(tmp_path: Path) -> None:
    """The warm-up finds nothing amiss, and what the library proves is what the chain asks for."""
    folder = Path(native.parameter_cache_dir())
    if not (folder / native.params_for("winning", 2048).vk).is_file():
        pytest.skip(f"no winning PoSt parameters of 2KiB in {folder}")
    async with farm.devnet(tmp_path, [1], is_real=True) as devnet, farm.manager(devnet, is_real=True) as made:
        done = {Stage.SUBMITTED, Stage.INCLUDED, Stage.LOST}
        (first, *_) = await made.until(lambda some: any(one.stage in done for one in some))
        told = made.mining.troubles()

    assert (first.stage, first.why, told) == (Stage.SUBMITTED, "", {})
    assert first.epoch in devnet.mined()
    assert devnet.signed_twice() == []
