"""What the control plane costs: sectors through our daemons against the bare proofs calls in a loop."""

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench.figures import Figure
from damocles.stores import journal
from damocles.testing.farm import Farm, wait_until
from damocles.wire import sectors

THREADS = 3
SMALL_ROUNDS = 5
BIG_SECTORS = 6
BIG_THREADS = 2


def figures() -> Iterator[Figure]:
    """Measure."""
    yield from _latency()
    yield from _throughput()


def _latency() -> Iterator[Figure]:
    """Three 2KiB sectors in parallel, from allocation to C1Done, with warm children and every step synced."""
    spans, cpu = [], []
    for _ in range(SMALL_ROUNDS):
        with (
            tempfile.TemporaryDirectory() as folder,
            Farm(
                Path(folder), threads=THREADS, parameters=Path(folder), max_sectors=THREADS, seal_interval="1h"
            ) as farm,
        ):
            farm.start_manager()
            farm.start_worker()
            wait_until(lambda: all(t.last_error for t in farm.all_threads()), "C1Done", every=0.2)
            steps = [_sector(farm.history(index)) for index in range(THREADS)]
            began = min(step[0].at - (step[0].seconds or 0.0) for step in steps)
            ended = max(next(e.at for e in step if e.state == "C1Done") for step in steps)
            spans.append((ended - began) * 1000)
            assert farm.worker is not None
            cpu.append(sum(psutil.Process(farm.worker.pid).cpu_times()[:2]) / THREADS * 1000)
    spans.sort()
    yield Figure(
        name=f"{THREADS} sectors of 2KiB, allocation to C1Done: median of {SMALL_ROUNDS}",
        value=spans[len(spans) // 2],
        unit="ms",
        at_most=260,
        against="original 130 ms",
    )
    bare = min(_bare("2KiB", 1, 1) for _ in range(5)) * 1000
    yield Figure(name="the same proofs bare, one sector", value=bare, unit="ms")
    yield Figure(name="daemon's CPU per sector, start-up included", value=sorted(cpu)[len(cpu) // 2], unit="ms")


def _throughput() -> Iterator[Figure]:
    """Sectors of 8MiB over two threads against as many bare loops."""
    bare = _bare("8MiB", BIG_SECTORS, BIG_THREADS)
    with (
        tempfile.TemporaryDirectory() as folder,
        Farm(
            Path(folder),
            threads=BIG_THREADS,
            size="8MiB",
            parameters=Path(folder),
            max_sectors=BIG_SECTORS,
            seal_interval="0s",
            sealing="max_retries = 0",
        ) as farm,
    ):
        farm.start_manager()
        farm.start_worker()
        done = 0
        began = time.perf_counter()
        while done < BIG_SECTORS:
            # Without parameters C2 pauses the thread: give the sector up and let it take the next one.
            for thread in farm.all_threads():
                if thread.thread_state.state == "Paused" and thread.job_state == "C1Done":
                    done += 1
                    farm.resume(thread.index, "Aborted")
            time.sleep(0.02)
        ours = time.perf_counter() - began
        entries = [entry for index in range(BIG_THREADS) for entry in farm.history(index)]
    yield Figure(
        name=f"throughput of {BIG_SECTORS} sectors of 8MiB over {BIG_THREADS} threads / bare loops",
        value=bare / ours,
        unit="",
        at_least=0.97,
        against=f"{bare:.1f} s bare, {ours:.1f} s ours",
    )
    for stage in ("PC1", "PC2", "C1"):
        times = [entry.seconds for entry in entries if entry.event == stage and entry.seconds is not None]
        yield Figure(name=f"8MiB {stage}, mean", value=sum(times) / len(times), unit="s")


def _sector(history: list[journal.Entry]) -> list[journal.Entry]:
    return [entry for entry in history if entry.sector is not None]


def _bare(size: str, count: int, loops: int) -> float:
    """Return the seconds for `count` sectors from piece to C1 by calls of the proofs alone, in `loops` threads."""
    os.environ.setdefault("FIL_PROOFS_USE_MULTICORE_SDR", "1")
    import damocles_proofs as native  # noqa: PLC0415, the setting has to come first

    size_bytes = int(sectors.SectorSize.parse(size))
    proof, prover = f"StackedDrg{size}V1_1", sectors.prover_id(10000)

    def seal(number: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            base, cache = Path(folder), Path(folder) / "cache"
            cache.mkdir()
            (base / "staged").write_bytes(bytes(size_bytes))
            (base / "sealed").touch()
            pieces = [native.zero_piece(size_bytes // 128 * 127)]
            native.tree_d(proof, str(base / "staged"), str(cache))
            ticket, sealed = bytes(31) + b"\1", str(base / "sealed")
            out1 = native.pc1(proof, str(cache), str(base / "staged"), sealed, prover, number, ticket, pieces)
            out2 = native.pc2(out1, str(cache), sealed)
            native.c1(str(cache), sealed, prover, number, ticket, bytes(32), out2, pieces)

    def loop(numbers: range) -> None:
        for number in numbers:
            seal(number)

    workers = [threading.Thread(target=loop, args=(range(first, count, loops),)) for first in range(loops)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began
