"""What one child of the bench of provers does: make the inputs, one kind of proof, or a set of parameters.

    python -m bench.prove inputs FILE          # once; the file is what every prover is given
    python -m bench.prove c2|window|winning|snap FILE ROUNDS
    python -m bench.prove wdpost|porep GENERATOR

The last two print the seconds of the best round, and the peak of the process's memory.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import damocles_proofs as native
import msgspec

SECTOR_BYTES = 2048
SEAL = "StackedDrg2KiBV1_1"
UPDATE = "StackedDrg2KiBV1"
WINDOW = "StackedDrgWindow2KiBV1_2"
WINNING = "StackedDrgWinning2KiBV1"
PROVER_ID = b"\xe8\x07".ljust(32, b"\0")
TICKET = bytes([1]) * 32
SEED = bytes([2]) * 32
RANDOMNESS = bytes([9]) * 32


class Replica(msgspec.Struct, frozen=True):
    """A sealed sector, as a verifier knows it."""

    number: int
    comm_r: bytes


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What is proven: vanilla proofs, and what they are about."""

    c1: bytes
    replicas: list[
        Replica
    ]  # as many as a partition of a window PoSt holds; the first one is in C2 and the winning PoSt
    window: list[bytes]
    winning: list[bytes]
    snap: list[bytes]
    commitments: tuple[bytes, bytes, bytes]  # of the update: CommR before and after, CommD


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What it took."""

    seconds: float
    peak_bytes: int


def make_inputs() -> Inputs:
    """Seal two sectors, encode data into the first one, and answer all challenges; the same each time."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / str(number) for number in (1, 2)]
        sealed = [seal(folder, number) for number, folder in enumerate(folders, 1)]
        (pieces, out), _ = sealed
        replicas = [
            native.PrivateReplica(number, comm_r.comm_r, folder / "cache", folder / "sealed")
            for number, (folder, (_, comm_r)) in enumerate(zip(folders, sealed, strict=True), 1)
        ]
        key = folders[0]
        c1 = native.c1(key / "cache", key / "sealed", PROVER_ID, 1, TICKET, SEED, out, pieces)
        commitments, snap = _update(key, Path(name), out.comm_r)
        return Inputs(
            c1=c1.to_json(),
            replicas=[Replica(replica.sector_id, replica.comm_r) for replica in replicas],
            window=_vanilla(WINDOW, replicas),
            winning=_vanilla(WINNING, replicas[:1]),
            snap=snap,
            commitments=commitments,
        )


def seal(folder: Path, number: int, payload: bytes = b"") -> tuple[list[native.PieceInfo], native.Pc2Output]:
    """Seal a sector into folders `sealed` and `cache`."""
    pieces = _stage(folder, payload)
    cache, staged, sealed = folder / "cache", folder / "staged", folder / "sealed"
    labels = native.pc1(SEAL, cache, staged, sealed, PROVER_ID, number, TICKET, pieces)
    return pieces, native.pc2(labels, cache, sealed)


def _stage(folder: Path, payload: bytes = b"") -> list[native.PieceInfo]:
    (folder / "cache").mkdir(parents=True)
    (folder / "sealed").touch()
    unpadded, staged = SECTOR_BYTES // 128 * 127, folder / "staged"
    with tempfile.TemporaryFile() as source:
        source.write(payload)
        source.seek(0)
        piece = native.add_piece(SEAL, source.fileno() if payload else None, len(payload), unpadded, staged)
    native.tree_d(SEAL, staged, folder / "cache")
    return [piece]


def _update(key: Path, base: Path, comm_r_old: bytes) -> tuple[tuple[bytes, bytes, bytes], list[bytes]]:
    data, replica, cache = base / "data", base / "replica", base / "update-cache"
    pieces = _stage(data, payload=bytes(range(250)))
    cache.mkdir()
    replica.write_bytes(bytes(SECTOR_BYTES))
    (cache / "sc-02-data-tree-d.dat").symlink_to(data / "cache/sc-02-data-tree-d.dat")
    files = (key / "sealed", key / "cache", replica, cache)
    out = native.update_encode_into(UPDATE, replica, cache, key / "sealed", key / "cache", data / "staged", pieces)
    commitments = (comm_r_old, out.comm_r_new, out.comm_d_new)
    return commitments, native.update_partition_proofs(UPDATE, *commitments, *files)


def _vanilla(proof: str, replicas: list[native.PrivateReplica]) -> list[bytes]:
    scalar, numbers = randomness(), [replica.sector_id for replica in replicas]
    challenges = native.generate_fallback_sector_challenges(proof, scalar, numbers, PROVER_ID)
    return [native.generate_single_vanilla_proof(proof, one, challenges[one.sector_id]) for one in replicas]


def randomness() -> bytes:
    """Return the challenge of the PoSts."""
    return RANDOMNESS[:31] + bytes([RANDOMNESS[31] & 0x3F])


def prove(kind: str, inputs: Inputs, rounds: int) -> Cost:
    """Prove once or several times; whatever made the proof, it has to verify."""
    public = [native.PublicReplica(replica.number, replica.comm_r) for replica in inputs.replicas]
    scalar = randomness()
    c1 = native.C1Output.from_json(inputs.c1)
    claim = (c1.comm_r, c1.comm_d, PROVER_ID, 1, TICKET, SEED)
    acts: dict[str, tuple[Callable[[], bytes], Callable[[bytes], bool]]] = {
        "c2": (
            lambda: native.c2(c1, PROVER_ID, 1),
            lambda proof: native.verify_seal(SEAL, *claim, proof),
        ),
        "window": (
            lambda: native.generate_window_post_with_vanilla(WINDOW, scalar, PROVER_ID, inputs.window),
            lambda proof: native.verify_window_post(WINDOW, scalar, proof, public, PROVER_ID),
        ),
        "winning": (
            lambda: native.generate_winning_post_with_vanilla(WINNING, scalar, PROVER_ID, inputs.winning),
            lambda proof: native.verify_winning_post(WINNING, scalar, proof, public[:1], PROVER_ID),
        ),
        "snap": (
            lambda: native.update_prove_with_vanilla(UPDATE, inputs.snap, *inputs.commitments),
            lambda proof: native.update_verify(UPDATE, proof, *inputs.commitments),
        ),
    }
    act, verify = acts[kind]
    times, made = [], b""
    for _ in range(rounds):
        began = time.perf_counter()
        made = act()
        times.append(time.perf_counter() - began)
    cost = Cost(seconds=min(times), peak_bytes=_peak())
    assert verify(made), kind
    return cost


def generate(kind: str, generator: str) -> Cost:
    """Make a set of parameters in the folder that the environment names."""
    began = time.perf_counter()
    native.generate_params(kind, SECTOR_BYTES, generator=generator)
    return Cost(seconds=time.perf_counter() - began, peak_bytes=_peak())


def _peak() -> int:
    # Not `getrusage`, which counts what the parent held when it started this process.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("\nVmHWM:")[2].split()[0]) << 10


def main() -> None:
    """Do what the command line asks for."""
    act, *further = sys.argv[1:]
    if act == "inputs":
        Path(further[0]).write_bytes(msgspec.msgpack.encode(make_inputs()))
        return
    if act in ("c2", "window", "winning", "snap"):
        inputs = msgspec.msgpack.decode(Path(further[0]).read_bytes(), type=Inputs)
        cost = prove(act, inputs, int(further[1]))
    else:
        cost = generate(act, further[0])
    print(msgspec.json.encode(cost).decode())


if __name__ == "__main__":
    main()
