"""Seal sectors with real proofs on this machine, from allocation to a verified proof, and show it live.

Starts a manager with a devnode of its own and a worker as real processes, three sealing threads, one persist store. Proof
parameters that are missing are made meanwhile: the sectors seal up to C1Done, wait there, and are resumed.
"""

import argparse
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from damocles.manager import home
from damocles.parameters import catalog, generation
from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.stores import sealing
from damocles.testing import farm
from damocles.text import units
from damocles.wire import fleet, sectors

THREADS = 3
MAKING_EVERY_SECONDS = 10
MISSING_PARAMETERS = "No cached parameters found"


def main() -> int:
    """Run the demo; 0 if every sector is finished and verified."""
    options = _options()
    console = Console()
    base = options.dir.resolve()
    if base.exists():
        if not (base / "worker.toml").exists():
            _say(console, f"{base} exists and is not a demo's folder: choose another one with --dir")
            return 2
        if users := _users(base):
            pids = " ".join(map(str, users))
            _say(console, f"{base} is in use: stop what runs there (kill {pids}), or choose another folder with --dir")
            return 2
        shutil.rmtree(base)
    base.mkdir(parents=True)
    _say(console, f"Demo in {base}; logs: manager.log, worker.log")
    with ExitStack() as stack:
        demo = stack.enter_context(
            farm.Farm(base, threads=THREADS, max_sectors=options.sectors, name="demo", recover_interval="3s")
        )
        demo.start_manager()
        demo.start_worker()
        parameters = None
        if not _parameters_there():
            _say(
                console,
                "Proof parameters of 2KiB are missing: making a set for test networks (about a minute on two cores,"
                " once; log: parameters.log). Sectors seal up to C1Done meanwhile, and wait there to be looked at:\n"
                + _commands(demo),
            )
            parameters = demo.start(
                *("parameters.log", {}, "damocles-worker", "params", "generate"),
                *("--sector-size", "2KiB", "--for", "porep"),
            )
            stack.callback(farm.stop, parameters)
        ok = _watch(console, options.sectors, demo, parameters)
        if options.keep:
            stack.pop_all()
            assert demo.manager is not None
            assert demo.worker is not None
            _say(
                console,
                f"\nStill running: manager (pid {demo.manager.pid}), worker (pid {demo.worker.pid}). Look at them:\n"
                f"{_commands(demo)}\n"
                f"Stop them: kill {demo.worker.pid} {demo.manager.pid}",
            )
    return 0 if ok else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sectors", type=int, default=3, help="how many sectors to seal (default 3)")
    parser.add_argument("--keep", action="store_true", help="leave manager and worker running")
    parser.add_argument("--dir", type=Path, default=Path("demo-run"), help="folder of the demo (default ./demo-run)")
    return parser.parse_args()


def _users(base: Path) -> list[int]:
    """Return the processes that hold the lock of the manager's home or of a store: a demo that was left running."""
    locks = {base / "manager" / home.LOCK_NAME, *(store / sealing.HOLDER for store in base.glob("store*"))}
    found = set()
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it is somebody else's, or gone
            if handle.readlink() in locks:
                found.add(int(handle.parts[2]))
    return sorted(found)


def _commands(demo: farm.Farm) -> str:
    """Return what to type in another terminal, a command a line."""
    run = "uv run --frozen --no-sync"
    manager = f"{run} damocles-manager util --home {demo.base}/manager --listen 127.0.0.1:{demo.manager_port}"
    return "\n".join(
        (
            f"  {run} damocles-worker worker -c {demo.config} list",
            f"  {manager} worker list",
            f"  {manager} worker info {demo.name}",
            f"  {manager} sealer sectors list",
        )
    )


