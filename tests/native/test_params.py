"""Names of parameters, and making a set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import damocles_proofs as proofs
import pytest

KINDS = ("porep", "wdpost", "winning", "update")
SIZES = (2 << 10, 8 << 20, 512 << 20, 32 << 30, 64 << 30)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_names_are_published(kind: str, size: int):
    """The files of every circuit and size are in the manifest of published files, with that sector size."""
    manifest = json.loads(proofs.parameters_manifest())
    names = proofs.params_for(kind, size)

    assert (names.kind, names.sector_size) == (kind, size)
    for name in (names.params, names.vk):
        assert manifest[name]["sector_size"] == size
        assert set(manifest[name]) == {"cid", "digest", "sector_size"}


def test_manifest_is_used_up():
    """Apart from the update circuits over Poseidon, which no network uses, the manifest has nothing else."""
    named = set()
    for kind in KINDS:
        for size in SIZES:
            names = proofs.params_for(kind, size)
            named |= {names.params, names.vk}

    left = {name for name in json.loads(proofs.parameters_manifest()) if name not in named}
    assert {name.split("-merkletree")[0] for name in left} <= {"v28-empty-sector-update-poseidon"}


def test_srs_is_published():
    """The file that aggregation needs is in its own manifest."""
    assert proofs.srs_name() in json.loads(proofs.srs_manifest())


def test_unknown_set():
    """An unknown kind or size is refused with the valid ones."""
    with pytest.raises(
        ValueError, match="kind: unknown kind `post`, expected one of `porep`, `wdpost`, `winning`, `update`"
    ):
        proofs.params_for("post", 2048)
    with pytest.raises(ValueError, match=r"sector_size: 2049 is no sector size, expected one of 2048 \(2KiB\)"):
        proofs.params_for("porep", 2049)


def test_no_home_made_parameters_for_real_sectors():
    """Parameters of 32GiB are not made: a real network would refuse every proof."""
    with pytest.raises(ValueError, match="prove nothing on a real network"):
        proofs.generate_params("porep", 32 << 30)


def in_a_fresh_process(program: str, cache: Path) -> str:
    """Run a program with a parameter cache of its own."""
    command = [sys.executable, "-c", f"import damocles_proofs as proofs\n{program}"]
    env = {**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(cache)}
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def test_cache_folder(tmp_path: Path):
    """The folder of the parameters is the environment's."""
    assert in_a_fresh_process("print(proofs.parameter_cache_dir())", tmp_path).strip() == str(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_making_a_set(tmp_path: Path):
    """Making a set writes three whole files, replaces what a killed call has left, and keeps them when called again."""
    cache = tmp_path / "not-there-yet"
    cache.mkdir()
    names = proofs.params_for("wdpost", 2048)
    (cache / f"{names.params}.part").write_bytes(b"left by a killed process")

    in_a_fresh_process("proofs.generate_params('wdpost', 2048)", cache)
    written = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    in_a_fresh_process("proofs.generate_params('wdpost', 2048)", cache)

    assert set(written) == {names.params, names.vk, names.meta}
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == written
    assert json.loads((cache / names.meta).read_text()) == {"sector_size": 2048}
