"""The arithmetic of our prover and generator, by the crate's own tests."""

import subprocess
from pathlib import Path

import pytest

PROOFS = Path(__file__).parents[2] / "proofs"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_arithmetic_is_that_of_the_librarys_crates():
    """The tests in Rust pass: sums, transforms, parameters and proofs equal those of the crates that ours replace."""
    # They take all cores, and tests beside this one wait for daemons.
    command = ("nice", "cargo", "test", "--release", "--locked", "--package", "damocles-groth16")
    done = subprocess.run(command, cwd=PROOFS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("test result: ok.") >= 3, "unit tests, and two files of others"
