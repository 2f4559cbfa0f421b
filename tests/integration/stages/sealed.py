"""Real sectors of 2KiB, sealed by our own processors, for tests of what comes after."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damocles import proofs
from damocles.stages import descriptors, job
from damocles.stages.processor import builtin
from damocles.wire import codec, sectors, tasks

PROOF = "StackedDrg2KiBV1_1"
SYNTHETIC = "StackedDrg2KiBV1_1_Feat_SyntheticPoRep"
ZERO_COMM_D = "fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833"
PROVER = codec.Bytes32(sectors.prover_id(1000))
TICKET = codec.Bytes32(b"\x07" * 32)
SEED = codec.Bytes32(b"\x05" * 32)

Run = Callable[[str, Any], Any]


def run_here(stage: str, task: Any) -> Any:
    """Run a stage in this process; its output takes the way through JSON all the same."""
    output = codec.encode(builtin.PROCESSORS[stage](task, job.Job()))
    return codec.decode(output, descriptors.STAGES[stage].output)


@dataclass
class Sector:
    """Files of a sector and what its stages gave."""

    folder: Path
    proof: str = PROOF
    number: int = 1
    pieces: Any = None
    pc1out: Any = None
    pc2out: Any = None

    @property
    def staged(self) -> str:
        """The data."""
        return str(self.folder / "staged")

    @property
    def sealed(self) -> str:
        """The replica."""
        return str(self.folder / "sealed")

    @property
    def cache(self) -> str:
        """Layers and trees."""
        return str(self.folder / "cache")

    @property
    def prepared(self) -> str:
        """Tree-d."""
        return str(self.folder / "prepared")

    def prepare(self) -> None:
        """Make the files that the worker makes before PC1."""
        shutil.rmtree(self.cache, ignore_errors=True)
        Path(self.cache).mkdir()
        Path(self.sealed).write_bytes(b"")
        Path(self.cache, "sc-02-data-tree-d.dat").symlink_to(Path(self.prepared, "sc-02-data-tree-d.dat"))

    def pc1(self) -> tasks.PC1:
        """Return the task of PC1."""
        return tasks.PC1(self.proof, self.cache, self.staged, self.sealed, PROVER, self.number, TICKET, self.pieces)

    def c1(self, seed: codec.Bytes32 = SEED) -> tasks.C1:
        """Return the task of C1."""
        return tasks.C1(
            self.proof, self.cache, self.sealed, PROVER, self.number, TICKET, seed, self.pc2out, self.pieces
        )

    def synthetic(self) -> tasks.SynthProof:
        """Return the task of the synthetic proofs."""
        return tasks.SynthProof(
            self.proof, self.cache, self.sealed, PROVER, self.number, TICKET, self.pc2out, self.pieces
        )

    def seal(self, sources: list[tasks.PieceSource] | None = None) -> "Sector":
        """Go through PC2."""
        self.pieces = run_here("add_pieces", tasks.AddPieces(self.proof, sources or [], self.staged))
        Path(self.prepared).mkdir()
        assert run_here("tree_d", tasks.TreeD(self.proof, self.staged, self.prepared))
        self.prepare()
        self.pc1out = run_here("pc1", self.pc1())
        self.pc2out = run_here("pc2", tasks.PC2(self.pc1out, self.cache, self.sealed))
        return self


def upgrade(tmp_path: Path) -> tasks.SnapProve:
    """Seal a sector, encode new data into it, and return the task that proves this."""
    old = Sector(tmp_path).seal()
    (tmp_path / "a.car").write_bytes(os.urandom(2032))
    new = Sector(tmp_path / "new")
    (new.folder / "update-cache").mkdir(parents=True)
    source = tasks.PieceSource({"local": str(tmp_path / "a.car")}, 2032, 2032)
    pieces = run_here("add_pieces", tasks.AddPieces(PROOF, [source], new.staged))
    Path(new.prepared).mkdir()
    run_here("tree_d", tasks.TreeD(PROOF, new.staged, new.prepared))
    tree_d = "sc-02-data-tree-d.dat"
    (new.folder / "update-cache" / tree_d).symlink_to(Path(new.prepared, tree_d))
    update = new.folder / "update"
    with update.open("wb") as file:
        file.truncate(2048)
    name = "StackedDrg2KiBV1"
    encoded = run_here(
        "snap_encode",
        tasks.SnapEncode(
            name, str(update), str(new.folder / "update-cache"), old.sealed, old.cache, new.staged, pieces
        ),
    )
    assert proofs.data_commitment(PROOF, pieces) == encoded.comm_d_new
    vanilla = run_here(
        "snap_vanilla",
        tasks.SnapVanilla(
            name,
            old.pc2out.comm_r,
            encoded.comm_r_new,
            encoded.comm_d_new,
            old.sealed,
            old.cache,
            str(update),
            str(new.folder / "update-cache"),
        ),
    )
    return tasks.SnapProve(name, vanilla, old.pc2out.comm_r, encoded.comm_r_new, encoded.comm_d_new)
