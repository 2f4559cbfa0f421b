"""A sham prover: real files, made-up proofs that are as hard to mix up as real ones.

CommR depends on ticket, sector and on the staged bytes; encoding twice, or a layer of another ticket, gives another CommR; a
proof fits one CommR and one seed.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import anyio
import msgspec

from damocles.stages import errors, executor
from damocles.stores import layout
from damocles.wire import codec, commitments, tasks

SIZE = 2048


def _digest(*parts: bytes) -> bytes:
    out = hashlib.sha256(b"|".join(parts)).digest()
    return out[:31] + bytes([out[31] & 0x3F])


def proof_of(comm_r: bytes, seed: bytes) -> bytes:
    """Return the one proof that verifies."""
    return _digest(b"proof", comm_r, seed)


class ShamVerifier:
    """The verifier that goes with it."""

    async def verify(self, claim: tasks.VerifySeal) -> bool:
        """Tell whether the proof is the right one."""
        return claim.proof == proof_of(claim.comm_r, claim.seed)

    async def verify_update(self, claim: Any) -> bool:
        """Refuse: no simulated worker upgrades sectors."""
        return False

    async def verify_window_post(self, claim: Any) -> bool:
        """Refuse: no simulated worker proves partitions."""
        return False


class ShamStages:
    """Stands for `stages.executor.Stages`: each stage takes a while and may die; a frozen machine's stages stand still."""

    def __init__(self, dice: random.Random, frozen: Callable[[], anyio.Event], dies: Callable[[], bool]) -> None:
        self._dice = dice
        self._frozen = frozen
        self._dies = dies

    async def run(
        self, stage: str, task: Any, *, lane: Hashable, on_status: Callable[[executor.Status], None], **_: Any
    ) -> Any:
        """Do the stage's work on its files."""
        on_status(executor.Status(state="running", what="sham", pid=1))
        await anyio.sleep(self._dice.expovariate(1 / 20))
        if self._dies():
            raise errors.StageDied(stage, "sham child died", 1)
        result = getattr(self, f"_{stage}")(task)
        await anyio.sleep(self._dice.expovariate(1 / 5))
        await self._frozen().wait()
        return result

    def _add_pieces(self, task: tasks.AddPieces) -> list[tasks.PieceInfo]:
        Path(task.staged_filepath).write_bytes(bytes(SIZE))
        return [tasks.PieceInfo(codec.Bytes32(commitments.zero_comm_d(SIZE)), SIZE // 128 * 127)]

    def _tree_d(self, task: tasks.TreeD) -> bool:
        (Path(task.cache_dir) / layout.TREE_D).write_bytes(b"tree-d")
        return True

    def _pc1(self, task: tasks.PC1) -> msgspec.Raw:
        (Path(task.cache_path) / "sc-02-data-layer-1.dat").write_bytes(task.ticket)
        shutil.copyfile(task.in_path, task.out_path)
        return msgspec.Raw(json.dumps({"ticket": task.ticket.hex(), "sector": task.sector_id}).encode())

    def _pc2(self, task: tasks.PC2) -> tasks.PC2Output:
        ticket = (Path(task.cache_dir) / "sc-02-data-layer-1.dat").read_bytes()
        claimed = json.loads(bytes(task.pc1out))
        if claimed["ticket"] != ticket.hex():
            msg = "layers are of another ticket"
            raise errors.StageFailed("pc2", msg)
        sealed = Path(task.sealed_file)
        key = _digest(b"key", ticket, str(claimed["sector"]).encode())
        replica = bytes((byte + key[i % 32]) % 256 for i, byte in enumerate(sealed.read_bytes()))
        sealed.write_bytes(replica)
        for name in ("p_aux", "t_aux", "sc-02-data-tree-r-last.dat"):
            (Path(task.cache_dir) / name).write_bytes(b"aux")
        comm_r = codec.Bytes32(_digest(b"comm_r", replica))
        return tasks.PC2Output("sham", comm_r, codec.Bytes32(commitments.zero_comm_d(SIZE)))

    def _transfer(self, task: tasks.Transfer) -> bool:
        for route in task.routes:
            source, target = Path(str(route.src["uri"])), Path(str(route.dest["uri"]))
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            shutil.copyfile(source, part)
            part.replace(target)
        return True

    def _c1(self, task: tasks.C1) -> msgspec.Raw:
        replica = Path(task.sealed_file).read_bytes()
        if _digest(b"comm_r", replica) != task.pc2out.comm_r:
            msg = "the sealed file is not the one that was committed to"
            raise errors.StageFailed("c1", msg)
        return msgspec.Raw(json.dumps({"comm_r": task.pc2out.comm_r.hex(), "seed": task.seed.hex()}).encode())

    def _c2(self, task: tasks.C2) -> tasks.C2Output:
        c1 = json.loads(bytes(task.c1out))
        return tasks.C2Output(codec.NumberList(proof_of(bytes.fromhex(c1["comm_r"]), bytes.fromhex(c1["seed"]))))
