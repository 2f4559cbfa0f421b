"""What the control plane costs: sectors through our daemons against the bare proofs calls in a loop."""

import itertools
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from bench.figures import Figure
from damocles.stores import journal
from damocles.testing.farm import Farm, wait_until
from damocles.wire import sectors

THREADS = 3
SMALL_ROUNDS = 5
BARE_ROUNDS = 5
BIG_SECTORS = 6
BIG_THREADS = 2


def figures() -> Iterator[Figure]:
    """Measure."""
    yield from _latency()
    yield from _throughput()


def _latency() -> Iterator[Figure]:
    """Three 2KiB sectors in parallel, from allocation to C1Done, with every step synced.

    The first three meet children whose library has computed nothing yet (it makes its Poseidon constants when they are
    first needed), the second three meet warm ones.
    """
    cold, warm, bare, cpu, gaps = [], [], [], [], []
    for _ in range(SMALL_ROUNDS):
        with (
            tempfile.TemporaryDirectory() as folder,
            Farm(
                Path(folder),
                threads=THREADS,
                parameters=Path(folder),
                max_sectors=2 * THREADS,
                seal_interval="0s",
                sealing="max_retries = 0",
            ) as farm,
        ):
            farm.start_manager()
            farm.start_worker()
            assert farm.worker is not None
            worker = psutil.Process(farm.worker.pid)
            wait_until(partial(_all_paused, farm), "C1Done", every=0.2)
            cold.append(_span(_histories(farm, THREADS)))
            before = sum(worker.cpu_times()[:2])
            for thread in farm.all_threads():
                farm.resume(thread.index, "Aborted")
            wait_until(lambda: all(t.job_state != "Aborted" for t in farm.all_threads()), "the next sectors", every=0.2)
            wait_until(partial(_all_paused, farm), "C1Done", every=0.2)
            histories = _histories(farm, THREADS)
            warm.append(_span(histories))
            cpu.append((sum(worker.cpu_times()[:2]) - before) / THREADS * 1000)
            steps = [step for history in histories for step in _steps(history)]
            gaps.append(sum(steps) / len(steps) * 1000)
        # Beside each other, since a machine is not as fast in every minute.
        bare.append(min(_bare("2KiB", THREADS, 1) for _ in range(BARE_ROUNDS)) * 1000)
    name = f"{THREADS} sectors of 2KiB, allocation to C1Done"
    yield Figure(
        name=f"{name}, warm / their proofs bare, one after another: median of {SMALL_ROUNDS}",
        value=statistics.median(ours / proofs for ours, proofs in zip(warm, bare, strict=True)),
        unit="",
        at_most=5.5,
        against=f"{statistics.median(bare):.0f} ms bare",
    )
    yield Figure(name=f"{name}, warm", value=statistics.median(warm), unit="ms", against="original 130 ms, cold")
    yield Figure(name=f"{name}, children just started", value=statistics.median(cold), unit="ms")
    yield Figure(name="between two handlers (journal, planner)", value=statistics.median(gaps), unit="ms")
    yield Figure(name="daemon's CPU per sector", value=statistics.median(cpu), unit="ms")


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
        while done < BIG_SECTORS:
            # Without parameters C2 pauses the thread: give the sector up and let it take the next one.
            for thread in farm.all_threads():
                if thread.thread_state.state == "Paused" and thread.job_state == "C1Done":
                    done += 1
                    farm.resume(thread.index, "Aborted")
            time.sleep(0.1)
        entries = [entry for history in _histories(farm, BIG_THREADS) for entry in history if entry.sector is not None]
        ours = max(e.at for e in entries if e.state == "C1Done") - min(e.at - (e.seconds or 0.0) for e in entries)
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


def _all_paused(farm: Farm) -> bool:
    return all(t.thread_state.state == "Paused" and t.job_state == "C1Done" for t in farm.all_threads())


def _histories(farm: Farm, threads: int) -> list[list[journal.Entry]]:
    return [farm.history(index) for index in range(threads)]


def _last_sector(history: list[journal.Entry]) -> list[journal.Entry]:
    """Return what became of the last sector of a thread, up to C1Done."""
    sector = next(entry.sector for entry in reversed(history) if entry.sector is not None)
    entries = [entry for entry in history if entry.sector == sector]
    return entries[: next(place for place, entry in enumerate(entries, 1) if entry.state == "C1Done")]


def _span(histories: list[list[journal.Entry]]) -> float:
    """Return the milliseconds from the first allocation to the last C1Done."""
    sectors_ = [_last_sector(history) for history in histories]
    return 1000 * (max(s[-1].at for s in sectors_) - min(s[0].at - (s[0].seconds or 0.0) for s in sectors_))


def _steps(history: list[journal.Entry]) -> list[float]:
    """Return the seconds between the end of a handler's predecessor and its own beginning."""
    entries = _last_sector(history)
    return [after.at - before.at - (after.seconds or 0.0) for before, after in itertools.pairwise(entries)]


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
