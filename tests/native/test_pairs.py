"""C2 and snap proofs by each prover with parameters of each generator: what `test_provers.py` does for PoSts.

The library takes a quarter of an hour to make its sets, which then stay in the user's cache folder:
`make test ARGS="-n 0 -m whole tests/native/test_pairs.py"`.
"""

import os
import subprocess
import sys
from pathlib import Path

import damocles_proofs as proofs
import pytest

LIBRARY_SETS = Path.home() / ".cache/damocles/library-parameters"

PROVE = """
import sys
from pathlib import Path
import damocles_proofs as proofs

kind, folder = sys.argv[1], Path(sys.argv[2])
if kind == "porep":
    who, ticket, seed = bytes([0xE8, 0x07]).ljust(32, b"\\0"), bytes([1]) * 32, bytes([2]) * 32
    comm_r, comm_d = (bytes.fromhex(text) for text in sys.argv[3:])
    proof = proofs.c2(proofs.C1Output.from_json((folder / "c1").read_bytes()), who, 1)
    print(proofs.verify_seal("StackedDrg2KiBV1_1", comm_r, comm_d, who, 1, ticket, seed, proof))
else:
    commitments = [bytes.fromhex(text) for text in sys.argv[3:]]
    vanilla = [path.read_bytes() for path in sorted(folder.glob("vanilla-*"))]
    proof = proofs.update_prove_with_vanilla("StackedDrg2KiBV1", vanilla, *commitments)
    print(proofs.update_verify("StackedDrg2KiBV1", proof, *commitments))
"""


@pytest.fixture
def inputs(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> list[str]:
    """Return what `PROVE` takes: a folder with the inputs of the proof, and the commitments."""
    if kind == "porep":
        sector = request.getfixturevalue("new_sector")()
        output = sector.pc2(sector.pc1())
        (tmp_path / "c1").write_bytes(sector.c1(output).to_json())
        commitments = (output.comm_r, output.comm_d)
    else:
        update = request.getfixturevalue("update")
        commitments = update.commitments
        vanilla = proofs.update_partition_proofs("StackedDrg2KiBV1", *commitments, *update.files)
        for number, part in enumerate(vanilla):
            (tmp_path / f"vanilla-{number:03}").write_bytes(part)
    return [str(tmp_path), *(commitment.hex() for commitment in commitments)]


@pytest.mark.whole
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("prover", ["damocles", "portable", "bellperson"])
@pytest.mark.parametrize("generator", ["damocles", "bellperson"])
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.params(kind)) for kind in ("porep", "update")])
def test_a_proof_verifies_with_parameters_of_each_generator(inputs: list[str], kind: str, generator: str, prover: str):
    """Whoever made the parameters and whoever proves with them, the proof verifies."""
    cache = {} if generator == "damocles" else {"FIL_PROOFS_PARAMETER_CACHE": str(LIBRARY_SETS)}
    environment = {**os.environ, **cache, "DAMOCLES_PROVER": prover}
    make = "import sys, damocles_proofs as p; p.generate_params(sys.argv[1], 2048, generator=sys.argv[2])"
    subprocess.run([sys.executable, "-c", make, kind, generator], env=environment, check=True)

    command = [sys.executable, "-c", PROVE, kind, *inputs]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "True"
