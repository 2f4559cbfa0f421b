"""Follow a page as a reader does: write the files that it shows, type its commands, and compare what they print.

The commands are typed into one shell on a terminal of its own, with a network and a `/srv` of its own, so that they are
those of the page to the letter. What the page shows under a command has to appear in its order; times, and what stands for `…`, may
differ. What shows how things stand is asked again until it is as on the page.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

COLUMNS = 120
FOLDER = (
    "/srv"  # of the pages; a folder of the test's is mounted there, so that tables have as much room as on the page
)
_DONE = re.compile(r"<<done (\d+)>>\r?\n")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = re.compile(
    r"\b\d+(?:\.\d+)? ?(?:ms|min|s|m|h|d)(?: ?\d+(?:ms|s|m))*\b|\b\d+(?::\d\d)+Z?\b|\b(?:\d{4}-)?\d\d-\d\d(?= )"
)
_NUMBER = re.compile(r"\b\d+(?:\.\d+)?(?=(?:B|KiB|MiB|GiB|TiB)\b)")


@dataclass(frozen=True)
class Step:
    """A command with what the page shows of its output, or a file to write."""

    text: str
    shown: tuple[str, ...] = ()
    file: str | None = None


def steps(page: str) -> Iterator[Step]:
    """Yield the commands (`$ …` in console blocks) and files (blocks after ``Write this into `NAME`:``) of a page."""
    for before, kind, block in re.findall(r"([^\n]*)\n\n```(\w+)\n(.*?)```", page, re.DOTALL):
        named = re.search(r"Write this into `([\w.]+)`", before)
        if named:
            yield Step(block, file=named[1])
        elif kind == "console":
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *lines = part.rstrip("\n").split("\n")
                yield Step(command, tuple(line for line in lines if line.strip()))


@dataclass
class Shell:
    """A shell with a terminal and a network of its own, to which `folder` is `/srv`."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    terminal: int
    output: bytearray = field(default_factory=bytearray)
    came: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Start one; at the end it stops what its commands have left running."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        bin_folder = Path(sys.executable).parent
        env = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": FOLDER, "NO_COLOR": "1"}
        env |= {"TERM": "xterm"}
        process = subprocess.Popen(
            ["unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--net", "--mount", "bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
        os.close(theirs)
        shell = cls(folder, process, ours)
        reader = threading.Thread(target=shell._read, daemon=True)
        reader.start()
        try:
            assert shell.run(f"ip link set lo up && mount --bind {folder} {FOLDER} && cd {FOLDER}", 60) == (0, [])
            yield shell
        finally:
            with suppress(OSError):  # it has ended
                shell._type("kill $(jobs -p); wait; exit")
            try:
                process.wait(120)
            finally:
                with suppress(ProcessLookupError):  # what is still there has not ended when it was asked to
                    os.killpg(process.pid, signal.SIGKILL)
                reader.join(60)
            os.close(ours)
            assert process.stdin is not None
            process.stdin.close()

    def run(self, command: str, seconds: float) -> tuple[int, list[str]]:
        """Type a command; return its exit code and the lines that it prints."""
        with self.came:
            self.output.clear()
            self._type(f"{command}\nprintf '<<done %s>>\\n' $?")
            assert self.came.wait_for(lambda: _DONE.search(self.output.decode(errors="replace")), seconds), command
            text = self.output.decode(errors="replace")
        done = _DONE.search(text)
        assert done is not None
        lines = _CONTROL.sub("", text[: done.start()]).replace("\r\n", "\n").splitlines()
        return int(done[1]), [line.rstrip() for line in lines if line.strip()]

    def _type(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        with suppress(OSError):  # the terminal ends with its last process
            while chunk := os.read(self.terminal, 65536):
                with self.came:
                    self.output += chunk
                    self.came.notify_all()


def follow(shell: Shell, page: str, *, codes: dict[str, int], again: re.Pattern[str], seconds: float) -> None:
    """Do all steps of a page; `codes` has exit codes of commands by their beginnings, where they are not 0.

    A command that matches `again` is repeated until it prints what the page shows.
    """
    cwd = shell.folder
    for step in steps(page):
        if step.file is not None:
            _, (where,) = shell.run("pwd", 60)
            cwd = Path(where.replace(FOLDER, str(shell.folder), 1))
            (cwd / step.file).write_text(step.text)
            continue
        wanted = next((code for begin, code in codes.items() if step.text.startswith(begin)), 0)
        deadline = time.monotonic() + seconds
        while True:
            code, lines = shell.run(step.text, seconds)
            lost = missing(step.shown, lines)
            if (code == wanted and lost is None) or not again.search(step.text) or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        report = "\n".join(lines)
        assert code == wanted, f"{step.text}: exit code {code}\n{report}"
        assert lost is None, f"{step.text}: no line like\n{lost}\nin\n{report}"


def missing(shown: tuple[str, ...], lines: list[str]) -> str | None:
    """Return the first line of a page that is not among those printed, in its order; nothing if all are."""
    rest = iter(_even(line) for line in lines)
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in _even(line).split("…"))
        if not any(re.fullmatch(pattern, printed) for printed in rest):
            return line
    return None


def _even(line: str) -> str:
    """Return a line without what differs from run to run: times, sizes, the width of columns."""
    return " ".join(_NUMBER.sub("N", _TIME.sub("T", line)).split())
