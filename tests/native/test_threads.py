"""Other Python threads run while the library works."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import damocles_proofs as proofs
import pytest

MIB8 = "StackedDrg8MiBV1_1"
SIZE = 8 << 20

T = TypeVar("T")


class Ticker:
    """A thread that ticks each millisecond while it may."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        """Tick until stopped."""
        while not self.stopped.wait(0.001):
            self.ticks.append(time.monotonic())

    def longest_silence(self, start: float, end: float) -> float:
        """Return the longest time without a tick."""
        marks = [start, *(tick for tick in self.ticks if start <= tick <= end), end]
        return max(later - earlier for earlier, later in pairwise(marks))


@contextmanager
def ticking() -> Iterator[Ticker]:
    """Tick inside the block."""
    ticker = Ticker()
    thread = threading.Thread(target=ticker.run)
    thread.start()
    try:
        yield ticker
    finally:
        ticker.stopped.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_threads_run_during_each_stage(new_sector, tmp_path: Path):
    """No stage of an 8MiB sector and of its update keeps the interpreter: none of them silences a ticking thread."""
    silent: dict[str, tuple[float, float]] = {}

    with ticking() as ticker:

        def timed(name: str, call: Callable[[], T]) -> T:
            start = time.monotonic()
            result = call()
            end = time.monotonic()
            # A held lock silences the whole call; a scheduler's hiccup, with all cores busy, only a part of it. A call
            # that lasts too short says nothing.
            silence = ticker.longest_silence(start, end)
            if end - start > 0.1 and silence > 0.8 * (end - start):
                silent[name] = (silence, end - start)
            return result

        sector = timed("stage", lambda: new_sector(proof=MIB8, size=SIZE, payload=os.urandom(1000)))
        timed("tree_d", lambda: proofs.tree_d(MIB8, sector.staged, sector.prepared))
        pc1 = timed("pc1", sector.pc1)
        pc2 = timed("pc2", lambda: sector.pc2(pc1))
        c1 = timed("c1", lambda: sector.c1(pc2))
        written = timed("to_json", c1.to_json)
        timed("from_json", lambda: proofs.C1Output.from_json(written))
        timed("unseal", lambda: sector.unseal(tmp_path / "out", 0, 127))
        challenges = [n * 1000 for n in range(10)]
        replica = sector.private(pc2.comm_r)
        timed(
            "vanilla",
            lambda: proofs.generate_single_vanilla_proof("StackedDrgWindow8MiBV1_2", replica, challenges),
        )
        replica_path, cache = tmp_path / "update", tmp_path / "update-cache"
        cache.mkdir()
        replica_path.touch()
        os.truncate(replica_path, SIZE)
        encoded = timed(
            "encode",
            lambda: proofs.update_encode_into(
                "StackedDrg8MiBV1", replica_path, cache, sector.sealed, sector.cache, sector.staged, sector.pieces
            ),
        )
        commitments = (pc2.comm_r, encoded.comm_r_new, encoded.comm_d_new)
        vanilla = timed(
            "partition_proofs",
            lambda: proofs.update_partition_proofs(
                "StackedDrg8MiBV1", *commitments, sector.sealed, sector.cache, replica_path, cache
            ),
        )
        timed(
            "verify_partition_proofs",
            lambda: proofs.update_verify_partition_proofs("StackedDrg8MiBV1", vanilla, *commitments),
        )
        output = tmp_path / "decoded"
        output.touch()
        os.truncate(output, SIZE)
        timed(
            "decode",
            lambda: proofs.update_decode_from(
                "StackedDrg8MiBV1", output, replica_path, sector.sealed, sector.cache, encoded.comm_d_new
            ),
        )

    assert silent == {}
