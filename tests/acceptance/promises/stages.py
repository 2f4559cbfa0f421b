"""Hold up, and let fail, the real stages of a farm; and look into its stores while they are in use."""

import os
import re
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from damocles import methods
from damocles.sealing.sectors import LARGE_FIELDS, Sector
from damocles.stores import journal
from damocles.testing.farm import Farm, wait_until
from damocles.wire import codec, control

SCRIPT = Path(__file__).with_name("held.py")
PATIENCE_SECONDS = 90.0  # for what takes a second on a machine that has nothing else to do


@dataclass(frozen=True, slots=True)
class Hand:
    """Our hand on the stages whose processors write and read `folder`."""

    folder: Path

    def processors(self, *stages: str, limits: str = "") -> str:
        """Return what a farm's configuration says of its processors; `limits` are of `[processors.limitation]`."""
        self.folder.mkdir(exist_ok=True)
        groups = "".join(
            f'\n[[processors.{stage}]]\nbin = "{sys.executable}"\nstable_wait = "60s"\n'
            f'args = ["{SCRIPT}", "{stage}", "{self.folder}"]\n'
            for stage in stages
        )
        return f"{limits}\n{groups}"

    def hold(self, stage: str, where: str = "begin") -> None:
        """Let further runs of a stage stop at their beginning or end."""
        (self.folder / f"{stage}.{where}").touch()

    def release(self, stage: str, where: str = "begin") -> None:
        """Let held runs go on, and further ones pass."""
        (self.folder / f"{stage}.{where}").unlink()

    def fail(self, stage: str, text: str) -> None:
        """Let further runs of a stage end with an error."""
        (self.folder / f"{stage}.fail").write_text(text)

    def mend(self, stage: str) -> None:
        """Let further runs of a stage end well."""
        (self.folder / f"{stage}.fail").unlink()

    def pids(self, stage: str, word: str) -> list[int]:
        """Return the process of every run that has `begun`, was `held` or is `done`, oldest first."""
        log = self.folder / f"{stage}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0] == word]

    def held(self, stage: str, count: int) -> int:
        """Wait until runs of a stage were held so often; return the process of the last one."""
        wait_until(lambda: len(self.pids(stage, "held")) >= count, f"{stage} is held", PATIENCE_SECONDS)
        assert count == len(self.pids(stage, "held"))
        return self.pids(stage, "held")[-1]


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Let processes hang while the block runs: they are there, and do nothing."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def is_alive(pid: int) -> bool:
    """Whether a process computes; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def util(f: Farm, *command: str) -> tuple[str, ...]:
    """Return a command of the manager's `util worker`."""
    return ("damocles-manager", "util", "--listen", f"127.0.0.1:{f.manager_port}", "worker", *command)


def ours(f: Farm, *command: str) -> tuple[str, ...]:
    """Return a command for the worker itself."""
    return ("damocles-worker", "worker", "-c", str(f.config), *command)


def details(f: Farm) -> list[control.ThreadDetail]:
    """Ask the worker for its threads, and what they wait for."""
    with f.worker_client() as worker:
        return worker.call(methods.worker.threads())


def act(f: Farm, index: int, verb: str, **options: Any) -> control.Outcome:
    """Do something to a thread."""
    with f.worker_client() as worker:
        (outcome,) = worker.call(
            methods.worker.act_on(control.Selection(indexes=[index]), control.Act(verb=verb, **options))
        )
        return outcome


def wait_for(f: Farm, index: int, thread_state: str, job_state: str, text: str = "") -> control.ThreadDetail:
    """Wait until a thread and its sector are in these states, the last error with this text."""

    def found() -> control.ThreadDetail | None:
        thread = details(f)[index]
        info = thread.info
        holds = (info.thread_state.state, info.job_state) == (thread_state, job_state)
        return thread if holds and text in (info.last_error or "") else None

    what = f"thread {index} is {thread_state} at {job_state} {text!r}"
    try:
        thread: control.ThreadDetail = wait_until(found, what, PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{details(f)}\n{f.logs()}") from None
    return thread


def unproven(f: Farm, index: int = 0) -> control.ThreadDetail:
    """Wait until a sector has got as far as it can without proof parameters."""
    return wait_for(f, index, "Paused", "C1Done", "No cached parameters")


def sector_in(store: Path) -> Sector:
    """Read the sector of a store that may be in use."""
    with closing(sqlite3.connect(f"file:{store}/meta/{journal.FILE_NAME}?mode=ro", uri=True, timeout=30)) as db:
        db.execute("BEGIN")  # both of the same moment
        (record,) = db.execute("SELECT record FROM sector").fetchone()
        outputs = db.execute("SELECT name, body FROM outputs").fetchall()
    large = {name: msgspec.Raw(body) for name, body in outputs if name in LARGE_FIELDS}
    return msgspec.structs.replace(codec.decode(record, Sector), **large)


def counts(f: Farm, index: int, *events: str) -> dict[str, int]:
    """Count events in a thread's journal."""
    happened = f.events(index)
    return {event: happened.count(event) for event in events}


def messages_sent(f: Farm) -> Counter[tuple[str, str]]:
    """Count the messages that the manager has ordered, by kind and sector: in its log, since a sector's submission is replaced by the next.

    Sectors that were handed in at the same moment share one, of a kind with "batch" in its name.
    """
    log = (f.base / "manager.log").read_text()
    ordered = re.findall(r"message ordered .*?kind='?(\S+)( batch')? sectors=\[(.+?)\]", log)
    return Counter((kind, sector) for kind, _, sectors in ordered for sector in re.findall(r"'(\S+?)'", sectors))


def rows(f: Farm, query: str) -> list[tuple[Any, ...]]:
    """Ask the manager's database."""
    (file,) = (f.base / "manager").glob("*.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=30)) as db:
        return db.execute(query).fetchall()
