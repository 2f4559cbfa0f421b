"""A sham prover: real files, made-up proofs that are as hard to mix up as real ones.

CommR depends on ticket, sector and on the staged bytes; encoding twice, or a layer of another ticket, gives another CommR; a
proof fits one CommR and one seed. The replica is the staged bytes plus a key, the replica of an upgrade is the first one
plus the new bytes and one: both can be undone.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec

from damocles.stages import errors, job
from damocles.stages.files import fences, strangers
from damocles.stages.supervision import executor
from damocles.stores import layout
from damocles.wire import codec, commitments, tasks

SIZE = 2048


def _digest(*parts: bytes) -> bytes:
    out = hashlib.sha256(b"|".join(parts)).digest()
    return out[:31] + bytes([out[31] & 0x3F])


def comm_r_of(replica: Path) -> codec.Bytes32:
    """Return the commitment of a replica, upgraded or not."""
    return codec.Bytes32(_digest(b"comm_r", replica.read_bytes()))


def data_of(cid: str) -> bytes:
    """Return the padded payload of a deal that fills a sector."""
    return b"".join(hashlib.sha256(b"%s %d" % (cid.encode(), i)).digest() for i in range(SIZE // 32))


def proof_of(comm_r: bytes, seed: bytes) -> bytes:
    """Return the one proof that verifies."""
    return _digest(b"proof", comm_r, seed)


def update_proof_of(comm_r_old: bytes, comm_r_new: bytes, comm_d_new: bytes) -> bytes:
    """Return the one proof of an upgrade that verifies."""
    return _digest(b"update", comm_r_old, comm_r_new, comm_d_new)


def window_proof_of(seed: bytes, comm_rs: Sequence[bytes]) -> bytes:
    """Return the one window PoSt that verifies."""
    return _digest(b"window", seed, *comm_rs)


class ShamVerifier:
    """The verifier that goes with it."""

    async def verify(self, claim: tasks.VerifySeal) -> bool:
        """Return whether the proof is the right one."""
        return claim.proof == proof_of(claim.comm_r, claim.seed)

    async def verify_update(self, claim: tasks.SnapVerify) -> bool:
        """Return whether the proof of an upgrade is the right one."""
        return bytes(claim.proof) == update_proof_of(claim.comm_r_old, claim.comm_r_new, claim.comm_d_new)

    async def verify_window_post(self, claim: tasks.VerifyWindowPoSt) -> bool:
        """Return whether the window PoSt is the right one."""
        return claim.proof == window_proof_of(claim.seed, [replica.comm_r for replica in claim.replicas])


class ShamStages:
    """Stands for `stages.supervision.executor.Stages`: each stage takes a while and may die; a frozen machine's stages stand still.

    `data` returns the working files of a lane's store and whether its disk is full. `lazy` forgets to sync the names of
    copies before it answers (a planted bug).
    """

    def __init__(
        self,
        dice: random.Random,
        frozen: Callable[[], anyio.Event],
        dies: Callable[[], bool],
        data: Callable[[int], tuple[Path, bool]],
        *,
        lazy: bool = False,
    ) -> None:
        self._dice = dice
        self._frozen = frozen
        self._dies = dies
        self._data = data
        self._lazy = lazy
        self._undo: dict[int, list[Callable[[], None]]] = {}  # by lane: what a power cut does
        self._forgotten: list[Callable[[], None]] = []

    def power_cut(self) -> None:
        """Lose what stages have done which have not answered yet: half of what they wrote, and names that they gave."""
        for lane in list(self._undo):
            self._lose(lane)
        while self._forgotten:
            self._forgotten.pop()()

    def _lose(self, lane: int) -> None:
        for undo in self._undo.pop(lane):
            undo()

    async def run(
        self, stage: str, task: Any, *, lane: int, on_status: Callable[[executor.Status], None], **_: Any
    ) -> Any:
        """Do the stage's work on its files."""
        on_status(executor.Status(state="running", what="sham", pid=1))
        await anyio.sleep(self._dice.expovariate(1 / 20))
        if self._dies():
            raise errors.StageDied(stage, "sham child died", 1)
        task = await executor.made(task)
        data, is_full = self._data(lane)
        # A copy is synced before it gets its name, so that only the name can be lost, in persist stores and elsewhere.
        targets = [Path(str(route.dest["uri"])) for route in task.routes] if stage == "transfer" else []
        before, named_before = _stamps(data), {path: _content(path) for path in targets}
        try:
            result = getattr(self, f"_{stage}")(task)
        except (OSError, fences.Overtaken, strangers.Stranger) as error:
            raise errors.StageFailed(stage, str(error)) from error
        written = [
            path for path, stamp in _stamps(data).items() if before.get(path) != stamp and path not in named_before
        ]
        self._undo[lane] = [
            *(partial(_tear, path) for path in written),
            *(partial(_unname, path, _identity(path), content) for path, content in named_before.items()),
        ]
        if is_full and any(path.is_relative_to(data) for path in (*written, *targets)):
            self._lose(lane)
            raise errors.StageFailed(stage, "No space left on device (simulated)")
        await anyio.sleep(self._dice.expovariate(1 / 5))
        await self._frozen().wait()
        done = self._undo.pop(lane, [])
        if self._lazy and targets:
            self._forgotten += done
        return result

    def _add_pieces(self, task: tasks.AddPieces) -> list[tasks.PieceInfo]:
        """A deal fills a sector; without one it is zeros."""
        staged = Path(task.staged_filepath)
        if not task.pieces:
            staged.write_bytes(bytes(SIZE))
            return [tasks.PieceInfo(codec.Bytes32(commitments.zero_comm_d(SIZE)), SIZE // 128 * 127)]
        (source,) = task.pieces
        assert isinstance(source.piece_file, dict)
        cid = source.piece_file["url"].rpartition("/")[2]
        staged.write_bytes(data_of(cid))
        return [tasks.PieceInfo(codec.Bytes32(commitments.commitment_of(cid)), source.piece_size)]

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
            raise errors.StageFailed("pc2", "layers are of another ticket")
        sealed = Path(task.sealed_file)
        sealed.write_bytes(_plus(sealed.read_bytes(), _key(ticket, claimed["sector"])))
        for name in ("p_aux", "t_aux", "sc-02-data-tree-r-last.dat"):
            (Path(task.cache_dir) / name).write_bytes(b"aux")
        return tasks.PC2Output("sham", comm_r_of(sealed), codec.Bytes32(commitments.zero_comm_d(SIZE)))

    def _transfer(self, task: tasks.Transfer) -> bool:
        for route in task.routes:
            source, target = Path(str(route.src["uri"])), Path(str(route.dest["uri"]))
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + ".part")
            if (route.opt or {}).get("allow_link"):
                source.stat()
                part.unlink(missing_ok=True)
                part.symlink_to(source)
            else:
                shutil.copyfile(source, part)
            with fences.turn(task.fence, job.Job()):
                if task.keep is not None:
                    strangers.check(task.keep)
                part.replace(target)
        return True

    def _c1(self, task: tasks.C1) -> msgspec.Raw:
        _check_comm_r("c1", Path(task.sealed_file), task.pc2out.comm_r)
        return msgspec.Raw(json.dumps({"comm_r": task.pc2out.comm_r.hex(), "seed": task.seed.hex()}).encode())

    def _c2(self, task: tasks.C2) -> tasks.C2Output:
        c1 = json.loads(bytes(task.c1out))
        return tasks.C2Output(codec.NumberList(proof_of(bytes.fromhex(c1["comm_r"]), bytes.fromhex(c1["seed"]))))

    def _snap_encode(self, task: tasks.SnapEncode) -> tasks.SnapEncodeOutput:
        replica, cache = Path(task.new_replica_path), Path(task.new_cache_path)
        replica.write_bytes(_plus(Path(task.sector_path).read_bytes(), Path(task.staged_data_path).read_bytes(), _ONE))
        for name in ("p_aux", "t_aux", "sc-02-data-tree-r-last.dat"):
            (cache / name).write_bytes(b"aux")
        sizes = [(piece.size // 127 * 128, piece.commitment) for piece in task.piece_infos]
        comm_d = codec.Bytes32(commitments.comm_d(sizes, SIZE))
        return tasks.SnapEncodeOutput(comm_r_of(replica), codec.Bytes32(bytes(32)), comm_d)

    def _snap_vanilla(self, task: tasks.SnapVanilla) -> list[codec.NumberList]:
        _check_comm_r("snap_vanilla", Path(task.sector_path), task.comm_r_old)
        _check_comm_r("snap_vanilla", Path(task.new_replica_path), task.comm_r_new)
        return [codec.NumberList(b"vanilla")]

    def _snap_prove(self, task: tasks.SnapProve) -> codec.NumberList:
        return codec.NumberList(update_proof_of(task.comm_r_old, task.comm_r_new, task.comm_d_new))

    def _snap_verify(self, task: tasks.SnapVerify) -> bool:
        return bytes(task.proof) == update_proof_of(task.comm_r_old, task.comm_r_new, task.comm_d_new)

    def _unseal(self, task: tasks.Unseal) -> int:
        key = _key(task.ticket, task.sector_id)
        data = _minus(Path(task.sealed_file).read_bytes(), key)
        return _write_range(Path(task.unsealed_output), data, task.offset, task.num_bytes)

    def _snap_decode(self, task: tasks.SnapDecode) -> int:
        data = _minus(_minus(Path(task.replica_path).read_bytes(), Path(task.sector_path).read_bytes()), _ONE)
        return _write_range(Path(task.unsealed_output), data, task.offset, task.num_bytes)

    def _check_replicas(self, task: tasks.CheckReplicas) -> list[tasks.Fault]:
        faults = []
        for replica in task.replicas:
            try:
                _check_comm_r("check_replicas", Path(replica.sealed_file), replica.comm_r)
            except (OSError, errors.StageFailed) as error:
                faults.append(tasks.Fault(replica.sector_id, str(error)))
        return faults

    def _window_post(self, task: tasks.WindowPoSt) -> tasks.WindowPoStOutput:
        return tasks.WindowPoStOutput([window_proof_of(task.seed, [replica.comm_r for replica in task.replicas])])


_ONE = b"\1"


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _identity(path: Path) -> tuple[int, int] | None:
    return ((found := path.lstat()).st_ino, found.st_mtime_ns) if path.exists() else None


def _tear(path: Path) -> None:
    if path.exists():
        os.truncate(path, path.stat().st_size // 2)


def _unname(path: Path, put: tuple[int, int] | None, before: bytes | None) -> None:
    """Take a name back, unless it was given to another file meanwhile."""
    if put is not None and _identity(path) == put:
        path.unlink()
        if before is not None:
            path.write_bytes(before)


def _stamps(data: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in data.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path: ((found := path.stat()).st_mtime_ns, found.st_size) for path in files}


def _key(ticket: bytes, number: int) -> bytes:
    return _digest(b"key", ticket, str(number).encode())


def _plus(first: bytes, *others: bytes) -> bytes:
    for other in others:
        first = bytes((byte + other[i % len(other)]) % 256 for i, byte in enumerate(first))
    return first


def _minus(first: bytes, other: bytes) -> bytes:
    return bytes((byte - other[i % len(other)]) % 256 for i, byte in enumerate(first))


def _check_comm_r(stage: str, replica: Path, expected: bytes) -> None:
    if comm_r_of(replica) != expected:
        raise errors.StageFailed(stage, f"{replica} is not what was committed to")


def _write_range(target: Path, data: bytes, offset: int, count: int) -> int:
    return target.write_bytes(data[offset : offset + count])
