"""What is shipped: the two wheels alone make a machine with Python a sealing machine."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return both wheels by their names, as `make wheels` builds them."""
    folder = tmp_path_factory.mktemp("clone")
    kept = (
        "src",
        "proofs",
        "docs",
        "Makefile",
        "pyproject.toml",
        "README.md",
        "hatch_build.py",
        "LICENSE-APACHE",
        "LICENSE-MIT",
    )
    for name in (*kept, "uv.lock", "zensical.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("target", "__pycache__", "*.so"))
        else:
            shutil.copy(source, folder / name)
    subprocess.run(["make", "wheels"], cwd=folder, check=True, timeout=3000)
    return {path.name.partition("-")[0]: path for path in (folder / "dist").glob("*.whl")}


@pytest.mark.whole
@pytest.mark.params
@pytest.mark.timeout(5000)
def test_the_demo_runs_from_the_two_wheels(
    wheels: dict[str, Path], tmp_path: Path, porep_parameters: list[Path]
) -> None:
    """In a clean environment, with nothing of the clone but the demo's script, three sectors are sealed and proved."""
    assert wheels["damocles"].name.endswith("-py3-none-any.whl")
    assert "-abi3-manylinux_" in wheels["damocles_proofs"].name
    names = zipfile.ZipFile(wheels["damocles_proofs"]).namelist()
    assert [name for name in names if "libhwloc" in name]
    assert "damocles/site/index.html" in zipfile.ZipFile(wheels["damocles"]).namelist()
    subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=tmp_path, check=True, timeout=300)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wheels.values()], check=True, timeout=1200)
    shutil.copy(ROOT / "demo/demo.py", tmp_path)
    env = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    found = subprocess.run(
        [python, "-c", "import damocles, damocles_proofs; print(damocles.__file__, damocles_proofs.__file__)"],
        cwd=tmp_path,
        env=env,
        check=True,
        capture_output=True,
        text=True,
    )
    assert all(Path(path).is_relative_to(tmp_path / "venv") for path in found.stdout.split())
    done = subprocess.run(
        [python, tmp_path / "demo.py", "--dir", tmp_path / "demo-run"],
        cwd=tmp_path,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert (0, 3) == (done.returncode, done.stdout.count("proof verified by the devnode")), done.stdout + done.stderr