def _say(console: Console, text: str) -> None:
    """Print as it is, also where nobody knows how wide a line may be."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _watch(console: Console, wanted: int, demo: farm.Farm, parameters: "subprocess.Popen[bytes] | None") -> bool:
    """Show the threads until all sectors are finished; resume what waits for parameters once they are there."""
    began = time.monotonic()
    told: dict[int, str] = {}
    next_word = began + MAKING_EVERY_SECONDS
    with Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else nullcontext() as live:
        while True:
            threads = demo.all_threads()
            finished = [entry for i in range(THREADS) for entry in demo.history(i) if entry.event == "Finalized"]
            if parameters is not None and parameters.poll() is not None:
                if parameters.returncode != 0:
                    _say(console, f"Making the parameters failed; see {demo.base}/parameters.log")
                    return False
                _say(console, f"Parameters are in place after {_since(began)}: resuming the paused threads.")
                parameters = None
            paused = [thread for thread in threads if thread.thread_state.state == "Paused"]
            for thread in paused:
                if MISSING_PARAMETERS not in (thread.last_error or ""):
                    _say(console, f"thread #{thread.index} stopped: {thread.last_error}")
                    return False
                if parameters is None:
                    demo.resume(thread.index)
            making = "" if parameters is None else _making(began)
            if live is not None:
                live.update(_table(threads, len(finished), wanted, began, making))
            else:
                _tell_changes(console, threads, told, began)
                if making and time.monotonic() >= next_word:
                    _say(console, f"[{_since(began)}] {making}")
                    next_word += MAKING_EVERY_SECONDS
            if len(finished) >= wanted:
                break
            time.sleep(0.25)
    return _summary(console, demo, sorted(entry.sector or "" for entry in finished), began)


def _making(began: float) -> str:
    """Say how far the making of parameters is."""
    (porep,) = catalog.sets([sectors.SectorSize.KIB2], [catalog.Kind.POREP])
    part = generation.part_of(porep, catalog.folder())
    if part.with_suffix("").exists():  # under its own name: the process that made it is about to end
        return "making parameters: written"
    done = generation.progress(part, time.monotonic() - began)
    return f"making parameters: {done or 'laying out the circuit'}"


def _table(threads: list[fleet.ThreadInfo], finished: int, wanted: int, began: float, making: str) -> Table:
    title = f"{finished} of {wanted} sectors finished, {_since(began)}" + (f", {making}" if making else "")
    table = Table(title=title, expand=False)
    for column in ("#", "sector", "state", "stage", "thread", "for", "last error"):
        table.add_column(column, overflow="ellipsis", no_wrap=True)
    for thread in threads:
        doing = thread.thread_state
        table.add_row(
            str(thread.index),
            thread.job_id or "-",
            thread.job_state,
            thread.job_stage or "-",
            f"{doing.state} {doing.proc or ''}",
            units.human_duration(doing.elapsed) if doing.elapsed is not None else "-",
            (thread.last_error or "-")[:60],
        )
    return table


def _tell_changes(console: Console, threads: list[fleet.ThreadInfo], told: dict[int, str], began: float) -> None:
    """Without a terminal: a line for every thread that changed."""
    for thread in threads:
        if thread.job_id is None:
            continue
        line = f"{thread.job_id} {thread.job_state} {thread.thread_state.state}"
        if told.get(thread.index) != line:
            told[thread.index] = line
            error = f": {thread.last_error}" if thread.last_error else ""
            _say(console, f"[{_since(began)}] #{thread.index} {line}{error}")


def _summary(console: Console, demo: farm.Farm, names: list[str], began: float) -> bool:
    """Print where each sector is, how long its stages took, and what the chain says of its proof."""
    rows = demo.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
    on_chain = {str(sectors.SectorID(row["ID"]["Miner"], row["ID"]["Number"])): row for row in rows}
    history = [entry for i in range(THREADS) for entry in demo.history(i) if entry.seconds is not None]
    all_verified = True
    for name in names:
        verified = bool(on_chain.get(name, {}).get("Proof"))
        all_verified = all_verified and verified
        verdict = "proof verified by the devnode" if verified else "NO PROOF ON CHAIN"
        console.print(f"\n[bold]{name}[/bold] Finished, {verdict}", highlight=False)
        for path in sorted((demo.base / "persist").glob(f"[!.]*/{name}")):
            files = [path, *path.rglob("*")]
            size_bytes = sum(file.stat().st_size for file in files if file.is_file())
            _say(console, f"  {path}  {units.human_size(size_bytes)}")
        took = {
            stage: entry.seconds or 0.0
            for entry in history
            if entry.sector == name and entry.error is None
            if (stage := planner.PLANS[entry.plan].stage_of(State(entry.prev))) != "-"
        }
        _say(console, "  " + ", ".join(f"{stage} {_short(seconds)}" for stage, seconds in took.items()))
    _say(console, f"\n{len(names)} sectors in {_since(began)}.")
    return all_verified


def _short(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _since(began: float) -> str:
    return units.human_duration(time.monotonic() - began)


def _parameters_there() -> bool:
    listed = farm.cli(
        *("damocles-worker", "params", "list", "--sector-size", "2KiB", "--for", "porep", "--json"), check=False
    )
    return listed.returncode == 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted; what was started is stopped.")
