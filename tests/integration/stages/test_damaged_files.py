"""Stages over files that are cut: each names the file, and none makes the library panic."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles import proofs
from damocles.stages import job
from damocles.stages.files import parents
from damocles.stages.processor import builtin
from damocles.wire import tasks

from .sealed import PROOF, PROVER, TICKET, Sector, run_here, upgrade


@dataclass(frozen=True, slots=True)
class Ready:
    """Files in place for some stages, and their tasks."""

    folder: Path
    tasks: dict[str, Any]

    def path(self, name: str) -> Path:
        """Return one of the files."""
        return self.folder / name


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """Seal a sector up to PC2, and upgrade another one."""
    folder = tmp_path_factory.mktemp("ready")
    (folder / "plain").mkdir()
    (folder / "key").mkdir()
    sector = Sector(folder / "plain").seal()
    out = str(folder / "out")
    unseal = tasks.Unseal(PROOF, PROVER, 1, sector.pc2out.comm_d, TICKET, "", sector.sealed, out, 0, 2032)
    key = folder / "key"
    update, update_cache = str(key / "new" / "update"), str(key / "new" / "update-cache")
    proof = upgrade(key)
    name = proof.registered_proof
    decode = tasks.SnapDecode(name, update, str(key / "sealed"), str(key / "cache"), proof.comm_d_new, out, 0, 2032)
    vanilla = tasks.SnapVanilla(
        name,
        proof.comm_r_old,
        proof.comm_r_new,
        proof.comm_d_new,
        str(key / "sealed"),
        str(key / "cache"),
        update,
        update_cache,
    )
    return Ready(
        folder,
        {"c1": sector.c1(), "unseal": unseal, "snap_decode": decode, "snap_vanilla": vanilla},
    )


FILES = {
    "c1": ("plain/sealed", "plain/cache/p_aux", "plain/cache/sc-02-data-tree-r-last.dat"),
    "unseal": ("plain/sealed",),
    "snap_decode": ("key/new/update", "key/sealed", "key/cache/p_aux"),
    "snap_vanilla": (
        *("key/new/update", "key/new/update-cache/p_aux", "key/new/update-cache/sc-02-data-tree-r-last.dat"),
        *("key/sealed", "key/cache/p_aux", "key/cache/sc-02-data-tree-r-last.dat"),
    ),
}


@settings(max_examples=200)
@given(data=st.data(), stage=st.sampled_from(sorted(FILES)))
def test_a_cut_file_is_named(ready, data, stage):
    """Wherever it is cut, the error is about this file, and it is left as it is."""
    path = ready.path(data.draw(st.sampled_from(FILES[stage])))
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    try:
        os.truncate(path, length)
        with pytest.raises(proofs.FileUnusable, match=rf"{path}: .*has {length} bytes") as caught:
            run_here(stage, ready.tasks[stage])
        assert whole[:length] == path.read_bytes()
    finally:
        path.write_bytes(whole)
    assert str(path) == caught.value.path


def test_a_cut_file_casts_no_doubt_on_the_parent_cache(ready):
    """C1 fails over a file that it can name; nothing is wrong with 56 GiB elsewhere."""
    path = ready.path("plain/cache/p_aux")
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-1])
        with pytest.raises(proofs.FileUnusable):
            run_here("c1", ready.tasks["c1"])
    finally:
        path.write_bytes(whole)
    assert not parents.is_doubted(parents.of(PROOF))


def test_a_whole_sector_has_every_stage_done(ready):
    """The files are right once nothing is cut."""
    for stage, task in ready.tasks.items():
        assert builtin.PROCESSORS[stage](task, job.Job())
    run_here("snap_decode", ready.tasks["snap_decode"])
    assert ready.path("key/a.car").read_bytes() == ready.path("out").read_bytes()
